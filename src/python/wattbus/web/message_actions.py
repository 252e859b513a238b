"""What can be done to messages: resend, edit, replay, suspend, resume, discard, abort, cancel; to one or to many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Query
from pydantic import BaseModel, Field, JsonValue

from wattbus import words
from wattbus.access import Role
from wattbus.errors import BadRequest
from wattbus.store.actions import Acted, By, Refusal
from wattbus.store.filters import MessageFilter
from wattbus.store.listing import newest_id
from wattbus.store.single import MessageHeader, message_detail
from wattbus.web.bodies import shown_body
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.message_pages import LONGEST_FILTER, Typed, filter_of
from wattbus.web.twin import MessageId, PageId, Twins

_MOST_IDS, _NAMED = 1_000, 100
Action = Literal["resend", "suspend", "resume", "discard", "abort"]


class Because(BaseModel):
    """Why somebody acts; it stands in the event log."""

    reason: str = Field(default="", max_length=500)


class Again(Because):
    """How a message is sent once more."""

    to: str | None = Field(default=None, description="another item; by default its own")
    idempotency_key: str | None = Field(default=None, max_length=100)


class Edited(Again):
    """Another body of the same type: JSON as an object or as text."""

    body: JsonValue


class Replayed(Because):
    """How a session is begun anew from a message."""

    hop: int | None = Field(default=None, ge=1, description="a request of the session, counted from 1")
    idempotency_key: str | None = Field(default=None, max_length=100)


class Many(Because):
    """An action on many messages: those named, or those that a filter finds."""

    action: Action
    ids: list[int] = Field(default=[], max_length=_MOST_IDS)
    filter: str | None = Field(default=None, max_length=LONGEST_FILTER)
    up_to: int | None = Field(default=None, ge=0, description="no message newer than this one")


@dataclass(frozen=True)
class Done:
    """What became of the messages; of many the first are named."""

    action: str
    sentence: str
    changed: int
    ids: list[int]
    new: list[int]  # of a resend: the new messages
    already: int
    cancelling: list[int]
    refused: int
    refusals: list[Refusal]


@dataclass(frozen=True)
class PlanView:
    """What an action on many messages would do, before it is done."""

    action: Action
    scope: str
    filter: str
    ids: list[int]
    up_to: int
    matching: int
    actionable: int

    @property
    def back(self) -> str:
        """Return the address of the list that the messages were chosen in."""
        return "/messages" + (f"?filter={quote(self.filter, safe='')}" if self.filter else "")

    @property
    def request(self) -> dict[str, Any]:
        """Return what a program would send."""
        if self.scope == "selected":
            return {"action": self.action, "ids": self.ids}
        return {"action": self.action, "filter": self.filter, "up_to": self.up_to}


@dataclass(frozen=True)
class EditView:
    """The form of a body that is changed and sent again."""

    header: MessageHeader
    text: str
    to: str
    items: list[str]
    wrong: str = ""


def add(twins: Twins, desk: Desk) -> None:
    """Open the actions."""
    _Actions(desk).add(twins)


class _Actions:
    """The actions as functions of what a door sends."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add(self, twins: Twins) -> None:
        """Open each at its address."""
        for name, function in self._of_one().items():
            twins.action(
                f"/messages/{{message_id}}/{name}", function, tag="messages", said=lambda done: done.sentence,
                then=lambda done: f"/messages/{done.new[0]}" if done.new else "",
                again=("message_edit.html", self._typed) if name == "edit" else None,
            )  # fmt: skip
        twins.view(
            "/messages/{message_id}/edit", "message_edit.html", self.form, role=Role.OPERATOR, tag="messages"
        )
        twins.view("/messages/bulk", "messages_plan.html", self.plan, role=Role.OPERATOR, tag="messages")
        twins.action(
            "/messages/bulk",
            self.bulk,
            tag="messages",
            said=lambda done: done.sentence,
            wrong=lambda done: done.refused > 0 and not done.changed,
        )

    def _of_one(self) -> dict[str, Callable[..., Done]]:
        def simple(name: str, sentence: str) -> Callable[..., Done]:
            def act(message_id: MessageId, body: Because, who: Who) -> Done:
                actions = self._desk.current().actions
                return _one(getattr(actions, name)([message_id], _by(who, body)))

            act.__doc__, act.__name__ = sentence, name
            return act

        return {
            "resend": self.resend,
            "edit": self.edit,
            "replay": self.replay,
            "suspend": simple("suspend", "Set a queued message aside until it is resumed."),
            "resume": simple("resume", "Put a suspended message back into its queue."),
            "discard": simple("discard", "Give a message up; who waits for it is told."),
            "abort": simple("abort", "Take a queued message out of its queue."),
            "cancel": self.cancel,
        }

    def resend(self, message_id: MessageId, body: Again, who: Who) -> Done:
        """Send a request once more, in its session, to its own item or to another one."""
        actions = self._desk.current().actions
        return _one(
            actions.resend([message_id], _by(who, body), to=body.to, idempotency_key=body.idempotency_key)
        )

    def edit(self, message_id: MessageId, body: Edited, who: Who) -> Done:
        """Send a request once more with another body of the same type."""
        actions = self._desk.current().actions
        return _one(
            actions.edit_and_resend(
                message_id, body.body, _by(who, body), to=body.to, idempotency_key=body.idempotency_key
            )
        )

    def replay(self, message_id: MessageId, body: Replayed, who: Who) -> Done:
        """Send a request again as the first of a new session, so that everything after it happens anew."""
        actions = self._desk.current().actions
        return _one(
            actions.replay(message_id, _by(who, body), hop=body.hop, idempotency_key=body.idempotency_key)
        )

    def cancel(self, message_id: MessageId, body: Because, who: Who) -> Done:
        """Stop a message that is in hand, where its item allows it."""
        return _one(self._desk.current().actions.abort([message_id], _by(who, body)))

    def form(self, message_id: MessageId) -> EditView:
        """Show the body of a request, to be changed and sent again."""
        with self._desk.store() as engine:
            detail = message_detail(engine, message_id)
        shown = shown_body(self._desk, message_id)
        if shown is None or not shown.whole:
            raise BadRequest(
                f"message {message_id} has no body that could be edited here: it has none, or one that is too long."
            )
        items = list(self._desk.current().production.items)
        return EditView(detail.header, shown.text, detail.header.target_item, items)

    def _typed(self, sentence: str, fields: dict[str, Any], message_id: int) -> EditView:
        view = self.form(message_id)
        return replace(
            view, text=str(fields.get("body", "")), to=str(fields.get("to", view.to)), wrong=sentence
        )

    def plan(
        self,
        action: Action,
        scope: Literal["selected", "found"] = "found",
        filter: Typed = "",
        ids: Annotated[list[int] | None, Query(max_length=_MOST_IDS)] = None,
        up_to: PageId = None,
    ) -> PlanView:
        """Count what an action on many messages would do, and change nothing."""
        actions = self._desk.current().actions
        with self._desk.store() as engine:
            newest = newest_id(engine) if up_to is None else up_to
        named = list(ids or ()) if scope == "selected" else []
        if scope == "selected" and not named:
            raise BadRequest("no message is selected: tick some rows of the list, then choose again.")
        plan = (
            actions.plan_of(action, named)
            if named
            else actions.plan(action, _bounded(filter_of(filter), newest))
        )
        return PlanView(action, scope, filter, named, newest, plan.matching, plan.actionable)

    def bulk(self, body: Many, who: Who) -> Done:
        """Do an action to the messages that are named, or to all that a filter finds."""
        actions = self._desk.current().actions
        by = _by(who, body)
        if body.ids:
            acts: dict[str, Callable[..., Acted]] = {
                "suspend": actions.suspend, "resume": actions.resume, "discard": actions.discard,
                "abort": actions.abort, "resend": actions.resend,
            }  # fmt: skip
            return done(acts[body.action](body.ids, by))
        if body.filter is None and body.up_to is None:
            raise BadRequest('no message is named: give ids, or a filter; "" is every message.')
        return done(actions.every(body.action, _bounded(filter_of(body.filter or ""), body.up_to), by))


def done(acted: Acted) -> Done:
    """Return what an action did, in a sentence as well."""
    return Done(
        action=acted.action,
        sentence=_sentence(acted),
        changed=len(acted.changed),
        ids=list(acted.changed[:_NAMED]),
        new=list(acted.new[:_NAMED]),
        already=len(acted.already),
        cancelling=list(acted.cancelling[:_NAMED]),
        refused=len(acted.refused),
        refusals=list(acted.refused[:_NAMED]),
    )


def _one(acted: Acted) -> Done:
    if acted.refused:
        raise BadRequest(acted.refused[0].why)
    return done(acted)


def _sentence(acted: Acted) -> str:
    named = ", ".join(str(one) for one in (acted.new or acted.changed)[:12])
    parts = [f"{acted.action}: {words.counted(len(acted.changed), 'message')}"]
    if named:
        parts[0] += f" ({'now ' if acted.new else ''}{named}{', …' if len(acted.changed) > 12 else ''})"
    if acted.already:
        parts.append(f"{words.counted(len(acted.already), 'message')} so before")
    if acted.cancelling:
        parts.append(f"{words.counted(len(acted.cancelling), 'message')} in hand told to stop")
    if acted.refused:
        whys = "; ".join(f"{refusal.why}" for refusal in acted.refused[:3])
        parts.append(f"{words.counted(len(acted.refused), 'message')} refused: {whys}")
    return ", ".join(parts)


def _bounded(which: MessageFilter, up_to: int | None) -> MessageFilter:
    """Leave out what came after the count was shown."""
    if up_to is None:
        return which
    return replace(which, last_id=up_to if which.last_id is None else min(which.last_id, up_to))


def _by(who: Who, body: Because) -> By:
    return By("Portal", f"{who.name}, {body.reason}" if body.reason else who.name)
