"""A message filter: what a person asks for, as text and as the conditions of a query.

The text is made of terms: ``status=Error,Suspended item=Echo since=1h "body contains x" $.number=3``.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Float, String, and_, case, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from wattbus.errors import BadRequest, UnknownName
from wattbus.store.tables import Priority, Status, bodies, messages

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_PATH = re.compile(r"\$(?:\.\w+|\[\d+\])+")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_CONTAINS = re.compile(r"(body|error)\s+contains\s+(.+)", re.DOTALL)
# Largest number that a column of a database holds; a larger id is refused here and not there.
_LARGEST = 2**63 - 1
# Not JSON for PostgreSQL, though a serialiser may have written it: such a body is not looked into.
_NO_JSONB = r"[:,\[]\s*-?(NaN|Infinity)|\\u0000"
#: Fields of the header that a term can name, beside those with a meaning of their own, and their columns.
HEADER_FIELDS = {
    "type": "type",
    "source": "source_item",
    "target": "target_item",
    "queue": "target_queue",
    "description": "description",
    "priority": "priority",
    "parent": "parent_id",
    "answers": "corresponding_id",
    "key": "idempotency_key",
    "completion": "completion_key",
    "supersession": "super_session",
}
_NUMBERS = {"priority", "parent", "answers"}
#: The priorities that a person names.
PRIORITIES = {"high": Priority.HIGH_SYNC, "sync": Priority.SYNC, "async": Priority.ASYNC}


@dataclass(frozen=True)
class MessageFilter:
    """Which messages are meant; a field that is None or empty asks for nothing."""

    since_us: int | None = None
    until_us: int | None = None
    item: str | None = None  # source or target
    body_class: str | None = None  # in full, or the name after the last dot
    statuses: tuple[str, ...] = ()
    is_error: bool | None = None
    session_id: int | None = None
    first_id: int | None = None
    last_id: int | None = None
    resent: bool | None = None
    header: tuple[tuple[str, str | int], ...] = ()  # names of HEADER_FIELDS with their values
    body_contains: tuple[str, ...] = ()
    error_contains: tuple[str, ...] = ()
    body_fields: tuple[tuple[str, str], ...] = ()  # a path such as $.a.b[0], and the value as text

    @property
    def searches_bodies(self) -> bool:
        """Tell whether bodies are looked into: those that lie out of line are not."""
        return bool(self.body_contains or self.body_fields)

    @property
    def empty(self) -> bool:
        """Tell whether every message is meant."""
        return self == MessageFilter()

    def conditions(self, dialect: str) -> list[ColumnElement[bool]]:
        """Return the conditions of a query on the messages, for SQLite or PostgreSQL."""
        found = self._header_conditions()
        if self.searches_bodies:
            inside = [bodies.c.id == messages.c.body_id]
            inside += [_text_contains(bodies.c.json, text) for text in self.body_contains]
            inside += [_field_is(dialect, path, value) for path, value in self.body_fields]
            found.append(select(bodies.c.id).where(*inside).exists())
        return found

    def unsearched(self) -> list[ColumnElement[bool]]:
        """Return the conditions for the messages whose bodies lie out of line, which no search looks into."""
        rest = replace(self, body_contains=(), body_fields=())
        aside = select(bodies.c.id).where(bodies.c.id == messages.c.body_id, bodies.c.json.is_(None)).exists()
        return [*rest._header_conditions(), aside]

    def _header_conditions(self) -> list[ColumnElement[bool]]:
        asked = ((condition, getattr(self, name)) for name, condition in _CONDITIONS.items())
        found = [condition(value) for condition, value in asked if value is not None and value != ()]
        found += [messages.c[HEADER_FIELDS[name]] == value for name, value in self.header]
        found += [_text_contains(messages.c.error_status, text) for text in self.error_contains]
        return found


def _class_is(name: str) -> ColumnElement[bool]:
    column = messages.c.body_class
    return or_(column == name, column.endswith(f".{name}", autoescape=True))


_ONE = messages.c
#: What each plain field of a filter asks of a message.
_CONDITIONS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "since_us": lambda value: _ONE.time_created_us >= value,
    "until_us": lambda value: _ONE.time_created_us < value,
    "item": lambda value: or_(_ONE.target_item == value, _ONE.source_item == value),
    "body_class": _class_is,
    "statuses": lambda value: _ONE.status.in_(value),
    "is_error": lambda value: _ONE.is_error.is_(value),
    "session_id": lambda value: _ONE.session_id == value,
    "first_id": lambda value: _ONE.id >= value,
    "last_id": lambda value: _ONE.id <= value,
    "resent": lambda value: _ONE.resent.is_not(None) if value else _ONE.resent.is_(None),
}


def parse_filter(text: str, now_us: int | None = None) -> MessageFilter:
    """Read a filter from one text; what is not understood is refused with the nearest right word.

    >>> parse_filter('status=Error item=Echo "body contains x"')
    ... # doctest: +ELLIPSIS
    MessageFilter(since_us=None, until_us=None, item='Echo', body_class=None, statuses=('Error',), ...
    """
    try:
        return parse_terms(shlex.split(text), now_us)
    except ValueError as error:
        raise BadRequest(
            f"the filter {text!r} is not complete ({error}): close the quotation mark."
        ) from None


def parse_terms(terms: Iterable[str], now_us: int | None = None) -> MessageFilter:
    """Read a filter from terms that are apart already, such as the words of a command."""
    reading = _Reading(time.time_ns() // 1000 if now_us is None else now_us)
    for term in terms:
        reading.take(term.strip())
    return reading.filter


def with_terms(text: str, terms: Mapping[str, str]) -> str:
    """Return a filter with terms put in the place of those that say something else of the same.

    >>> with_terms("status=Error item=Echo", {"item": "Order Router", "body contains": "x y"})
    "status=Error 'item=Order Router' 'body contains x y'"
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return text  # the sentence about it comes where it is read
    given = {key: value.strip() for key, value in terms.items() if value.strip()}
    kept = [word for word in words if word.partition("=")[0] not in given]
    added = [f"{key} {value}" if " " in key else f"{key}={value}" for key, value in given.items()]
    return shlex.join([*kept, *(term for term in added if term not in kept)])


def duration_seconds(text: str) -> float:
    """Read a duration.

    >>> [duration_seconds(text) for text in ("90s", "1.5h", "30d")]
    [90.0, 5400.0, 2592000.0]
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadRequest(f"the duration {text!r} is not understood: write 90s, 15m, 2h, 30d or 4w.")
    return float(found[1]) * _UNITS[found[2]]


@dataclass
class _Reading:
    """A filter while its terms are read."""

    now_us: int
    filter: MessageFilter = field(default_factory=MessageFilter)

    def take(self, term: str) -> None:
        """Add one term."""
        contains = _CONTAINS.fullmatch(term)
        if contains is not None:
            name = f"{contains[1]}_contains"
            self._set(**{name: (*getattr(self.filter, name), contains[2])})
            return
        key, equals, value = term.partition("=")
        if not equals:
            raise BadRequest(
                f'the term {term!r} is not understood: write key=value, "body contains TEXT" or $.field=value.'
            )
        if key.startswith("$"):
            if not _PATH.fullmatch(key):
                raise BadRequest(
                    f"{key!r} is no path into a body: write $.field, $.field.inner or $.list[0]."
                )
            self._set(body_fields=(*self.filter.body_fields, (key, value)))
            return
        if not value:
            raise BadRequest(f"the term {term!r} has no value: write {key}=value.")
        if key in HEADER_FIELDS:
            self._set(header=(*self.filter.header, (key, _header_value(key, value))))
            return
        read = _TERMS.get(key)
        if read is None:
            raise UnknownName("filter", key, [*_TERMS, *HEADER_FIELDS])
        self._set(**read(value, self.now_us))

    def _set(self, **values: Any) -> None:
        self.filter = replace(self.filter, **values)


def _statuses(value: str, _now_us: int) -> dict[str, Any]:
    known = {status.value.casefold(): status.value for status in Status}
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name.casefold() not in known:
            raise UnknownName("status", name, known.values())
    return {"statuses": tuple(known[name.casefold()] for name in names)}


def _ids(value: str, _now_us: int) -> dict[str, Any]:
    first, dots, last = value.partition("..")
    if not dots:
        return {"first_id": number(value), "last_id": number(value)}
    return {"first_id": number(first) if first else None, "last_id": number(last) if last else None}


def number(text: str) -> int:
    """Read the id of a message or a session."""
    if not text.strip().isdecimal() or not text.isascii() or int(text) > _LARGEST:
        raise BadRequest(f"{text!r} is no id: a whole number is needed, or a range such as id=10..20.")
    return int(text)


def _truth(value: str) -> bool:
    if value.casefold() in ("yes", "true", "1"):
        return True
    if value.casefold() in ("no", "false", "0"):
        return False
    raise BadRequest(f"{value!r} is neither yes nor no.")


def _time(value: str, now_us: int) -> int:
    if _DURATION.fullmatch(value):
        return now_us - int(duration_seconds(value) * 1e6)
    try:
        # Without a zone it is the time of this machine, as times are shown.
        return int(datetime.fromisoformat(value).astimezone().timestamp() * 1e6)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"the time {value!r} is not understood: write how long ago (15m, 2h, 7d) or 2026-05-01T10:30."
        ) from None


def _header_value(key: str, value: str) -> str | int:
    if key == "priority" and value.casefold() in PRIORITIES:
        return PRIORITIES[value.casefold()]
    return number(value) if key in _NUMBERS else value


_TERMS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "status": _statuses,
    "item": lambda value, _now: {"item": value},
    "body": lambda value, _now: {"body_class": value},
    "since": lambda value, now: {"since_us": _time(value, now)},
    "until": lambda value, now: {"until_us": _time(value, now)},
    "session": lambda value, _now: {"session_id": number(value)},
    "id": _ids,
    "error": lambda value, _now: {"is_error": _truth(value)},
    "resent": lambda value, _now: {"resent": _truth(value)},
}


def _text_contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    # A body is JSON: what a person reads as a quotation mark or an umlaut may stand there escaped.
    forms = dict.fromkeys((text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]))
    return or_(*(column.icontains(form, autoescape=True) for form in forms))


def _field_is(dialect: str, path: str, value: str) -> ColumnElement[bool]:
    """Compare one field with a text: as text, as a number where both are, as true, false or null."""
    steps = [key or int(index) for key, index in _STEP.findall(path)]
    sound, text, kind = (_postgresql_field if dialect == "postgresql" else _sqlite_field)(steps)
    same: list[ColumnElement[bool]] = [and_(kind == "string", text == value)]
    if value in ("true", "false"):
        same.append(and_(kind == "boolean", text == value))
    elif value == "null":
        same.append(kind == "null")
    else:
        try:
            same.append(case((kind == "number", cast(text, Float) == float(value)), else_=literal(False)))
        except ValueError:
            same.append(and_(kind == "number", text == value))
    return case((sound, or_(*same)), else_=literal(False, Boolean))


_Parts = tuple[ColumnElement[bool], ColumnElement[Any], ColumnElement[Any]]


def _sqlite_field(steps: list[str | int]) -> _Parts:
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in steps)
    found = func.json_type(bodies.c.json, path)
    kind = case(
        (found.in_(["integer", "real"]), "number"),
        (found.in_(["true", "false"]), "boolean"),
        (found == "text", "string"),
        else_=found,
    )
    text = case(
        (found.in_(["true", "false"]), found), else_=cast(func.json_extract(bodies.c.json, path), String)
    )
    return func.json_valid(bodies.c.json) == 1, text, kind


def _postgresql_field(steps: list[str | int]) -> _Parts:
    value = cast(bodies.c.json, JSONB)
    parts = [str(step) for step in steps]
    sound = and_(bodies.c.json.is_not(None), ~bodies.c.json.regexp_match(_NO_JSONB))
    return (
        sound,
        func.jsonb_extract_path_text(value, *parts),
        func.jsonb_typeof(func.jsonb_extract_path(value, *parts)),
    )
