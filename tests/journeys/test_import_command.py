"""Importing a run by the command: while nothing runs, and beside a production that alone may write."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import SETTINGS, Command

EMISSIONS = """timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code
2024-09-26T10:46:51,reviews,a1,3.5,4e-05,0.0005,FRA
2024-09-26T10:46:58,reviews,b2,7,0,=1+1,FRA
2024-09-26T10:47:58,reviews,c3,7,8e-05,0.001,FRA
"""


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "emissions.csv").write_text(EMISSIONS)
    command = Command(tmp_path)
    yield command
    status = command.run("status", "--json")
    if status.returncode == 0:
        running = json.loads(status.stdout)
        for pid in (running["supervisor"], running["pid"]):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


def test_one_of_several_runs_is_chosen_kept_listed_and_forgotten(wattbus: Command) -> None:
    listed = wattbus("import", "emissions.csv", "--list")
    refused = wattbus("import", "emissions.csv", status=1)
    kept = wattbus("import", "emissions.csv", "--run", "c3", "--stage", "inference", "--requests", "1000")
    (stored,) = wattbus.json("import")
    forgotten = wattbus("import", "--forget", "reviews, run c3")

    assert "a1" in listed and "Skipped: row 2 energy_consumed: '=1+1' is a formula" in listed
    assert "holds 2 runs: choose one by its run id or its row" in refused
    assert "reviews, run c3 is kept: 3.6 kJ of unknown origin." in kept
    assert (stored["energy_joules"], stored["stage"], stored["requests"]) == (3600.0, "inference", 1000)
    assert "is forgotten" in forgotten
    assert wattbus.json("import") == []


def test_beside_a_running_production_the_run_goes_through_it(wattbus: Command) -> None:
    wattbus("start", "--no-http")

    kept = wattbus.json("import", "emissions.csv", "--run", "1")
    (stored,) = wattbus.json("import")

    assert stored == kept["kept"]
    assert "did you mean 'reviews, run a1'" in wattbus("import", "--forget", "reviews, run a2", status=1)
    wattbus("import", "--forget", stored["name"])
    assert wattbus.json("import") == []


def test_a_file_that_is_none_is_one_sentence(wattbus: Command) -> None:
    (wattbus.folder / "other.csv").write_text("a,b\n1,2\n")

    assert wattbus("import", "other.csv", status=1).startswith("error: other.csv begins with 'a, b'")
    assert "there is no file none.csv" in wattbus("import", "none.csv", status=1)
    assert "give training or inference" in wattbus("import", "emissions.csv", "--stage", "x", status=1)
    assert wattbus.json("import", "other.csv", status=1)["error"] == "BadRequest"
