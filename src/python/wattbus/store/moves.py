"""A move: stored messages change their status, or are sent again, in one transaction of the writer.

Everything is decided inside the transaction, from what the rows say at that moment, so that no claim, no purge and no
other action can come between the look and the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable, ScalarSelect, delete, func, select, update
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from wattbus import words
from wattbus.errors import StoreError
from wattbus.store.batch import Batch
from wattbus.store.rows import Event, Header
from wattbus.store.slots import closed_gate
from wattbus.store.tables import Priority, Status, event_log, messages, processes
from wattbus.store.units import Acceptance

#: What an action writes into the event log as its class; the method is the name of the action.
SOURCE = "wattbus.store.actions"
_SHOWN_IDS = 12


@dataclass(frozen=True)
class By:
    """Who acts, and why: the name of the door, and the words of the person."""

    door: str
    reason: str = ""

    def __str__(self) -> str:
        return f"by {self.door}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Refusal:
    """A message that an action left as it was, and why."""

    message_id: int
    why: str


@dataclass(frozen=True)
class Acted:
    """What an action did: every message that was named is in one of these."""

    action: str
    changed: tuple[int, ...] = ()
    new: tuple[int, ...] = ()  # of a resend: the new messages, in the order of ``changed``
    already: tuple[int, ...] = ()  # were so before
    cancelling: tuple[int, ...] = ()  # in hand: their workers were told to give up
    refused: tuple[Refusal, ...] = ()

    def __add__(self, other: Acted) -> Acted:
        return Acted(
            self.action,
            self.changed + other.changed,
            self.new + other.new,
            self.already + other.already,
            self.cancelling + other.cancelling,
            self.refused + other.refused,
        )


@dataclass(frozen=True)
class Rule:
    """An action that changes a status: from which, to which, and its words."""

    action: str
    done: str
    source: tuple[str, ...]
    to: str

    @property
    def ends(self) -> bool:
        """Tell whether the message is at its end, so that who waits for it must be told."""
        return self.to in (Status.DISCARDED, Status.ABORTED)


SUSPEND = Rule("suspend", "suspended", (Status.QUEUED.value,), Status.SUSPENDED.value)
RESUME = Rule("resume", "resumed", (Status.SUSPENDED.value,), Status.QUEUED.value)
DISCARD = Rule(
    "discard",
    "discarded",
    (Status.QUEUED.value, Status.SUSPENDED.value, Status.ERROR.value, Status.DEFERRED.value),
    Status.DISCARDED.value,
)
ABORT = Rule("abort", "aborted", (Status.QUEUED.value,), Status.ABORTED.value)
#: What can be sent again: what has ended, and what was set aside.
RESENDABLE = tuple(
    status.value
    for status in (Status.COMPLETED, Status.ERROR, Status.DISCARDED, Status.ABORTED, Status.SUSPENDED)
)


class Move:
    """Changes the status of messages; a unit of the writer."""

    __slots__ = ("_acted", "_by", "_dialect", "_done", "_error", "_ids", "_rule")

    def __init__(self, rule: Rule, ids: Sequence[int], by: By, dialect: Dialect) -> None:
        self._rule, self._ids, self._by, self._dialect = rule, ids, by, dialect
        self._acted = Acted(rule.action)
        self._error: Exception | None = None
        self._done = closed_gate()

    @property
    def new_messages(self) -> int:
        # An error answer for each process that waits.
        return len(self._ids) if self._rule.ends else 0

    def apply(self, batch: Batch) -> None:
        rule, tally = self._rule, _Tally(self._rule.action)
        going = []
        for message_id, header in _locked(batch, self._ids, self._dialect):
            if header is None:
                tally.refuse(message_id, f"there is no message {message_id}.")
            elif header.status == rule.to:
                tally.already.append(message_id)
            elif header.status not in rule.source:
                tally.refuse(message_id, _wrong_status(header, rule.done, rule.source))
            else:
                going.append(header)
        if rule.ends:
            going = self._without_awaited(batch, going, tally)
        if going:
            self._change(batch, going)
        for header in going:
            if header.status == Status.QUEUED:
                batch.depths.move(header, -1)
            elif rule is RESUME:
                batch.depths.move(header, 1)
        tally.changed += [header.id for header in going]
        self._acted = tally.acted()
        _tell(batch, rule.done, self._by, going, self._acted)

    def _without_awaited(self, batch: Batch, going: list[Header], tally: _Tally) -> list[Header]:
        """Leave out the responses that a process waits for: without them it would wait for ever."""
        answers = {header.id: header for header in going if header.type == "Response"}
        if not answers:
            return going
        asked = messages.alias("asked")
        waiting = (
            select(messages.c.id, processes.c.message_id)
            .join(asked, asked.c.id == messages.c.corresponding_id)
            .join(processes, processes.c.message_id.in_([asked.c.id, asked.c.parent_id]))
            .where(messages.c.id.in_(answers))
        )
        awaited = dict(execute(batch.cursor, waiting, self._dialect).fetchall())
        for message_id, process_id in awaited.items():
            tally.refuse(
                message_id,
                f"message {message_id} is a response, and process {process_id} waits for it: "
                f"{self._rule.action} message {process_id} instead.",
            )
        return [header for header in going if header.id not in awaited]

    def _change(self, batch: Batch, going: list[Header]) -> None:
        rule, ids = self._rule, [header.id for header in going]
        values: dict[str, Any] = {
            "status": rule.to,
            "is_error": rule.ends,
            "error_status": None if rule is RESUME else f"{rule.done} {self._by}",
            "time_processed_us": batch.now_us if rule.ends else None,
        }
        if rule is RESUME:
            values["not_before_us"] = 0
            batch.filled.update(header.target_queue for header in going)
        execute(batch.cursor, update(messages).where(messages.c.id.in_(ids)).values(values), self._dialect)
        if not rule.ends:
            return
        deferred = [header for header in going if header.status == Status.DEFERRED]
        if deferred:
            ended = [header.id for header in deferred]
            execute(batch.cursor, delete(processes).where(processes.c.message_id.in_(ended)), self._dialect)
            batch.dropped_timers += [(header.target_queue, header.id, batch.now_us) for header in deferred]
        for header in going:
            self._answer(batch, header)

    def _answer(self, batch: Batch, request: Header) -> None:
        """Queue the error answer for the process that waits for a request which has ended like this."""
        if request.return_queue is None or request.corresponding_id is not None:
            return
        answer_id = batch.new_id()
        batch.add_message(
            request._replace(
                id=answer_id, parent_id=request.id, corresponding_id=request.id, type="Response",
                source_item=request.target_item, source_business_type=request.target_business_type,
                target_item=request.source_item, target_business_type=request.source_business_type,
                target_queue=request.return_queue, return_queue=None, body_class="", body_id=None, description="",
                status=Status.QUEUED.value, is_error=True, error_status=self.sentence(request), resent=None,
                attempts=0, not_before_us=0, response_required=False, idempotency_key=None,
                time_created_us=batch.now_us, time_processed_us=None,
            ),
            None,
        )  # fmt: skip
        linked = update(messages).where(messages.c.id == request.id).values(corresponding_id=answer_id)
        execute(batch.cursor, linked, self._dialect)

    def sentence(self, request: Header) -> str:
        """Say to who waits what became of a message."""
        return f"message {request.id} to {request.target_item} was {self._rule.done} {self._by}"

    def committed(self) -> None:
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> Acted:
        """Block until the change is durable."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(f"nothing was {self._rule.done}: {self._error}") from self._error
        return self._acted


class Resend:
    """Sends requests once more, each as a new message; a unit of the writer."""

    __slots__ = ("_acted", "_again", "_by", "_dialect", "_done", "_error", "_ids", "_sent", "replaced")

    def __init__(
        self, ids: Sequence[int], again: Callable[[Header], Acceptance], by: By, dialect: Dialect
    ) -> None:
        """``again`` makes the new message of an old one."""
        self._ids, self._again, self._by, self._dialect = ids, again, by, dialect
        self._sent: list[Acceptance] = []
        #: Messages that had been set aside, and whose place the new ones have taken.
        self.replaced: tuple[int, ...] = ()
        self._acted = Acted("resend")
        self._error: Exception | None = None
        self._done = closed_gate()

    @property
    def new_messages(self) -> int:
        return len(self._ids)

    def apply(self, batch: Batch) -> None:
        tally, again = _Tally("resend"), []
        self._sent = []
        for message_id, header in _locked(batch, self._ids, self._dialect):
            if header is None:
                tally.refuse(message_id, f"there is no message {message_id}.")
            elif header.type != "Request":
                asked = f" {header.corresponding_id}" if header.corresponding_id is not None else ""
                tally.refuse(
                    message_id, f"message {message_id} is a response: send its request{asked} again."
                )
            elif header.status not in RESENDABLE:
                tally.refuse(message_id, _wrong_status(header, "sent again", RESENDABLE))
            else:
                message = self._again(header)
                message.apply(batch)
                (tally.already if message.known else tally.changed).append(message_id)
                tally.new.append(message.id)
                self._sent.append(message)
                if not message.known:
                    again.append((header, message.id))
        self._replace(batch, [pair for pair in again if pair[0].status == Status.SUSPENDED])
        self._acted = tally.acted()
        _tell(batch, "sent again", self._by, [header for header, _ in again], self._acted)

    def _replace(self, batch: Batch, pairs: list[tuple[Header, int]]) -> None:
        """Discard what had been set aside: it would be handled twice if somebody resumed it."""
        self.replaced = tuple(header.id for header, _ in pairs)
        for header, new_id in pairs:
            ended = (
                update(messages)
                .where(messages.c.id == header.id)
                .values(
                    status=Status.DISCARDED.value, is_error=True, return_queue=None, time_processed_us=batch.now_us,
                    error_status=f"sent again as message {new_id} {self._by}; it was: {header.error_status}",
                )
            )  # fmt: skip
            execute(batch.cursor, ended, self._dialect)

    def committed(self) -> None:
        for message in self._sent:
            message.committed()
        self._done.release()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._done.release()

    def wait(self) -> Acted:
        """Block until the new messages are durable."""
        self._done.acquire()
        if self._error is not None:
            raise StoreError(f"nothing was sent again: {self._error}") from self._error
        return self._acted


def resent(header: Header, *, same_session: bool, target: tuple[str, str], key: str | None) -> Header:
    """Return the header of the message that repeats ``header``, at the end of its queue.

    As on IRIS it is a new header, by default in the session of the old one. Nobody waits for it, except the process
    that still waits for a message which was set aside: the new one answers in its place.
    """
    item, business_type = target
    awaited = same_session and header.status == Status.SUSPENDED
    return header._replace(
        id=0,
        session_id=header.session_id if same_session else 0,
        parent_id=header.parent_id if same_session else None,
        corresponding_id=None, invocation="Queue", target_item=item, target_business_type=business_type,
        target_queue=item,
        return_queue=header.return_queue if awaited else None,
        completion_key=header.completion_key if awaited else None,
        response_required=header.response_required and awaited,
        priority=header.priority if awaited else Priority.ASYNC,
        status=Status.QUEUED.value, is_error=False, error_status=None, resent=str(header.id), attempts=0,
        not_before_us=0, idempotency_key=key, time_created_us=0, time_processed_us=None,
    )  # fmt: skip


def resumed_us(message_id: int) -> ScalarSelect[int]:
    """Return an expression: when a message was resumed last, or 0."""
    line = event_log.c
    session = select(messages.c.session_id).where(messages.c.id == message_id).scalar_subquery()
    return (
        select(func.coalesce(func.max(line.time_us), 0))
        .where(
            line.session_id == session,
            line.message_id == message_id,
            line.source_class == SOURCE,
            line.source_method == RESUME.action,
        )
        .scalar_subquery()
    )


def execute(cursor: Any, statement: Executable, dialect: Dialect) -> Any:
    """Run a Core statement inside the writer's transaction and return the cursor."""
    assert isinstance(statement, ClauseElement)
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    order: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
    cursor.execute(str(compiled), [compiled.params[name] for name in order])
    return cursor


@dataclass
class _Tally:
    """What an action does, while it does it."""

    action: str
    changed: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    already: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def refuse(self, message_id: int, why: str) -> None:
        self.refused.append(Refusal(message_id, why))

    def acted(self) -> Acted:
        return Acted(
            self.action, tuple(self.changed), tuple(self.new), tuple(self.already), (), tuple(self.refused)
        )


def _locked(batch: Batch, ids: Sequence[int], dialect: Dialect) -> list[tuple[int, Header | None]]:
    """Read the headers as they are now; on PostgreSQL no other process can change them until the commit."""
    query = select(messages).where(messages.c.id.in_(ids)).order_by(messages.c.id)
    if dialect.name == "postgresql":
        query = query.with_for_update()
    found = {row[0]: Header._make(row) for row in execute(batch.cursor, query, dialect).fetchall()}
    return [(message_id, found.get(message_id)) for message_id in ids]


def _wrong_status(header: Header, done: str, source: Sequence[str]) -> str:
    said = f"message {header.id} is {header.status}"
    if header.status == Status.DELIVERED:
        return f"{said}: {header.target_item} has it in hand. Wait for its end."
    return f"{said}: only what is {', '.join(source[:-1])}{' or ' if source[1:] else ''}{source[-1]} can be {done}."


def _tell(batch: Batch, done: str, by: By, headers: list[Header], acted: Acted) -> None:
    """Write what was done into the event log: a line for each message, and one for the whole."""
    for header in headers:
        before = f" (it was {header.status}: {header.error_status})" if header.error_status else ""
        batch.events.append(
            Event(
                batch.now_us, "Info", header.target_item, "", header.id, header.session_id,
                SOURCE, acted.action, f"message {header.id} was {done} {by}{before}",
            )
        )  # fmt: skip
    if len(headers) == 1 and not acted.refused:
        return
    text = f"{words.counted(len(acted.changed), 'message')} {done} {by}{_some(acted.changed)}"
    if acted.refused:
        refused = tuple(refusal.message_id for refusal in acted.refused)
        text += f"; {len(refused):,} refused{_some(refused)}, the first since {acted.refused[0].why}"
    batch.events.append(
        Event(batch.now_us, "Info", "", "", None, None, SOURCE, acted.action, text.rstrip(".") + ".")
    )


def _some(ids: Sequence[int]) -> str:
    shown = ", ".join(str(message_id) for message_id in ids[:_SHOWN_IDS])
    return f" ({shown}{', ...' if len(ids) > _SHOWN_IDS else ''})" if ids else ""
