"""R11, R12: the disk under the store fails at a sync or at a write."""

from __future__ import annotations

from pathlib import Path

import pytest

import faultshim

# One message's life under one failing call; a process that may store nothing more is started again, as a user would.
LIFE = """
import sys
from dataclasses import replace
from pathlib import Path
from components import Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.energy import FakeFeed
from wattbus.errors import StoreError, StoreFailed
from wattbus.home import Home
from wattbus.runtime.reading import from_production
from wattbus.runtime.running import RunningProduction
from wattbus.store.queries import list_messages

def opened(home):
    return PythonDoor(RunningProduction(from_production(echo_production()), Home(home), feed=FakeFeed()))

def ended(bus):
    rows = list_messages(bus.production.store.engine, limit=100)
    return bool(rows) and all(row.status == "Completed" for row in rows)

def life(home, kind, which):
    accepted, failed = None, None
    with opened(home) as bus:
        bus.wait_ready()
        bus.production.store.flush()
        arm(kind, "store.sqlite", which)
        try:
            accepted = bus.submit("Echo", Text("x" * 100), idempotency_key="one")
            store = bus.production.store
            until(lambda: ended(bus) or store.failure is not None, "it ends, or the disk is given up", 10)
        except StoreError as error:
            failed = error
        fired = seen() >= which
        disarm()
        gave_up = bus.production.store.failure
        if gave_up is not None:
            try:
                bus.submit("Echo", Text("more"))
            except StoreFailed as error:
                assert "stop and start it again" in str(error), error
            else:
                raise AssertionError("it carries on as if nothing had happened")
        elif failed is not None:
            assert isinstance(failed, StoreError), failed
    with opened(home) as bus:
        again = bus.submit("Echo", Text("x" * 100), idempotency_key="one")
        assert accepted in (None, again), (accepted, again)
        until(lambda: ended(bus), "it ends after the next start", 20)
        bus.production.store.flush()
        requests = [row for row in list_messages(bus.production.store.engine, limit=100) if row.type == "Request"]
    assert len(requests) == 1, requests
    report = examine(Home(home))
    assert report.ok, report.to_text()
    return fired, accepted is not None, gave_up is not None
"""

EACH = (
    LIFE
    + """
kind, step = sys.argv[2], int(sys.argv[3])
which = 1
while True:
    fired, accepted, gave_up = life(Path(sys.argv[1]) / f"home{which}", kind, which)
    if not fired:
        break
    print(which, accepted, gave_up)
    which += step
"""
)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.heavy)])
def test_a_sync_that_fails_stops_the_store_with_a_sentence_and_the_next_start_recovers(
    tmp_path: Path, step: int
) -> None:
    lines = [line.split() for line in faultshim.run(tmp_path, EACH, "sync", str(step))]

    assert lines, "no sync of the store was seen"
    assert all(gave_up == "True" for _, _, gave_up in lines)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.heavy)])
def test_whichever_write_fails_a_message_is_accepted_or_refused_and_ends_once(
    tmp_path: Path, step: int
) -> None:
    lines = faultshim.run(tmp_path, EACH, "write", str(step))

    assert lines, "no write of the store was seen"
