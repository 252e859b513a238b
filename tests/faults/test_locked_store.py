"""R15, R16: a store that another process has locked, or runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components import Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.doctor import examine
from wattbus.errors import StoreBusy
from wattbus.home import Home
from wattbus.store.queries import list_events

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
"""


def test_a_store_locked_by_a_stopped_process_is_a_sentence_with_its_pid_and_goes_on_when_it_lets_go(
    tmp_path: Path,
) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("before"))
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(Home(tmp_path).store_file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
            os.kill(holder.pid, signal.SIGSTOP)
            with pytest.raises(StoreBusy) as refused:
                bus.submit("Echo", Text("meanwhile"))
        finally:
            os.kill(holder.pid, signal.SIGCONT)
            holder.communicate(timeout=30)
        until(lambda: _accepted(bus), "it takes messages again")
        after = bus.request("Echo", Text("after"))
        bus.production.store.flush()
        until(lambda: _told(bus), "the event log says so")

    assert f"process {holder.pid}" in str(refused.value)
    assert str(Home(tmp_path).store_file) in str(refused.value)
    assert after == Text("after")
    assert examine(Home(tmp_path)).ok


def _accepted(bus: testing.ProductionUnderTest) -> bool:
    try:
        bus.submit("Echo", Text("more"))
    except StoreBusy:
        return False
    return True


def _told(bus: testing.ProductionUnderTest) -> bool:
    lines = list_events(bus.production.store.engine, type="Warning", limit=100)
    return any("the store works again after" in line.text for line in lines)
