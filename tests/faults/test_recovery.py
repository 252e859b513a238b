"""A process that dies, and the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import select

from components import Text, echo_production
from waiting import until, wait_for
from wattbus import testing
from wattbus.errors import AlreadyRunning
from wattbus.store.queries import list_messages
from wattbus.store.tables import Status, attempts, energy

SLOW = """
from dataclasses import dataclass
from pathlib import Path
from iop import BusinessOperation, Message, Production
import time

@dataclass
class Job(Message):
    number: int = 0

class Slow(BusinessOperation):
    def work(self, request: Job) -> Job:
        folder = Path(__file__).parent
        with (folder / "ran").open("a") as ran:
            ran.write(f"{request.number}\\n")
        while (folder / "hold").exists():
            time.sleep(0.01)
        return request

prod = Production("Test.Slow")
prod.operation("Slow", Slow)
PRODUCTIONS = [prod]
"""

SENDER = """
import sys
from pathlib import Path
from wattbus import testing
with testing.production(Path(sys.argv[1]), Path(sys.argv[2])) as bus:
    for number in range(100):
        bus.submit("Slow", bus.message("Job", {"number": number}))
    print("sent", flush=True)
    sys.stdin.read()
"""


def test_messages_queued_when_the_process_is_killed_all_end_after_the_next_start(tmp_path: Path) -> None:
    settings, home = tmp_path / "settings.py", tmp_path / "home"
    settings.write_text(SLOW)
    (tmp_path / "hold").touch()
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(settings), str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sender.stdout is not None
    assert sender.stdout.readline() == "sent\n"
    until((tmp_path / "ran").exists, "the first message is in the operation's hands")

    os.kill(sender.pid, signal.SIGKILL)
    sender.communicate()
    (tmp_path / "hold").unlink()
    with testing.production(settings, home) as bus:
        wait_for(
            bus,
            lambda rows: sum(row.status == Status.COMPLETED for row in rows if row.type == "Request") == 100,
        )
        with bus.production.store.engine.connect() as connection:
            lost = connection.execute(select(attempts).where(attempts.c.outcome == "worker lost")).all()
            partial = connection.execute(select(energy).where(energy.c.partial)).all()
            completed = connection.execute(
                select(attempts.c.message_id)
                .where(attempts.c.outcome == "completed")
                .order_by(attempts.c.ended_us)
            ).scalars()
            order = list(completed)

    assert [row.message_id for row in lost] == [1]
    assert [(row.message_id, row.attempt, row.energy_joules) for row in partial] == [(1, 1, None)]
    assert order == sorted(order)
    ran = [int(line) for line in (tmp_path / "ran").read_text().split()]
    assert ran == [0, *range(100)]


def test_a_second_process_on_the_same_home_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with (
        testing.production(echo_production(), tmp_path),
        pytest.raises(AlreadyRunning, match=str(os.getpid())),
    ):
        testing.production(echo_production(), tmp_path)


def test_a_stopped_production_keeps_what_is_queued(tmp_path: Path) -> None:
    code = textwrap.dedent(SLOW)
    (tmp_path / "settings.py").write_text(code)
    (tmp_path / "hold").touch()
    door = testing.production(tmp_path / "settings.py", tmp_path / "home")
    with door as bus:
        for number in range(3):
            bus.submit("Slow", bus.message("Job", {"number": number}))
        wait_for(bus, lambda rows: any(row.status == Status.DELIVERED for row in rows))
        bus.production.place.stopping.set()
        bus.production.store.release_workers()
        (tmp_path / "hold").unlink()

    with testing.production(echo_production(), tmp_path / "home") as bus:
        rows = list_messages(bus.production.store.engine)
        states = [row.status for row in reversed(rows) if row.type == "Request"]

    assert states == [Status.COMPLETED, Status.QUEUED, Status.QUEUED]


def test_the_store_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with testing.production(echo_production(), tmp_path / "home") as bus:
            bus.request("Echo", Text("x" * 1_100_000))
            loose = [path for path in (tmp_path / "home").rglob("*") if path.stat().st_mode & 0o077]
    finally:
        os.umask(before)

    assert loose == []
