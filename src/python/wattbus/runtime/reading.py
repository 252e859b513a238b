"""A production is read: from a settings file or an ``iop.Production``, in whichever form it was written.

What is wrong is gathered as findings, each a sentence: :func:`load` raises the errors among them, ``wattbus check``
lists them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import iop

from wattbus.errors import BadSettings, UnknownName, WattbusError, nearest
from wattbus.runtime.forms import Draft, ProductionDraft, as_draft
from wattbus.runtime.loading import Project, load_project
from wattbus.runtime.production import Connection, Finding, ItemConfig, ProductionConfig, SkippedItem, truth
from wattbus.runtime.registrations import Registrations
from wattbus.runtime.source import settings_of

KINDS = ("service", "process", "operation")
_MESSAGES = (iop.Message, iop.PydanticMessage, iop.PersistentMessage)
_KIND_BASES = {
    "service": (iop.BusinessService, iop.DuplexService),
    "process": (iop.BusinessProcess, iop.DuplexProcess),
    "operation": (iop.BusinessOperation, iop.DuplexOperation),
}
#: Adapters of IRIS that do nothing but call at each interval, or nothing at all: none is needed here.
PLAIN_ADAPTERS = frozenset({"", "Ens.InboundAdapter", "Ens.OutboundAdapter"})


def load(settings_file: Path, name: str | None = None) -> ProductionConfig:
    """Read the production called ``name``, by default the first that has items, from a settings file."""
    reading = _Reading(load_project(settings_file))
    return _accepted(*reading.production(reading.chosen(name)))


def load_all(settings_file: Path) -> dict[str, ProductionConfig]:
    """Read every production of a settings file, by name, the default one first; another that has errors is left out."""
    reading = _Reading(load_project(settings_file))
    first = reading.chosen(None)
    chosen = _accepted(*reading.production(first))
    found = {chosen.name: chosen}
    for draft in reading.drafts:
        if draft is not first:
            config, findings = reading.production(draft)
            if not _has_errors(findings):
                found.setdefault(config.name, config)
    return found


def read(settings_file: Path, name: str | None = None) -> tuple[ProductionConfig | None, list[Finding]]:
    """Read a production and say what there is to say about it; a file that cannot be read at all is an error."""
    try:
        reading = _Reading(load_project(settings_file))
        return reading.production(reading.chosen(name))
    except WattbusError as error:
        return None, [Finding("error", "", str(error))]


def from_production(production: iop.Production, source: str = "") -> ProductionConfig:
    """Read an ``iop.Production`` object."""
    return _accepted(*_Reading(None, source).production(as_draft(production)))


def kind_of(component: Any, where: str) -> str:
    """Return whether a class is a service, a process or an operation."""
    for kind, bases in _KIND_BASES.items():
        if isinstance(component, type) and issubclass(component, bases):
            return kind
    name = f"{getattr(component, '__module__', '')}.{getattr(component, '__name__', component)}".strip(".")
    raise BadSettings(
        f"{where}: {name} is no BusinessService, BusinessProcess or BusinessOperation: let it extend one of iop's."
    )


def _has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def _accepted(config: ProductionConfig | None, findings: Iterable[Finding]) -> ProductionConfig:
    errors = list(dict.fromkeys(finding.sentence for finding in findings if finding.level == "error"))
    if config is not None and not errors:
        return config
    more = f" And {len(errors) - 1} more: see `wattbus check`." if len(errors) > 1 else ""
    raise BadSettings(errors[0] + more)


class _Reading:
    """One reading of a settings file, or of a production made in memory."""

    def __init__(self, project: Project | None, source: str = "") -> None:
        self._project = project
        self._source = source or (str(project.file) if project is not None else "")
        self._in_file = f"{self._source}: " if self._source else ""
        self._registrations: Registrations | None = None
        self.drafts: list[ProductionDraft] = []
        self._schemas: tuple[type, ...] = ()
        if project is None:
            return
        exported = vars(project.settings)
        self._registrations = Registrations(project, exported.get("CLASSES"))
        self._schemas = tuple(cls for cls in exported.get("SCHEMAS") or () if isinstance(cls, type))
        productions = exported.get("PRODUCTIONS")
        if not isinstance(productions, list) or not productions:
            there = (
                "exports no PRODUCTIONS"
                if productions is None
                else f"has PRODUCTIONS = {type(productions).__name__}"
            )
            names = self._registrations.names
            bound = f" with items of {', '.join(names[:6])}" if names else ""
            raise BadSettings(
                f"{self._source} {there}: end it with `PRODUCTIONS = [prod]`, a list of productions{bound}."
            )
        self.drafts = [as_draft(entry, self._in_file) for entry in productions]

    def chosen(self, name: str | None) -> ProductionDraft:
        """Return the production called ``name``; without one the first that has items."""
        if name is None:
            return next((draft for draft in self.drafts if draft.items), self.drafts[0])
        for draft in self.drafts:
            if name in (draft.name, draft.title):
                return draft
        raise UnknownName(
            "production", name, [draft.name for draft in self.drafts], f"It is sought in {self._source}."
        )

    def production(self, draft: ProductionDraft) -> tuple[ProductionConfig, list[Finding]]:
        """Read one production; what cannot be used is an error among the findings, and not in it."""
        found = [Finding(level, "", sentence) for level, sentence in draft.remarks]
        items: dict[str, ItemConfig] = {}
        skipped: dict[str, SkippedItem] = {}
        actors = self._number(
            draft.actor_pool_size or 2, f"ActorPoolSize of production {draft.name!r}", "", found
        )
        names = [item.name for item in draft.items]
        for item in draft.items:
            where = f"{self._in_file}item {item.name!r} of production {draft.name!r}"
            if item.name in items or item.name in skipped:
                found.append(
                    Finding("error", item.name, f"{where} is there twice: give each item a name of its own.")
                )
                continue
            try:
                read_item = self._item(item, where, actors, found)
            except WattbusError as error:
                found.append(Finding("error", item.name, _within(where, str(error))))
                continue
            if isinstance(read_item, SkippedItem):
                skipped[item.name] = read_item
                found.append(Finding("warning", item.name, read_item.sentence))
            else:
                items[item.name] = dataclasses.replace(read_item, connections=_connections(read_item, names))
        found += self._about_the_whole(draft, items, skipped)
        registered = self._registrations.messages if self._registrations is not None else {}
        persistent = {**registered, **draft.persistent}
        config = ProductionConfig(
            draft.name,
            items,
            self._source,
            skipped=skipped,
            notes=tuple(found),
            description=draft.description,
            actor_pool_size=actors,
            testing_enabled=draft.testing_enabled,
            log_general_trace_events=draft.log_general_trace_events,
            settings=draft.settings,
            message_types=tuple(dict.fromkeys([*self._schemas, *persistent.values(), *self._messages()])),
            persistent=persistent,
            definition=draft.definition,
            project=self._project,
        )
        return config, found

    def _messages(self) -> Iterator[type]:
        """Yield the message classes that the project defines."""
        for name, module in self._project.modules.items() if self._project is not None else ():
            for value in list(vars(module).values()):
                if isinstance(value, type) and issubclass(value, _MESSAGES) and value.__module__ == name:
                    yield value

    def _about_the_whole(
        self, draft: ProductionDraft, items: Mapping[str, Any], skipped: Mapping[str, Any]
    ) -> list[Finding]:
        found = []
        others = [other.name for other in self.drafts if other is not draft]
        if draft.name in others:
            found.append(
                Finding(
                    "warning",
                    "",
                    f"{self._source} has two productions called {draft.name!r}: one is not reached.",
                )
            )
        if others:
            found.append(
                Finding(
                    "info",
                    "",
                    f"{self._source} has other productions, {', '.join(others)}: choose with --production.",
                )
            )
        if self._registrations is not None:
            found += [
                Finding("warning", "", self._in_file + note)
                for note in dict.fromkeys(self._registrations.notes)
            ]
        if not draft.items:
            found.append(
                Finding(
                    "error",
                    "",
                    f"{self._in_file}production {draft.name!r} is empty: add items with "
                    '`prod.operation(name, Class)` or under "Item".',
                )
            )
        elif not items and len(skipped) == len(draft.items):
            found.append(
                Finding(
                    "error",
                    "",
                    f"{self._in_file}production {draft.name!r} has no item that runs here: every class of it lives in "
                    "IRIS.",
                )
            )
        return found

    # -- one item -----------------------------------------------------------------------------------------------

    def _item(self, draft: Draft, where: str, actors: int, found: list[Finding]) -> ItemConfig | SkippedItem:
        component = self._component(draft, where)
        if component is None:
            return self._skipped(draft, where)
        kind = kind_of(component, where)
        adapter_name = draft.adapter_class_name or _adapter_name(component)
        adapter = draft.adapter or self._adapter(adapter_name, where)
        if adapter is None and adapter_name not in PLAIN_ADAPTERS:
            return SkippedItem(
                draft.name,
                draft.class_name,
                f"{where} needs IRIS: its adapter {adapter_name!r} is ObjectScript. The other items run; write the "
                "adapter in Python to run this one.",
            )
        for key in draft.unknown_keys:
            close = nearest(
                key, ("@Name", "@ClassName", "@PoolSize", "@Enabled", "@Schedule", "@Category", "Setting")
            )
            hint = f"did you mean {close!r}?" if close else 'a setting goes under "Setting".'
            found.append(
                Finding(
                    "warning", draft.name, f"{where} has {key!r}, which is not known and is ignored: {hint}"
                )
            )
        for row in draft.other_settings:
            found.append(
                Finding(
                    "warning",
                    draft.name,
                    f"{where}: setting {row.get('@Name')!r} has the target {row.get('@Target')!r} and is ignored: use "
                    "Host or Adapter.",
                )
            )
        if draft.adapter_settings and adapter is None and adapter_name == "":
            names = ", ".join(draft.adapter_settings)
            found.append(
                Finding(
                    "warning",
                    draft.name,
                    f"{where} has adapter settings ({names}) and no adapter: they are ignored. A setting of the class "
                    "itself has the target Host.",
                )
            )
        size = self._number(draft.pool_size, f"PoolSize of {where}", draft.name, found)
        return ItemConfig(
            name=draft.name,
            kind=kind,
            component=component,
            # On IRIS a process with pool size 0 shares the actor pool; here it gets that many workers of its own.
            pool_size=max(1, actors) if kind == "process" and size == 0 else size,
            enabled=_flag(draft.enabled, f"Enabled of {where}", draft.name, found),
            category=draft.category,
            comment=draft.comment,
            host_settings=draft.host_settings,
            adapter_settings=draft.adapter_settings,
            log_trace_events=_flag(draft.log_trace_events, f"LogTraceEvents of {where}", draft.name, found),
            adapter=adapter,
            adapter_class_name=adapter_name,
            class_name=draft.class_name,
            schedule=draft.schedule or str(draft.host_settings.get("Schedule") or ""),
            foreground=_flag(draft.foreground, f"Foreground of {where}", draft.name, found),
            project=self._project,
        )

    def _component(self, draft: Draft, where: str) -> type | None:
        if draft.component is not None:
            return draft.component
        if draft.described is not None:
            if self._registrations is None:
                raise BadSettings(f"{where}: give the class itself.")
            return self._registrations.describe(draft.described, "its @ClassName")
        if not draft.class_name:
            raise BadSettings(f'{where} has no class: give it "@ClassName".')
        if self._registrations is None:
            return None
        return self._registrations.resolve(draft.class_name, draft.host_settings)

    def _skipped(self, draft: Draft, where: str) -> SkippedItem:
        known = self._registrations.names if self._registrations is not None else []
        close = nearest(draft.class_name, known)
        hint = (
            f" Did you mean {close!r}?"
            if close
            else " Bind a Python class to that name in CLASSES to run it here."
        )
        return SkippedItem(
            draft.name,
            draft.class_name,
            f"{where} needs IRIS: no Python class is bound to {draft.class_name!r}, so it is ObjectScript; the other "
            f"items run.{hint}",
        )

    def _adapter(self, name: str, where: str) -> type | None:
        if name in PLAIN_ADAPTERS or self._registrations is None:
            return None
        cls = self._registrations.resolve(name)
        if cls is not None and not issubclass(cls, iop.InboundAdapter | iop.OutboundAdapter):
            raise BadSettings(
                f"{where}: its adapter {name!r} is {cls.__name__}, which is no InboundAdapter or OutboundAdapter."
            )
        return cls

    def _number(self, value: Any, where: str, item: str, found: list[Finding]) -> int:
        text = str(value).strip() or "1"
        if text.isdecimal():
            return int(text)
        found.append(Finding("error", item, f"{where} is {value!r}: a whole number, 0 or more, is needed."))
        return 1


def _flag(value: Any, where: str, item: str, found: list[Finding]) -> bool:
    try:
        return truth(value, where)
    except BadSettings as error:
        found.append(Finding("error", item, str(error)))
        return False


def _adapter_name(component: Any) -> str:
    try:
        return str(component.get_adapter_type() or "")
    except TypeError:  # a plain method, which needs an instance; iop asks the class
        return ""


def _within(where: str, sentence: str) -> str:
    return sentence if where in sentence else f"{where}: {sentence.removeprefix(where.partition('item ')[0])}"


def _connections(item: ItemConfig, names: list[str]) -> tuple[Connection, ...]:
    """Return the targets that the settings of an item name."""
    return tuple(
        Connection(target, setting)
        for setting, value in settings_of(item.component, item.host_settings).items()
        for target in dict.fromkeys(part.strip() for part in value.split(","))
        if target in names and target != item.name
    )
