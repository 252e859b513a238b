"""A replay: a recorded session sent into new code, with the operations answered from the recording."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import iop

from wattbus.clock import Clock
from wattbus.config import read_config
from wattbus.door import read_production
from wattbus.errors import RequestFailed
from wattbus.runtime.iris import Envelope
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.types import MessageTypes, read_typed, to_envelope
from wattbus.testing.components import Answers
from wattbus.testing.diff import Difference, compare, likeness, rendered
from wattbus.testing.doubles import Double
from wattbus.testing.production import ProductionUnderTest, introduce, opened
from wattbus.testing.recording import Content, Hop, Recording, canonical, neutral, read


class Replay:
    """What new code made of a recorded session."""

    def __init__(self, recorded: Recording, now: Recording) -> None:
        self.recorded, self.now = recorded, now

    def same(self, ignore: Iterable[str] = ()) -> bool:
        """Tell whether every message is as it was; ``ignore`` are paths into bodies, such as ``$.timestamp``."""
        return not self.differences(ignore)

    def diff(self, ignore: Iterable[str] = ()) -> str:
        """Say what is different, message by message."""
        return rendered(self.differences(ignore), self.recorded)

    def differences(self, ignore: Iterable[str] = ()) -> list[Difference]:
        """Return what is different."""
        return compare(self.recorded, self.now, ignore)

    def __repr__(self) -> str:
        found = self.differences()
        first = f", the first: {' > '.join(found[0].path)}: {found[0]}" if found else ""
        return f"<replay with {len(found)} differences{first}>"


class Playback:
    """Answers for one item as the recording has it: to the same message, else to the one most like it."""

    def __init__(self, item: str, recorded: Iterable[Hop], types: MessageTypes) -> None:
        self._item, self._types = item, types
        self._left = list(recorded)
        self._lock = threading.Lock()

    def answer(self, message: Any) -> Any:
        """Return the recorded response, or raise the recorded error."""
        envelope = to_envelope(message) or Envelope()
        hop = self._take(Content(envelope.classname, json.loads(neutral(envelope.json) or "null")))
        if hop is None:
            raise RequestFailed(f"the recording has no answer of {self._item!r} to this message.")
        if hop.error is not None:
            raise RequestFailed(hop.error)
        if hop.response is None or not hop.response.type:
            return None
        return read_typed(self._types, Envelope(hop.response.type, canonical(hop.response.body)))

    def _take(self, request: Content) -> Hop | None:
        with self._lock:
            if not self._left:
                return None
            best = max(self._left, key=lambda hop: likeness(hop.request, request))
            self._left.remove(best)
            return best


def replay(
    recording: Recording | str | Path,
    production: iop.Production | type[iop.Production] | str | Path,
    *,
    real: Collection[str] = (),
    doubles: Mapping[str, Double] | None = None,
    home: Path | None = None,
    clock: Clock | None = None,
    seconds: float = 30.0,
) -> Replay:
    """Send the recorded requests into a production and return what became of them.

    Operations answer from the recording, unless they are named in ``real`` or have a double of their own in
    ``doubles``; services that are not in ``real`` send nothing. ``seconds`` is how long, in real time, the production
    may take to come to rest.
    """
    recorded = recording if isinstance(recording, Recording) else Recording.load(recording)
    config = read_config().model_copy(update={"store_url": None})
    read_one = read_production(production, config)
    stand_ins: dict[str, Answers] = {**_playbacks(recorded, read_one, real), **(doubles or {})}
    for item, double in (doubles or {}).items():
        introduce(double, item, read_one)
    with opened(read_one, stand_ins, config, home, clock=clock) as bus:
        sent = [_send(bus, call) for call in recorded.calls]
        with contextlib.suppress(AssertionError):  # what does not come to rest is a difference
            bus.settle(seconds)
        store, at = bus.production.store, bus.production.home
        sessions = [read(store.engine, at, message_id, as_it_stands=True) for message_id in sent]
    calls = tuple(call for session in sessions for call in session.calls)
    return Replay(recorded, Recording(recorded.production, calls))


def _playbacks(
    recorded: Recording, production: ProductionConfig, real: Collection[str]
) -> dict[str, Playback]:
    """Return who answers for each operation, and for what only IRIS runs; services are silent."""
    for name in real:
        production.item(name)
    heard: dict[str, list[Hop]] = {}
    for hop in _all_hops(recorded.calls):
        heard.setdefault(hop.target, []).append(hop)
    names = [name for name, item in production.items.items() if item.kind != "process" and name not in real]
    names += [name for name in production.skipped if name in heard]
    types = MessageTypes.of(production)
    return {name: Playback(name, heard.get(name, ()), types) for name in names}


def _all_hops(calls: Iterable[Hop]) -> Iterator[Hop]:
    for call in calls:
        yield call
        yield from _all_hops(call.calls)


def _send(bus: ProductionUnderTest, call: Hop) -> int:
    types = bus.production.types
    types.resolve(
        call.request.type
    )  # a type that the new code does not have is refused with the nearest that it has
    message = read_typed(types, Envelope(call.request.type, canonical(call.request.body)))
    if call.sent == "async":
        return bus.submit(call.target, message)
    return bus.production.submit_and_watch(call.target, message).message_id
