"""The export of traces to a collector of OpenTelemetry: off unless ``WATTBUS_OTEL_ENDPOINT`` names one.

The bus tells which attempts have ended, which costs it the addition to a list; a thread reads them from the store some
seconds later and sends them by OTLP/HTTP. A collector that fails slows nothing and fails nothing: what it does not take
is kept, up to a number, and sent again; it is told of once, and once more when it goes on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from sqlalchemy import Engine, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from wattbus import words
from wattbus.energy.record import EnergyRecord
from wattbus.errors import BadSettings, WattbusError
from wattbus.export import otlp
from wattbus.export.otlp import Ends
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.tally import EndOf
from wattbus.store.rows import Attempt, Header, energy_record
from wattbus.store.tables import attempts, bodies, energy, instances, messages
from wattbus.transport import PORTS, Resolver, Transport

#: Attempts that may wait for a collector; older ones give way.
MOST_KEPT = 10_000
MOST_AT_ONCE = 256
#: Energies are settled a moment after an attempt has ended: so long it waits before it is sent.
SETTLE_SECONDS = 3.0
SEND_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_TRACES = "/v1/traces"


class NotTaken(WattbusError):
    """The collector did not take the spans."""


class SpanExport:
    """Sends the spans of one running production; a thread."""

    def __init__(
        self, running: RunningProduction, endpoint: str, resolver: Resolver, *, with_content: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:  # fmt: skip
        self._running, self._with_content, self._settle_seconds = running, with_content, settle_seconds
        self.url, host = address_of(endpoint)
        self._transport = Transport(frozenset({host}), resolver)
        self._hosts = frozenset({host})
        self._ended: deque[tuple[float, EndOf]] = deque(maxlen=MOST_KEPT)
        self._lost = 0
        self._taken: list[EndOf] = []  # out of the list, and not sent yet
        self._trouble: str | None = None
        self._pause_seconds = _LOOK_SECONDS
        self._store = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattbus-otel", daemon=True)

    def start(self) -> None:
        """Hear of ends from now on."""
        self._store = _name_of_store(self._running.store.engine)
        self._running.bus.hears_of_ends = self._hear
        self._thread.start()

    def stop(self) -> None:
        """Send what is left, once, and end."""
        self._running.bus.hears_of_ends = None
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _hear(self, end: EndOf) -> None:
        if len(self._ended) == MOST_KEPT:
            self._lost += 1
        self._ended.append((time.monotonic(), end))

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_seconds):
            self._send(self._settle_seconds)
        self._send(0.0)

    def _send(self, settle_seconds: float) -> None:
        """Send all that is old enough, until the collector does not take it."""
        while self._take(settle_seconds):
            try:
                self._send_taken()
            except (WattbusError, SQLAlchemyError) as error:
                self._failed(str(error))
                return
            self._taken = []
            self._went_well()

    def _take(self, settle_seconds: float) -> bool:
        latest = time.monotonic() - settle_seconds
        while len(self._taken) < MOST_AT_ONCE and self._ended and self._ended[0][0] <= latest:
            self._taken.append(self._ended.popleft()[1])
        return bool(self._taken)

    def _send_taken(self) -> None:
        ends = read(self._running, self._store, self._taken, with_content=self._with_content)
        answer = self._transport.fetch(
            self.url,
            method="POST",
            json=otlp.request(ends),
            allow_hosts=self._hosts,
            timeout_seconds=SEND_SECONDS,
        )
        if not 200 <= answer.status < 300:
            raise NotTaken(f"{self.url} answered with status {answer.status}.")

    def _failed(self, why: str) -> None:
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
        if self._trouble is None:
            self._trouble = why
            self._say(
                "Warning",
                f"spans cannot be sent to the collector that WATTBUS_OTEL_ENDPOINT names: {why} Messages are not "
                f"touched by this; up to {MOST_KEPT:,} attempts are kept for it, and it is tried again.",
            )

    def _went_well(self) -> None:
        self._pause_seconds = _LOOK_SECONDS
        if self._trouble is None and not self._lost:
            return
        lost, self._lost, self._trouble = self._lost, 0, None
        text = "spans go to the collector again"
        self._say(
            "Info", f"{text}; those of {words.counted(lost, 'attempt')} are lost." if lost else f"{text}."
        )

    def _say(self, type: str, text: str) -> None:
        self._running.bus.log(type, text, "")


def exporter(
    endpoint: str, resolver: Resolver, *, with_content: bool = False, settle_seconds: float = SETTLE_SECONDS
) -> Callable[[RunningProduction], SpanExport]:
    """Return what makes the export of a production; an endpoint that is no address is refused here."""
    address_of(endpoint)
    return lambda running: SpanExport(
        running, endpoint, resolver, with_content=with_content, settle_seconds=settle_seconds
    )


def address_of(endpoint: str) -> tuple[str, str]:
    """Return the address that spans are sent to, and its host with the port.

    >>> address_of("http://localhost:4318")
    ('http://localhost:4318/v1/traces', 'localhost:4318')
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in PORTS or not parts.hostname or port is None or parts.query or parts.username:
        raise BadSettings(
            f"WATTBUS_OTEL_ENDPOINT is {endpoint!r}: give the address of a collector, such as http://localhost:4318."
        )
    path = parts.path.rstrip("/")
    path = path if path.endswith(_TRACES) else path + _TRACES
    return f"{parts.scheme}://{parts.netloc}{path}", f"{parts.hostname}:{port}"


def read(running: RunningProduction, store: str, ends: list[EndOf], *, with_content: bool) -> Ends:
    """Read from the store what is known of attempts that have ended; what was purged meanwhile is left out."""
    pairs = [(end.message_id, end.attempt) for end in ends]
    ids = sorted({one for end in ends for one in (end.message_id, end.request_id)})
    texts: dict[int, str] = {}
    with running.store.engine.connect() as connection:
        rows = connection.execute(select(messages).where(messages.c.id.in_(ids))).all()
        headers = {row.id: Header._make(row) for row in rows}
        of_pairs = tuple_(attempts.c.message_id, attempts.c.number).in_(pairs)
        tried = tuple(Attempt._make(row) for row in connection.execute(select(attempts).where(of_pairs)))
        of_pairs = tuple_(energy.c.message_id, energy.c.attempt).in_(pairs)
        records = [energy_record(row) for row in connection.execute(select(energy).where(of_pairs))]
        if with_content:
            by_body = {header.body_id: header.id for header in headers.values() if header.body_id is not None}
            found = select(bodies.c.id, bodies.c.json).where(
                bodies.c.id.in_(by_body), bodies.c.json.is_not(None)
            )
            texts = {by_body[row.id]: row.json for row in connection.execute(found)}
    spent: dict[tuple[int, int], tuple[EnergyRecord, ...]] = {}
    for record in records:
        pair = (record.message_id, record.attempt)
        spent[pair] = (*spent.get(pair, ()), record)
    return Ends(store, running.production.name, headers, tried, spent, texts, with_content)


def _name_of_store(engine: Engine) -> str:
    """Return what names a store for ever: the first process that ran on it."""
    with engine.connect() as connection:
        return str(
            connection.execute(select(instances.c.id).order_by(instances.c.started_us).limit(1)).scalar_one()
        )
