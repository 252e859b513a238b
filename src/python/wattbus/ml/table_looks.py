"""What a training table holds, at a look: its first rows, its labels, how long its texts are. Every look is bounded.

A table may have any number of rows, so each figure says of how many rows it is. Names are looked up in the inspected
schema by :class:`TrainingTables`; no name and no value of a request becomes SQL text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from wattbus.errors import BadRequest
from wattbus.ml.tables import ColumnFacts, TrainingTables

#: Rows that are counted, and that labels are counted in; rows whose texts are measured.
COUNTED = 100_000
MEASURED = 10_000
FURTHEST = 100_000
MOST_ROWS = 200
SHOWN_CHARACTERS = 300
SHOWN_LABELS = 20
#: A column with more different values than this is no label column.
_MOST_LABELS = 1000


@dataclass(frozen=True)
class TableLine:
    """A table in a list."""

    name: str
    columns: list[ColumnFacts]
    rows: int
    more: bool  # there are more rows than were counted


@dataclass(frozen=True)
class Cell:
    """A value as it is shown; None is NULL."""

    text: str | None
    cut: bool = False


@dataclass(frozen=True)
class LabelCount:
    """How often a label stands in the rows that were looked at."""

    label: str | None
    rows: int
    share: float


@dataclass(frozen=True)
class Labels:
    """The labels of a column, the most frequent first."""

    column: str
    counts: list[LabelCount]
    others: int  # rows with another label
    rows_looked_at: int
    all_rows: bool


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a column are, in characters, and what is wrong with some."""

    column: str
    least: int | None
    median: int | None
    p95: int | None
    most: int | None
    empty: int  # NULL, or nothing but spaces
    repeated: int  # rows whose text stands in an earlier row as well
    rows_looked_at: int
    all_rows: bool


@dataclass(frozen=True)
class TableLook:
    """A table: its columns, some of its rows, its labels and its texts."""

    table: TableLine
    offset: int
    limit: int
    rows: list[list[Cell]]
    labels: Labels | None
    lengths: Lengths | None
    notes: list[str] = field(default_factory=list)


def list_tables(tables: TrainingTables) -> list[TableLine]:
    """Return the tables with their columns; rows are counted to a hundred thousand."""
    return [_line(connection, name, table) for connection, name, table in tables.every()]


def look_at(
    tables: TrainingTables,
    name: str,
    *,
    label: str | None = None,
    text: str | None = None,
    offset: int = 0,
    limit: int = 20,
) -> TableLook:
    """Look at a table; the label and the text column are guessed where they are not named.

    UnknownName for a table or a column that is not there, BadRequest for a place too far in.
    """
    if not 0 <= offset <= FURTHEST or not 1 <= limit <= MOST_ROWS:
        raise BadRequest(
            f"rows from {offset} on, {limit} at once: begin at 0 to {FURTHEST:,}, with 1 to {MOST_ROWS} rows."
        )
    table, named = tables.resolve(name, [column for column in (label, text) if column is not None])
    with tables.reading() as connection:
        line = _line(connection, name, table)
        texts = named[-1] if text is not None else _text_column(connection, table, label)
        labels = named[0] if label is not None else _label_column(connection, table, texts)
        counted = None if labels is None else _labels(connection, table, labels, line)
        measured = None if texts is None else _lengths(connection, table, texts, line)
        rows = connection.execute(
            _ordered(sa.select(*table.columns), table).limit(limit).offset(offset)
        ).all()
    return TableLook(
        line, offset, limit, [[_cell(value) for value in row] for row in rows], counted, measured,
        list(_notes(counted, measured)),
    )  # fmt: skip


def _line(connection: sa.Connection, name: str, table: sa.Table) -> TableLine:
    some = sa.select(sa.literal(1)).select_from(table).limit(COUNTED + 1).subquery()
    rows = int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())
    columns = [ColumnFacts(c.name, str(c.type), bool(c.nullable)) for c in table.columns]
    return TableLine(name, columns, min(rows, COUNTED), rows > COUNTED)


def _ordered(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    keys = list(table.primary_key.columns)
    return query.order_by(*keys) if keys else query


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.types.String)


def _may_be_label(column: sa.Column[Any]) -> bool:
    """Tell whether a column may hold labels: its values can be counted by kind, and do not number the rows."""
    kinds = (sa.types.String, sa.types.Integer, sa.types.Numeric, sa.types.Boolean)
    return isinstance(column.type, kinds) and not column.primary_key


def _some(table: sa.Table, rows: int, **columns: sa.ColumnElement[Any]) -> sa.Subquery:
    picked = [column.label(name) for name, column in columns.items()]
    return sa.select(*picked).select_from(table).limit(rows).subquery()


def _text_column(connection: sa.Connection, table: sa.Table, label: str | None) -> sa.Column[Any] | None:
    """Return the column with the longest texts in the first rows."""
    able = [column for column in table.columns if _is_text(column) and column.name != label]
    if not able:
        return None
    some = _some(table, 200, **{f"c{number}": sa.func.length(column) for number, column in enumerate(able)})
    means = connection.execute(sa.select(*(sa.func.avg(column) for column in some.columns))).one()
    return max(zip(able, means, strict=True), key=lambda pair: float(pair[1] or 0))[0]


def _label_column(
    connection: sa.Connection, table: sa.Table, texts: sa.Column[Any] | None
) -> sa.Column[Any] | None:
    """Return the first column beside the texts that has few different values, and more than one."""
    able = [column for column in table.columns if column is not texts and _may_be_label(column)]
    for column in able:
        some = _some(table, 1000, value=column)
        rows, different = connection.execute(
            sa.select(sa.func.count(some.c.value), sa.func.count(sa.distinct(some.c.value)))
        ).one()
        if 2 <= different <= max(2, min(rows // 2, 100)):
            return column
    return None


def _labels(connection: sa.Connection, table: sa.Table, column: sa.Column[Any], line: TableLine) -> Labels:
    some = _some(table, COUNTED, value=column)
    count = sa.func.count()
    rows = connection.execute(
        sa.select(some.c.value, count)
        .group_by(some.c.value)
        .order_by(count.desc(), some.c.value)
        .limit(_MOST_LABELS)
    ).all()
    shown = [
        LabelCount(_cell(value).text, number, number / line.rows if line.rows else 0.0)
        for value, number in rows[:SHOWN_LABELS]
    ]
    others = line.rows - sum(one.rows for one in shown)
    return Labels(column.name, shown, others, line.rows, not line.more)


def _lengths(connection: sa.Connection, table: sa.Table, column: sa.Column[Any], line: TableLine) -> Lengths:
    some = _some(table, MEASURED, value=sa.cast(column, sa.Text))
    looked_at = min(line.rows, MEASURED)
    found = sorted(
        int(length)
        for length in connection.execute(
            sa.select(sa.func.length(some.c.value)).where(sa.func.trim(some.c.value) != "")
        ).scalars()
    )
    different = connection.execute(
        sa.select(sa.func.count(sa.distinct(some.c.value))).where(sa.func.trim(some.c.value) != "")
    ).scalar_one()
    return Lengths(
        column.name,
        _part(found, 0.0),
        _part(found, 0.5),
        _part(found, 0.95),
        _part(found, 1.0),
        looked_at - len(found),
        len(found) - int(different),
        looked_at,
        looked_at == line.rows and not line.more,
    )


def _part(lengths: Sequence[int], share: float) -> int | None:
    return lengths[round(share * (len(lengths) - 1))] if lengths else None


def _cell(value: object) -> Cell:
    if value is None:
        return Cell(None)
    if isinstance(value, bytes | bytearray | memoryview):
        return Cell(f"{len(value):,} bytes")
    text = str(value)
    return Cell(text[:SHOWN_CHARACTERS], len(text) > SHOWN_CHARACTERS)


def _notes(labels: Labels | None, lengths: Lengths | None) -> list[str]:
    """Say what a training would trip over."""
    said = []
    if labels is None:
        said.append(
            "no column looks like a label: a label has few different values; choose one, or load another table."
        )
    elif len(labels.counts) < 2:
        said.append(f"all rows have the same {labels.column}: a training needs two labels or more.")
    elif labels.counts[-1].rows * 10 < labels.counts[0].rows and not labels.others:
        said.append(
            f"the labels are uneven: {labels.counts[0].rows:,} rows have the most frequent one, "
            f"{labels.counts[-1].rows:,} the rarest."
        )
    if lengths is not None and lengths.empty:
        said.append(f"{lengths.empty:,} rows have no {lengths.column}: a training leaves them out.")
    if lengths is not None and lengths.repeated:
        said.append(
            f"{lengths.repeated:,} rows repeat the {lengths.column} of another row: some may come to stand in both "
            "parts of a training, which makes its accuracy look better than it is."
        )
    return said
