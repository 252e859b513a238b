"""R14, R24 to R28, R32, R33: models that are half fetched, damaged, out of reach or swapped under load, by messages."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import smallmodels
import tinymodels
from command import Command
from components import Text
from fakehub import FakeHub
from modelwork import NO_SUCH_TABLE, Requests, Work
from waiting import until
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.errors import ModelError, RequestFailed
from wattbus.messages import MLRequest, OverrideRequest, TrainRequest
from wattbus.ml.hub import Hub
from wattbus.ml.models import ModelStore
from wattbus.operations import MLOperation, TuningOperation
from wattbus.operations.turns import Turns
from wattbus.store.queries import list_events
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


# -- R32, R33 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def swapped(tmp_path: Path) -> tuple[Work, list[str]]:
    """A home with a published and a staged version of one small model, which answer differently."""
    work = Work(tmp_path)
    first = tinymodels.build("text-classification", tmp_path / "first")
    second = tinymodels.build("text-classification", tmp_path / "second")
    config = second / "config.json"
    config.write_text(config.read_text().replace(" stars", " moons"))
    versions = []
    for folder in (first, second):
        version = work.models.stage("toy", lambda aside, folder=folder: _copy(folder, aside), source="test")
        versions.append(version.id)
        if folder is first:
            work.models.publish("toy")
    return work, versions


def _copy(folder: Path, aside: Path) -> None:
    shutil.copytree(folder, aside, dirs_exist_ok=True)


def serving() -> Production:
    prod = Production("Test.Serving")
    prod.operation("ML", MLOperation, settings={"name": "toy", "task": "text-classification"}, pool_size=4)
    prod.operation("Tune", TuningOperation, settings={"model_name": "toy"})
    return prod


def test_each_of_fifty_answers_around_an_override_comes_wholly_from_the_old_or_the_new_version(
    swapped: tuple[Work, list[str]],
) -> None:
    work, (old, new) = swapped
    before = {path.name: path.read_bytes() for path in work.models.current("toy").path.iterdir()}

    with testing.production(serving(), work.home.root) as bus:
        first = bus.request("ML", MLRequest(inputs="This was a really bad experience"))
        answers = [bus.begin("ML", MLRequest(inputs="This was a really bad experience")) for _ in range(25)]
        override = bus.begin("Tune", OverrideRequest())
        answers += [bus.begin("ML", MLRequest(inputs="This was a really bad experience")) for _ in range(25)]
        given = [answer.result(60) for answer in answers]
        override.result(60)
        last = bus.request("ML", MLRequest(inputs="This was a really bad experience"))
        back = work.models.rollback("toy")
        rolled_back = bus.request("ML", MLRequest(inputs="This was a really bad experience"))

    said = {old: "stars", new: "moons"}
    assert len(given) == 50
    assert [said[answer.version] in str(answer.output) for answer in given] == [True] * 50
    assert (first.version, last.version, rolled_back.version) == (old, new, old)
    assert rolled_back.output == first.output != last.output
    assert {path.name: path.read_bytes() for path in back.path.iterdir()} == before
    assert work.whole()


def test_an_override_without_a_training_and_a_second_one_are_refused_and_change_nothing(
    tmp_path: Path,
) -> None:
    work = Work(tmp_path).declare()
    (old,) = work.publish(1)
    with work.start() as bus:
        with pytest.raises(RequestFailed, match="nothing is staged for the model toy: fine-tune it first"):
            bus.request("Tune", OverrideRequest())
        unchanged = work.current()
        work.publish(staged=2)
        done = bus.request("Tune", OverrideRequest())
        with pytest.raises(RequestFailed, match="nothing is staged for the model toy: fine-tune it first"):
            bus.request("Tune", OverrideRequest())

    assert unchanged == old == done.replaced
    assert work.current() == done.version
    assert work.whole()


def test_an_override_while_the_model_is_fine_tuned_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    work = Work(tmp_path).declare()
    old, staged = work.publish(1, staged=2)
    with work.start() as bus:
        turns = bus.production.place.resources.get(("training", "toy"), Turns)
        with (
            turns.taken("message 7", ahead=lambda names: None, over=lambda: False),
            pytest.raises(
                RequestFailed, match=r"the model toy is being fine-tuned \(message 7\): nothing was"
            ),
        ):
            bus.request("Tune", OverrideRequest())
        unchanged = work.current()
        done = bus.request("Tune", OverrideRequest())

    assert (unchanged, done.version) == (old, staged)
    assert work.whole()


# -- R42 -----------------------------------------------------------------------------------------------------------


def test_trainings_of_one_model_take_turns_in_order_and_each_can_see_its_place(tmp_path: Path) -> None:
    work = Work(tmp_path).declare(pool_size=3)
    work.publish(1)
    with work.start() as bus:
        turns = bus.production.place.resources.get(("training", "toy"), Turns)
        with turns.taken("message 0", ahead=lambda names: None, over=lambda: False):
            answers = []
            for number in range(1, 4):
                answers.append(bus.begin("Tune", TrainRequest(**NO_SUCH_TABLE)))
                until(lambda number=number: len(turns.names) == number + 1, "it waits")
            until(lambda: len(_waiting(bus)) >= 3, "each has said its place")
            queue, told = turns.names, _waiting(bus)
            progress = [bus.production.bus.progress[number].text for number in (1, 2, 3)]
            bus.production.place.cancel(2, "Ada")
            cancelled = answers[1].exception(30)
        ended = [answers[0].exception(30), answers[2].exception(30)]

    assert queue == ("message 0", "message 1", "message 2", "message 3")
    assert [f"number {place} in the queue" in text for place, text in zip((1, 2, 3), progress, strict=True)] == [
        True, True, True,
    ]  # fmt: skip
    assert any(line.endswith("(message 0, then message 1, then message 2)") for line in told)
    assert str(cancelled) == "cancelled by Ada: it had not begun"
    assert all(NO_TABLE in str(error) for error in ended)


def _waiting(bus: Any) -> list[str]:
    bus.production.store.flush()
    events = list_events(bus.production.store.engine, item="Tune")
    return [event.text for event in events if "waits for its turn" in event.text]
