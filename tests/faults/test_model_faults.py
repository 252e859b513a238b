"""R14, R24 to R28: models that are half fetched, damaged or out of reach, asked for by messages."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import smallmodels
from command import Command
from components import Text
from fakehub import FakeHub
from modelwork import NO_SUCH_TABLE, Requests, Work
from waiting import until
from wattbus.door import PythonDoor
from wattbus.errors import ModelError, RequestFailed
from wattbus.messages import TrainRequest
from wattbus.ml.hub import Hub
from wattbus.ml.models import ModelStore
from wattbus.store.tables import Status

WEIGHTS_BYTES = 1_000_000
#: Fetches the model; its table is not there, so no training follows.
FETCH: Requests = {"fetch": ("Tune", "TrainRequest", NO_SUCH_TABLE)}
NO_TABLE = "unknown table"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "original", WEIGHTS_BYTES))
        yield hub


@pytest.fixture
def work(tmp_path: Path, hub: FakeHub) -> Work:
    return Work(tmp_path, hub.endpoint).declare()


def fetch(bus: PythonDoor) -> str:
    """Let the model be fetched, and return how the request ended."""
    with pytest.raises(RequestFailed) as failed:
        bus.request("Tune", TrainRequest(**NO_SUCH_TABLE), timeout_seconds=60)
    return str(failed.value)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# -- R14 -----------------------------------------------------------------------------------------------------------


def mounted(folder: Path, size: str) -> None:
    """Put a file system of its own on ``folder``, or give the one that is there another size."""
    there = os.path.ismount(folder)
    options = f"{'remount,' if there else ''}size={size}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    allowed = os.geteuid() == 0 and shutil.which("mount") is not None
    if not allowed or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk that fills up needs the right to mount a tmpfs")
    folder.chmod(0o700)


@pytest.fixture
def full_disk(work: Work) -> Iterator[Path]:
    """A volume of its own for the models, of 500 kB."""
    folder = work.home.create().models
    mounted(folder, "500k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_model_that_does_not_fit_on_its_disk_is_an_error_in_words_and_the_queues_go_on(
    work: Work, hub: FakeHub, full_disk: Path
) -> None:
    with work.start() as bus:
        said = fetch(bus)
        echo = bus.request("Echo", Text("others go on"))
        served = hub.bytes_served
        mounted(full_disk, "8m")
        again = fetch(bus)

    assert said.startswith("the model toy needs 1.0 MB, 0.5 MB are free in ")
    assert (echo, served) == (Text("others go on"), 0)
    assert NO_TABLE in again  # with room, without a restart
    assert work.whole()


def test_a_disk_that_fills_up_while_a_model_is_fetched_leaves_nothing_of_it(
    full_disk: Path, hub: FakeHub
) -> None:
    store = ModelStore(full_disk, hub=Hub(hub.endpoint), free_bytes=lambda folder: 10**12)

    with pytest.raises(ModelError, match=r"the disk of .* is full, the model toy is as it was"):
        store.ensure("toy", model_url="org/toy")

    assert [path for path in full_disk.rglob("*") if path.is_file() and path.name != "lock"] == []
    assert store.names() == []


# -- R24, R27 ------------------------------------------------------------------------------------------------------


def test_a_download_that_is_killed_half_way_goes_on_with_the_next_start_and_fetches_no_byte_twice(
    work: Work, hub: FakeHub
) -> None:
    hub.stall_after(400_000, times=1)
    process = work.begin(FETCH)
    try:
        assert hub.stalled.wait(60)
        partial = work.home.models / "toy" / "partial"
        until(lambda: partial.is_dir() and size_of(partial) >= 400_000, "what was sent is written")
    finally:
        process.kill()
        process.communicate(timeout=30)

    ready = work.current()
    (request,) = work.goes_on()

    assert ready is None
    assert (request.status, request.attempts) == (Status.ERROR, 2)
    assert NO_TABLE in (request.error_status or "")
    assert hub.bytes_served == size_of(work.folder / "original")
    assert hub.requests[-1].headers["range"].startswith("bytes=4")
    assert work.whole()


def test_who_waits_for_a_download_takes_it_over_within_seconds_when_the_downloader_is_killed(
    work: Work, hub: FakeHub
) -> None:
    hub.stall_after(400_000, times=1)
    process = work.begin(FETCH)
    said: list[str] = []
    fetched: list[int] = []

    def wait_for_it() -> None:
        fetched.append(work.models.ensure("toy", model_url="org/toy", progress=said.append).bytes_fetched)

    waiting = threading.Thread(target=wait_for_it)
    try:
        assert hub.stalled.wait(60)
        waiting.start()
        until(lambda: any("another one is at work on it, waiting (400," in line for line in said), "it waits")
    finally:
        process.kill()
        process.communicate(timeout=30)
    waiting.join(15)

    assert not waiting.is_alive()
    assert 0 < fetched[0] <= 0.65 * size_of(work.folder / "original")
    (request,) = work.goes_on()
    assert NO_TABLE in (request.error_status or "")
    assert work.whole()


# -- R25 -----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_refused_with_both_checksums_and_repaired_from_the_same_revision_when_told_so(
    work: Work, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(work.folder)
    with work.start() as bus:
        fetch(bus)
    weights = work.models.current("toy").path / "model.safetensors"
    sound = weights.read_bytes()
    weights.chmod(0o600)
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    hub.add("org/toy", smallmodels.build(work.folder / "newer", WEIGHTS_BYTES, seed=2))
    served = hub.bytes_served

    with work.start() as bus:
        said = fetch(bus)
    verified = command("models", "verify", status=1)
    untouched = hub.bytes_served == served
    monkeypatch.setenv("WATTBUS_HUB_URL", hub.endpoint)
    repaired = command.json("models", "repair", "toy")

    assert "model.safetensors has sha256 " in said
    assert f"`wattbus models repair toy {work.current()}`" in said
    assert "WRONG" in verified
    assert untouched  # nothing is fetched behind anybody's back
    assert repaired["version"] == work.current()
    assert weights.read_bytes() == sound
    assert work.whole()


def test_a_damaged_model_whose_revision_is_gone_is_not_replaced_by_another_one(
    work: Work, hub: FakeHub
) -> None:
    with work.start() as bus:
        fetch(bus)
    weights = work.models.current("toy").path / "model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-100])
    cut = weights.read_bytes()
    hub.forget("org/toy")
    hub.add("org/toy", smallmodels.build(work.folder / "newer", WEIGHTS_BYTES, seed=2))
    served = hub.bytes_served

    with work.start() as bus:
        said = fetch(bus)

    assert "has no revision" in said
    assert hub.bytes_served == served
    assert weights.read_bytes() == cut


# -- R26, R28 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("lie", "came wrong from"),
        ("html", "a web page came instead of"),
        ("short", "announces 1,0"),
        ("long", "announces 1,0"),
        ("wait", "answered 429, and asks to wait 3600 s"),
    ],
)
def test_a_hub_that_answers_wrongly_is_an_error_in_words_and_the_next_request_gets_the_model(
    work: Work, hub: FakeHub, fault: str, words: str
) -> None:
    {
        "lie": lambda: hub.lie(),
        "html": lambda: hub.html(),
        "short": lambda: hub.another_length("short"),
        "long": lambda: hub.another_length("long"),
        "wait": lambda: hub.too_many_requests(3600, ".safetensors", times=None),
    }[fault]()

    with work.start() as bus:
        said = fetch(bus)
        published = work.current()
        hub.heal()
        again = fetch(bus)

    assert words in said
    assert published is None
    assert NO_TABLE in again
    assert work.whole()


def test_a_cached_model_is_used_without_a_word_to_a_hub_that_is_gone(work: Work, hub: FakeHub) -> None:
    with work.start() as bus:
        fetch(bus)
    asked = len(hub.requests)

    with work.start() as bus:
        answering = fetch(bus)
    gone = Work(work.folder, "http://127.0.0.1:9")
    with gone.start() as bus:
        unreachable = fetch(bus)

    assert NO_TABLE in answering
    assert len(hub.requests) == asked
    assert unreachable == answering


def test_a_model_that_is_not_cached_and_out_of_reach_says_which_where_and_what_to_do(tmp_path: Path) -> None:
    work = Work(tmp_path, "http://127.0.0.1:9").declare()

    with work.start() as bus:
        said = fetch(bus)

    assert said.startswith("offline: http://127.0.0.1:9 cannot be reached")
    assert "the model org/toy is not cached" in said
    assert f"copy the model's folder to {work.home.models / 'toy'}" in said
