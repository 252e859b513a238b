"""The retry rules of one item at work: they turn the result of an attempt into what becomes of its message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wattbus.runtime import retry
from wattbus.runtime.bus import Bus
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.result import Result
from wattbus.runtime.retry import Action, Asked, Decision, Limits, ReplyCodeActions
from wattbus.runtime.settings import host_setting
from wattbus.store import tries
from wattbus.store.rows import Claimed
from wattbus.store.units import Ending

_JUDGED = (Ending.COMPLETED, Ending.ERROR, Ending.DEFERRED)


class Rules:
    """What one item does when an attempt fails; shared by the threads of its pool."""

    def __init__(self, item: ItemConfig, bus: Bus) -> None:
        self._item, self._bus = item, bus
        self.actions = ReplyCodeActions.parse(host_setting(item, "ReplyCodeActions", ""))
        self.limits = Limits(
            host_setting(item, "RetryInterval", retry.RETRY_INTERVAL_SECONDS),
            host_setting(item, "FailureTimeout", retry.FAILURE_TIMEOUT_SECONDS),
        )
        # A process may end without a reply: only an operation is held to one, where its setting speaks of it.
        self._misses_replies = item.kind == "operation" and any(
            entry.code == "X" for entry in self.actions.entries
        )
        #: When the series of tries of a message began, by the steady clock of this process.
        self._began: dict[int, float] = {}

    def warn_of_what_never_matches(self) -> None:
        """Say once which entries of ReplyCodeActions have no meaning here."""
        never = [*self.actions.never_match]
        if self._item.kind == "process":
            never += [entry.code for entry in self.actions.entries if entry.code == "X"]
        if never:
            self._bus.log(
                "Warning",
                f"ReplyCodeActions: {', '.join(never)} cannot match here (a process may end without a reply, and a "
                "message of iop has no field of an HL7 or X12 acknowledgement); the other entries apply.",
                self._item.name,
            )

    def prepare(self, handle: Any) -> None:
        """Give the component the limits of its item, which it may change for the message that comes."""
        if handle is not None:
            handle.RetryInterval = self.limits.retry_interval_seconds
            handle.FailureTimeout = self.limits.failure_timeout_seconds

    def judge(self, claimed: Claimed, result: Result, handle: Any) -> tuple[Result, Action]:
        """Return the result as it is to be stored, and what was decided."""
        asked = _asked(handle)
        replied = result.response is not None or result.replied or not self._misses_replies
        uneventful = result.error_status is None and replied and asked is None
        unjudged = result.final or result.ending not in _JUDGED or self._item.kind == "service"
        if uneventful or unjudged or claimed.header.body_class.startswith("IOP.Generator."):
            self._began.pop(claimed.header.id, None)
            return result, Action.COMPLETE
        decision = retry.decide(
            self.actions,
            _limits(handle, self.limits),
            error_status=result.error_status,
            replied=replied,
            attempt=claimed.attempt,
            elapsed_seconds=self._elapsed_seconds(claimed, result),
            asked=asked or Asked(),
        )
        self._log(claimed, result, decision)
        if decision.action is not Action.RETRY:
            self._began.pop(claimed.header.id, None)
        return _applied(decision, result), decision.action

    def _elapsed_seconds(self, claimed: Claimed, result: Result) -> float:
        """Return for how long the message has been tried: by the steady clock, and across a crash by the store."""
        message_id, now = claimed.header.id, self._bus.place.clock.monotonic()
        began = self._began.get(message_id)
        if began is None:
            elapsed = result.duration_seconds
            if claimed.attempt > 1:
                store = self._bus.store
                first_us = tries.first_try_us(store.engine, message_id, claimed.attempt)
                if first_us is not None:
                    elapsed = max(elapsed, (store.now_us() - first_us) / 1e6)
            began = self._began[message_id] = now - elapsed
        return now - began

    def _log(self, claimed: Claimed, result: Result, decision: Decision) -> None:
        header = claimed.header

        def line(type: str, text: str) -> None:
            self._bus.log(type, text, self._item.name, header.id, header.session_id)

        for warning in decision.warnings:
            line("Warning", warning)
        said = decision.error_status
        if decision.action is Action.RETRY:
            line("Info", f"attempt {claimed.attempt} failed, the next in {decision.wait_seconds:g} s: {said}")
        elif decision.action is Action.SUSPEND:
            line("Error", f"suspended: {said}")
        elif decision.action is Action.FAIL and said != result.error_status:
            line("Error", f"failed: {said}")
        elif decision.action is Action.COMPLETE and result.error_status is not None and not decision.warnings:
            line("Info", f"completed in spite of an error, as ReplyCodeActions says: {result.error_status}")


def _asked(handle: Any) -> Asked | None:
    retry, suspend = getattr(handle, "Retry", 0), getattr(handle, "SuspendMessage", 0)
    return Asked(bool(retry), bool(suspend)) if retry or suspend else None


def _limits(handle: Any, usual: Limits) -> Limits:
    """Return the limits as the component left them on its handle."""
    try:
        return Limits(
            float(getattr(handle, "RetryInterval", usual.retry_interval_seconds)),
            float(getattr(handle, "FailureTimeout", usual.failure_timeout_seconds)),
        )
    except (TypeError, ValueError):
        return usual


def _applied(decision: Decision, result: Result) -> Result:
    """Return the end of the attempt as it was decided; what a failed attempt wanted to send is never sent."""
    action, said = decision.action, decision.error_status
    if action is Action.COMPLETE:
        return result if result.error_status is None else _completed(result)
    if action is Action.FAIL:
        return result if result.error_status == said else result.failed(said or "failed")
    ending = {
        Action.RETRY: Ending.RETRY, Action.SUSPEND: Ending.SUSPENDED, Action.DISABLE: Ending.PUT_BACK,
    }[action]  # fmt: skip
    # The process that the message belongs to stays as it was before this attempt.
    return replace(
        result,
        response=None,
        error_status=said,
        detail=result.detail or said,
        ending=ending,
        wait_seconds=decision.wait_seconds,
        children=[],
        process=None,
        when_stored=_undone(result),
    )


def _completed(result: Result) -> Result:
    process = result.process
    if process is not None and process.ends_request is not None:
        process = replace(process, ends_request=Ending.COMPLETED, error_status=None)
    return replace(result, error_status=None, ending=Ending.COMPLETED, children=[], process=process)


def _undone(result: Result) -> Any:
    told = result.when_stored
    return None if told is None else lambda _stored: told(False)
