"""The life of a production by the command: signals, supervisor, single items; each step a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import SETTINGS, Command
from waiting import until
from wattbus.supervisor import Restarts

ECHO = """
from dataclasses import dataclass
from iop import BusinessOperation, Message, Production


@dataclass
class Job(Message):
    number: int = 0


class Adds(BusinessOperation):
    more: int = 1

    def work(self, request: Job) -> Job:
        return Job(request.number + self.more)


class Keeps(BusinessOperation):
    def work(self, request: Job) -> Job:
        return request


prod = Production("Test.Life")
prod.operation("Adds", Adds)
prod.operation("Keeps", Keeps)
PRODUCTIONS = [prod]
"""


def make(folder: Path, settings: str, *, supervised: bool = False) -> Iterator[Command]:
    (folder / "settings.py").write_text(settings)
    command = Command(folder, supervised=supervised)
    yield command
    (folder / "hold").unlink(missing_ok=True)
    status = command.run("status", "--json")
    if status.returncode == 0:
        running = json.loads(status.stdout)
        for pid in (running["supervisor"], running["pid"]):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    yield from make(tmp_path, ECHO)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "hold").touch()
    yield from make(tmp_path, SETTINGS)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Command]:
    yield from make(tmp_path, ECHO, supervised=True)


def state(command: Command) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(command.run("status", "--json").stdout)
    return answer


def statuses(command: Command) -> list[str]:
    return [row["status"] for row in command.json("messages", "ls") if row["type"] == "Request"]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def add(command: Command, number: int) -> int:
    answer = command.json("test", "Adds", "Job", json.dumps({"number": number}))
    return int(answer["response"]["number"])


def test_items_are_stopped_started_resized_and_disabled_by_the_command(wattbus: Command) -> None:
    wattbus("start")
    stopped = wattbus("item", "stop", "Adds")
    wattbus("test", "Adds", "Job", "--background")
    started = wattbus.json("item", "start", "Adds")
    pool = wattbus("item", "pool", "Adds", "3")
    disabled = wattbus.json("item", "disable", "Keeps")
    refused = wattbus("item", "start", "Keeps", status=1)
    unknown = wattbus("item", "restart", "Kepes", status=1)
    shown = wattbus("status")
    again = wattbus("restart")
    kept = wattbus.json("status")
    reset = wattbus("item", "reset")
    wattbus("item", "restart", "Adds")
    answer = add(wattbus, 1)
    wattbus("stop")

    assert "Adds is Stopped" in stopped
    assert started["items"][0]["name"] == "Adds"
    assert "pool size 3 (changed; settings.py says 1)" in pool
    assert disabled["items"][0]["state"] == "Disabled"
    assert "wattbus item enable Keeps" in refused
    assert "did you mean 'Keeps'" in unknown
    assert "settings.py says 1" in " ".join(shown.split())
    assert "is Running" in again
    assert {row["name"]: (row["state"], row["pool_size"]) for row in kept["items"]}["Keeps"] == (
        "Disabled",
        1,
    )
    assert "Keeps is" in reset
    assert answer == 2


def test_an_update_by_the_command_and_by_sighup_takes_a_changed_file_over(wattbus: Command) -> None:
    settings = wattbus.folder / "settings.py"
    pid = wattbus.json("start")["pid"]
    before = add(wattbus, 1)
    settings.write_text(ECHO.replace("more: int = 1", "more: int = 10"))
    asked = wattbus("status")
    touched = wattbus.json("update")["touched"]
    after = add(wattbus, 1)
    settings.write_text(ECHO.replace("PRODUCTIONS = [prod]", "PRODUCTIONS = [prod"))
    refused = wattbus("update", status=1)
    still = add(wattbus, 1)
    settings.write_text(ECHO.replace("more: int = 1", "more: int = 100"))
    os.kill(pid, signal.SIGHUP)
    wattbus.wait(lambda: add(wattbus, 1) == 101)
    nothing = wattbus("update")

    assert (before, after, still) == (2, 11, 11)
    assert "settings.py changed" in " ".join(asked.split())
    assert touched == ["Adds"]
    assert "cannot be imported" in refused
    assert "nothing had changed" in nothing
    assert wattbus.json("status")["pid"] == pid


def test_sigterm_finishes_what_somebody_waits_for_and_keeps_the_rest(slow: Command) -> None:
    pid = slow.json("start")["pid"]
    for number in range(3):
        slow("test", "Slow", "Job", json.dumps({"number": number}), "--background")
    asking = subprocess.Popen(
        [sys.executable, "-m", "wattbus", "test", "Slow", "Job", '{"number": 7}', "--json"],
        cwd=slow.folder, env={**os.environ, "WATTBUS_HOME": str(slow.home)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    slow.wait(lambda: len(statuses(slow)) == 4)

    os.kill(pid, signal.SIGTERM)
    slow.wait(lambda: state(slow)["status"] == "Stopping")
    (slow.folder / "hold").unlink()
    answer, _ = asking.communicate(timeout=60)
    until(lambda: is_gone(pid), "the process has ended")
    left = statuses(slow)
    stopped = state(slow)
    health = slow("doctor")

    assert json.loads(answer)["response"] == {"number": 7}
    assert left[0] == "Completed"
    assert set(left) <= {"Completed", "Queued"}
    assert stopped["status"] == "Stopped"
    assert health.rstrip().endswith("ok")


def test_a_second_sigint_ends_at_once_and_leaves_nothing_half(slow: Command) -> None:
    pid = slow.json("start")["pid"]
    asking = subprocess.Popen(
        [sys.executable, "-m", "wattbus", "test", "Slow", "Job", '{"number": 7}'],
        cwd=slow.folder, env={**os.environ, "WATTBUS_HOME": str(slow.home)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    slow.wait(lambda: statuses(slow) == ["Delivered"])

    os.kill(pid, signal.SIGINT)
    slow.wait(lambda: state(slow)["status"] == "Stopping")
    os.kill(pid, signal.SIGINT)
    _, told = asking.communicate(timeout=60)
    until(lambda: is_gone(pid), "the process has ended")
    stopped = state(slow)
    (slow.folder / "hold").unlink()
    slow("start")
    slow.wait(lambda: statuses(slow) == ["Completed"])
    health = slow("doctor")

    assert "the production has stopped: message 1 is kept" in told
    assert stopped["status"] == "Suspended"
    assert "wattbus start" in stopped["text"]
    assert health.rstrip().endswith("ok")


def test_a_production_whose_process_died_is_troubled_until_it_is_recovered(slow: Command) -> None:
    pid = slow.json("start")["pid"]
    slow("test", "Slow", "Job", "--background")
    slow.wait(lambda: statuses(slow) == ["Delivered"])

    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid), "the process is dead")
    troubled = slow("status", status=3)
    recovered = slow("recover")
    taken = statuses(slow)
    after = slow.json("status", status=3)

    assert "is Troubled" in troubled
    assert str(pid) in troubled
    assert "1 message taken back" in recovered
    assert taken == ["Queued"]
    assert after["status"] == "Stopped"


def test_the_supervisor_starts_a_process_again_that_was_killed_and_ends_with_one_that_stops(
    supervised: Command,
) -> None:
    first = supervised.json("start")
    os.kill(first["pid"], signal.SIGKILL)
    supervised.wait(lambda: state(supervised).get("pid") not in (None, first["pid"]))
    second = state(supervised)
    answer = add(supervised, 1)
    said = (supervised.home / "wattbus.log").read_text()
    log = supervised("log")
    supervised("stop")
    until(lambda: is_gone(first["supervisor"]), "the supervisor has ended")

    assert second["supervisor"] == first["supervisor"]
    assert answer == 2
    assert "died by signal SIGKILL; it is started again in 1 s" in said
    assert "the production was Troubled" in log
    assert state(supervised)["status"] == "Stopped"


def test_a_signal_for_the_supervisor_stops_its_process_and_it_ends_well(supervised: Command) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wattbus", "start", "--foreground", "--no-http"],
        cwd=supervised.folder,
        env={
            **os.environ,
            "WATTBUS_HOME": str(supervised.home),
            "WATTBUS_SUPERVISOR": "on",
            "WATTBUS_ENERGY": "0",
        },
        stdout=subprocess.DEVNULL,
    )
    supervised.wait(lambda: state(supervised)["status"] == "Running")
    running = state(supervised)

    process.send_signal(signal.SIGTERM)
    code = process.wait(60)

    assert running["supervisor"] == process.pid
    assert code == 0
    assert is_gone(running["pid"])
    assert state(supervised)["status"] == "Stopped"


def test_bad_settings_are_told_once_and_not_started_again(supervised: Command) -> None:
    (supervised.folder / "settings.py").write_text("PRODUCTIONS = []\n")

    told = supervised("start", status=1)

    assert "PRODUCTIONS" in told
    assert "started again" not in (supervised.home / "wattbus.log").read_text()


def test_a_second_start_is_refused_and_names_the_process(wattbus: Command) -> None:
    pid = wattbus.json("start")["pid"]

    told = wattbus("start", status=1)

    assert f"already running: process {pid}" in told


def test_a_process_that_dies_again_and_again_is_given_up() -> None:
    quick, slow = Restarts(), Restarts()

    often = [quick.died(now) for now in (0, 1, 3, 7, 15)]
    seldom = [slow.died(now) for now in range(0, 600, 25)]

    assert often == [1, 2, 4, 8, None]
    assert None not in seldom
    assert max(pause or 0 for pause in seldom) <= 30


@pytest.mark.parametrize("mode", [0o500, 0o700])
def test_a_home_that_cannot_be_written_is_refused_in_words(mode: int) -> None:
    if os.geteuid() != 0 and mode == 0o700:
        pytest.skip("only root can make a home of another user")
    folder = Path(tempfile.mkdtemp())
    home = folder / "home"
    home.mkdir()
    home.chmod(mode)
    folder.chmod(0o755)
    # Root may write anywhere, so it becomes somebody else first.
    script = (
        "import os, sys\n"
        "from wattbus.home import Home\n"
        "from wattbus.errors import BadSettings\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: Home.find(sys.argv[1]).create()\n"
        "except BadSettings as error: print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, timeout=60, check=False
    )
    shutil.rmtree(folder)

    assert str(home) in done.stdout, done.stderr
    assert "set WATTBUS_HOME to a folder that you own" in done.stdout
