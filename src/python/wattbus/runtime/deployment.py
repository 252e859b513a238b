"""What is deployed on a home: its productions as settings.py and the stored changes say, and how they are changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine

from wattbus.errors import BadRequest, UnknownName, WattbusError
from wattbus.home import Home
from wattbus.runtime import definition, overrides
from wattbus.runtime.definition import Flat
from wattbus.runtime.overrides import NOWHERE, Binding
from wattbus.runtime.production import ItemConfig, ProductionConfig
from wattbus.store import item_settings, queries

NOT_DEFINED = "Not defined"  # iop's word for no default production
_DEFAULT = ("", "DefaultProduction")


class Productions(Protocol):
    """Where productions come from; the first is the one that runs where none is named."""

    def productions(self) -> dict[str, ProductionConfig]:
        """Return the productions by name, as they were read last."""

    def read_again(self) -> dict[str, ProductionConfig]:
        """Read the productions anew and return them by name."""

    def use(self, file: Path) -> None:
        """Read this settings file before all others from now on."""

    def upload(self, package: str, settings_file: str, texts: Mapping[str, str], strict: bool) -> Path:
        """Keep uploaded files, and read their settings file before all others from now on."""


class Deployment:
    """The productions of one home."""

    def __init__(self, home: Home, store_url: str | None, productions: Productions) -> None:
        self._home, self._store_url, self.productions = home, store_url, productions
        #: The store of the production that runs here; None: it is opened for each question.
        self.engine: Engine | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Engine | None]:
        """Give the store for reading; None where there is none yet."""
        if self.engine is not None:
            yield self.engine
            return
        with item_settings.looked_at(self._home, self._store_url) as engine:
            yield engine

    @contextlib.contextmanager
    def writing(self) -> Iterator[Engine]:
        """Give the store for writing; without a running production it is opened for it."""
        if self.engine is not None:
            yield self.engine
            return
        with item_settings.opened(self._home, self._store_url) as engine:
            yield engine

    # -- what there is ------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of the productions; the first runs where none is named."""
        return list(self.productions.productions())

    def default(self) -> str:
        """Return the production that is started where none is named."""
        with self.reading() as engine:
            stored = {} if engine is None else item_settings.read(engine, NOWHERE)
        names = self.names()
        return stored[_DEFAULT] if stored.get(_DEFAULT) in names else next(iter(names), NOT_DEFINED)

    def set_default(self, name: str) -> None:
        """Make a production the default one; an empty name takes the choice back."""
        if name:
            self.config(name)
        with self.writing() as engine:
            item_settings.put(engine, NOWHERE, *_DEFAULT, name or None)

    def config(self, name: str) -> ProductionConfig:
        """Return a production as settings.py has it."""
        found = self.productions.productions()
        if name not in found:
            raise UnknownName(
                "production",
                name,
                found,
                "Name its settings file with --settings, or give it to the director.",
            )
        return found[name]

    def definition(self, name: str) -> Flat:
        """Return a production as it is deployed: settings.py with the stored changes over it."""
        base = definition.flat(self.config(name).definition)
        with self.reading() as engine:
            stored = {} if engine is None else item_settings.read(engine, name)
        return definition.overlaid(base, stored)

    # -- changes ------------------------------------------------------------------------------------------------

    def deploy(self, name: str, values: Flat, by: str = "a plan") -> None:
        """Store what makes ``values`` of settings.py, once a production can be made of it; the next update runs it."""
        base = self.config(name)
        with self.writing() as engine:
            overrides.configured(base, values, overrides.bindings(engine))
            changed = definition.changes(definition.flat(base.definition), values)
            item_settings.replace(engine, name, changed, by)

    def apply(self, plan: Mapping[str, Any], allow_destructive: bool) -> dict[str, Any]:
        """Carry out a change plan of iop, whole or not at all; the answer is that of ``IOP.Utils``."""
        name = str(plan.get("production") or plan.get("production_name") or "")
        values = self.definition(name)
        results = [_applied(values, row, allow_destructive) for row in plan.get("operations") or ()]
        answer: dict[str, Any] = {"production": name, "operations": results}
        try:
            self.deploy(name, values)
        except WattbusError as error:
            answer["error"] = f"{error} Nothing of the plan was stored."
        return answer

    def forget_changes(self, file: Path) -> list[str]:
        """Take back the stored changes of a settings file's productions and return whose there were.

        The file says what is deployed from now on, as it does on IRIS after ``iop --migrate``.
        """
        declared = [
            name for name, found in self.productions.productions().items() if found.source == str(file)
        ]
        changed = []
        with self.writing() as engine:
            for name in declared:
                if item_settings.read(engine, name):
                    item_settings.replace(engine, name, {}, "a new settings file")
                    changed.append(name)
        return changed

    # -- classes that were bound from outside ---------------------------------------------------------------------

    def bindings(self, unused_only: bool) -> list[dict[str, Any]]:
        """Return the bound classes in iop's form; those of settings.py need no binding here."""
        with self.reading() as engine:
            bound = {} if engine is None else overrides.bindings(engine)
        users = self._users() if bound else {}
        return [
            {
                "class": name,
                "super": "",
                "module": binding.module,
                "classname": binding.classname,
                "classpaths": binding.folder,
                "used": name in users,
                "used_by": users.get(name, []),
            }
            for name, binding in bound.items()
            if not (unused_only and name in users)
        ]

    def bind(self, binding: Binding) -> None:
        """Make a Python class known under its name on IRIS."""
        with self.writing() as engine:
            overrides.bind(engine, binding)

    def unbind(self, iris_class: str) -> None:
        """Forget a bound class that no item uses."""
        users = self._users().get(iris_class)
        with self.writing() as engine:
            bound = overrides.bindings(engine)
            if iris_class not in bound:
                raise UnknownName(
                    "binding", iris_class, bound, "A class of settings.py has none: take its item out there."
                )
            if users:
                raise BadRequest(f"{iris_class} is used by {', '.join(users)}: take these items out first.")
            overrides.unbind(engine, iris_class)

    def _users(self) -> dict[str, list[str]]:
        users: dict[str, list[str]] = {}
        for name in self.names():
            values = self.definition(name)
            for item in definition.items(values):
                users.setdefault(values.get((item, "@ClassName"), ""), []).append(f"{name}.{item}")
        return users

    # -- what iop draws -------------------------------------------------------------------------------------------

    def connections(self, name: str) -> dict[str, Any]:
        """Return which item sends to which, in the form of ``IOP.Utils``, ExportProductionConnections."""
        items, warnings = [], []
        values = self.definition(name)
        try:
            with self.reading() as engine:
                bound = {} if engine is None else overrides.bindings(engine)
            config = overrides.configured(self.config(name), values, bound)
        except WattbusError as error:
            return {"production": name, "items": [], "warnings": [str(error)]}
        for item in config.items.values():
            row, warning = _connections_of(item, values)
            items.append(row)
            warnings += warning
        return {"production": name, "items": items, "warnings": warnings}

    def queues(self, name: str) -> dict[str, Any]:
        """Return how many messages wait for each item, in the form of ``IOP.Utils``, ExportProductionQueueInfo."""
        values = self.definition(name)
        with self.reading() as engine:
            queued = {} if engine is None else queries.queued(engine)
        rows = [
            {
                "item": item,
                "queue_name": item,
                "class_name": values.get((item, "@ClassName"), ""),
                "exists": 1,
                "count": queued.get(item, 0),
            }
            for item in definition.items(values)
        ]
        return {"production": name, "items": rows, "warnings": []}


def _applied(values: Flat, operation: Mapping[str, Any], allow_destructive: bool) -> dict[str, Any]:
    result = {name: operation.get(name) for name in ("id", "op_type", "path")}
    risk = operation.get("risk")
    if risk == "unsupported":
        return result | {"status": "skipped", "message": operation.get("reason") or "unsupported operation"}
    if risk == "destructive" and not allow_destructive:
        return result | {"status": "skipped", "message": "requires allow_destructive"}
    try:
        definition.apply(values, operation)
    except WattbusError as error:
        return result | {"status": "failed", "message": str(error)}
    return result | {"status": "applied"}


def _connections_of(item: ItemConfig, values: Flat) -> tuple[dict[str, Any], list[str]]:
    """Return the targets of an item: of its settings, and of what its source sends to by name."""
    known = set(definition.items(values))
    edges = [
        {"target": target.strip(), "source_target_setting": setting}
        for setting, value in definition.settings_of(values, item.name, "Host").items()
        for target in value.split(",")
        if target.strip() in known and not setting.startswith("%")
    ]
    set_by_name = {edge["target"] for edge in edges}
    warnings = []
    component: Any = object.__new__(item.component)
    for setting, value in item.host_settings.items():
        with contextlib.suppress(AttributeError):  # a read-only property: `wattbus check` says so
            setattr(component, setting, value)
    try:
        for target in component.on_get_connections() or ():
            if target not in set_by_name:
                edges.append({"target": target, "source_target_setting": ""})
    except (OSError, TypeError, ValueError, AttributeError) as error:
        # Its source is not at hand, as for a class made in a terminal.
        warnings.append(f"{item.name}: {type(error).__name__}: {error}")
    row: dict[str, Any] = {
        "item": item.name,
        "class_name": values.get((item.name, "@ClassName"), ""),
        "kind": item.kind,
        "connections": edges,
        "warnings": [],
    }
    return row, warnings
