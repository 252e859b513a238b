"""Core statements compiled once to positional SQL, for the writer's hot path.

SQLAlchemy writes the SQL for the database at hand; the driver's cursor runs it. That saves the cost of an execution
through Core, 36 microseconds against 2.6 a row when it was measured, and keeps one source for two databases.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Table,
    Update,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from wattbus.store.tables import attempts, bodies, energy, energy_intervals, event_log, messages, processes

# Rows a statement: few sizes, since SQLite takes as long to prepare a statement of many rows as to run it ten times.
_SIZES = (64, 16, 4, 2, 1)
#: What :class:`Change` changes rows by: the values of its rows, in the names that both databases give them.
CHANGED = table("changed", *(column(f"column{number}") for number in range(1, 5)))
_ONE_ROW = re.compile(r"(INSERT INTO .*? VALUES )(\(.*?\)(?= ON CONFLICT|$))(.*)", re.DOTALL)


# What is the same in most rows of a group: those of one item, for callers of one kind.
_SHARED_BY_MESSAGES = (
    "super_session", "type", "invocation", "source_item", "source_business_type", "target_item",
    "target_business_type", "target_queue", "return_queue", "body_class", "description", "priority", "status",
    "error_status", "resent", "attempts", "not_before_us", "completion_key",
)  # fmt: skip
_SHARED_BY_ATTEMPTS = (
    "item", "instance", "started_us", "lease_until_us", "ended_us", "duration_seconds", "outcome", "detail",
)  # fmt: skip
_SHARED_BY_ENERGY = (
    "scope", "item", "operation_kind", "model", "revision", "gpu_seconds", "gpu_joules", "ram_joules",
    "carbon_intensity_g_per_kwh", "carbon_source", "tier", "status", "reason", "method", "partial", "facts",
)  # fmt: skip


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
    since it looks for an adapter. Several rows a statement give the interpreter's lock away once, not once a row. What
    rows usually share is bound once for all of them, where the driver can be told so.
    """

    def __init__(
        self,
        table: Table,
        names: Sequence[str],
        dialect: Dialect,
        *,
        shared: Sequence[str] = (),
        keep_first: bool = False,
        replace: Sequence[str] = (),
    ) -> None:
        """``keep_first``: a row that is there stays as it is; ``replace``: or takes these columns of the new one."""
        self._table, self._names, self._dialect = table, tuple(names), dialect
        self._keep_first, self._replace = keep_first, tuple(replace)
        # Only SQLite's parameters have numbers.
        truths = [name for name in names if isinstance(table.c[name].type, Boolean)]
        self._bound: Callable[[list[Any]], list[Any]] = _numbers if dialect.name == "sqlite" else list
        once = {*shared, *truths} if dialect.name == "sqlite" else set()
        self._shared = tuple(index for index, name in enumerate(names) if name in once)
        self._own = tuple(index for index, name in enumerate(names) if name not in once)
        self._shared_of, self._own_of = _picker(self._shared), _picker(self._own)
        self._texts: dict[tuple[tuple[int, ...], tuple[int, ...], int], str] = {}

    def run_many(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows, those that share the same together."""
        if len(rows) == 1:
            self._run_one(cursor, rows[0])
            return
        shared_of = self._shared_of
        alike: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for row in rows:
            shared = shared_of(row)
            group = alike.get(shared)
            if group is None:
                alike[shared] = [row]
            else:
                group.append(row)
        for shared, group in alike.items():
            self._run_group(cursor, shared, group)

    def _run_group(self, cursor: Any, shared: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> None:
        count = len(rows)
        own = self._own
        cells = list(map(self._own_of, rows))
        if None in cells[0]:
            given = [
                (index, column)
                for index, column in zip(own, zip(*cells, strict=True), strict=True)
                if column[0] is not None or column.count(None) != count
            ]
            own = tuple([index for index, _ in given])
            cells = list(zip(*[column for _, column in given], strict=True))
        once = tuple([index for index, value in zip(self._shared, shared, strict=True) if value is not None])
        constants = self._bound([value for value in shared if value is not None])
        start = 0
        for size in _SIZES:
            while count - start >= size:
                text = self._texts.get((own, once, size)) or self._text(own, once, size)
                cursor.execute(text, [*constants, *chain.from_iterable(cells[start : start + size])])
                start += size

    def _run_one(self, cursor: Any, row: tuple[Any, ...]) -> None:
        """Insert one row, as when a single client waits: turning rows into columns would be most of the work."""
        given = tuple([index for index, value in enumerate(row) if value is not None])
        text = self._texts.get((given, (), 1)) or self._text(given, (), 1)
        cursor.execute(text, self._bound([value for value in row if value is not None]))

    def _text(self, own: tuple[int, ...], once: tuple[int, ...], size: int) -> str:
        """Return the statement for so many rows with these columns; the values of ``once`` are bound before them."""
        given = sorted((*own, *once))
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
        if once:
            number = {index: place for place, index in enumerate(once, 1)}
            count = itertools.count(len(once) + 1)
            places = (f"?{number.get(index) or next(count)}" for _ in range(size) for index in given)
            lines = (", ".join(itertools.islice(places, len(given))) for _ in range(size))
            every = ", ".join(f"({line})" for line in lines)
        else:
            every = ", ".join([values] * size)
        text = self._texts[own, once, size] = f"{head}{every}{rest}"
        return text


class Change:
    """Updates the rows of a group commit in few statements: those that change alike together."""

    def __init__(self, clause: Update, dialect: Dialect, own: int, shared: Sequence[str]) -> None:
        """``clause`` is from ``CHANGED``: the first ``own`` values of a row; the others are bound by their names."""
        compiled = clause.compile(dialect=dialect)
        order = [name for name in compiled.positiontup or () if name in shared]
        self._head, self._rest = str(compiled).split(f"FROM {CHANGED.name}")
        self._bound: Callable[[list[Any]], list[Any]] = _numbers if dialect.name == "sqlite" else list
        place = "?" if dialect.name == "sqlite" else "%s"
        self._before = self._head.count(place)
        self._shared_of = _picker([own + shared.index(name) for name in order])
        self._own_of = _picker(range(own))
        self._row = f"({', '.join([place] * own)})"
        self._texts: dict[int, str] = {}
        # A table of one row costs SQLite more than the row's update.
        self._alone = dialect.name == "sqlite"
        if self._alone:
            count = itertools.count(own + 1)
            by_name = re.sub(rf"{CHANGED.name}\.column(\d)", r"?\1", self._head + self._rest)
            self._texts[1] = re.sub(r"\?(?!\d)", lambda _: f"?{next(count)}", by_name)

    def run_many(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> int:
        """Update the rows and return how many were there."""
        alike: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for row in rows:
            alike.setdefault(self._shared_of(row), []).append(self._own_of(row))
        changed = 0
        for shared, group in alike.items():
            bound, start, count = self._bound([*shared]), 0, len(group)
            before, after = bound[: self._before], bound[self._before :]
            for size in _SIZES:
                while count - start >= size:
                    if size == 1 and self._alone:
                        values = [*group[start], *bound]
                    else:
                        some = chain.from_iterable(group[start : start + size])
                        values = [*before, *some, *after]
                    cursor.execute(self._texts.get(size) or self._text(size), values)
                    changed += cursor.rowcount
                    start += size
        return changed

    def _text(self, size: int) -> str:
        values = f"FROM (VALUES {', '.join([self._row] * size)}) AS {CHANGED.name}"
        text = self._texts[size] = f"{self._head}{values}{self._rest}"
        return text


def _picker(indexes: Sequence[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return what takes these values out of a row, as a tuple."""
    if not indexes:
        return lambda row: ()
    if len(indexes) == 1:
        return lambda row: (row[indexes[0]],)
    return itemgetter(*indexes)


def _numbers(values: list[Any]) -> list[Any]:
    """Return the values with 1 for True and 0 for False, as SQLite has them: its driver binds these faster."""
    return [+value if type(value) is bool else value for value in values]


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

        self.insert_message = insert_into(messages, messages.c.keys(), shared=_SHARED_BY_MESSAGES)
        self.insert_body = insert_into(bodies, bodies.c.keys())
        self.insert_attempt = insert_into(attempts, attempts.c.keys(), shared=_SHARED_BY_ATTEMPTS)
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
        self.end_attempt = Change(
            update(attempts)
            .where(
                attempts.c.message_id == CHANGED.c.column1,
                attempts.c.number == CHANGED.c.column2,
                attempts.c.outcome == running,
            )
            .values(
                outcome=bindparam("outcome_"),
                ended_us=bindparam("ended_us_"),
                duration_seconds=CHANGED.c.column3,
                detail=bindparam("detail_"),
                job=CHANGED.c.column4,
            ),
            dialect,
            4,
            ("outcome_", "ended_us_", "detail_"),
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
        self.is_running = prepared(
            select(attempts.c.number).where(
                attempts.c.message_id == bindparam("of_message"),
                attempts.c.number == bindparam("of_number"),
                attempts.c.outcome == running,
            ),
            "of_message",
            "of_number",
        )
        self.end_message = Change(
            update(messages)
            .where(messages.c.id == CHANGED.c.column1)
            .values(
                status=bindparam("status_"),
                is_error=bindparam("is_error_"),
                error_status=bindparam("error_status_"),
                # A process may have replied before its end, and a response keeps the request that it answers.
                corresponding_id=func.coalesce(
                    cast(CHANGED.c.column2, BigInteger), messages.c.corresponding_id
                ),
                time_processed_us=bindparam("processed_us_"),
                not_before_us=func.coalesce(
                    bindparam("not_before_us_", type_=BigInteger), messages.c.not_before_us
                ),
            ),
            dialect,
            2,
            ("status_", "is_error_", "error_status_", "processed_us_", "not_before_us_"),
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
        alike: dict[str, Any] = {"shared": _SHARED_BY_ENERGY}
        self.insert_energy = insert_into(energy, names, keep_first=True, **alike)
        self.settle_energy = insert_into(
            energy, names, replace=[name for name in names if name not in known], **alike
        )
