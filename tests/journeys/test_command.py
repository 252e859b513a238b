"""The command, used as a person uses it: each step a process of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import SETTINGS, Command


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


def test_start_test_look_and_stop(wattbus: Command) -> None:
    started = wattbus.json("start")
    answer = wattbus.json("test", "Slow", "Job", '{"number": 7}')
    trace = wattbus("trace")
    listed = wattbus.json("messages")
    wattbus("doctor")
    stopped = wattbus("stop")
    after = wattbus("status", status=3)

    assert started["status"] == "Running"
    assert answer["response"] == {"number": 7}
    assert "Slow" in trace
    assert {row["status"] for row in listed} == {"Completed"}
    assert "Stopped" in stopped
    assert "wattbus start" in after


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["test", "Slwo", "Job", "{}"], 1, "did you mean 'Slow'"),
        (["test", "Slow", "Jbo", "{}"], 1, "did you mean 'Job'"),
        (["test", "Slow", "Job", '{"numbr": 1}'], 1, "did you mean 'number'"),
        (["test", "Slow", "Job", "{"], 1, "is not JSON"),
        (["test", "Slow", "os.system", "{}"], 1, "unknown message type"),
        (["test", "Slow", "Job", "@nowhere.json"], 1, "cannot be read"),
        (["trce"], 2, "Did you mean 'trace'"),
        (["trace", "999"], 1, "send a message first"),
        (["messages", "--status", "Erorr"], 1, "did you mean 'Error'"),
        (["models", "rollback", "../../etc"], 1, "../../etc"),
        (["tables", "load", "iris.Review", "nowhere.csv"], 1, "nowhere.csv"),
        (["export", "boamps"], 1, "nothing to report"),
        (["start", "--settings", "nowhere.py"], 1, "already running"),
    ],
)
def test_a_wrong_word_gets_a_sentence_and_no_traceback(
    running: Command, words: list[str], status: int, said: str
) -> None:
    told = running(*words, status=status)

    assert said in told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("running")
    (folder / "settings.py").write_text(SETTINGS)
    command = Command(folder)
    pid = command.json("start")["pid"]
    yield command
    os.kill(pid, signal.SIGKILL)


def test_without_a_production_each_command_says_what_to_do(wattbus: Command) -> None:
    told = [wattbus(*words, status=3) for words in (["test", "Slow", "Job"], ["messages"], ["log"], ["stop"])]
    missing = wattbus("start", "--settings", "nowhere.py", status=1)

    assert all("wattbus start" in text for text in told)
    assert "nowhere.py" in missing
