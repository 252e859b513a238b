"""The actions on stored messages: suspend, resume, discard, abort, resend, edit, replay; one by one or by a filter.

Every door calls these. Each returns what became of every message that was named, and leaves lines in the event log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Engine, Select, String, case, cast, func, select, text

from wattbus.errors import BadRequest, UnknownName
from wattbus.store.filters import MessageFilter
from wattbus.store.moves import (
    ABORT,
    DISCARD,
    RESENDABLE,
    RESUME,
    SUSPEND,
    Acted,
    By,
    Move,
    Refusal,
    Resend,
    Rule,
    resent,
)
from wattbus.store.rows import Header
from wattbus.store.store import Store
from wattbus.store.tables import Status, messages
from wattbus.store.units import Acceptance

__all__ = ["ACTIONS", "Acted", "Actions", "Bulk", "By", "DeadLetters", "Known", "Refusal", "dead_letters"]

CHUNK = 500
#: What can be done to many messages at once, and the statuses that it takes them from.
ACTIONS: dict[str, tuple[str, ...]] = {
    **{rule.action: rule.source for rule in (SUSPEND, RESUME, DISCARD, ABORT)},
    "resend": RESENDABLE,
}
#: As the condition of the index says it, so that the index serves it.
_DEAD = text("status IN ('Error', 'Suspended')")


class Known(Protocol):
    """What an action must know of the production: its items and its message types."""

    def target(self, name: str) -> tuple[str, str]:
        """Return the name and the business type of an item; raise where there is none of this name."""

    def written(self, body_class: str, body: Any) -> str:
        """Return the JSON text of a body as it may be stored; raise where it does not fit its class."""


@dataclass(frozen=True)
class Bulk:
    """What an action would do to the messages of a filter."""

    action: str
    matching: int
    actionable: int  # of these, the messages that stand where the action can take them


@dataclass(frozen=True)
class DeadLetters:
    """Messages to one item that failed, or were set aside."""

    item: str
    errors: int
    suspended: int
    sent_again: int
    oldest_us: int
    newest_id: int
    last_error: str | None


class Actions:
    """What can be done to the messages of a store that this process writes."""

    def __init__(
        self,
        store: Store,
        known: Known,
        *,
        ended: Callable[[int, str], None] | None = None,
        cancel: Callable[[int, str], bool] | None = None,
    ) -> None:
        """``ended`` tells who waits for a message that it has ended; ``cancel`` stops a message in hand, if it can."""
        self._store, self._known, self._ended, self._cancel = store, known, ended, cancel

    # -- of given messages --------------------------------------------------------------------------------------

    def suspend(self, ids: Iterable[int], by: By) -> Acted:
        """Set queued messages aside until they are resumed."""
        return self._each(SUSPEND, ids, by)

    def resume(self, ids: Iterable[int], by: By) -> Acted:
        """Put suspended messages back into their queue, with a clean count of lost workers."""
        return self._each(RESUME, ids, by)

    def discard(self, ids: Iterable[int], by: By) -> Acted:
        """Give messages up; who waits for one is told, with an error."""
        return self._each(DISCARD, ids, by)

    def abort(self, ids: Iterable[int], by: By) -> Acted:
        """Take queued messages out of their queue, and stop those in hand where their item allows it."""
        acted = self._each(ABORT, ids, by)
        cancelling = tuple(one.message_id for one in acted.refused if self._cancelled(one.message_id, by))
        refused = tuple(refusal for refusal in acted.refused if refusal.message_id not in cancelling)
        return replace(acted, cancelling=cancelling, refused=refused)

    def resend(
        self, ids: Iterable[int], by: By, *, to: str | None = None, idempotency_key: str | None = None
    ) -> Acted:
        """Send requests once more, in their session, to their own item or to another one."""
        return self._send(ids, by, to=to, idempotency_key=idempotency_key)

    def edit_and_resend(
        self, message_id: int, body: Any, by: By, *, to: str | None = None, idempotency_key: str | None = None
    ) -> Acted:
        """Send a request once more with another body of the same type: JSON as text or as an object."""
        header = self._header(message_id)
        json = self._known.written(header.body_class, body)
        self._store.prepare(header, json)  # a large body is in its file before the transaction begins
        return self._send([message_id], by, to=to, idempotency_key=idempotency_key, json=json)

    def replay(
        self, message_id: int, by: By, *, hop: int | None = None, idempotency_key: str | None = None
    ) -> Acted:
        """Send the request of a hop again as the first of a new session, so that everything after it happens anew.

        ``message_id`` is that request; with ``hop`` any message of the session, whose requests are counted from 1.
        """
        if hop is not None:
            message_id = self._hop(self._header(message_id).session_id, hop)
        return self._send([message_id], by, idempotency_key=idempotency_key, same_session=False)

    # -- of a filter --------------------------------------------------------------------------------------------

    def plan(self, action: str, which: MessageFilter) -> Bulk:
        """Count what :meth:`every` would do, and change nothing."""
        _check(action)
        with self._store.engine.connect() as connection:
            matching = connection.execute(self._selected(func.count(), which)).scalar_one()
            actionable = connection.execute(
                self._selected(func.count(), which).where(*_within(action))
            ).scalar_one()
        return Bulk(action, int(matching), int(actionable))

    def plan_of(self, action: str, ids: Sequence[int]) -> Bulk:
        """Count of given messages those that an action could take, and change nothing."""
        _check(action)
        taken = 0
        for chunk in _chunked(ids):
            query = select(func.count()).select_from(messages)
            query = query.where(messages.c.id.in_(chunk), *_within(action))
            with self._store.engine.connect() as connection:
                taken += int(connection.execute(query).scalar_one())
        return Bulk(action, len(ids), taken)

    def every(self, action: str, which: MessageFilter, by: By) -> Acted:
        """Do an action to all messages of a filter that stand where it can take them, in chunks of one transaction."""
        _check(action)
        acts: dict[str, Callable[[Sequence[int], By], Acted]] = {
            "suspend": self.suspend, "resume": self.resume, "discard": self.discard, "abort": self.abort,
            "resend": self.resend,
        }  # fmt: skip
        acted = Acted(action)
        for ids in self._chunks(action, which):
            acted += acts[action](ids, by)
        return acted

    # -- how ----------------------------------------------------------------------------------------------------

    def _each(self, rule: Rule, ids: Iterable[int], by: By) -> Acted:
        acted = Acted(rule.action)
        for chunk in _chunked(ids):
            move = Move(rule, chunk, by, self._store.engine.dialect)
            self._store.submit(move)
            moved = move.wait()
            acted += moved
            if rule.ends:
                self._tell(moved.changed, f"{rule.done} {by}")
        return acted

    def _send(
        self,
        ids: Iterable[int],
        by: By,
        *,
        to: str | None = None,
        idempotency_key: str | None = None,
        json: str | None = None,
        same_session: bool = True,
    ) -> Acted:
        acted = Acted("resend")
        for chunk in _chunked(ids):
            targets, refused = self._targets(chunk, to)

            def again(header: Header, targets: dict[str, tuple[str, str]] = targets) -> Acceptance:
                key = None if idempotency_key is None else f"{idempotency_key}:{header.id}"
                target = targets[to or header.target_item]
                draft = resent(header, same_session=same_session, target=target, key=key)
                return self._store.prepare(draft if json is None else draft._replace(body_id=None), json)

            astray = {refusal.message_id for refusal in refused}
            resend = Resend(
                [one for one in chunk if one not in astray], again, by, self._store.engine.dialect
            )
            self._store.submit(resend)
            sent = resend.wait()
            acted += replace(sent, refused=(*sent.refused, *refused))
            self._tell(resend.replaced, f"sent again {by}")
        return acted

    def _targets(
        self, ids: Sequence[int], to: str | None
    ) -> tuple[dict[str, tuple[str, str]], list[Refusal]]:
        """Find the items that the messages go to; a message whose item is not there any more is refused."""
        if to is not None:
            return {to: self._known.target(to)}, []
        query = select(messages.c.id, messages.c.target_item).where(
            messages.c.id.in_(ids), messages.c.type == "Request"
        )
        with self._store.engine.connect() as connection:
            rows = connection.execute(query).all()
        targets, refused = {}, []
        for message_id, item in rows:
            try:
                targets[item] = self._known.target(item)
            except UnknownName as error:
                refused.append(Refusal(message_id, str(error)))
        return targets, refused

    def _cancelled(self, message_id: int, by: By) -> bool:
        return self._cancel is not None and self._cancel(message_id, str(by).removeprefix("by "))

    def _tell(self, ids: Sequence[int], became: str) -> None:
        if self._ended is not None:
            for message_id in ids:
                self._ended(message_id, f"message {message_id} was {became}")

    def _header(self, message_id: int) -> Header:
        header = self._store.header(message_id)
        if header is None:
            raise BadRequest(f"there is no message {message_id}: list messages with `wattbus messages ls`.")
        return header

    def _hop(self, session_id: int, hop: int) -> int:
        requests = (
            select(messages.c.id)
            .where(messages.c.session_id == session_id, messages.c.type == "Request")
            .order_by(messages.c.id)
        )
        with self._store.engine.connect() as connection:
            ids = connection.execute(requests).scalars().all()
        if not 1 <= hop <= len(ids):
            raise BadRequest(
                f"session {session_id} has no hop {hop}: its requests are counted from 1 to {len(ids)}; "
                f"see `wattbus trace {session_id}`."
            )
        return int(ids[hop - 1])

    def _selected(self, what: Any, which: MessageFilter) -> Select[Any]:
        return select(what).select_from(messages).where(*which.conditions(self._store.engine.dialect.name))

    def _chunks(self, action: str, which: MessageFilter) -> Iterator[list[int]]:
        """Yield the ids of a filter in order; those that the action itself brings into being are not among them."""
        with self._store.engine.connect() as connection:
            newest = connection.execute(select(func.max(messages.c.id))).scalar() or 0
        last = 0
        while True:
            query = (
                self._selected(messages.c.id, which)
                .where(messages.c.id > last, messages.c.id <= newest, *_within(action))
                .order_by(messages.c.id)
                .limit(CHUNK)
            )
            with self._store.engine.connect() as connection:
                ids = list(connection.execute(query).scalars())
            if not ids:
                return
            yield ids
            last = ids[-1]


def dead_letters(engine: Engine) -> list[DeadLetters]:
    """Return what failed or was set aside, by item."""
    again = messages.alias("again")
    repeated = (
        select(again.c.id)
        .where(again.c.resent.is_not(None), again.c.resent == cast(messages.c.id, String))
        .exists()
    )
    query = (
        select(
            messages.c.target_item,
            func.sum(case((messages.c.status == Status.ERROR.value, 1), else_=0)),
            func.sum(case((messages.c.status == Status.SUSPENDED.value, 1), else_=0)),
            func.sum(case((repeated, 1), else_=0)),
            func.min(messages.c.time_created_us),
            func.max(messages.c.id),
        )
        .where(_DEAD)
        .group_by(messages.c.target_item)
        .order_by(messages.c.target_item)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        newest = select(messages.c.id, messages.c.error_status).where(
            messages.c.id.in_([row[-1] for row in rows])
        )
        errors = {row.id: row.error_status for row in connection.execute(newest)}
    return [
        DeadLetters(row[0], int(row[1]), int(row[2]), int(row[3]), row[4], row[5], errors[row[5]])
        for row in rows
    ]


def _check(action: str) -> None:
    if action not in ACTIONS:
        raise UnknownName("action", action, ACTIONS)


def _within(action: str) -> list[ColumnElement[bool]]:
    """Return the conditions for the messages that an action can take."""
    conditions: list[ColumnElement[bool]] = [messages.c.status.in_(ACTIONS[action])]
    return [*conditions, messages.c.type == "Request"] if action == "resend" else conditions


def _chunked(ids: Iterable[int]) -> Iterator[list[int]]:
    once = iter(dict.fromkeys(ids))
    while chunk := list(islice(once, CHUNK)):
        yield chunk
