"""R35, R36, R37: more than a consumer takes, long queues, and very large bodies; the figures go to the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from components import Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.doctor import examine
from wattbus.home import Home
from wattbus.runtime.bus import Origin
from wattbus.runtime.types import to_envelope
from wattbus.store.queries import list_messages
from wattbus.store.store import counts
from wattbus.store.tables import attempts, messages

Record = Callable[[str, object], None]


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.heavy)])
def test_a_long_queue_is_worked_off_in_the_order_of_acceptance(
    tmp_path: Path, record_property: Record, count: int
) -> None:
    with testing.production(echo_production(0), tmp_path) as bus:
        origin = Origin("door", "BusinessService")
        sent = [
            bus.production.bus.send(bus.production.bus.draft("Echo", to_envelope(Text(str(number))), origin))
            for number in range(count)
        ]
        accepted = [message.wait() for message in sent]

    began = time.perf_counter()
    with testing.production(echo_production(1), tmp_path) as bus:
        bus.wait_ready()
        started = time.perf_counter()
        list_messages(bus.production.store.engine)
        listed = time.perf_counter()
        until(
            lambda: counts(bus.production.store.engine).get("Queued", 0) == 0, "the queue is worked off", 300
        )
        until(lambda: counts(bus.production.store.engine) == {"Completed": 2 * count}, "all is stored", 60)
        worked = time.perf_counter()
        query = (
            select(attempts.c.message_id)
            .join(messages, messages.c.id == attempts.c.message_id)
            .where(messages.c.type == "Request")
            .order_by(attempts.c.ended_us, attempts.c.message_id)
        )
        with bus.production.store.engine.connect() as connection:
            order = list(connection.execute(query).scalars())

    record_property("start with the queue, s", round(started - began, 2))
    record_property("list of messages, ms", round((listed - started) * 1000, 1))
    record_property("worked off, messages/s", round(count / (worked - started)))
    assert order == accepted
    assert examine(Home(tmp_path)).ok


# A body of so many bytes is accepted and handled; what that takes in memory is compared with what it took before.
LARGE = """
import json, resource, sys, time
from pathlib import Path
from iop import BusinessOperation, Production
from components import Text
from wattbus import testing, trace
from wattbus.doctor import examine
from wattbus.home import Home

class Length(BusinessOperation):
    def on_message(self, request: Text) -> Text:
        return Text(str(len(request.text)))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

size, home = int(sys.argv[2]), Path(sys.argv[1])
prod = Production("Test.Large")
prod.operation("Length", Length)
with testing.production(prod, home) as bus:
    bus.request("Length", Text("small"))
    before = peak()
    answer = bus.request("Length", Text("x" * size))
    grown = peak() - before
    stored = sum(file.stat().st_size for file in (home / "bodies").iterdir())
    database = (home / "store.sqlite").stat().st_size
    began = time.perf_counter()
    bus.trace()
    traced = time.perf_counter() - began
print(json.dumps({"answer": answer.text, "grown": grown, "stored": stored, "database": database,
                  "trace": traced, "ok": examine(Home(home)).ok}))
"""


@pytest.mark.parametrize("size", [20_000_000, pytest.param(100_000_000, marks=pytest.mark.heavy)])
def test_a_very_large_body_lies_in_a_file_and_takes_bounded_memory(
    tmp_path: Path, record_property: Record, size: int
) -> None:
    found = _run(LARGE, str(tmp_path), str(size))

    record_property("memory for the body, times its size", round(found["grown"] / size, 1))
    record_property("trace, ms", round(found["trace"] * 1000, 1))
    assert found["answer"] == str(size)
    assert found["stored"] > size > found["database"]
    assert found["grown"] < 6 * size
    assert found["ok"]


# A producer that is faster than its consumer: what is over the limit is refused, and memory does not grow with it.
FLOOD = """
import json, resource, sys
from pathlib import Path
from components import Gate, Text
from iop import Production
from wattbus import testing
from wattbus.doctor import examine
from wattbus.errors import QueueFull
from wattbus.home import Home

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

prod = Production("Test.Flood")
prod.operation("Gate", Gate, settings={"QueueLimit": "200"})
accepted, refused = 0, 0
with testing.production(prod, Path(sys.argv[1])) as bus:
    bus.submit("Gate", Text("first"))
    assert Gate.entered.wait(30)
    before = resident()
    for number in range(5000):
        try:
            bus.submit("Gate", Text("x" * 10_000))
            accepted += 1
        except QueueFull as error:
            refused += 1
            assert error.retry_after_seconds > 0
    grown = resident() - before
    Gate.opened.set()
print(json.dumps({"accepted": accepted, "refused": refused, "grown": grown,
                  "ok": examine(Home(Path(sys.argv[1]))).ok}))
"""


def test_a_producer_that_is_too_fast_is_refused_and_memory_stays_bounded(
    tmp_path: Path, record_property: Record
) -> None:
    found = _run(FLOOD, str(tmp_path))

    record_property("memory grown, MB", round(found["grown"] / 1e6, 1))
    assert found["accepted"] == 200
    assert found["accepted"] + found["refused"] == 5000
    assert found["grown"] < 100_000_000
    assert found["ok"]


def _run(script: str, *arguments: str) -> Any:
    """Run a script in a process of its own, whose memory is its own, and return what it prints as JSON."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
