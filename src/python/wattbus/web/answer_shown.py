"""The answer to a message as a page shows it: pictures, tables of objects, texts; JSON where it is none of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from wattbus.store.answers import StoredAnswer
from wattbus.store.tables import energy

_MOST_ROWS = 200
_LONGEST_TEXT = 20_000
_COLUMNS = ("scope", "energy_joules", "tier", "status", "reason", "low_joules", "high_joules")


@dataclass(frozen=True)
class Table:
    """A list of objects; a cell is text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0


@dataclass(frozen=True)
class EnergyShown:
    """What the last attempt used; unknown is None with a reason."""

    scope: str
    joules: float | None
    tier: str
    status: str
    reason: str | None
    low_joules: float | None
    high_joules: float | None


@dataclass(frozen=True)
class AnswerShown:
    """How a request stands, and what came back."""

    message_id: int
    session_id: int
    status: str
    done: bool
    error: str | None
    type: str | None
    body: Any
    duration_seconds: float | None
    energy: tuple[EnergyShown, ...]
    pictures: tuple[str, ...]
    tables: tuple[Table, ...]
    texts: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]  # the other fields of the body
    json: Any  # what none of these shows


def shown(engine: Engine, answer: StoredAnswer) -> AnswerShown:
    """Return what a page shows of an answer."""
    body = answer.value
    fields = dict(body) if isinstance(body, Mapping) else {}
    output = fields.pop("output", None) if "output" in fields else body
    pictures = tuple(str(name) for name in fields.pop("pictures", None) or () if isinstance(name, str))
    tables, texts, rest = _parts(output)
    if output is body:
        fields = {}
    facts = tuple((name, _cell(value)) for name, value in fields.items() if value not in (None, [], ""))
    return AnswerShown(
        answer.request.id,
        answer.request.session_id,
        answer.request.status,
        answer.done,
        answer.error,
        answer.type,
        body,
        answer.duration_seconds,
        _energy(engine, answer.request.id, answer.request.attempts),
        pictures,
        tuple(tables),
        tuple(texts),
        facts,
        rest,
    )


def _parts(value: Any) -> tuple[list[Table], list[str], Any]:
    """Return what of a value is a table, what is a text, and what is neither."""
    if isinstance(value, str):
        return [], [value[:_LONGEST_TEXT]], None
    if _is_rows(value):
        texts = [row["generated_text"] for row in value if set(row) == {"generated_text"}]
        if len(texts) == len(value) and all(isinstance(text, str) for text in texts):
            return [], [text[:_LONGEST_TEXT] for text in texts], None
        return [_table(value)], [], None
    if isinstance(value, list) and value and all(_is_rows(one) for one in value):
        return [_table(one) for one in value[:20]], [], None
    if isinstance(value, Mapping) and value and all(_is_plain(one) for one in value.values()):
        return (
            [Table(("field", "value"), tuple((str(name), _cell(one)) for name, one in value.items()))],
            [],
            None,
        )
    return [], [], value


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) and row for row in value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _table(rows: list[Mapping[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(str(name) for row in rows for name in row))[:30]
    cells = tuple(tuple(_cell(row.get(name)) for name in columns) for row in rows[:_MOST_ROWS])
    return Table(columns, cells, max(0, len(rows) - _MOST_ROWS))


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(one) for one in value[:50]) + (", …" if len(value) > 50 else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return str(value)[:2_000]


def _energy(engine: Engine, message_id: int, attempt: int) -> tuple[EnergyShown, ...]:
    query = (
        select(*(energy.c[name] for name in _COLUMNS))
        .where(energy.c.message_id == message_id, energy.c.attempt == attempt)
        .order_by(energy.c.scope)
    )
    with engine.connect() as connection:
        return tuple(EnergyShown(*row) for row in connection.execute(query))
