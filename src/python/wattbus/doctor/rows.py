"""What the doctor looks for in the rows of a store; each function reads, counts, and says what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select
from sqlalchemy.sql import ColumnElement

from wattbus import words
from wattbus.doctor.report import Findings
from wattbus.home import Home
from wattbus.ml.run_folders import left_of_messages
from wattbus.store.moves import RESUME
from wattbus.store.moves import SOURCE as ACTIONS
from wattbus.store.purge import SOURCE as PURGE
from wattbus.store.tables import (
    OPEN_STATUSES,
    Outcome,
    Status,
    attempts,
    bodies,
    event_log,
    jobs,
    messages,
    processes,
    settings,
)

_ROWS_AT_ONCE = 1_000
_NO_ERROR = [status.value for status in (Status.COMPLETED, Status.QUEUED, Status.DELIVERED, Status.DEFERRED)]
_BODIES_AT_ONCE = 32  # each up to a megabyte


@dataclass(frozen=True)
class Snapshot:
    """A store as of one moment; ``live`` are the processes that run on it."""

    connection: Connection
    home: Home
    shared: bool
    live: frozenset[str]

    def rows(self, query: Select[Any], at_once: int = _ROWS_AT_ONCE) -> Iterator[Row[Any]]:
        """Stream the rows of a query."""
        yield from self.connection.execution_options(yield_per=at_once).execute(query)

    def number(self, query: Select[Any]) -> int:
        """Return the one number that a query gives."""
        return int(self.connection.execute(query).scalar_one())


# -- L1 ------------------------------------------------------------------------------------------------------------


def accepted_is_kept(at: Snapshot, found: Findings) -> None:
    """L1: the file is sound, every message has its body, every body its bytes."""
    if at.connection.dialect.name == "sqlite":
        said = at.connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
        found.all_wrong(f"integrity check: {line}" for line in said if line != "ok")
    count = bytes_ = out_of_line = 0
    damaged: list[str] = []
    files: set[str] = set()
    for body in at.rows(select(bodies).order_by(bodies.c.id), _BODIES_AT_ONCE):
        count, bytes_, out_of_line = count + 1, bytes_ + body.size_bytes, out_of_line + (body.json is None)
        if body.json is None:
            files.add(body.sha256)
        problem = _body_problem(body, at.home.bodies)
        if problem is not None and len(damaged) < 1_000:
            damaged.append(f"the body of message {body.id} {problem}")
    found.all_wrong(damaged)
    without = messages.outerjoin(bodies, bodies.c.id == messages.c.body_id)
    found.all_wrong(
        f"message {row.id} has no body: row {row.body_id} is gone"
        for row in at.rows(
            select(messages.c.id, messages.c.body_id)
            .select_from(without)
            .where(messages.c.body_id.is_not(None), bodies.c.id.is_(None))
        )
    )
    # A body has the id of the first message that carried it; one that was sent again may outlive that in a purge.
    gone = bodies.outerjoin(messages, messages.c.id == bodies.c.id)
    again = messages.alias("again")
    shared = select(again.c.body_id).where(again.c.resent.is_not(None), again.c.body_id.is_not(None))
    found.all_wrong(
        f"body {row.id} is there and message {row.id} is not"
        for row in at.rows(
            select(bodies.c.id).select_from(gone).where(messages.c.id.is_(None), bodies.c.id.not_in(shared))
        )
    )
    # A purge takes a session whole: what another message was sent by is there as long as that one is.
    parents = messages.alias("parents")
    found.all_wrong(
        f"message {row.id} was sent by message {row.parent_id}, which is not there"
        for row in at.rows(
            select(messages.c.id, messages.c.parent_id)
            .select_from(messages.outerjoin(parents, parents.c.id == messages.c.parent_id))
            .where(messages.c.parent_id.is_not(None), parents.c.id.is_(None))
        )
    )
    total = at.number(select(func.count()).select_from(messages))
    sound = "sha256 equal" if not damaged else f"{len(damaged):,} damaged"
    found.count(
        f"{words.counted(total, 'message')}, {words.counted(count, 'body', 'bodies')} ({words.size(bytes_)}, "
        f"{out_of_line:,} out of line), {sound}"
    )
    _note_files_left(at.home.bodies, files, found)


def _body_problem(body: Row[Any], folder: Path) -> str | None:
    if body.json is not None:
        data = str(body.json).encode(errors="surrogatepass")
        size, digest = len(data), hashlib.sha256(data).hexdigest()
    else:
        file = folder / str(body.sha256)
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
                size = opened.tell()
        except OSError as error:
            return f"lies in bodies/{body.sha256}, which cannot be read ({error.strerror})"
    if digest != body.sha256:
        return f"has sha256 {digest}, and {body.sha256} was accepted"
    return None if size == body.size_bytes else f"has {size:,} bytes, and {body.size_bytes:,} were accepted"


def _note_files_left(folder: Path, known: set[str], found: Findings) -> None:
    if not folder.is_dir():
        return
    # A file is written before its message is accepted: one too many is the rest of a send that was cut off.
    unused = sum(not file.name.startswith(".") and file.name not in known for file in folder.iterdir())
    if unused:
        found.note(f"{words.counted(unused, 'file')} in bodies/ that no message refers to (harmless)")


# -- L2 ------------------------------------------------------------------------------------------------------------


def conservation(at: Snapshot, found: Findings) -> None:
    """L2: every message has one known status, and its attempts agree with it."""
    by_status = select(messages.c.status, func.count().label("count")).group_by(messages.c.status)
    counts: dict[str, int] = {row.status: row._mapping["count"] for row in at.rows(by_status)}
    known = [status.value for status in Status]
    found.all_wrong(
        f"{words.counted(count, 'message')} with the unknown status {status!r}"
        for status, count in counts.items()
        if status not in known
    )
    parts = " + ".join(f"{counts[status]:,} {status}" for status in known if counts.get(status))
    found.count(f"{words.counted(sum(counts.values()), 'message')} accepted = {parts or '0'}")
    found.count(f"{words.counted(at.number(select(func.count()).select_from(attempts)), 'attempt')}")
    _in_hand(at, found)
    _attempts_agree(at, found)


def _in_hand(at: Snapshot, found: Findings) -> None:
    running = attempts.c.outcome == Outcome.RUNNING.value
    delivered = messages.c.status == Status.DELIVERED.value
    orphans = messages.outerjoin(attempts, and_(attempts.c.message_id == messages.c.id, running))
    found.all_wrong(
        f"message {row.id} to {row.target_item} is Delivered and no attempt of it runs: no worker will end it"
        for row in at.rows(
            select(messages.c.id, messages.c.target_item)
            .select_from(orphans)
            .where(delivered, attempts.c.message_id.is_(None))
        )
    )
    held = at.rows(
        select(
            attempts.c.message_id, attempts.c.number, attempts.c.item, attempts.c.instance, messages.c.status
        )
        .select_from(attempts.outerjoin(messages, messages.c.id == attempts.c.message_id))
        .where(running)
    )
    left, astray = 0, []
    for row in held:
        if row.status != Status.DELIVERED.value:
            astray.append(
                f"attempt {row.number} of message {row.message_id} runs, and the message is {row.status}"
            )
        elif row.instance not in at.live:
            left += 1
            if at.live and not at.shared:
                astray.append(
                    f"message {row.message_id} is in the hands of a process that is gone ({row.instance}), "
                    "and the one that runs has not taken it back"
                )
    found.all_wrong(astray)
    if left and not (at.live and not at.shared):
        found.note(
            f"{words.counted(left, 'message')} in the hands of a process that is gone: the next start takes it back"
        )


def _attempts_agree(at: Snapshot, found: Findings) -> None:
    tally = (
        select(
            attempts.c.message_id,
            func.count().label("count"),
            func.min(attempts.c.number).label("first"),
            func.max(attempts.c.number).label("last"),
            _count_of(Outcome.COMPLETED).label("completed"),
            _count_of(Outcome.DEFERRED).label("deferred"),
            _count_of(Outcome.RUNNING).label("running"),
        )
        .group_by(attempts.c.message_id)
        .subquery()
    )
    whole = messages.outerjoin(tally, tally.c.message_id == messages.c.id)
    count = func.coalesce(tally.c.count, 0)
    found.all_wrong(
        f"message {row.id} was handed out {row.attempts} times and has {row.count} attempts, "
        f"numbers {row.first} to {row.last}"
        for row in at.rows(
            select(messages.c.id, messages.c.attempts, count.label("count"), tally.c.first, tally.c.last)
            .select_from(whole)
            .where(
                or_(
                    count != messages.c.attempts,
                    func.coalesce(tally.c.first, 1) != 1,
                    func.coalesce(tally.c.last, 0) != count,
                    func.coalesce(tally.c.running, 0) > 1,
                )
            )
        )
    )
    request = messages.c.type == "Request"
    completed = messages.c.status == Status.COMPLETED.value
    done = func.coalesce(tally.c.completed, 0) > 0
    # A process ends with the response it waited for last: its own attempt was deferred.
    ended = or_(done, func.coalesce(tally.c.deferred, 0) > 0)
    found.all_wrong(
        f"message {row.id} is {row.status}, and {'no' if row.status == 'Completed' else 'an'} attempt of it completed"
        for row in at.rows(
            select(messages.c.id, messages.c.status)
            .select_from(whole)
            .where(request, or_(and_(completed, ~ended), and_(~completed, done)))
        )
    )
    strangers = attempts.outerjoin(messages, messages.c.id == attempts.c.message_id)
    found.all_wrong(
        f"attempt {row.number} of message {row.message_id}: there is no such message"
        for row in at.rows(
            select(attempts.c.message_id, attempts.c.number)
            .select_from(strangers)
            .where(messages.c.id.is_(None))
        )
    )
    found.all_wrong(
        f"message {row.id} is {row.status} and {'' if row.is_error else 'not '}marked as an error"
        for row in at.rows(
            select(messages.c.id, messages.c.status, messages.c.is_error).where(
                request,
                or_(
                    and_(messages.c.status == Status.ERROR.value, messages.c.is_error.is_(False)),
                    and_(messages.c.status.in_(_NO_ERROR), messages.c.is_error.is_(True)),
                ),
            )
        )
    )
    _processes_agree(at, found)


def _processes_agree(at: Snapshot, found: Findings) -> None:
    """A request is Deferred while, and only while, a process waits for responses to what it has sent."""
    deferred = messages.c.status == Status.DEFERRED.value
    both = messages.outerjoin(processes, processes.c.message_id == messages.c.id)
    found.all_wrong(
        f"message {row.id} is {row.status}, and {'no' if row.message_id is None else 'a'} process waits for it"
        for row in at.rows(
            select(messages.c.id, messages.c.status, processes.c.message_id)
            .select_from(both)
            .where(
                or_(
                    and_(deferred, processes.c.message_id.is_(None)),
                    and_(~deferred, processes.c.message_id.is_not(None)),
                )
            )
        )
    )


def _count_of(outcome: Outcome) -> ColumnElement[int]:
    return func.count(case((attempts.c.outcome == outcome.value, 1)))


# -- L3 ------------------------------------------------------------------------------------------------------------


def effects_once(at: Snapshot, found: Findings) -> None:
    """L3: no message completed twice, no request has two responses, both name each other."""
    twice = (
        select(attempts.c.message_id, func.count().label("count"))
        .where(attempts.c.outcome == Outcome.COMPLETED.value)
        .group_by(attempts.c.message_id)
        .having(func.count() > 1)
    )
    found.all_wrong(f"message {row.message_id} completed {row.count} times" for row in at.rows(twice))
    is_response = messages.c.type == "Response"
    is_timer = messages.c.source_item == "Ens.Alarm"
    answered = (
        select(messages.c.corresponding_id, func.count().label("count"))
        .where(is_response, ~is_timer)
        .group_by(messages.c.corresponding_id)
        .having(func.count() > 1)
    )
    found.all_wrong(f"message {row.corresponding_id} has {row.count} responses" for row in at.rows(answered))
    other = messages.alias("other")
    pairs = messages.outerjoin(other, other.c.id == messages.c.corresponding_id)
    apart = or_(
        other.c.id.is_(None), other.c.corresponding_id.is_(None), other.c.corresponding_id != messages.c.id
    )
    found.all_wrong(
        f"{row.type.lower()} {row.id} names message {row.corresponding_id}, which does not name it"
        for row in at.rows(
            select(messages.c.id, messages.c.type, messages.c.corresponding_id)
            .select_from(pairs)
            .where(messages.c.corresponding_id.is_not(None), ~is_timer, apart)
        )
    )
    found.all_wrong(
        f"message {row.id} is {row.status} and has its response {row.corresponding_id} already"
        for row in at.rows(
            select(messages.c.id, messages.c.status, messages.c.corresponding_id).where(
                messages.c.type == "Request",
                # A process may reply before its end.
                messages.c.target_business_type != "BusinessProcess",
                messages.c.corresponding_id.is_not(None),
                messages.c.status.in_([status.value for status in OPEN_STATUSES]),
            )
        )
    )
    found.all_wrong(
        f"message {row.id} is Completed, a response was asked for, and there is none"
        for row in at.rows(
            select(messages.c.id).where(
                messages.c.type == "Request",
                messages.c.response_required.is_(True),
                messages.c.status == Status.COMPLETED.value,
                messages.c.corresponding_id.is_(None),
            )
        )
    )
    responses = at.number(select(func.count()).select_from(messages).where(is_response))
    found.count(f"{words.counted(responses, 'response')}, each to one request")


# -- L4 ------------------------------------------------------------------------------------------------------------


def order_kept(at: Snapshot, found: Findings) -> None:
    """L4: where one worker served a queue, messages of one priority ended in the order of their acceptance."""
    pools = (
        select(jobs.c.instance, jobs.c.item)
        .group_by(jobs.c.instance, jobs.c.item)
        .having(func.count() == 1)
        .subquery()
    )
    ended = attempts.c.outcome.in_([Outcome.COMPLETED.value, Outcome.ERROR.value])
    last = and_(attempts.c.message_id == messages.c.id, attempts.c.number == messages.c.attempts, ended)
    pool = and_(pools.c.instance == attempts.c.instance, pools.c.item == messages.c.target_queue)
    query = (
        select(
            messages.c.id,
            messages.c.target_queue,
            messages.c.priority,
            messages.c.corresponding_id,
            messages.c.time_created_us,
            attempts.c.ended_us,
        )
        .select_from(messages.join(attempts, last).join(pools, pool))
        # A message that was told to wait, sent once more, or set aside and resumed, has left its place on purpose.
        .where(messages.c.not_before_us == 0, messages.c.resent.is_(None), ~_was_resumed())
        .order_by(messages.c.target_queue, messages.c.priority, messages.c.id)
    )
    several = _queues_of_several(at) if at.shared else frozenset()
    checked = unsure = 0
    before: Row[Any] | None = None
    late = []
    for row in at.rows(query):
        if row.target_queue in several:
            continue
        checked += 1
        same = before is not None and before[1:3] == row[1:3]
        verdict = _ended_before(row, before) if same and before is not None else False
        unsure += verdict is None
        if verdict and before is not None:
            late.append(
                f"{row.target_queue}: message {row.id} ended before {before.id}, which was accepted earlier"
            )
            continue
        before = row
    found.all_wrong(late)
    found.count(f"{words.counted(checked, 'message')} of queues with one worker, in order")
    if unsure:
        found.note(f"{words.counted(unsure, 'message')} could not be judged: the clock was set back")
    if several:
        found.note(f"not checked, since several processes served them: {', '.join(sorted(several))}")


def _was_resumed() -> ColumnElement[bool]:
    line = event_log.c
    return (
        select(line.id)
        .where(
            line.session_id == messages.c.session_id,
            line.message_id == messages.c.id,
            line.source_class == ACTIONS,
            line.source_method == RESUME.action,
        )
        .exists()
    )


def _ended_before(row: Row[Any], earlier: Row[Any]) -> bool | None:
    """Tell whether ``row`` ended before a message accepted earlier; None where the clock cannot say."""
    if row.corresponding_id is not None and earlier.corresponding_id is not None:
        # Responses are numbered as they are stored, whatever the clock does.
        return bool(row.corresponding_id < earlier.corresponding_id)
    if row.ended_us >= earlier.ended_us:
        return False
    set_back = (
        row.ended_us < row.time_created_us
        or earlier.ended_us < earlier.time_created_us
        or row.time_created_us < earlier.time_created_us
    )
    return None if set_back else True


def _queues_of_several(at: Snapshot) -> frozenset[str]:
    query = select(jobs.c.item).group_by(jobs.c.item).having(func.count(jobs.c.instance.distinct()) > 1)
    return frozenset(str(row.item) for row in at.rows(query))


# -- L7, L8 --------------------------------------------------------------------------------------------------------


def settings_readable(at: Snapshot, found: Findings) -> None:
    """L7: each stored setting has a production, an item, a name and a value."""
    count, empty = 0, []
    for row in at.rows(select(settings)):
        count += 1
        if not (row.production and row.name) or row.item is None or row.value is None:
            empty.append(
                f"a setting of {row.production!r}, item {row.item!r}, has name {row.name!r}, value {row.value!r}"
            )
    found.all_wrong(empty)
    found.count(f"{words.counted(count, 'stored setting')}")


def no_work_left_over(at: Snapshot, found: Findings) -> None:
    """L7: what an optimisation works with goes with its message."""

    def goes_on(message_id: int) -> bool:
        status = at.connection.execute(select(messages.c.status).where(messages.c.id == message_id)).scalar()
        return status in (Status.QUEUED, Status.DELIVERED)

    found.all_wrong(
        f"runs/{folder.name} is left over of a message that has ended"
        for folder in left_of_messages(at.home.runs, goes_on)
    )


def nothing_silent(at: Snapshot, found: Findings) -> None:
    """L8: what failed, was lost, dropped or put aside has its reason in the store."""
    logged = (
        select(event_log.c.id)
        .where(event_log.c.session_id == messages.c.session_id, event_log.c.message_id == messages.c.id)
        .exists()
    )
    explained = (
        select(attempts.c.number)
        .where(attempts.c.message_id == messages.c.id, _is_text(attempts.c.detail))
        .exists()
    )
    aside = [status.value for status in (Status.ERROR, Status.SUSPENDED, Status.DISCARDED, Status.ABORTED)]
    found.all_wrong(
        f"message {row.id} to {row.target_item} is {row.status}, and nothing says why"
        for row in at.rows(
            select(messages.c.id, messages.c.target_item, messages.c.status).where(
                messages.c.status.in_(aside), ~_is_text(messages.c.error_status), ~explained, ~logged
            )
        )
    )
    interrupted = [Outcome.WORKER_LOST.value, Outcome.PUT_BACK.value]
    found.all_wrong(
        f"attempt {row.number} of message {row.message_id} ended as {row.outcome!r}, and nothing says why"
        for row in at.rows(
            select(attempts.c.message_id, attempts.c.number, attempts.c.outcome).where(
                attempts.c.outcome.in_(interrupted), ~_is_text(attempts.c.detail)
            )
        )
    )
    purges = at.number(select(func.count()).select_from(event_log).where(event_log.c.source_class == PURGE))
    if purges:
        found.note(f"{words.counted(purges, 'purge')}, each with a line of the event log that says what went")
    errors = at.number(select(func.count()).select_from(messages).where(messages.c.status.in_(aside)))
    again = at.number(select(func.count()).select_from(attempts).where(attempts.c.outcome.in_(interrupted)))
    found.count(
        f"{words.counted(errors, 'message')} failed or put aside, {words.counted(again, 'attempt')} interrupted"
    )
    if found.ok:
        found.count("each with its reason")


def _is_text(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.coalesce(func.length(column), 0) > 0
