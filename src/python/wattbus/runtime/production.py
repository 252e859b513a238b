"""A production as it is read from a settings file: its items, their classes and settings, and what does not run here.

Plain data; :mod:`wattbus.runtime.reading` makes it of a settings file or of an ``iop.Production``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from wattbus.errors import BadSettings, Refused, UnknownName
from wattbus.runtime.loading import Project


@dataclass(frozen=True)
class Finding:
    """Something to tell the author of a production; ``item`` is empty where it is about the whole."""

    level: str  # error, warning, info
    item: str
    sentence: str


@dataclass(frozen=True)
class Connection:
    """A target of an item, and the setting that names it."""

    target: str
    setting: str = ""


@dataclass(frozen=True)
class ItemConfig:
    """One item of a production."""

    name: str
    kind: str  # service, process, operation
    component: type
    pool_size: int = 1
    enabled: bool = True
    category: str = ""
    comment: str = ""
    host_settings: dict[str, Any] = field(default_factory=dict)
    adapter_settings: dict[str, Any] = field(default_factory=dict)
    log_trace_events: bool = False
    adapter: type | None = None  # an adapter written in Python
    adapter_class_name: str = ""
    class_name: str = ""  # as IRIS knows it
    schedule: str = ""
    foreground: bool = False
    connections: tuple[Connection, ...] = ()
    project: Project | None = field(default=None, compare=False, repr=False)

    @cached_property
    def business_type(self) -> str:
        """Return the word of IRIS: BusinessService, BusinessProcess, BusinessOperation."""
        return f"Business{self.kind.capitalize()}"


@dataclass(frozen=True)
class SkippedItem:
    """An item that only IRIS can run."""

    name: str
    class_name: str
    sentence: str


@dataclass(frozen=True)
class ProductionConfig:
    """A production: a name and its items by name."""

    name: str
    items: dict[str, ItemConfig]
    source: str = ""
    skipped: dict[str, SkippedItem] = field(default_factory=dict)
    notes: tuple[Finding, ...] = ()  # warnings and infos, for the event log
    description: str = ""
    actor_pool_size: int = 2
    testing_enabled: bool = False
    log_general_trace_events: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # of the production itself, in IRIS's names
    message_types: tuple[type, ...] = ()  # what SCHEMAS names and what the project's modules define
    persistent: dict[str, type] = field(default_factory=dict)  # PersistentMessage classes by their IRIS names
    definition: dict[str, Any] = field(default_factory=dict, repr=False)  # {name: {...}} in iop's form
    project: Project | None = field(default=None, compare=False, repr=False)

    @property
    def modules(self) -> Mapping[str, ModuleType]:
        """Return the project's own modules by name; none for a production that was made in memory."""
        return self.project.modules if self.project is not None else {}

    def item(self, name: str) -> ItemConfig:
        """Return an item; an unknown name is refused with the nearest right one."""
        if name in self.items:
            return self.items[name]
        if name in self.skipped:
            raise Refused(f"item {name!r} takes no messages here: {self.skipped[name].sentence}")
        raise UnknownName("item", name, self.items)


def truth(value: Any, where: str) -> bool:
    """Read a boolean as IRIS writes it: true, 1, yes, on, or their opposites."""
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", ""):
        return False
    raise BadSettings(f"{where} is {value!r}: use true or false.")


def place_of(item: ItemConfig) -> str:
    """Return where an item stands, to begin a sentence with."""
    return f"{item.project.file}: item {item.name!r}" if item.project is not None else f"item {item.name!r}"
