"""kill -9 of the running production, and the next start, by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from command import SETTINGS, Command


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


def test_kill_9_with_100_queued_and_a_training_under_way_loses_nothing(wattbus: Command) -> None:
    tinymodels.build("text-classification", wattbus.home / "models" / "tiny")
    rows = "".join(f"{number % 2},row number {number} of kind {number % 2}\n" for number in range(400))
    (wattbus.folder / "rows.csv").write_text("label,text\n" + rows)
    wattbus("tables", "load", "Review", "rows.csv")
    (wattbus.folder / "hold").touch()
    pid = wattbus.json("start")["pid"]
    request = {
        "columns": "label,text",
        "table": "Review",
        "num_train_epochs": 40,
        "per_device_train_batch_size": 4,
    }
    training = wattbus.json(
        "test", "Python.TuningOperation", "TrainRequest", json.dumps(request), "--background"
    )["message_id"]
    sender = (
        "import json,sys; from wattbus.home import Home; from wattbus.runtime.control import call\n"
        "for n in range(100): call(Home.find(sys.argv[1]), 'test', item='Slow', type='Job', "
        "body=json.dumps({'number': n}), background=True)"
    )
    subprocess.run([sys.executable, "-c", sender, str(wattbus.home)], check=True, timeout=60)
    wattbus.wait(lambda: "step" in wattbus("log", "--item", "Python.TuningOperation", "--limit", "200"))

    os.kill(pid, signal.SIGKILL)
    (wattbus.folder / "hold").unlink()
    wattbus.wait(lambda: wattbus.run("status").returncode == 3)
    wattbus("start")
    wattbus.wait(lambda: _all_ended(wattbus.json("messages", "--limit", "1000")), seconds=120)
    ended = {
        row["id"]: row["status"]
        for row in wattbus.json("messages", "--limit", "1000")
        if row["type"] == "Request"
    }
    told = wattbus("log", "--item", "Python.TuningOperation", "--limit", "500")
    steps = wattbus.json("trace", str(training))["steps"]
    health = wattbus("doctor")

    assert len(ended) == 101
    assert set(ended.values()) == {"Completed"}
    assert "resum" in told or "restart" in told
    assert [attempt["outcome"] for attempt in steps[0]["attempts"]] == ["worker lost", "completed"]
    assert health.rstrip().endswith("ok")


def _all_ended(rows: list[dict[str, Any]]) -> bool:
    requests = [row for row in rows if row["type"] == "Request"]
    return len(requests) == 101 and all(row["status"] in ("Completed", "Error") for row in requests)
