"""What a trace is: the messages, attempts, energies and log lines of one session, as frozen values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattbus import words
from wattbus.energy.record import Scope

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

KINDS = ("service", "process", "operation")


@dataclass(frozen=True)
class Lane:
    """An item that took part."""

    item: str
    kind: str  # service, process, operation


@dataclass(frozen=True)
class AttemptView:
    """One execution of a message; ``load_wait_seconds`` is the part of the wait in which the item was starting."""

    number: int
    job: str
    started_us: int
    ended_us: int | None
    wait_seconds: float | None
    load_wait_seconds: float
    duration_seconds: float | None
    outcome: str
    detail: str | None


@dataclass(frozen=True)
class EnergyView:
    """What one attempt used in one scope; ``reason`` says why ``joules`` is None."""

    attempt: int
    scope: str  # local, client, remote
    joules: float | None
    tier: str
    status: str
    reason: str | None
    low_joules: float | None
    high_joules: float | None
    cpu_seconds: float | None
    model: str | None
    revision: str | None
    partial: bool


@dataclass(frozen=True)
class Step:
    """One message of the session; ``parent`` and ``answers`` are numbers of other steps."""

    number: int
    id: int
    type: str  # Request, Response
    source: str
    target: str
    body_class: str
    body_bytes: int | None
    body: str | None
    description: str
    status: str
    error: str | None
    created_us: int
    parent: int | None
    answers: int | None  # of a response: its request
    depth: int
    attempts: tuple[AttemptView, ...]
    energy: tuple[EnergyView, ...]
    waiting_because: str | None  # of a queued message: why it is still there


@dataclass(frozen=True)
class EventLine:
    """A line of the event log; ``step`` is the number of the message that was in hand."""

    time_us: int
    type: str
    item: str
    job: str
    step: int | None
    text: str


@dataclass(frozen=True)
class EnergyTotal:
    """The sum of the known figures of one scope and one tier."""

    scope: str
    tier: str
    joules: float
    low_joules: float | None
    high_joules: float | None
    records: int


@dataclass(frozen=True)
class Totals:
    """Energy of the session; unlike scopes and unlike tiers stand apart and are never added."""

    known: tuple[EnergyTotal, ...]
    attempts: int
    attempts_unknown: int  # of our own side: scope local or client
    remote_calls: int
    remote_unknown: int

    def in_words(self) -> str:
        """Say what is known of each scope and tier, and how much is not."""
        parts = []
        for scope, place in _PLACES.items():
            ours = [total for total in self.known if total.scope == scope]
            if not ours:
                continue
            figures = " + ".join(_total_in_words(total) for total in ours)
            parts.append(f"{place}{figures}" + (" (unlike tiers, not added)" if len(ours) > 1 else ""))
        if self.attempts_unknown:
            parts.append(f"{self.attempts_unknown:,} of {words.counted(self.attempts, 'attempt')} unknown")
        if self.remote_unknown:
            calls = words.counted(self.remote_calls, "remote call")
            parts.append(f"{self.remote_unknown:,} of {calls} unknown")
        return "; ".join(parts) or "no energy: nothing was attempted"


@dataclass(frozen=True)
class Trace:
    """One session, as far as it had come at ``read_us``."""

    session_id: int
    started_us: int
    read_us: int
    duration_seconds: float
    open_messages: int
    lanes: tuple[Lane, ...]
    steps: tuple[Step, ...]
    events: tuple[EventLine, ...]
    totals: Totals
    left_out: int = 0  # messages after the last of ``steps``, where only so many were asked for

    def tree(self) -> dict[int | None, tuple[Step, ...]]:
        """Return the children of each step by its number, in order; under None the roots."""
        children: dict[int | None, list[Step]] = {}
        for step in self.steps:
            children.setdefault(step.parent, []).append(step)
        return {number: tuple(steps) for number, steps in children.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe values."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return {**plain, "started": words.utc_time(self.started_us)}

    def to_text(self, width: int = 100) -> str:
        """Draw for a terminal of ``width`` columns, without colour; ``rich`` prints the same with colour."""
        from wattbus.trace import text

        return "\n".join(line.plain.rstrip() for line in text.lines_of(self, width)) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from wattbus.trace import text

        yield from text.lines_of(self, options.max_width)

    def _repr_html_(self) -> str:
        from wattbus.trace import html

        return html.page_part(self)


def _total_in_words(total: EnergyTotal) -> str:
    bounds = words.joule_range(total.low_joules, total.high_joules)
    return words.joules(total.joules, total.tier) + (f" ({bounds})" if bounds else "")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


_PLACES = {
    Scope.LOCAL.value: "",
    Scope.CLIENT.value: "this side of remote calls ",
    Scope.REMOTE.value: "the remote side ",
}
