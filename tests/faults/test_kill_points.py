"""kill -9 at every named place in the life of a message, and the next start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import wattbus
from waiting import wait_for
from wattbus import killpoints, testing
from wattbus.doctor import examine
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.store.tables import Status

SETTINGS = """
from dataclasses import dataclass
from pathlib import Path

from iop import BusinessOperation, BusinessProcess, Message, Production, target

EFFECTS = Path(__file__).parent / "effects"

@dataclass
class Order(Message):
    number: int = 0
    text: str = ""

class Work(BusinessOperation):
    def work(self, request: Order) -> Order:
        with EFFECTS.open("a") as effects:
            effects.write(f"{request.number}\\n")
        return request

class Route(BusinessProcess):
    Output = target()

    def on_request(self, request: Order):
        self.send_request_sync(self.Output, request)
        self.reply(Order(request.number, "taken"))
        for number in range(3):
            self.send_request_async(self.Output, Order(request.number * 100 + number), completion_key=str(number))

    def on_response(self, request, response, call_request, call_response, completion_key):
        return call_response

prod = Production("Test.KillPoints")
prod.operation("Work", Work)
route = prod.process("Route", Route)
route.connect(Route.Output, "Work")
PRODUCTIONS = [prod]
"""

# Prints each id when it is acknowledged; what is not printed may be absent, and is sent again with its key.
SENDER = """
import select
import sys
from pathlib import Path
from wattbus import testing
from wattbus.energy import FakeFeed

with testing.production(Path(sys.argv[1]), Path(sys.argv[2]), feed=FakeFeed()) as bus:
    for number in range(1, 6):
        text = "x" * (1_100_000 if number == 2 else 10)
        message = bus.message("Order", {"number": number, "text": text})
        print(number, bus.production.submit("Route", message, idempotency_key=f"order {number}"), flush=True)
    bus.production.ledger.settle()
    select.select([sys.stdin], [], [], 20)  # where the point is not reached it ends, and the test says so
"""


@pytest.mark.parametrize("point", killpoints.MESSAGE_POINTS)
def test_kill_9_at_each_point_loses_nothing_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    settings, home = tmp_path / "settings.py", tmp_path / "home"
    settings.write_text(SETTINGS)

    acknowledged = _send_and_die(settings, home, point)
    with testing.production(settings, home) as bus:
        again = {
            number: bus.production.submit(
                "Route",
                bus.message("Order", {"number": number, "text": "x" * (1_100_000 if number == 2 else 10)}),
                idempotency_key=f"order {number}",
            )
            for number in range(1, 6)
        }
        wait_for(bus, lambda rows: bool(rows) and not any(row.status in _OPEN for row in rows))
        rows = list_messages(bus.production.store.engine, limit=1000)
    health = examine(Home(home))

    orders = [row for row in rows if row.type == "Request" and row.target_item == "Route"]
    assert {number: again[number] for number in acknowledged} == acknowledged
    assert len(orders) == 5
    assert {row.status for row in orders} == {Status.COMPLETED}
    assert health.ok, str(health)


_OPEN = (Status.QUEUED, Status.DELIVERED, Status.DEFERRED)


def _send_and_die(settings: Path, home: Path, point: str) -> dict[int, int]:
    """Send five orders in a process that kills itself at ``point``; return the ids that it had acknowledged."""
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(settings), str(home)],
        env={**os.environ, "WATTBUS_KILL_AT": point},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Only its own death closes its output: its input stays open.
        assert sender.stdout is not None
        lines = (
            sender.stdout.read().rpartition("\n")[0].splitlines()
        )  # a line that was cut acknowledges nothing
        sender.wait(timeout=60)
    finally:
        sender.kill()
        sender.communicate()
    assert sender.returncode == -signal.SIGKILL, f"{point} was never reached"
    return {int(number): int(message_id) for number, message_id in (line.split() for line in lines)}


def test_every_kill_point_in_the_code_is_in_the_list_and_the_other_way_round() -> None:
    package = Path(wattbus.__file__).parent
    named = set()
    for file in package.rglob("*.py"):
        for name in re.findall(r'killpoints\.reached\(f?"([^"]+)"\)', file.read_text()):
            when = ("before-commit", "after-commit") if "{when}" in name else ("",)
            named |= {name.replace("{when}", moment) for moment in when}

    listed = {*killpoints.POINTS, *killpoints.FEED_POINTS}
    assert named == listed, json.dumps(sorted(named ^ listed))
