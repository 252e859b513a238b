"""R34, R39, R40: children that crash, hang or hoard, and what of the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from cgroups import memory_cgroup
from components import Text
from isolated_components import trouble_production
from waiting import until, wait_for
from wattbus import doctor, testing
from wattbus.door import PythonDoor
from wattbus.errors import RequestFailed
from wattbus.home import Home
from wattbus.store.queries import list_events
from wattbus.store.tables import Status, attempts, energy
from wattbus.testing import FakeClock

POISON = [("segfault", "SIGSEGV, a segmentation fault"), ("exit", "exit code 3")]


@pytest.mark.parametrize(("text", "words"), POISON)
def test_a_message_that_kills_its_child_three_times_is_suspended_and_the_next_is_handled(
    tmp_path: Path, text: str, words: str
) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        with pytest.raises(RequestFailed, match=r"suspended.* The last time: ") as told:
            bus.request("Trouble", Text(text))
        bus.request("Trouble", Text("pid"))
        echo = bus.request("Echo", Text("others go on"))
        header = bus.production.store.header(1)
        outcomes = _attempts(bus, 1)

    assert header is not None and header.status == Status.SUSPENDED
    assert [outcome for outcome, _ in outcomes] == ["worker lost"] * 3
    assert all(words in detail for _, detail in outcomes)
    assert words in str(told.value)
    assert echo == Text("others go on")
    assert _healthy(tmp_path)


def test_a_child_killed_from_outside_costs_one_attempt_and_the_message_is_handled_by_a_fresh_one(
    tmp_path: Path,
) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        before = bus.request("Trouble", Text("pid")).pid
        waiting = bus.submit("Trouble", Text("wait"))
        pid = _told(bus, "waiting in")[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(_attempts(bus, waiting)) == 2, "the message is tried again")
        fresh = _told(bus, "waiting in", count=2)[1]
        until(lambda: bus.production.place.cancel(waiting), "the message is in hand")
        wait_for(bus, lambda rows: any(row.id == waiting and row.status == Status.ERROR for row in rows))
        outcomes = _attempts(bus, waiting)

    assert (pid, fresh != pid) == (before, True)
    assert [outcome for outcome, _ in outcomes] == ["worker lost", "error"]
    assert "SIGKILL" in outcomes[0][1]
    assert _healthy(tmp_path)


def test_a_child_killed_while_it_has_nothing_to_do_costs_no_attempt(tmp_path: Path) -> None:
    with testing.production(trouble_production(greeting="hi"), tmp_path) as bus:
        before = bus.request("Trouble", Text("pid")).pid
        os.kill(before, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{before}").exists(), "the child is gone")
        after = bus.request("Trouble", Text("pid")).pid
        outcomes = [_attempts(bus, number) for number in (1, 3)]

    assert before != after
    assert all([outcome for outcome, _ in tried] == ["completed"] for tried in outcomes)


def test_a_component_that_no_longer_starts_puts_its_message_back_until_it_does(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with testing.production(trouble_production(greeting=str(broken)), tmp_path / "home") as bus:
        before = bus.request("Trouble", Text("pid")).pid
        broken.touch()
        os.kill(before, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{before}").exists(), "the child is gone")
        asked = bus.submit("Trouble", Text("pid"))
        until(
            lambda: bool(_attempts(bus, asked)) and _attempts(bus, asked)[0][0] == "put back",
            "it is put back",
        )
        broken.unlink()
        wait_for(bus, lambda rows: any(row.id == asked and row.status == Status.COMPLETED for row in rows))
        details = [detail for outcome, detail in _attempts(bus, asked) if outcome == "put back"]

    assert "cannot start in a fresh child process: " in details[0]
    assert "the printer is gone" in details[0]


def test_a_message_beyond_its_time_limit_ends_softly_where_its_component_lets_itself_be_ended(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    with testing.production(trouble_production(TimeLimit="60"), tmp_path, clock=clock) as bus:
        answer = bus.begin("Trouble", Text("late"))
        pid = _told(bus, "waiting in")[0]
        clock.advance(60)
        error = answer.exception(timeout=30)
        lines = _lines(bus, "Info")
        fresh = bus.request("Trouble", Text("pid")).pid

    assert str(error) == "stopped after 60 s (TimeLimit)"
    assert "asked to end, and answering all the same" in lines  # and its late result is refused
    assert fresh != pid
    assert _healthy(tmp_path)


def test_a_loop_in_c_that_ignores_sigterm_is_killed_after_the_grace_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    with testing.production(trouble_production(TimeLimit="60"), tmp_path, clock=clock) as bus:
        answer = bus.begin("Trouble", Text("spin"))
        pids = _told(bus, "spinning in")
        clock.advance(60)
        until(lambda: any("asked to end" in line for line in _lines(bus, "Warning")), "the soft stop")
        clock.advance(5)
        error = answer.exception(timeout=30)
        echo = bus.request("Echo", Text("others go on"))
        bus.request("Trouble", Text("pid"))
        outcomes = _attempts(bus, 1)

    assert str(error) == "stopped after 60 s (TimeLimit)"
    assert [outcome for outcome, _ in outcomes] == ["error"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids), "no orphan, no zombie"
    assert echo == Text("others go on")
    assert _healthy(tmp_path)


def test_a_message_beyond_its_memory_limit_is_killed_and_said_to_be_out_of_memory(tmp_path: Path) -> None:
    with testing.production(trouble_production(MemoryLimit="160"), tmp_path) as bus:
        with pytest.raises(RequestFailed) as raised:
            bus.request("Trouble", Text("hoard", times=40))
        bus.request("Trouble", Text("pid"))

    assert str(raised.value) == "killed, out of memory, limit 160 MB"
    assert _healthy(tmp_path)


def test_a_child_that_the_kernel_kills_for_its_memory_cgroup_is_said_to_be_out_of_memory(
    tmp_path: Path, cgroup: Path
) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        pid = bus.request("Trouble", Text("pid")).pid
        (cgroup / "cgroup.procs").write_text(str(pid))
        with pytest.raises(RequestFailed) as raised:
            bus.request("Trouble", Text("hoard", times=200))
        echo = bus.request("Echo", Text("others go on"))

    assert str(raised.value) == "killed, out of memory, limit 200 MB (memory cgroup)"
    assert echo == Text("others go on")
    assert _healthy(tmp_path)


def test_a_message_in_hand_is_cancelled(tmp_path: Path) -> None:
    with testing.production(trouble_production(ReplyCodeActions="E=R"), tmp_path) as bus:
        answer = bus.begin("Trouble", Text("wait"))
        _told(bus, "waiting in")
        unknown = bus.production.place.cancel(99)
        cancelled = bus.production.place.cancel(1, "Ada")
        error = answer.exception(timeout=30)
        header = bus.production.store.header(1)

    assert (unknown, cancelled) == (False, True)
    assert str(error) == "cancelled by Ada"
    assert header is not None and (header.status, header.error_status) == ("Error", "cancelled by Ada")
    assert _healthy(tmp_path)


def test_the_energy_of_an_attempt_whose_child_died_holds_what_the_child_had_used(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        with pytest.raises(RequestFailed, match="suspended"):
            bus.request("Trouble", Text("burn_and_exit"))
        bus.production.store.flush()
        with bus.production.store.engine.connect() as connection:
            spent = list(
                connection.execute(select(energy.c.cpu_seconds).where(energy.c.message_id == 1)).scalars()
            )

    assert len(spent) == 3
    assert all(seconds >= 0.3 for seconds in spent)


def test_a_message_still_in_hand_when_a_stop_has_waited_long_enough_is_put_back_and_its_child_is_gone(
    tmp_path: Path,
) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        waiting = bus.submit("Trouble", Text("wait"))
        pid = _told(bus, "waiting in")[0]
        bus.production.stop(grace_seconds=0.1)

    assert not Path(f"/proc/{pid}").exists()
    assert _healthy(tmp_path)
    with testing.production(trouble_production(), tmp_path) as bus:
        _told(bus, "waiting in", count=2)
        outcomes = _attempts(bus, waiting)
        until(lambda: bus.production.place.cancel(waiting), "the message is in hand")
        wait_for(bus, lambda rows: any(row.id == waiting and row.status == Status.ERROR for row in rows))
    assert [outcome for outcome, _ in outcomes] == ["put back", "running"]


PARENT = """
import sys, threading
from pathlib import Path
from cgroups import memory_cgroup
from components import Text
from isolated_components import trouble_production
from wattbus import testing
with testing.production(trouble_production(), Path(sys.argv[1])) as bus:
    bus.submit("Trouble", Text(sys.argv[2]))
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("text", ["wait", "spin"])
def test_no_child_and_nothing_that_it_started_outlives_a_production_that_is_killed(
    tmp_path: Path, text: str
) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), text], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        pids: list[int] = []
        until(lambda: bool(pids.extend(_told_in_store(tmp_path)) or pids), "the component is at work", 60)
    finally:
        parent.kill()
        parent.wait()

    until(lambda: not any(map(_is_at_work, pids)), "the children are gone")


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of 200 MB."""
    with memory_cgroup(200 * 1024 * 1024) as folder:
        yield folder


def _attempts(bus: PythonDoor, message_id: int) -> list[tuple[str, str]]:
    with bus.production.store.engine.connect() as connection:
        rows = connection.execute(
            select(attempts.c.outcome, attempts.c.detail)
            .where(attempts.c.message_id == message_id)
            .order_by(attempts.c.number)
        )
        return [(row.outcome, row.detail or "") for row in rows]


def _lines(bus: PythonDoor, type: str) -> list[str]:
    bus.production.store.flush()
    return [event.text for event in list_events(bus.production.store.engine, item="Trouble", type=type)]


def _told(bus: PythonDoor, words: str, count: int = 1) -> list[int]:
    """Return the numbers in the lines that begin with ``words``, once there are so many lines."""

    def lines() -> list[str]:
        return [line for line in _lines(bus, "Info") if line.startswith(words)]

    until(lambda: len(lines()) >= count, f"the component says {words!r}")
    return [int(word) for line in lines() for word in line.split() if word.isdecimal()]


def _told_in_store(home: Path) -> list[int]:
    """Return what :func:`_told` does, from the store of another process."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{home / 'store.sqlite'}?mode=ro", uri=True) as connection:
            rows = connection.execute("SELECT text FROM event_log WHERE text LIKE '%ing in %'").fetchall()
    except sqlite3.OperationalError:  # it is being made
        return []
    return [int(word) for (text,) in rows for word in text.split() if word.isdecimal()]


def _is_at_work(pid: int) -> bool:
    """Tell whether a process is there and no zombie: an orphan's end is taken note of by others, in their own time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _healthy(home: Path) -> bool:
    report = doctor.examine(Home(home))
    assert report.ok, report.to_text()
    return True
