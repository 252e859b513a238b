"""Core statements compiled once to positional SQL, for the writer's hot path.

SQLAlchemy writes the SQL for the database at hand; the driver's cursor runs it. That saves the cost of an execution
through Core, 36 microseconds against 2.6 a row when it was measured, and keeps one source for two databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from wattbus.store.tables import attempts, bodies, energy, energy_intervals, event_log, messages, processes

# Rows a statement: few sizes, since SQLite takes as long to prepare a statement of many rows as to run it ten times.
_SIZES = (64, 16, 4, 2, 1)
_ONE_ROW = re.compile(r"(INSERT INTO .*? VALUES )(\(.*?\)(?= ON CONFLICT|$))(.*)", re.DOTALL)


class Statement:
    """One SQL text with the order of its bound names."""

    def __init__(
        self, clause: ClauseElement, dialect: Dialect, names: Sequence[str], *, unused: Sequence[str] = ()
    ) -> None:
        compiled = clause.compile(dialect=dialect)
        order = list(compiled.positiontup or ())  # type: ignore[attr-defined]
        if missing := set(names) - set(order) - set(unused):
            raise AssertionError(f"{missing} not bound in {compiled}")
        self.sql = str(compiled)
        # A constant that the dialect itself binds (SQLite's OFFSET) follows the values given.
        self._constants = tuple(compiled.params[name] for name in order if name not in names)
        given = [*names, *(name for name in order if name not in names)]
        self._pick = None if order == given else itemgetter(*(given.index(name) for name in order))

    def run(self, cursor: Any, values: tuple[Any, ...] = ()) -> Any:
        """Execute once and return the cursor."""
        values += self._constants
        cursor.execute(self.sql, values if self._pick is None else self._pick(values))
        return cursor

    def run_many(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> int:
        """Execute for each row and return the number of rows touched in all."""
        if self._constants:
            rows = [row + self._constants for row in rows]
        cursor.executemany(self.sql, rows if self._pick is None else list(map(self._pick, rows)))
        return int(cursor.rowcount)


class Insert:
    """Inserts the rows of a group commit in few statements.

    Columns that are None in every row are left out: binding a None or a bool costs SQLite's driver ten times a number,
    since it looks for an adapter. Several rows a statement give the interpreter's lock away once, not once a row.
    """

    def __init__(
        self,
        table: Table,
        names: Sequence[str],
        dialect: Dialect,
        *,
        keep_first: bool = False,
        replace: Sequence[str] = (),
    ) -> None:
        """``keep_first``: a row that is there stays as it is; ``replace``: or takes these columns of the new one."""
        self._table, self._names, self._dialect = table, tuple(names), dialect
        self._keep_first, self._replace = keep_first, tuple(replace)
        self._booleans = (
            tuple(index for index, name in enumerate(names) if isinstance(table.c[name].type, Boolean))
            if dialect.name == "sqlite"
            else ()
        )
        self._texts: dict[tuple[tuple[int, ...], int], str] = {}

    def run_many(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows, those with the same number of Nones together: most of them lack the same columns."""
        if len(rows) == 1:
            self._run_one(cursor, rows[0])
            return
        alike: dict[int, list[tuple[Any, ...]]] = {}
        for row in rows:
            alike.setdefault(row.count(None), []).append(row)
        for group in alike.values():
            self._run_group(cursor, group)

    def _run_group(self, cursor: Any, rows: list[tuple[Any, ...]]) -> None:
        count = len(rows)
        columns = list(zip(*rows, strict=True))
        for index in self._booleans:
            columns[index] = tuple(map(int, columns[index]))
        given = tuple([index for index, column in enumerate(columns) if column.count(None) != count])
        cells = list(zip(*[columns[index] for index in given], strict=True))
        start = 0
        for size in _SIZES:
            while count - start >= size:
                text = self._texts.get((given, size)) or self._text(given, size)
                cursor.execute(text, tuple(chain.from_iterable(cells[start : start + size])))
                start += size

    def _run_one(self, cursor: Any, row: tuple[Any, ...]) -> None:
        """Insert one row, as when a single client waits: turning rows into columns would be most of the work."""
        given = tuple([index for index, value in enumerate(row) if value is not None])
        text = self._texts.get((given, 1)) or self._text(given, 1)
        if self._booleans:
            cursor.execute(
                text, [+value if type(value) is bool else value for value in row if value is not None]
            )
        else:
            cursor.execute(text, [value for value in row if value is not None])

    def _text(self, given: tuple[int, ...], size: int) -> str:
        """Return the statement for so many rows with these columns: one row's, its values repeated."""
        row: dict[str, Any] = {self._names[index]: bindparam(self._names[index]) for index in given}
        if self._keep_first or self._replace:
            upsert = postgresql.insert if self._dialect.name == "postgresql" else sqlite.insert
            new = upsert(self._table).values(row)
            clause: ClauseElement = (
                new.on_conflict_do_update(
                    index_elements=self._table.primary_key.columns,
                    set_={name: new.excluded[name] for name in self._replace},
                )
                if self._replace
                else new.on_conflict_do_nothing()
            )
        else:
            clause = insert(self._table).values(row).inline()  # no id is asked for
        head, values, rest = _ONE_ROW.fullmatch(str(clause.compile(dialect=self._dialect))).groups()  # type: ignore[union-attr]
        text = f"{head}{', '.join([values] * size)}{rest}"
        self._texts[given, size] = text
        return text


class Statements:
    """All statements of the hot path, for one database."""

    def __init__(self, dialect: Dialect) -> None:
        def prepared(clause: ClauseElement, *names: str) -> Statement:
            return Statement(clause, dialect, names)

        def insert_into(table: Table, columns: Iterable[str], **clash: Any) -> Insert:
            return Insert(table, tuple(columns), dialect, **clash)

        queued: ColumnElement[Any] = literal_column("'Queued'")
        delivered: ColumnElement[Any] = literal_column("'Delivered'")
        running: ColumnElement[Any] = literal_column("'running'")

        self.insert_message = insert_into(messages, messages.c.keys())
        self.insert_body = insert_into(bodies, bodies.c.keys())
        self.insert_attempt = insert_into(attempts, attempts.c.keys())
        self.insert_event = insert_into(event_log, [name for name in event_log.c.keys() if name != "id"])

        self.insert_interval = insert_into(
            energy_intervals, [name for name in energy_intervals.c.keys() if name != "id"]
        )

        self.message_by_idempotency_key = prepared(
            select(
                messages.c.id,
                messages.c.target_item,
                messages.c.body_class,
                messages.c.body_id,
                select(bodies.c.sha256).where(bodies.c.id == messages.c.body_id).scalar_subquery(),
            ).where(messages.c.idempotency_key == bindparam("key")),
            "key",
        )

        ready = (
            select(messages.c.id)
            .where(
                messages.c.target_queue == bindparam("queue"),
                messages.c.status == queued,
                messages.c.not_before_us <= bindparam("now_us"),
            )
            .order_by(messages.c.priority, messages.c.id)
            .limit(bindparam("count"))
        )
        if dialect.name == "postgresql":
            ready = ready.with_for_update(skip_locked=True)
        body = select(bodies.c.json).where(bodies.c.id == messages.c.body_id).scalar_subquery()
        self.claim = prepared(
            update(messages)
            .where(messages.c.id.in_(ready))
            .values(status=delivered, attempts=messages.c.attempts + literal_column("1"))
            .returning(*messages.c, body.label("json")),
            "queue",
            "now_us",
            "count",
        )

        one = select(messages.c.id).where(messages.c.id == bindparam("of_id"), messages.c.status == queued)
        if dialect.name == "postgresql":
            one = one.with_for_update(skip_locked=True)
        self.take = prepared(
            update(messages)
            .where(messages.c.id.in_(one))
            .values(status=delivered, attempts=messages.c.attempts + literal_column("1"))
            .returning(*messages.c, body.label("json")),
            "of_id",
        )

        # The fence: an attempt that is not running any more cannot end.
        self.end_attempt = prepared(
            update(attempts)
            .where(
                attempts.c.message_id == bindparam("of_message"),
                attempts.c.number == bindparam("of_number"),
                attempts.c.outcome == running,
            )
            .values(
                outcome=bindparam("outcome_"),
                ended_us=bindparam("ended_us_"),
                duration_seconds=bindparam("duration_"),
                detail=bindparam("detail_"),
                job=bindparam("job_"),
            ),
            "of_message",
            "of_number",
            "outcome_",
            "ended_us_",
            "duration_",
            "detail_",
            "job_",
        )
        self.mark_begun = prepared(
            update(attempts)
            .where(
                attempts.c.message_id == bindparam("of_message"),
                attempts.c.number == bindparam("of_number"),
                attempts.c.outcome == running,
            )
            .values(detail=bindparam("detail_")),
            "of_message",
            "of_number",
            "detail_",
        )
        self.end_message = prepared(
            update(messages)
            .where(messages.c.id == bindparam("of_id"))
            .values(
                status=bindparam("status_"),
                is_error=bindparam("is_error_"),
                error_status=bindparam("error_status_"),
                # A process may have replied before its end, and a response keeps the request that it answers.
                corresponding_id=func.coalesce(
                    bindparam("response_id", type_=BigInteger), messages.c.corresponding_id
                ),
                time_processed_us=bindparam("processed_us_"),
                not_before_us=func.coalesce(
                    bindparam("not_before_us_", type_=BigInteger), messages.c.not_before_us
                ),
            ),
            "of_id",
            "status_",
            "is_error_",
            "error_status_",
            "response_id",
            "processed_us_",
            "not_before_us_",
        )
        self.reply_early = prepared(
            update(messages)
            .where(messages.c.id == bindparam("of_id"), messages.c.corresponding_id.is_(None))
            .values(corresponding_id=bindparam("response_id")),
            "of_id",
            "response_id",
        )
        self.depth = prepared(
            select(func.count())
            .select_from(messages)
            .where(
                messages.c.target_queue == bindparam("queue"),
                messages.c.status == queued,
                messages.c.type == literal_column("'Request'"),
            ),
            "queue",
        )
        self.insert_process = insert_into(processes, processes.c.keys())
        state = [name for name in processes.c.keys() if name not in ("message_id", "item")]
        self.change_process = prepared(
            update(processes)
            .where(
                processes.c.message_id == bindparam("of_id"),
                processes.c.version == bindparam("version_") - literal_column("1"),
            )
            .values({name: bindparam(f"{name}_") for name in state}),
            "of_id",
            *(f"{name}_" for name in state),
        )
        self.end_process = prepared(
            delete(processes).where(
                processes.c.message_id == bindparam("of_id"), processes.c.version == bindparam("before")
            ),
            "of_id",
            "before",
        )
        # A timer that its process does not need any more.
        self.drop_timers = prepared(
            update(messages)
            .where(
                messages.c.target_queue == bindparam("queue"),
                messages.c.status == queued,
                messages.c.corresponding_id == bindparam("of_process"),
                messages.c.body_class == literal_column("'Ens.AlarmResponse'"),
            )
            .values(status=literal_column("'Discarded'"), time_processed_us=bindparam("now_us_")),
            "queue",
            "of_process",
            "now_us_",
        )
        self.renew_leases = prepared(
            update(attempts)
            .where(attempts.c.instance == bindparam("of_instance"), attempts.c.outcome == running)
            .values(lease_until_us=bindparam("until_us")),
            "of_instance",
            "until_us",
        )
        # The ledger may settle an attempt before the attempt's own row is there: then the settled row stays.
        names = energy.c.keys()
        known = (*energy.primary_key.columns.keys(), "item", "facts")
        self.insert_energy = insert_into(energy, names, keep_first=True)
        self.settle_energy = insert_into(energy, names, replace=[name for name in names if name not in known])
