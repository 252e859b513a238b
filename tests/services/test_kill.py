"""kill -9 of the ready-made services, between what they do to their source and what they send."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from waiting import until
from wattbus import killpoints, testing
from wattbus.doctor import examine
from wattbus.home import Home
from wattbus.store.queries import list_messages
from wattbus.testing.production import ProductionUnderTest

ROWS = 5
SETTINGS = """
from pathlib import Path

from iop import BusinessOperation, Production

from wattbus.messages import FileRow, SQLRow
from wattbus.services import FileDropService, SQLPollService

HERE = Path(__file__).parent


class Taker(BusinessOperation):
    def of_a_file(self, request: FileRow) -> None:
        pass

    def of_a_table(self, request: SQLRow) -> None:
        pass


prod = Production("Test.KillFeeds")
taker = prod.operation("Taker", Taker)
drop = prod.service(
    "Drop", FileDropService,
    settings={
        "FilePath": str(HERE / "drop"), "Format": "csv", "FileAccessTimeout": "0.01", "CallInterval": "0.02",
    },
)
table = prod.service(
    "Table", SQLPollService,
    settings={"URL": f"sqlite:///{HERE / 'rows.sqlite'}", "Table": "items", "CallInterval": "0.02"},
)
prod.connect(drop.Output, taker)
prod.connect(table.Output, taker)
PRODUCTIONS = [prod]
"""
RUN = """
import sys
from pathlib import Path
from wattbus import testing

with testing.production(Path(sys.argv[1]), Path(sys.argv[2])):
    sys.stdin.read()
"""


def sent(bus: ProductionUnderTest) -> list[Any]:
    """Return the value of each row that was sent, sorted."""
    store = bus.production.store
    rows = [row for row in list_messages(store.engine, limit=1000) if row.target_item == "Taker"]
    bodies = [json.loads(store.body(row.body_id) or "") for row in rows]
    return sorted((body.get("file", "table"), int(body["row"]["number"])) for body in bodies)


# The third row of five: some are sent, and some are not.
@pytest.mark.parametrize(
    "point", [point + (":3" if "send" in point else "") for point in killpoints.FEED_POINTS]
)
def test_kill_9_of_a_service_loses_no_row_and_sends_none_twice(tmp_path: Path, point: str) -> None:
    settings, home, drop = tmp_path / "settings.py", tmp_path / "home", tmp_path / "drop"
    settings.write_text(SETTINGS)
    drop.mkdir()
    (drop / "items.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(ROWS)))
    with sqlite3.connect(tmp_path / "rows.sqlite") as rows:
        rows.execute("CREATE TABLE items (number INTEGER PRIMARY KEY)")
        rows.executemany("INSERT INTO items VALUES (?)", [(number,) for number in range(ROWS)])
    rows.close()

    ended = _run_and_die(settings, home, point)
    with testing.production(settings, home) as bus:
        wanted = sorted((source, number) for source in ("items.csv", "table") for number in range(ROWS))
        until(lambda: len(sent(bus)) >= 2 * ROWS, "every row is sent")
        bus.settle()
        found = sent(bus)
    health = examine(Home(home))

    assert ended == -signal.SIGKILL, f"{point} was never reached"
    assert found == wanted
    assert [path for path in drop.rglob("*") if path.is_file()] == []
    assert health.ok, str(health)


def _run_and_die(settings: Path, home: Path, point: str) -> int:
    """Run the production in a process that kills itself at ``point``; return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(settings), str(home)],
        env={**os.environ, "WATTBUS_KILL_AT": point},
        stdin=subprocess.PIPE,
    )
    try:
        # Only its own death ends it: its input stays open.
        return process.wait(timeout=60)
    finally:
        process.kill()
        process.communicate()
