"""The production: its items in three columns with their connections, and the buttons that start and stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field

from wattbus import words
from wattbus.access import Role
from wattbus.errors import WattbusError
from wattbus.runtime import item_settings, standing
from wattbus.runtime.deployment import NOT_DEFINED
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.routes import Route, connections
from wattbus.runtime.standing import ItemStatus
from wattbus.store import recent
from wattbus.web.desk import Desk
from wattbus.web.drawing import look_of
from wattbus.web.guard import Who
from wattbus.web.production_map import Box, Line, draw
from wattbus.web.twin import Twins


class Choice(BaseModel):
    """Which production to start."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"production": ""}})

    production: str = Field(default="", description="its name; by default the one that is started by itself")


class NewItem(BaseModel):
    """An item to add."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Python.MyOperation", "class_name": "Python.MLOperation"}},
    )

    name: str = Field(description="as you wish, such as Python.MyOperation")
    class_name: str = Field(description="a class that the production knows")
    enabled: bool = Field(default=False, description="start it at once; otherwise set it up first")


@dataclass(frozen=True)
class Stands:
    """How the production stands after an action."""

    production: str
    state: str
    sentence: str


@dataclass(frozen=True)
class Lever:
    """A button of the production: what it does, and why it cannot be used now."""

    name: str
    path: str
    why_not: str = ""


@dataclass(frozen=True)
class ItemRow:
    """An item as the page shows it."""

    name: str
    kind: str  # service, process, operation; empty: it needs IRIS
    component: str
    state: str
    enabled: bool
    pool_size: int
    queued: int  # up to 1,000
    alerts: int
    error: str | None
    changed: tuple[str, ...]
    added: bool  # here, and not in settings.py

    @property
    def path(self) -> str:
        return item_path(self.name)

    @property
    def queue_text(self) -> str:
        return f"{self.queued:,}{'+' if self.queued >= recent.MOST else ''}"


@dataclass(frozen=True)
class ProductionView:
    """What the page shows."""

    name: str
    description: str
    state: str
    doing: str
    wrong: str  # why the last start failed, or why the production cannot be read
    needs_update: str
    levers: list[Lever]
    productions: list[str]
    default: str
    items: list[ItemRow]
    connections: list[Route]
    classes: list[str] = field(default_factory=list)  # that an item can be added of

    @property
    def map(self) -> Markup:
        return draw(
            [_box(item) for item in self.items],
            [Line(route.source, route.target, route.setting) for route in self.connections],
        )


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages and what can be done on them."""
    routes = _Routes()

    def production() -> ProductionView:
        """Show the production, its items and what they send to."""
        running, director = desk.running, desk.director
        wrong, config, names, default = desk.work.failure, None, [], NOT_DEFINED
        try:
            names, default = director.deployment.names(), director.deployment.default()
            config = desk.production()
        except WattbusError as error:
            wrong = str(error)
        status = director.status_production() if running is not None and not desk.work.doing else {}
        return ProductionView(
            config.name if config is not None else default,
            config.description if config is not None else "",
            desk.state(),
            desk.work.doing,
            wrong,
            str(status.get("UpdateMessage", "")),
            _levers(desk, bool(names)),
            names,
            default,
            rows(desk, config),
            routes.of(config),
            item_settings.known_classes(running) if running is not None else [],
        )

    def start(body: Choice) -> Stands:
        """Start the production."""
        name = body.production or None
        if name is not None:
            desk.director.deployment.config(name)
        return _do(desk, "Starting", lambda: desk.director.start_production(name), name)

    def stop() -> Stands:
        """Stop the production: what is in hand ends, what is queued stays."""
        desk.director.current()
        return _do(desk, "Stopping", desk.director.stop_production)

    def restart() -> Stands:
        """Stop the production and start it again, as settings.py says now."""
        desk.director.current()
        return _do(desk, "Restarting", desk.director.restart_production)

    def update() -> Stands:
        """Read settings.py again; only the items that changed begin anew."""
        desk.current()
        touched: list[str] = []
        ended = _do(desk, "Updating", lambda: touched.extend(desk.director.update()))
        if ended.state == "Running":
            what = f"began anew or changed: {', '.join(touched)}" if touched else "nothing had changed"
            return Stands(ended.production, ended.state, f"{ended.production} is up to date, {what}.")
        return ended

    def recover() -> Stands:
        """Take back what dead processes had in hand, and start again what could not start."""
        running = desk.current()
        taken = words.counted(running.recover(), "message")
        return Stands(
            running.production.name, running.state, f"{taken} taken back; items in Error start again."
        )

    def add_item(body: NewItem, who: Who) -> Stands:
        """Add an item of a class that the production knows."""
        running = desk.current()
        item_settings.add_item(running, body.name, body.class_name, who.name, enabled=body.enabled)
        off = "" if body.enabled else "It is disabled: set it up, then enable it."
        return Stands(
            body.name.strip(), "Running" if body.enabled else "Disabled", f"{body.name} is there. {off}"
        )

    twins.view("/production", "production.html", production, tag="production")
    twins.view("/items", "items.html", production, tag="production")
    for action in (start, stop, restart, update, recover):
        twins.action(
            f"/production/{action.__name__}", action, tag="production", said=lambda done: done.sentence
        )
    twins.action(
        "/items",
        add_item,
        role=Role.ADMIN,
        tag="production",
        then=lambda done: item_path(done.production),
        said=lambda done: done.sentence,
    )


def item_path(name: str) -> str:
    """Return the address of an item's page."""
    return f"/items/{quote(name)}"


def rows(desk: Desk, config: ProductionConfig | None) -> list[ItemRow]:
    """Return the items of a production with how they stand; the counts are cheap however much is queued."""
    if config is None:
        return []
    running = desk.running
    with desk.reading() as engine:
        queued = {} if engine is None else recent.depths(engine, [*config.items, *config.skipped])
    depths = {name: waiting.queued for name, waiting in queued.items()}
    alerts: dict[str, int] = {}
    if running is not None:
        for alert in running.alerts.current_alerts():
            alerts[alert.item] = alerts.get(alert.item, 0) + 1
    base = running.declared if running is not None else desk.director.deployment.config(config.name)
    pools = running.life.pools if running is not None else {}
    return [
        _row(status, config, base, alerts.get(status.name, 0))
        for status in standing.of(base, config, pools, depths)
    ]


def _row(status: ItemStatus, config: ProductionConfig, base: ProductionConfig, alerts: int) -> ItemRow:
    item = config.items.get(status.name)
    return ItemRow(
        status.name, status.kind, status.component, status.state, item is not None and item.enabled,
        status.pool_size, status.queued, alerts, status.error, status.changed,
        item is not None and status.name not in base.items,
    )  # fmt: skip


def _box(item: ItemRow) -> Box:
    look, sign = look_of(item.state)
    figures = []
    if item.queued:
        figures.append(f"{item.queue_text} queued")
    if item.alerts:
        figures.append(words.counted(item.alerts, "alert"))
    pool = f"pool {item.pool_size}" if item.kind else ""
    return Box(
        item.name, item.kind, item.component, item.state, look, sign, pool, " · ".join(figures), item.path,
        item.error or "",
    )  # fmt: skip


class _Routes:
    """The connections of the production that was looked at last: its sources are read once."""

    def __init__(self) -> None:
        self._of: tuple[ProductionConfig, list[Route]] | None = None

    def of(self, config: ProductionConfig | None) -> list[Route]:
        if config is None:
            return []
        known = self._of
        if known is None or known[0] is not config:
            known = self._of = config, connections(config)
        return known[1]


def _levers(desk: Desk, any_production: bool) -> list[Lever]:
    running = desk.running
    busy = f"It is {desk.work.doing.lower()}." if desk.work.doing else ""
    runs = running is not None and running.state == "Running"
    off = busy or ("" if runs else "It does not run: start it first.")
    cannot_start = busy or ("It runs already." if running is not None else "")
    if not any_production:
        cannot_start = cannot_start or "There is no production: settings.py exports none."
    return [
        Lever("Start", "/production/start", cannot_start),
        Lever("Stop", "/production/stop", busy or ("" if running is not None else "It does not run.")),
        Lever("Restart", "/production/restart", off),
        Lever("Update", "/production/update", off),
        Lever(
            "Recover",
            "/production/recover",
            off and f"{off} A start takes back what a dead process had in hand.",
        ),
    ]


def _do(desk: Desk, word: str, work: Callable[[], object], name: str | None = None) -> Stands:
    ended = desk.work.do(word, work)
    running = desk.running
    config = (
        running.production.name if running is not None else name or desk.director.get_default_production()
    )
    state = desk.state()
    sentence = (
        f"{config} is {state}."
        if ended
        else f"{config} is {word.lower()}: this page shows when that is done."
    )
    return Stands(config, state, sentence)
