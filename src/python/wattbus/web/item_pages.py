"""One item: its settings, queue, log, messages, jobs, test and energy, and the buttons that start and stop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from wattbus.access import Role
from wattbus.errors import UnknownName
from wattbus.runtime import item_fields, item_settings
from wattbus.runtime.calls import item_action
from wattbus.runtime.item_fields import LARGEST_POOL, SettingField
from wattbus.runtime.item_settings import Changed, PastChange
from wattbus.runtime.production import ProductionConfig
from wattbus.secrets import Vault
from wattbus.store import recent
from wattbus.store.queries import EnergyGroup, EventLine
from wattbus.store.recent import InHand, Job
from wattbus.store.rows import Header
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.production_pages import ItemRow, rows
from wattbus.web.twin import Twins

_FIELD = "set:"  # in a form, before the name of a setting
_TABS = ("Settings", "Queue", "Log", "Messages", "Jobs", "Test", "Energy")


class Settings(BaseModel):
    """Settings of an item by their names; null is what settings.py says, an empty text the default."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"settings": {"PoolSize": 2, "%settings": "top_k=3"}}}
    )

    settings: dict[str, str | int | float | bool | None]
    shown: SkipJsonSchema[list[str]] = Field(default=[], exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _of_form(cls, data: Any) -> Any:
        """Read a form: it names the settings that it shows, since an empty field is not sent on."""
        if not isinstance(data, dict) or "shown" not in data:
            return data
        shown = data["shown"]
        return {"settings": {name: data.get(f"{_FIELD}{name}", "") for name in shown}}


class PoolSize(BaseModel):
    """How many workers an item has."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"size": 2}})

    size: int = Field(ge=0, le=LARGEST_POOL)


@dataclass(frozen=True)
class Listed:
    """A message in a list."""

    id: int
    session_id: int
    type: str
    source: str
    target: str
    body_class: str
    status: str
    error: str | None
    created_us: int


@dataclass(frozen=True)
class ItemHead:
    """What every page of an item shows at its top."""

    item: ItemRow
    runs: bool  # the production does, so that something can be done
    tab: str

    @property
    def tabs(self) -> list[tuple[str, str]]:
        return [(f"{self.item.path}/{tab.lower()}", tab) for tab in _TABS]


@dataclass(frozen=True)
class SettingsTab:
    """The settings of an item and what was changed on them."""

    head: ItemHead
    fields: list[SettingField]
    history: list[PastChange]

    @property
    def groups(self) -> dict[str, list[SettingField]]:
        found: dict[str, list[SettingField]] = {}
        for one in self.fields:
            found.setdefault(one.category, []).append(one)
        return found


@dataclass(frozen=True)
class QueueTab:
    """What waits for an item, in the order in which it is served."""

    head: ItemHead
    messages: list[Listed]


@dataclass(frozen=True)
class LogTab:
    """The newest lines of the event log about an item."""

    head: ItemHead
    lines: list[EventLine]


@dataclass(frozen=True)
class MessagesTab:
    """The newest messages to and from an item."""

    head: ItemHead
    messages: list[Listed]


@dataclass(frozen=True)
class JobsTab:
    """What an item has in hand, and its jobs."""

    head: ItemHead
    in_hand: list[InHand]
    jobs: list[Job]


@dataclass(frozen=True)
class TestTab:
    """The message types that an item handles."""

    head: ItemHead
    types: list[str]


@dataclass(frozen=True)
class EnergyTab:
    """The energy of an item, of the newest messages."""

    head: ItemHead
    groups: list[EnergyGroup]
    newest: int = recent.NEWEST


class _Items:
    """What the pages of an item look at."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def settings(self, name: str) -> SettingsTab:
        """Show the settings of an item: types, defaults, values, and what was changed."""
        config, head = self._head(name, "Settings")
        running = self._desk.running
        if name not in config.items:
            return SettingsTab(head, [], [])
        if running is not None:
            return SettingsTab(
                head, item_settings.fields(running, name), item_settings.history(running, name)
            )
        declared = self._desk.director.deployment.config(config.name)
        redact = Vault(self._desk.home.secrets_file).redact
        return SettingsTab(head, item_fields.fields_of(config, declared, name, redact), [])

    def queue(self, name: str) -> QueueTab:
        """Show what waits for an item."""
        _, head = self._head(name, "Queue")
        with self._desk.reading() as engine:
            found = [] if engine is None else recent.queue_of(engine, name)
        return QueueTab(head, [_listed(header) for header in found])

    def log(self, name: str) -> LogTab:
        """Show the newest lines of the event log about an item."""
        _, head = self._head(name, "Log")
        running = self._desk.running
        if running is not None:
            running.store.flush()
        with self._desk.reading() as engine:
            return LogTab(head, [] if engine is None else recent.events_of(engine, name))

    def messages(self, name: str) -> MessagesTab:
        """Show the newest messages to and from an item."""
        _, head = self._head(name, "Messages")
        with self._desk.reading() as engine:
            found = [] if engine is None else recent.messages_of(engine, name)
        return MessagesTab(head, [_listed(header) for header in found])

    def jobs(self, name: str) -> JobsTab:
        """Show what an item has in hand, and its jobs."""
        _, head = self._head(name, "Jobs")
        with self._desk.reading() as engine:
            if engine is None:
                return JobsTab(head, [], [])
            return JobsTab(head, recent.in_hand_of(engine, name), recent.jobs_of(engine, name))

    def test(self, name: str) -> TestTab:
        """Show the message types that an item handles."""
        _, head = self._head(name, "Test")
        running = self._desk.running
        pool = running.life.pools.get(name) if running is not None else None
        return TestTab(head, sorted(pool.host.handled) if pool is not None else [])

    def energy(self, name: str) -> EnergyTab:
        """Show the energy of an item by model and tier."""
        _, head = self._head(name, "Energy")
        with self._desk.reading() as engine:
            return EnergyTab(head, [] if engine is None else recent.energy_of(engine, name))

    def _head(self, name: str, tab: str) -> tuple[ProductionConfig, ItemHead]:
        desk, config = self._desk, self._desk.production()
        known = [] if config is None else [*config.items, *config.skipped]
        if config is None or name not in known:
            raise UnknownName("item", name, known)
        only = next(row for row in rows(desk, config) if row.name == name)
        running = desk.running
        return config, ItemHead(only, running is not None and running.state == "Running", tab)


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages of the items and what can be done on them."""
    look = _Items(desk)
    for tab in _TABS:
        path = tab.lower()
        twins.view(f"/items/{{name:path}}/{path}", f"item_{path}.html", getattr(look, path), tag="items")
    twins.view("/items/{name:path}", "item_settings.html", look.settings, tag="items")
    _add_acts(twins, desk)
    _add_changes(twins, desk)


def _add_acts(twins: Twins, desk: Desk) -> None:
    def acted(name: str, action: str, who: Who, size: int | None = None) -> Changed:
        running = desk.current()
        item_action(running, "restart_item" if action == "restart" else action, name, size, who.name)
        state = next((item.state for item in running.items() if item.name == name), "")
        return Changed(name, (), state, f"{name} is {state}.")

    def start(name: str, who: Who) -> Changed:
        """Start an item that was stopped, or that could not start."""
        return acted(name, "start", who)

    def stop(name: str, who: Who) -> Changed:
        """Stop an item until it is started; what is sent to it is queued."""
        return acted(name, "stop", who)

    def restart(name: str, who: Who) -> Changed:
        """Make the components of an item anew."""
        return acted(name, "restart", who)

    def enable(name: str, who: Who) -> Changed:
        """Enable an item, now and at the next start."""
        return acted(name, "enable", who)

    def disable(name: str, who: Who) -> Changed:
        """Disable an item, now and at the next start; what is sent to it is queued."""
        return acted(name, "disable", who)

    def pool(name: str, body: PoolSize, who: Who) -> Changed:
        """Let an item have so many workers, now and at the next start."""
        done = acted(name, "pool", who, body.size)
        return Changed(
            name, ("PoolSize",), done.state, f"{name} has a pool of {body.size}; it is {done.state}."
        )

    for act in (start, stop, restart, enable, disable, pool):
        twins.action(f"/items/{{name:path}}/{act.__name__}", act, tag="items", said=_sentence)


def _add_changes(twins: Twins, desk: Desk) -> None:
    def change(name: str, body: Settings, who: Who) -> Changed:
        """Change settings of an item while it runs; only it begins anew."""
        return item_settings.change(desk.current(), name, body.settings, who.name)

    def reset(name: str, who: Who) -> Changed:
        """Let settings.py count again for all settings of an item."""
        return item_settings.reset(desk.current(), name, who.name)

    def undo(name: str, change_id: int, who: Who) -> Changed:
        """Put a setting back to what it was before one change."""
        return item_settings.undo(desk.current(), name, change_id, who.name)

    def remove(name: str, who: Who) -> Changed:
        """Remove an item that was added here."""
        item_settings.remove_item(desk.current(), name, who.name)
        return Changed(name, (), "removed", f"{name} is removed; what is queued for it stays.")

    twins.action("/items/{name:path}/settings", change, role=Role.ADMIN, tag="items", said=_sentence)
    twins.action("/items/{name:path}/reset", reset, role=Role.ADMIN, tag="items", said=_sentence)
    twins.action(
        "/items/{name:path}/undo/{change_id:int}", undo, role=Role.ADMIN, tag="items", said=_sentence
    )
    twins.action(
        "/items/{name:path}/remove", remove, role=Role.ADMIN, tag="items", then="/production", said=_sentence
    )


def _sentence(done: Changed) -> str:
    return done.sentence


def _listed(header: Header) -> Listed:
    return Listed(
        header.id, header.session_id, header.type, header.source_item, header.target_item, header.body_class,
        header.status, header.error_status, header.time_created_us,
    )  # fmt: skip
