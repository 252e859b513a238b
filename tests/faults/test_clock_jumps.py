"""R38: the time of day jumps while messages are in hand, and between two starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from iop import Production
from sqlalchemy import select

from components import Echo, Gate, Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.doctor import examine
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.store.tables import attempts
from wattbus.testing import FakeClock

DAY, HOUR = 86_400.0, 3_600.0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("seconds", [DAY, -HOUR, -DAY])
def test_a_jump_of_the_clock_takes_no_message_from_its_worker_and_leaves_order_and_durations(
    tmp_path: Path, request: pytest.FixtureRequest, seconds: float, database: str
) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgres_url")
    clock = FakeClock()
    Gate.entered.clear()
    Gate.opened.clear()
    prod = Production("Test.Jumps")
    prod.operation("Gate", Gate)
    prod.operation("Echo", Echo)

    with testing.production(prod, tmp_path, clock=clock, store_url=url) as bus:
        held = bus.begin("Gate", Text("in hand"))
        until(Gate.entered.is_set, "a message is in hand")
        waiting = [bus.submit("Gate", Text(str(number))) for number in range(3)]
        clock.jump(seconds)
        later = bus.submit("Echo", Text("after the jump"))
        clock.advance(60)  # leases are renewed, and those that ran out would be taken back
        Gate.opened.set()
        answer = held.result(timeout=30)
        until(
            lambda: all(row.status == "Completed" for row in list_messages(bus.production.store.engine)),
            "all end",
        )
        with bus.production.store.engine.connect() as connection:
            rows = connection.execute(select(attempts).order_by(attempts.c.message_id)).all()

    assert answer == Text("in hand")
    assert {row.outcome for row in rows} == {"completed"}
    assert all(row.number == 1 and row.duration_seconds >= 0 for row in rows)
    assert waiting == sorted(waiting) and later > waiting[-1]
    assert examine(Home(tmp_path), url).ok


WORK = """
import sys, time
from pathlib import Path
from components import Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.store.store import counts

with testing.production(echo_production(int(sys.argv[2])), Path(sys.argv[1])) as bus:
    if sys.argv[2] == "0":
        for number in range(20):
            bus.submit("Echo", Text(str(number)))
    else:
        until(lambda: set(counts(bus.production.store.engine)) == {"Completed"}, "all end")
print(int(time.time()))
"""


@pytest.mark.parametrize("offset", ["-1h", "+1d"])
def test_messages_of_another_time_of_day_are_worked_off_in_their_order(tmp_path: Path, offset: str) -> None:
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        pytest.skip("no libfaketime: the clock of a process cannot be moved")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    there = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1"}
    first = _work(tmp_path, "0", {**there, "FAKETIME": "+0"})

    second = _work(tmp_path, "1", {**there, "FAKETIME": offset})
    with testing.production(echo_production(), tmp_path) as bus:
        query = select(attempts.c.message_id).order_by(attempts.c.ended_us, attempts.c.message_id)
        with bus.production.store.engine.connect() as connection:
            order = list(connection.execute(query).scalars())

    assert (second < first - HOUR / 2) if offset == "-1h" else (second > first + DAY / 2)
    assert order == sorted(order) and len(order) == 20
    assert examine(Home(tmp_path)).ok


def _work(home: Path, workers: str, environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(home), workers],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1])
