"""The purge: takes old sessions out of the store, each whole, and only when all its messages are at their end.

With a message go its body, its attempts and its lines of the event log. Energy records stay unless they are asked for
as well, so that yesterday's joules can still be added up. The newest message of a store always stays: its id is where
the counting goes on, so that no id is ever given twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Executable, Select, case, delete, func, insert, or_, select, update
from sqlalchemy.engine import Dialect

from wattbus import words
from wattbus.errors import StoreError
from wattbus.store.batch import Batch
from wattbus.store.energy_queries import close_again
from wattbus.store.filters import MessageFilter
from wattbus.store.moves import By, execute
from wattbus.store.slots import closed_gate
from wattbus.store.store import Store
from wattbus.store.tables import (
    Status,
    attempts,
    bodies,
    energy,
    energy_intervals,
    event_log,
    messages,
    processes,
)

#: What the purge writes into the event log as its class; its own lines are never purged.
SOURCE = "wattbus.store.purge"
TERMINAL = (Status.COMPLETED.value, Status.ERROR.value, Status.DISCARDED.value, Status.ABORTED.value)
_MESSAGES_AT_ONCE = 500  # a transaction's worth: the writer is held for some milliseconds
_ROWS_AT_ONCE = 2_000
_DAY_SECONDS = 86_400
_SHA256 = re.compile("[0-9a-f]{64}")
_OPEN, _YOUNG, _ERROR, _NEWEST = (
    "not at its end",
    "not old enough as a whole",
    "holding an error",
    "holding the newest message",
)


@dataclass(frozen=True)
class Retention:
    """How long ended sessions are kept; ``keep_errors``: those with an error are not purged by age."""

    days: float
    keep_errors: bool = True


@dataclass(frozen=True)
class Purged:
    """What a purge took out, or would take out, and which sessions it left, by reason."""

    sessions: int = 0
    messages: int = 0
    bodies: int = 0
    body_bytes: int = 0
    files: int = 0
    attempts: int = 0
    event_lines: int = 0
    energy_records: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False

    def __add__(self, other: Purged) -> Purged:
        added = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.type == "int"
        }
        kept = dict(Counter(self.kept) + Counter(other.kept))
        return Purged(**added, kept=kept, dry_run=self.dry_run)

    def sentence(self, why: str) -> str:
        """Say in one line what happened."""
        gone = (
            f"{'would purge' if self.dry_run else 'purged'} {words.counted(self.messages, 'message')} of "
            f"{words.counted(self.sessions, 'session')} {why}"
        )
        if not self.dry_run:
            gone += (
                f"; with them {words.counted(self.bodies, 'body', 'bodies')} ({words.size(self.body_bytes)}, "
                f"{words.counted(self.files, 'file')}), {words.counted(self.attempts, 'attempt')}, "
                f"{words.counted(self.event_lines, 'line')} of the event log, "
                f"{words.counted(self.energy_records, 'energy record')}"
            )
        for reason, count in self.kept.items():
            gone += f"; kept {words.counted(count, 'session')} {reason}"
        return gone + "."


def purge(
    store: Store,
    older_than_seconds: float,
    by: By,
    *,
    which: MessageFilter | None = None,
    keep_errors: bool = False,
    with_energy: bool = False,
    dry_run: bool = False,
    ending: Callable[[], bool] = lambda: False,
) -> Purged:
    """Take out the sessions that are older, and that hold a message of ``which`` where it is given.

    ``ending`` is asked between two transactions: once it says so, the rest is left to the next purge.
    """
    before_us = store.now_us() - int(older_than_seconds * 1e6)
    why = f"older than {words.seconds(older_than_seconds)} {by}"
    run = _Run(store, _Terms(before_us, keep_errors, with_energy), why, Purged(dry_run=dry_run), ending)
    run.sessions(which)
    if not dry_run:
        if which is None or which.empty:
            run.loose_events()
        if with_energy:
            run.loose_energy()
            close_again(store, before_us)
        run.files()
    return run.purged


def purge_due(store: Store, retention: Retention, ending: Callable[[], bool] = lambda: False) -> Purged:
    """Take out what has been kept long enough; for a thread that comes by once a day."""
    age_seconds = retention.days * _DAY_SECONDS
    by = By("WATTBUS_RETENTION_DAYS")
    return purge(store, age_seconds, by, keep_errors=retention.keep_errors, ending=ending)


_Execute = Callable[[Executable], Any]


@dataclass(frozen=True)
class _Terms:
    """What decides whether a session goes, and what goes with it."""

    before_us: int
    keep_errors: bool
    with_energy: bool

    def verdicts(self, sessions: Iterable[int]) -> Select[Any]:
        """Return a query: each session, its number of messages, and why it stays or None."""
        one = messages.c
        newest = select(func.max(one.id)).scalar_subquery()
        reasons: list[tuple[ColumnElement[bool], str]] = [
            (func.sum(case((one.status.not_in(TERMINAL), 1), else_=0)) > 0, _OPEN),
            (func.max(one.time_created_us) >= self.before_us, _YOUNG),
            (func.max(one.id) == newest, _NEWEST),
        ]
        if self.keep_errors:
            reasons.append((func.sum(case((one.status == Status.ERROR.value, 1), else_=0)) > 0, _ERROR))
        return (
            select(one.session_id, func.count(), case(*reasons, else_=None))
            .where(one.session_id.in_(sorted(sessions)))
            .group_by(one.session_id)
            .order_by(one.session_id)
        )


class _Run:
    """One purge, from its first chunk to its last; each chunk is one transaction of the writer."""

    def __init__(
        self, store: Store, terms: _Terms, why: str, purged: Purged, ending: Callable[[], bool]
    ) -> None:
        self.purged, self._ending = purged, ending
        self._store, self._terms, self._why = store, terms, why
        self._line: int | None = None  # of the event log: the chunks of a purge share one

    def sessions(self, which: MessageFilter | None) -> None:
        """Take out session after session, as many at once as make a transaction of bounded size."""
        judged: set[int] = set()
        for candidates in self._candidates(which):
            if self._ending():
                return
            with self._store.engine.connect() as connection:
                rows = connection.execute(self._terms.verdicts(candidates - judged)).all()
            judged |= candidates
            self._keep(reason for _, _, reason in rows if reason is not None)
            for chunk in _groups([(session, count) for session, count, reason in rows if reason is None]):
                if self.purged.dry_run:
                    count = sum(count for _, count in chunk)
                    self.purged += Purged(sessions=len(chunk), messages=count)
                else:
                    self._do(_Sessions(self._terms, [session for session, _ in chunk]))

    def _candidates(self, which: MessageFilter | None) -> Iterator[set[int]]:
        """Yield the sessions that have an old message of the filter, page by page."""
        conditions = [] if which is None else which.conditions(self._store.engine.dialect.name)
        last = 0
        while True:
            page = (
                select(messages.c.id, messages.c.session_id)
                .where(messages.c.id > last, messages.c.time_created_us < self._terms.before_us, *conditions)
                .order_by(messages.c.id)
                .limit(_ROWS_AT_ONCE)
            )
            with self._store.engine.connect() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            yield {row.session_id for row in rows}
            last = rows[-1].id

    def loose_events(self) -> None:
        """Take out old lines that belong to no session; those of a purge stay."""
        of_others = or_(event_log.c.source_class.is_(None), event_log.c.source_class != SOURCE)
        old = (
            select(event_log.c.id)
            .where(event_log.c.session_id.is_(None), event_log.c.time_us < self._terms.before_us, of_others)
            .limit(_ROWS_AT_ONCE)
        )
        self._until_none(_Rows(delete(event_log).where(event_log.c.id.in_(old)), "event_lines"))

    def loose_energy(self) -> None:
        """Take out old energy records whose messages went with an earlier purge, and old readings of the machine."""
        there = select(messages.c.id).where(messages.c.id == energy.c.message_id).exists()
        records = (
            select(energy.c.message_id)
            .where(energy.c.started_at_us < self._terms.before_us, ~there)
            .limit(_ROWS_AT_ONCE)
        )
        self._until_none(_Rows(delete(energy).where(energy.c.message_id.in_(records)), "energy_records"))
        one = energy_intervals.c
        readings = select(one.id).where(one.started_at_us < self._terms.before_us).limit(_ROWS_AT_ONCE)
        self._until_none(_Rows(delete(energy_intervals).where(one.id.in_(readings)), "energy_records"))

    def files(self) -> None:
        """Remove the files of bodies that no row refers to, now that this is durable; also what a kill left before."""
        names = (file.name for file in self._store.home.bodies.iterdir() if _SHA256.fullmatch(file.name))
        while some := set(islice(names, _ROWS_AT_ONCE)):
            with self._store.engine.connect() as connection:
                unknown = some - set(connection.execute(_out_of_line(some)).scalars())
            if unknown:
                self._do(_Files(self._store, unknown))

    def _until_none(self, rows: _Rows) -> None:
        while not self._ending() and self._do(rows) != Purged():
            continue

    def _do(self, part: _Part) -> Purged:
        chunk = _Chunk(part, self.purged, self._line, self._why, self._store.engine.dialect)
        self._store.submit(chunk)
        taken, self._line = chunk.wait()
        self.purged += taken
        return taken

    def _keep(self, reasons: Iterable[str]) -> None:
        self.purged += Purged(kept=dict(Counter(reasons)))


class _Part(Protocol):
    """Something that a chunk takes out."""

    def take(self, batch: Batch, run: _Execute) -> Purged:
        """Take it out inside the writer's transaction."""


class _Chunk:
    """Takes something out and says so in the event log; a unit of the writer."""

    __slots__ = ("_before", "_dialect", "_done", "_error", "_line", "_part", "_shared_line", "_taken", "_why")
    new_messages = 0

    def __init__(self, part: _Part, before: Purged, line: int | None, why: str, dialect: Dialect) -> None:
        self._part, self._before, self._shared_line, self._why, self._dialect = (
            part,
            before,
            line,
            why,
            dialect,
        )
        self._taken, self._line = Purged(), line
        self._error: Exception | None = None
        self._done = closed_gate()

    def apply(self, batch: Batch) -> None:
        def run(statement: Executable) -> Any:
            return execute(batch.cursor, statement, self._dialect)

        self._taken, self._line = self._part.take(batch, run), self._shared_line
        if self._taken == Purged(kept=self._taken.kept):
            return
        text = (self._before + self._taken).sentence(self._why)
        if self._line is not None:
            run(update(event_log).where(event_log.c.id == self._line).values(text=text))
            return
        line = {
            "time_us": batch.now_us, "type": "Info", "item": "", "job": "", "source_class": SOURCE,
            "source_method": "purge", "text": text,
        }  # fmt: skip
        self._line = run(insert(event_log).values(line).returning(event_log.c.id)).fetchone()[0]

    def committed(self) -> None:
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> tuple[Purged, int | None]:
        """Block until it is durable; return what was taken out, and the line of the event log."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(
                f"the purge was cut off, this part of it took nothing out: {self._error}"
            ) from self._error
        return self._taken, self._line


class _Sessions:
    """Sessions, each with all that belongs to it."""

    def __init__(self, terms: _Terms, sessions: list[int]) -> None:
        self._terms, self._sessions = terms, sessions

    def take(self, batch: Batch, run: _Execute) -> Purged:
        of_chunk = messages.c.session_id.in_(self._sessions)
        # PostgreSQL: a resend by another process holds these rows until its message is there to be seen. SQLite has
        # one writer and leaves the lock out.
        run(select(messages.c.id).where(of_chunk).order_by(messages.c.id).with_for_update())
        # Judged once more: since the first look a message may have been sent again, also in this very transaction.
        busy = {header.session_id for header in batch.headers}
        verdicts = run(self._terms.verdicts(self._sessions)).fetchall()
        going = {session: count for session, count, why in verdicts if why is None and session not in busy}
        taken = Purged(
            kept=dict(Counter(why or _OPEN for session, _, why in verdicts if session not in going))
        )
        if not going:
            return taken
        inside = messages.c.session_id.in_(list(going))
        ids = select(messages.c.id).where(inside)
        gone = self._take_bodies(batch, run, list(going))
        lines = run(delete(event_log).where(event_log.c.session_id.in_(list(going)))).rowcount
        tried = run(delete(attempts).where(attempts.c.message_id.in_(ids))).rowcount
        records = 0
        if self._terms.with_energy:
            records = run(delete(energy).where(energy.c.message_id.in_(ids))).rowcount
        run(delete(processes).where(processes.c.message_id.in_(ids)))
        count = run(delete(messages).where(inside)).rowcount
        return taken + Purged(
            sessions=len(going), messages=count, bodies=len(gone), body_bytes=sum(gone),
            attempts=tried, event_lines=lines, energy_records=records,
        )  # fmt: skip

    def _take_bodies(self, batch: Batch, run: _Execute, going: list[int]) -> list[int]:
        """Take out the bodies that no message outside these sessions carries, and return their sizes."""
        carried = select(messages.c.body_id).where(
            messages.c.session_id.in_(going), messages.c.body_id.is_not(None)
        )
        first, again = messages.alias("first"), messages.alias("again")
        # A body has the id of the first message that carried it; the others are resent.
        held_by_first = (
            select(first.c.id).where(first.c.id == bodies.c.id, first.c.session_id.not_in(going)).exists()
        )
        held_again = select(again.c.body_id).where(
            again.c.resent.is_not(None), again.c.body_id.is_not(None), again.c.session_id.not_in(going)
        )
        held_now = [header.body_id for header in batch.headers if header.body_id is not None]
        statement = (
            delete(bodies)
            .where(
                bodies.c.id.in_(carried),
                ~held_by_first,
                bodies.c.id.not_in(held_again),
                bodies.c.id.not_in(held_now),
            )
            .returning(bodies.c.size_bytes)
        )
        return [row[0] for row in run(statement).fetchall()]


class _Rows:
    """Rows of one table that a statement takes out, some thousands at a time."""

    def __init__(self, statement: Executable, name: str) -> None:
        self._statement, self._name = statement, name

    def take(self, batch: Batch, run: _Execute) -> Purged:
        return Purged(**{self._name: run(self._statement).rowcount})


class _Files:
    """The files of bodies, out of line, that no row refers to any more."""

    def __init__(self, store: Store, sha256s: set[str]) -> None:
        self._store, self._sha256s = store, sha256s

    def take(self, batch: Batch, run: _Execute) -> Purged:
        still = _out_of_line(self._sha256s)
        used = {body.sha256 for body in batch.bodies} | {row[0] for row in run(still).fetchall()}
        # What another purge has taken out in this very transaction may yet come back: ask for what is durable, too.
        with self._store.engine.connect() as connection:
            used |= set(connection.execute(still).scalars())
        # An equal body that is accepted after this brings its file itself (Store.prepare).
        unused = [self._store.home.bodies / name for name in self._sha256s - used]
        for file in unused:
            file.unlink(missing_ok=True)
        return Purged(files=len(unused))


def _out_of_line(sha256s: Iterable[str]) -> Select[tuple[str]]:
    """Return a query: which of these are the sums of bodies that lie in files."""
    return select(bodies.c.sha256).where(bodies.c.sha256.in_(sorted(sha256s)), bodies.c.json.is_(None))


def _groups(sessions: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Split sessions with their numbers of messages into transactions; a session is never split."""
    group: list[tuple[int, int]] = []
    size = 0
    for session, count in sessions:
        if group and size + count > _MESSAGES_AT_ONCE:
            yield group
            group, size = [], 0
        group.append((session, count))
        size += count
    if group:
        yield group
