"""R32, R33, R42: a model is swapped while it answers, at the wrong moment, or while trainings wait for their turn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import tinymodels
from modelwork import NO_SUCH_TABLE, Work
from waiting import until
from wattbus import testing
from wattbus.errors import RequestFailed
from wattbus.messages import MLRequest, OverrideRequest, TrainRequest
from wattbus.operations import MLOperation, TuningOperation
from wattbus.operations.turns import Turns
from wattbus.store.queries import list_events

NO_TABLE = "unknown table"


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
