"""The settings of an item as a form shows them: their types, defaults and values, and what may be written there.

Names are those of IRIS: ``PoolSize`` of the item, ``RetryInterval`` of its host, the settings that its class declares,
``%settings`` for free text, and ``Adapter.NAME`` for those of its adapter. Values are texts, as in a definition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import iop

from wattbus.errors import BadRequest, BadSettings, UnknownName, unknown_name_sentence
from wattbus.runtime import definition
from wattbus.runtime.forms import FREE_TEXT, free_lines
from wattbus.runtime.production import ItemConfig, ProductionConfig, truth
from wattbus.runtime.retry import ReplyCodeActions
from wattbus.runtime.schedule import Schedule
from wattbus.runtime.settings import HOST_SETTINGS
from wattbus.secrets import PREFIX, masked

INTEGER, NUMERIC, BOOLEAN, STRING = "Integer", "Numeric", "Boolean", "String"
TEXT, ITEM, ITEMS = "Text", "Item", "Items"
#: What IRIS and our services call the settings that name targets.
_TARGETS = {"TargetConfigName": ITEM, "TargetConfigNames": ITEMS}
LARGEST_POOL = 512
_LONGEST = 100_000
_SECRET = re.compile(r"token|password|secret|api_?key", re.IGNORECASE)

Redact = Callable[[str], str]


@dataclass(frozen=True)
class SettingField:
    """One setting of an item."""

    name: str
    key: str  # in the definition: @PoolSize, Host.prefix, Adapter.Port
    kind: str  # Integer, Numeric, Boolean, String, Text, Item, Items
    category: str
    default: str
    description: str = ""
    required: bool = False
    value: str | None = None  # None: the default counts
    declared: str | None = None  # what settings.py says; None: nothing
    changed: bool = False  # it is not as settings.py says
    choices: tuple[str, ...] = ()  # of a target: the items that there are
    free: str = ""  # what a line of %settings gives, where the setting itself has no value


#: Of the item itself and of its host: name, kind, category, default, what it is for, and for which kinds of items.
_ITEM_ROWS = (
    ("Enabled", BOOLEAN, "true", "a disabled item keeps what is sent to it in its queue"),
    ("PoolSize", INTEGER, "1", "workers; with 1 nothing overtakes; a process with 0 shares the actor pool"),
    ("Category", STRING, "", "a word to group items by"),
    ("Comment", STRING, "", "for people"),
    ("Schedule", STRING, "", "when it runs: cron: */5 8-17 * * mon-fri, or as in IRIS START:...,STOP:..."),
    ("LogTraceEvents", BOOLEAN, "false", "write its trace lines into the event log"),
)
_ALL, _HANDLES, _CALLED = ("service", "process", "operation"), ("process", "operation"), ("service",)
_HOST_ROWS = (
    ("ReplyCodeActions", STRING, "Retry", "", "what to do with which end: E*timed out=RF,E=S", _HANDLES),
    ("RetryInterval", NUMERIC, "Retry", "5", "seconds before the next attempt", _HANDLES),
    ("FailureTimeout", NUMERIC, "Retry", "15", "seconds after which there is no other attempt; -1: never", _HANDLES),
    ("CallInterval", NUMERIC, "Additional", "5", "seconds between two calls of the service", _CALLED),
    ("AlertOnError", BOOLEAN, "Alerts", "false", "an error is an alert", _ALL),
    ("QueueCountAlert", INTEGER, "Alerts", "0", "messages in the queue that are an alert; 0: none", _ALL),
    ("QueueWaitAlert", NUMERIC, "Alerts", "0", "seconds in the queue that are an alert; 0: none", _ALL),
    ("InactivityTimeout", NUMERIC, "Alerts", "0", "seconds without a message that are an alert; 0: none", _ALL),
    ("AlertGroups", STRING, "Alerts", "", "where its alerts go", _ALL),
    ("QueueLimit", INTEGER, "Limits", "0", "messages in the queue after which doors are refused; 0: none", _HANDLES),
    ("BatchSize", INTEGER, "Limits", "1", "messages taken at once, where the class has on_batch", ("operation",)),
    ("BatchWaitMs", NUMERIC, "Limits", "0", "milliseconds that a batch waits at most", ("operation",)),
    ("Isolated", BOOLEAN, "Limits", "false", "run in a process of its own", _HANDLES),
    ("MemoryLimit", NUMERIC, "Limits", "0", "megabytes, of an isolated item; 0: none", _HANDLES),
    ("TimeLimit", NUMERIC, "Limits", "0", "seconds for one message, of an isolated item; 0: none", _HANDLES),
)  # fmt: skip


def fields_of(
    now: ProductionConfig, declared: ProductionConfig, name: str, redact: Redact
) -> list[SettingField]:
    """Return the settings of an item: ``now`` is the production with its changes, ``declared`` settings.py alone."""
    item = now.item(name)
    values, base = definition.flat(now.definition), definition.flat(declared.definition)
    lines = free_lines(values.get((name, f"Host.{FREE_TEXT}")))
    found = []
    for row in _rows(item, values):
        line = lines.get(row.name, "") if row.key == f"Host.{row.name}" else ""
        value, said = values.get((name, row.key)) or None, base.get((name, row.key)) or None
        found.append(
            SettingField(
                row.name, row.key, row.kind, row.category, row.default, row.description, row.required,
                _shown(row, value, redact), _shown(row, said, redact), value != said and name in declared.items,
                tuple(_targets(now, name)) if row.kind in (ITEM, ITEMS) else (),
                "" if value or not line else _masked(row.name, line, redact),
            )
        )  # fmt: skip
    return found


def checked(
    now: ProductionConfig, name: str, given: Mapping[str, object], redact: Redact
) -> dict[str, str | None]:
    """Return the values to store by their keys in the definition; a value that cannot be is a sentence.

    None stands for what settings.py says.
    """
    item = now.item(name)
    values = definition.flat(now.definition)
    rows = {row.name: row for row in _rows(item, values)}
    wanted: dict[str, str | None] = {}
    for setting, value in given.items():
        row = rows.get(setting)
        if row is None:
            raise UnknownName(f"setting of {name}", setting, rows)
        before = values.get((name, row.key), "")
        text = None if value is None else definition.text(value)
        if text is not None:
            text = _read(now, name, row, _unmasked(row, text, before, redact))
            text = before if _is_same(row, text, before) else text
        wanted[row.key] = text
    return wanted


def label(key: str) -> str:
    """Return the name of a setting as people write it, of its key in a definition."""
    return key.removeprefix("@").removeprefix("Host.")


# -- rows ------------------------------------------------------------------------------------------------------------


def _rows(item: ItemConfig, values: Mapping[definition.Key, str]) -> Iterator[SettingField]:
    """Yield every setting that the item can have, without its values."""
    taken = {row[0] for row in _ITEM_ROWS}
    for name, kind, default, description in _ITEM_ROWS:
        yield SettingField(name, f"@{name}", kind, "Item", default, description)
    declared = {str(row[0]): row for row in _declared(item.component)}
    for row in declared.values():
        plain = str(row[0])
        yield _of_class(row, plain if plain not in taken else f"Host.{plain}", f"Host.{plain}")
    if FREE_TEXT not in declared:
        about = "one key=value a line: attributes that the class does not declare"
        yield SettingField(FREE_TEXT, f"Host.{FREE_TEXT}", TEXT, "Class", "", about)
    for name, kind, category, default, description, kinds in _HOST_ROWS:
        if item.kind in kinds and name not in declared:
            of_class = getattr(item.component, name, None)
            said = definition.text(of_class) if isinstance(of_class, str | int | float | bool) else default
            yield SettingField(name, f"Host.{name}", kind, category, said, description)
    known = {*declared, FREE_TEXT, *(row[0] for row in _HOST_ROWS)}
    for name in definition.settings_of(values, item.name, "Host"):
        if name not in known:
            about = "" if name in HOST_SETTINGS else "not declared by the class: ignored, as on IRIS"
            plain = name if name not in taken else f"Host.{name}"
            yield SettingField(plain, f"Host.{name}", STRING, "Other", "", about)
    adapter = {str(row[0]): row for row in _declared(item.adapter)} if item.adapter is not None else {}
    for name in {**adapter, **definition.settings_of(values, item.name, "Adapter")}:
        full = f"Adapter.{name}"
        yield (
            _of_class(adapter[name], full, full)
            if name in adapter
            else SettingField(full, full, STRING, "Adapter", "")
        )


def _declared(cls: type | None) -> list[list[object]]:
    """Return iop's metadata of a class's settings: name, type, default, required, category, description, control."""
    rows: list[list[object]] = cls._get_properties() if cls is not None else []  # type: ignore[attr-defined]
    return rows


def _of_class(row: list[object], name: str, key: str) -> SettingField:
    own, data_type, default, required, category, description, control = row
    kind = str(data_type) if data_type in (INTEGER, NUMERIC, BOOLEAN) else STRING
    if data_type == "Ens.DataType.ConfigName" or "ProductionItems" in str(control):
        kind = ITEMS if "multiSelect=1" in str(control) else ITEM
    if own in _TARGETS:
        kind = _TARGETS[str(own)]
    if own == FREE_TEXT:
        kind = TEXT
    given = "" if isinstance(default, iop.Setting) else definition.text(getattr(default, "name", default))
    where = "Adapter" if key.startswith("Adapter.") else str(category or "Class")
    return SettingField(name, key, kind, where, given, str(description or ""), bool(required))


# -- values ----------------------------------------------------------------------------------------------------------


def _read(now: ProductionConfig, item: str, row: SettingField, text: str) -> str:
    """Return a text as it is stored, once it is what the setting takes."""
    where = f"setting {row.name!r} of item {item!r}"
    text = text.replace("\r\n", "\n")
    if row.kind not in (TEXT, STRING):
        text = text.strip()
    if len(text) > _LONGEST or any(ord(char) < 32 and char not in "\n\t" for char in text):
        raise BadRequest(
            f"{where} holds a control character, or more than {_LONGEST:,} characters: shorten it."
        )
    if not text:
        return ""
    if row.kind == BOOLEAN:
        try:
            return definition.text(truth(text, where))
        except BadSettings as error:
            raise BadRequest(str(error)) from None
    if row.kind in (INTEGER, NUMERIC):
        return _number(row, text, where)
    if row.kind in (ITEM, ITEMS):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        for part in parts:
            _target(now, part, where)
        return ",".join(parts)
    if row.key == "Host.ReplyCodeActions":
        ReplyCodeActions.parse(text)
    if row.key == "@Schedule":
        Schedule.parse(text)
    return text


def _is_same(row: SettingField, text: str, before: str) -> bool:
    """Tell whether two texts mean the same: 1 and true, 5 and 5.0."""
    if not text or not before:
        return text == before
    try:
        if row.kind == BOOLEAN:
            return truth(text, "") == truth(before, "")
        if row.kind in (INTEGER, NUMERIC):
            return float(text) == float(before)
    except (ValueError, BadSettings):
        return False  # what was there before is no such value
    return text == before.replace("\r\n", "\n")


def _number(row: SettingField, text: str, where: str) -> str:
    try:
        number = int(text) if row.kind == INTEGER else float(text)
    except ValueError:
        kind = "a whole number" if row.kind == INTEGER else "a number"
        raise BadRequest(f"{where} is {text!r}: {kind} is needed.") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise BadRequest(f"{where} is {text!r}: a number is needed.")
    if row.key == "@PoolSize" and not 0 <= number <= LARGEST_POOL:
        raise BadRequest(f"{where} is {number}: give 0 to {LARGEST_POOL} workers.")
    hosts = {f"Host.{name}" for name, *_ in _HOST_ROWS}
    if row.key in hosts and number < 0 and not (row.name == "FailureTimeout" and number == -1):
        raise BadRequest(f"{where} is {text}: it cannot be negative.")
    return text


def _target(now: ProductionConfig, name: str, where: str) -> None:
    if name not in now.items and name not in now.skipped:
        raise BadRequest(f"{where}: {unknown_name_sentence('item', name, now.items)}")
    if now.item(name).kind == "service":
        raise BadRequest(f"{where} is {name!r}, which is a service: services receive no messages.")


def _targets(now: ProductionConfig, name: str) -> list[str]:
    return [item.name for item in now.items.values() if item.kind != "service" and item.name != name]


# -- secrets ---------------------------------------------------------------------------------------------------------


def _shown(row: SettingField, value: str | None, redact: Redact) -> str | None:
    """Return a value as people may see it: secrets are masked."""
    if value is None:
        return None
    if row.kind == TEXT:
        return "\n".join(_shown_line(line, redact) for line in value.replace("\r\n", "\n").split("\n"))
    return _masked(row.name, value, redact)


def redacted(key: str, value: str | None, redact: Redact) -> str:
    """Return a value of a definition as people may see it."""
    kind = TEXT if key == f"Host.{FREE_TEXT}" else STRING
    return _shown(SettingField(label(key), key, kind, "", ""), value, redact) or ""


def _shown_line(line: str, redact: Redact) -> str:
    name, equals, value = line.partition("=")
    return f"{name}={_masked(name, value, redact)}" if equals else redact(line)


def _masked(name: str, value: str, redact: Redact) -> str:
    if value and _SECRET.search(name) and not value.strip().startswith(PREFIX):
        return masked(value)
    return redact(value)


def _unmasked(row: SettingField, text: str, before: str, redact: Redact) -> str:
    """Put a secret back that comes as it was shown: who changes another line does not know it."""
    text = text.replace("\r\n", "\n")
    if row.kind != TEXT:
        return before if before and text == _masked(row.name, before, redact) else text
    known = {_shown_line(line, redact): line for line in before.replace("\r\n", "\n").split("\n")}
    return "\n".join(known.get(line, line) for line in text.split("\n"))
