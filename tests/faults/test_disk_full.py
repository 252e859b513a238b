"""R13: the disk under the store is full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors import open_door
from iop import BusinessOperation

import wattbus
from components import Gate, Text, echo_production
from waiting import until
from wattbus.config import read_config
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.energy.feed import NullFeed
from wattbus.errors import StoreFull
from wattbus.home import Home
from wattbus.store.queries import list_events, list_messages


def test_on_a_full_disk_new_messages_are_refused_what_runs_ends_and_room_is_all_that_is_needed(
    small_disk: Path,
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 4_500_000)
    with _running(small_disk) as bus:
        held = bus.production.submit_and_watch("Gate", Text("in hand when the disk is full"))
        until(Gate.entered.is_set, "a message is in hand")
        accepted, refusal = _fill(bus)
        Gate.opened.set()
        until(lambda: held.done, "what was in hand ends on the full disk")
        again = _refused(bus)
        filler.unlink()
        until(lambda: not _refused(bus), "it takes messages again by itself")
        until(lambda: _all_ended(bus), "every accepted message ends")
        until(lambda: _told(bus), "the event log says that it was full")
        rows = list_messages(bus.production.store.engine, limit=10_000)

    assert held.error_status is None
    assert "disk" in str(refusal) and "goes on by itself" in str(refusal)
    assert again
    assert set(accepted) <= {row.id for row in rows if row.status == "Completed"}
    assert _healthy(small_disk)


def test_the_ballast_is_given_up_when_a_write_finds_the_disk_full_and_laid_again_when_there_is_room(
    small_disk: Path,
) -> None:
    home, filler = Home(small_disk / "home"), small_disk / "filler"
    with _running(small_disk) as bus:
        Gate.opened.set()
        laid = home.ballast_file.stat().st_size
        _fill_disk(filler)
        until(lambda: _write_fails(bus), "a write finds the disk full")
        gone = not home.ballast_file.exists()
        filler.unlink()
        until(home.ballast_file.exists, "the ballast is laid again")
        until(lambda: not _refused(bus), "it takes messages again")

    assert laid == 1_000_000
    assert gone
    assert _healthy(small_disk)


def test_a_large_body_that_has_no_room_is_refused_in_words_and_leaves_no_file(small_disk: Path) -> None:
    home = Home(small_disk / "home")
    (small_disk / "filler").write_bytes(b"x" * 3_000_000)
    with _running(small_disk) as bus:
        with pytest.raises(StoreFull, match="goes on by itself"):
            bus.submit("Swallow", Text("x" * 6_000_000))
        left = list(home.bodies.iterdir())
        bus.submit("Swallow", Text("small"))
        until(lambda: _all_ended(bus), "the small one ends")

    assert left == []
    assert _healthy(small_disk)


def test_a_door_answers_507_while_the_disk_is_full_and_says_when_to_ask_again(small_disk: Path) -> None:
    filler = small_disk / "filler"
    message = {"target": "Echo", "classname": "components.Text", "body": '{"text": "hi"}'}
    with open_door(small_disk / "home", echo_production(), ballast_mb=1) as door:
        before = door("POST", "/api/iop/test", message)
        _fill_disk(filler)
        until(lambda: door("POST", "/api/iop/test", message).status == 507, "it refuses")
        refused = door("POST", "/api/iop/test", message)
        filler.unlink()
        until(lambda: door("POST", "/api/iop/test", message).status == 200, "it answers again")

    assert before.status == 200
    assert (refused.status, refused.headers["retry-after"]) == (507, "60")
    assert "goes on by itself" in refused.said["error"]
    assert _healthy(small_disk)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    Gate.entered.clear()
    Gate.opened.clear()
    try:
        yield folder
    finally:
        Gate.opened.set()
        subprocess.run(["umount", "--lazy", folder], check=True)


class Swallow(BusinessOperation):
    def on_message(self, request: Text) -> None:
        return None


def _running(disk: Path) -> PythonDoor:
    prod = echo_production()
    prod.operation("Swallow", Swallow)
    prod.operation("Gate", Gate)
    return wattbus.run(prod, config=read_config(home=disk / "home", ballast_mb=1), feed=NullFeed("a test"))


def _fill(bus: PythonDoor) -> tuple[list[int], StoreFull]:
    accepted = []
    for _ in range(1000):
        try:
            accepted.append(bus.submit("Swallow", Text("x" * 20_000)))
        except StoreFull as refusal:
            return accepted, refusal
    raise AssertionError("the disk was never full")


def _fill_disk(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def _write_fails(bus: PythonDoor) -> bool:
    """Write to the event log, as what runs does: the disk has no byte left but the ballast."""
    bus.production.bus.log("Info", "x" * 100_000, "Echo")
    bus.production.store.flush()
    return not bus.production.home.ballast_file.exists()


def _refused(bus: PythonDoor) -> bool:
    try:
        bus.submit("Echo", Text("hi"))
    except StoreFull:
        return True
    return False


def _all_ended(bus: PythonDoor) -> bool:
    rows = list_messages(bus.production.store.engine, limit=10_000)
    return all(row.status == "Completed" for row in rows)


def _told(bus: PythonDoor) -> bool:
    lines = list_events(bus.production.store.engine, type="Warning", limit=100)
    return any("the store works again after" in line.text for line in lines)


def _healthy(disk: Path) -> bool:
    report = examine(Home(disk / "home"))
    assert report.ok, report.to_text()
    return True
