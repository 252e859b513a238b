"""A double: what stands in a production for one of its items, and says what it expects and what it answers.

Nothing of the real item runs: not its class, not its settings, not its adapter. The rest is real: the queue, the
store, the trace, the host's retries and alerts. A message that came and was not expected, or was expected and did not
come, is an ``AssertionError`` at the end of the test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from wattbus.errors import RequestFailed, nearest
from wattbus.runtime import context

_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class _Step:
    """What is done with one attempt."""

    reply: Any = None
    error: BaseException | None = None
    delay_seconds: float = 0.0


class Expectation:
    """Messages of one type, of those the ones that ``where`` accepts, and how many; made by :meth:`Double.expect`.

    Each :meth:`fail_once` is for one attempt, in the order told; what was told last by :meth:`reply` or :meth:`fail`
    is for all others. Told nothing, it answers nothing.
    """

    def __init__(self, kind: type, where: Callable[[Any], object] | None, times: int | None) -> None:
        self.kind, self.where, self.times = kind, where, times
        self.got = 0
        self._first: list[_Step] = []
        self._then = _Step()
        self._delay_seconds = 0.0

    def reply(self, message: Any = None) -> Self:
        """Answer with ``message``: a message, None, or a function that makes one of them from the request."""
        self._then = _Step(message, None, self._delay_seconds)
        return self

    def fail(self, why: str | BaseException) -> Self:
        """Fail: a sentence becomes the error status, an exception what the item's own would become."""
        self._then = _Step(None, _error(why), self._delay_seconds)
        return self

    def fail_once(self, why: str | BaseException) -> Self:
        """Fail one attempt, as :meth:`fail`, before what else was told."""
        self._first.append(_Step(None, _error(why), self._delay_seconds))
        return self

    def delay(self, seconds: float) -> Self:
        """Let so much of the production's clock pass before what is told after this."""
        self._delay_seconds = seconds
        self._then = _Step(self._then.reply, self._then.error, seconds)
        return self

    @property
    def is_full(self) -> bool:
        """Tell whether no further message is expected."""
        return self.times is not None and self.got >= self.times

    @property
    def is_met(self) -> bool:
        """Tell whether as many came as were expected."""
        return self.times is None or self.got == self.times

    def accepts(self, message: Any) -> bool:
        """Tell whether the message is one of those, however many came before."""
        return type(message) is self.kind and self.refusal(message) is None

    def refusal(self, message: Any) -> str | None:
        """Say why a message of the type is none of those; None: it is."""
        if self.where is None:
            return None
        try:
            return None if self.where(message) else "which says no to it"
        except Exception as error:  # noqa: BLE001 - the test's own condition; its author is told at the end
            return f"whose condition failed: {type(error).__name__}: {error}"

    def step(self) -> _Step:
        """Return what is done with this attempt."""
        return self._first.pop(0) if self._first else self._then

    def __str__(self) -> str:
        often = "any number of" if self.times is None else str(self.times)
        return f"{often} {self.kind.__name__}{_place(self.where)}"


class Double:
    """Stands for an item; placed by ``production(..., doubles={"Item": double})`` or made by ``bus.double("Item")``."""

    def __init__(self) -> None:
        self.item = ""
        #: The messages that came, in order; one that was tried again stands here once.
        self.received: list[Any] = []
        self._lock = threading.Lock()
        self._expected: list[Expectation] = []
        self._of_message: dict[int, Expectation] = {}
        self._unexpected: list[tuple[Any, str]] = []
        self._handled: tuple[str, ...] | None = None
        self._known_items: tuple[str, ...] | None = None

    def expect(
        self, kind: type, where: Callable[[Any], object] | None = None, *, times: int | None = 1
    ) -> Expectation:
        """Expect messages of a type, ``times`` in all; None: any number, also none. The first that fits is taken."""
        self._check_handled(kind)
        expectation = Expectation(kind, where, times)
        with self._lock:
            self._expected.append(expectation)
        return expectation

    def verify(self) -> None:
        """Raise AssertionError if a message did not come, or came and was not expected."""
        if said := self.complaints():
            raise AssertionError("\n".join(said))

    def complaints(self) -> list[str]:
        """Say what did not come, and what came and was not expected."""
        with self._lock:
            said = [self._missed(expectation) for expectation in self._expected if not expectation.is_met]
            said += [sentence for _, sentence in self._unexpected]
        if said and self._known_items is not None:
            close = nearest(self.item, self._known_items)
            hint = f": did you mean {close!r}?" if close else "."
            said.append(f"{self}: the production has no item of that name, it was added for the test{hint}")
        return said

    @property
    def is_met(self) -> bool:
        """Tell whether all came that was expected."""
        with self._lock:
            return all(expectation.is_met for expectation in self._expected)

    # -- for the production -------------------------------------------------------------------------------------

    def stand_for(
        self, item: str, handled: tuple[str, ...] | None, known: Iterable[str] | None = None
    ) -> None:
        """Take the place of an item; ``handled`` are the type names that it takes, ``known`` the items of a
        production that has none of that name."""
        if self.item and self.item != item:
            raise ValueError(f"{self} stands for an item already: make another Double() for {item!r}.")
        self.item, self._handled = item, handled
        self._known_items = None if known is None else tuple(known)
        self._of_message.clear()  # another store counts its messages from 1 again
        for expectation in self._expected:
            self._check_handled(expectation.kind)

    def answer(self, message: Any) -> Any:
        """Take a message as the item would, and do what its expectation says."""
        now = context.current()
        message_id = now.message_id if now is not None else None
        with self._lock:
            step = self._expectation(message, message_id).step()
        if step.delay_seconds:
            _pause(step.delay_seconds)
        if step.error is not None:
            raise step.error
        return step.reply(message) if callable(step.reply) else step.reply

    def _expectation(self, message: Any, message_id: int | None) -> Expectation:
        """Return the expectation that a message belongs to. The lock is held."""
        # Another attempt on the same message is no new message.
        known = None if message_id is None else self._of_message.get(message_id)
        if known is not None:
            return known
        self.received.append(message)
        for expectation in self._expected:
            if not expectation.is_full and expectation.accepts(message):
                expectation.got += 1
                if message_id is not None:
                    self._of_message[message_id] = expectation
                return expectation
        sentence = self._surprise(message)
        self._unexpected.append((message, sentence))
        raise RequestFailed(sentence)

    def _surprise(self, message: Any) -> str:
        expected = ", ".join(f"{expectation} ({expectation.got} came)" for expectation in self._expected)
        sentence = f"{self}: got what was not expected: {_shown(message)}. Expected: {expected or 'nothing'}."
        same = [expectation for expectation in self._expected if expectation.kind is type(message)]
        if not same:
            names = {type_.kind.__name__: type_ for type_ in self._expected}
            close = nearest(type(message).__name__, names)
            return sentence + (f" Nearest: {names[close]}." if close else "")
        for expectation in same:
            if why := expectation.refusal(message):
                return f"{sentence} Nearest: {expectation}, {why}."
        return f"{sentence} Nearest: {same[-1]}, and so many came before."

    def _missed(self, expectation: Expectation) -> str:
        sentence = f"{self}: expected {expectation}, got {expectation.got or 'none'}."
        others = [message for message, _ in self._unexpected]
        same = [message for message in others if type(message) is expectation.kind]
        near = (same or others)[:1]
        return sentence + (f" Nearest: {_shown(near[0])}." if near else "")

    def _check_handled(self, kind: type) -> None:
        name = f"{kind.__module__}.{kind.__name__}"
        if self._handled is not None and name not in self._handled:
            takes = ", ".join(handled.rpartition(".")[2] for handled in self._handled) or "nothing"
            raise ValueError(f"{self} cannot expect {kind.__name__}: the item takes {takes}.")

    def __str__(self) -> str:
        return f"double {self.item!r}" if self.item else "double"

    def __repr__(self) -> str:
        return f"<{self}: {len(self.received)} received>"


def verify(doubles: Iterable[Double]) -> None:
    """Raise one AssertionError for all that the doubles have to complain of."""
    if said := [sentence for double in doubles for sentence in double.complaints()]:
        raise AssertionError("\n".join(said))


def _pause(seconds: float) -> None:
    place = context.place()
    if place.clock.wait(place.stopping, seconds):
        raise context.PutBack("the production stops while a double waits before it answers")


def _error(why: str | BaseException) -> BaseException:
    return RequestFailed(why) if isinstance(why, str) else why


def _place(where: Callable[[Any], object] | None) -> str:
    if where is None:
        return ""
    code = getattr(where, "__code__", None)
    return f" where {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}" if code else " where ..."


def _shown(message: Any) -> str:
    text = repr(message)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
