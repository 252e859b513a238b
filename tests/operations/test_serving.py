"""How an MLOperation serves: answers that are kept, models that come and go, stops while a model loads."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from iop import Production
from PIL import Image
from sqlalchemy import select

import tinymodels
from optimising import TEXTS, stage
from waiting import until
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.energy import FakeFeed
from wattbus.energy.label import labels_of
from wattbus.errors import BadRequest, RequestFailed
from wattbus.home import Home
from wattbus.labels.own_runs import figures_of_messages, records_of_messages
from wattbus.messages import MLRequest
from wattbus.ml import model_files, pipelines
from wattbus.ml.conversion import Converter
from wattbus.ml.models import ModelStore
from wattbus.ml.pipeline_tasks import find_task
from wattbus.ml.pipelines import Predictor
from wattbus.ml.resident import Resident
from wattbus.operations import MLOperation
from wattbus.operations.ml import FROM_THE_CACHE
from wattbus.roi.sources import message_figures
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import energy
from wattbus.testing import FakeClock

TASK = "text-classification"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model in PyTorch, and the same one on an engine."""
    root = tmp_path_factory.mktemp("tiny")
    folder = tinymodels.build(TASK, root / "model")
    return {"pytorch": folder, "engine": _engine(folder, TASK, root)}


def _engine(folder: Path, task: str, root: Path) -> Path:
    loaded = model_files.load_parts(folder, task, {})
    facts = Predictor(find_task(task), loaded, {}, None, None).facts()
    Converter(folder, loaded, facts, root / "work").make("fp32", root / "engine", ())
    return root / "engine"


def _near(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same to the fifth digit."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(_near(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_near, one, other))
    return abs(one - other) < 1e-5 if isinstance(one, float) else bool(one == other)


def _serving(home: Path, model: Path, clock: FakeClock | None = None, **settings: Any) -> PythonDoor:
    place = Home(home).create()
    stage(ModelStore(place.models), "toy", model)
    prod = Production("Test.Serving")
    prod.operation("ML", MLOperation, settings={"name": "toy", "task": TASK, **settings})
    return testing.production(prod, place.root, clock=clock, feed=FakeFeed())


def _lines(bus: PythonDoor, part: str) -> list[str]:
    bus.production.store.flush()
    return [line.text for line in list_events(bus.production.store.engine, item="ML") if part in line.text]


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("way", ["pytorch", "engine"])
def test_odd_and_bad_texts_get_an_answer_or_a_sentence_and_the_others_their_answers(
    way: str, batch: int, tmp_path: Path, folders: dict[str, Path]
) -> None:
    bodies: list[dict[str, Any]] = [
        {"inputs": TEXTS[0]}, {"inputs": ""}, {"inputs": "word " * 3000}, {"inputs": ["a"] * 1000},
        {"inputs": [TEXTS[1], ""]}, {"inputs": []}, {"inputs": TEXTS[2], "top_k": 2},
    ]  # fmt: skip
    with _serving(tmp_path, folders[way], BatchSize=batch) as bus:
        alone = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        bus.production.stop_item("ML")
        asked = [bus.begin("ML", MLRequest(**body)) for body in bodies]
        until(lambda: bus.items()[0].queued == len(bodies), "all are queued")
        bus.production.start_item("ML")
        plain, empty, long, many, two, none, ranked = [one.exception(60) or one.result() for one in asked]
        again = bus.request("ML", MLRequest(inputs=TEXTS[0]))

    assert _near(plain.output, alone.output) and again.output == alone.output
    assert len(empty.output) == 1 and empty.input_tokens == 2
    assert long.input_tokens == 512
    assert any(note.endswith("and the model reads 512: the rest was left out.") for note in long.notes)
    assert "'inputs' has 1000 texts, and one request may have 256: send several." in str(many)
    assert [len(two.output), two.notes] == [2, alone.notes]
    assert "'inputs' is an empty list: give at least one text." in str(none)
    assert [len(ranked.output), ranked.notes] == [2, alone.notes]


@pytest.mark.parametrize("way", ["pytorch", "engine"])
def test_a_picture_that_is_none_is_a_sentence_and_the_next_one_is_answered(way: str, tmp_path: Path) -> None:
    task = "image-classification"
    folder = tinymodels.build(task, tmp_path / "model")
    if way == "engine":
        folder = _engine(folder, task, tmp_path)
    home = Home(tmp_path / "home").create()
    (home.uploads / "none.png").write_bytes(b"no picture at all")
    Image.new("RGB", (40, 30), "red").save(home.uploads / "red.png")

    with _serving(home.root, folder, task=task, BatchSize=4) as bus:
        bus.production.stop_item("ML")
        asked = [bus.begin("ML", MLRequest(url=name)) for name in ("red.png", "none.png", "red.png")]
        until(lambda: bus.items()[0].queued == 3, "all are queued")
        bus.production.start_item("ML")
        first, bad, last = [one.exception(60) or one.result() for one in asked]

    assert "'none.png' is not an image: it must be a JPEG, PNG or WebP file." in str(bad)
    assert first.output == last.output and first.output[0]["label"]


# -- answers that are kept -----------------------------------------------------------------------------------------


def test_a_request_that_comes_again_is_answered_from_the_cache_and_says_so(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["pytorch"], result_cache=10) as bus:
        first = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        again = bus.request("ML", MLRequest(text=TEXTS[0]))  # another name for the same field
        other = bus.request("ML", MLRequest(inputs=TEXTS[0], top_k=2))

    assert FROM_THE_CACHE not in first.notes
    assert (again.output, again.version, again.input_tokens) == (
        first.output,
        first.version,
        first.input_tokens,
    )
    assert again.notes == [*first.notes, FROM_THE_CACHE]
    assert FROM_THE_CACHE not in other.notes and len(other.output) == 2


def test_the_settings_may_stand_in_the_free_text(tmp_path: Path, folders: dict[str, Path]) -> None:
    lines = "result_cache=10\nidle_unload_seconds=3600"
    with _serving(tmp_path, folders["pytorch"], **{"%settings": lines}) as bus:
        answers = [bus.request("ML", MLRequest(inputs=TEXTS[0])) for _ in range(2)]

    assert [FROM_THE_CACHE in one.notes for one in answers] == [False, True]


def test_nothing_is_kept_without_the_setting(tmp_path: Path, folders: dict[str, Path]) -> None:
    with _serving(tmp_path, folders["pytorch"]) as bus:
        answers = [bus.request("ML", MLRequest(inputs=TEXTS[0])) for _ in range(2)]

    assert [FROM_THE_CACHE in one.notes for one in answers] == [False, False]


def test_a_hit_is_metered_as_a_hit_and_counts_as_no_inference(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["pytorch"], result_cache=10) as bus:
        for _ in range(2):
            bus.request("ML", MLRequest(inputs=TEXTS[0]))
        bus.production.ledger.settle()
        bus.production.store.flush()
        engine = bus.production.store.engine
        asked = sorted(row.id for row in list_messages(engine) if row.type == "Request")
        with engine.connect() as connection:
            rows = connection.execute(select(energy).order_by(energy.c.message_id)).all()
        records = records_of_messages(engine, asked)

        assert [row.facts["stage"] for row in rows] == ["inference", "cache"]
        assert [row.model for row in rows] == ["toy", "toy"]
        assert all(row.cpu_seconds > 0 for row in rows)
        assert figures_of_messages(engine, asked).requests == 1
        assert [label.attempts for label in labels_of("toy", records)] == [1]
        with pytest.raises(BadRequest, match="answered from the cache of answers, so no model has worked"):
            figures_of_messages(engine, asked[1:])
        with pytest.raises(BadRequest, match="name a message that the model answered"):
            message_figures(engine, asked[1])


def test_a_new_version_never_answers_from_the_cache_of_the_old_one(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["pytorch"], result_cache=10) as bus:
        old = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        store = ModelStore(Home(tmp_path).models)
        version = stage(store, "toy", folders["engine"])
        new = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        store.rollback("toy")
        back = bus.request("ML", MLRequest(inputs=TEXTS[0]))

    assert (new.version, FROM_THE_CACHE in new.notes) == (version, False)
    assert (back.version, FROM_THE_CACHE in back.notes) == (old.version, True)


def test_hits_in_a_batch_take_no_share_of_what_the_others_used(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["pytorch"], result_cache=10, BatchSize=4) as bus:
        bus.request("ML", MLRequest(inputs=TEXTS[0]))
        bus.production.stop_item("ML")
        bodies: list[dict[str, Any]] = [
            {"inputs": TEXTS[0]}, {"inputs": ["a"] * 1000}, {"inputs": " ".join(TEXTS * 3)}
        ]  # fmt: skip
        asked = [bus.production.submit_and_watch("ML", MLRequest(**body)) for body in bodies]
        bus.production.start_item("ML")
        assert all(one.wait(60) for one in asked)
        bus.production.ledger.settle()
        bus.production.store.flush()
        hit, bad, miss = records_of_messages(bus.production.store.engine, [one.message_id for one in asked])

    assert (hit.facts.stage, miss.facts.stage) == ("cache", "inference")
    assert bad.facts is None and bad.reason == "the attempt failed: BadRequest"
    assert 0 < hit.cpu_seconds < miss.cpu_seconds / 4


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"result_cache": -1}, "result_cache is -1: a number from 0 on is needed, 0 for none."),
        ({"idle_unload_seconds": -5}, "idle_unload_seconds is -5"),
        ({"result_cache": 5, "task": "image-classification"}, "behind which another may lie tomorrow"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(
    settings: dict[str, Any], sentence: str, tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["pytorch"], **settings) as bus:
        assert bus.production.wait_ready(60)

        assert sentence in (bus.items()[0].error or "")


# -- models that come and go ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["pytorch", "engine"])
def test_an_idle_model_leaves_memory_and_the_next_request_loads_it_again(
    way: str, tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    load = pipelines.load

    def noted(*arguments: Any, **options: Any) -> Any:
        predictor = load(*arguments, **options)
        held = predictor._pipeline.model if isinstance(predictor, Predictor) else predictor._runner._compiled
        loaded.extend([weakref.ref(predictor), weakref.ref(held)])
        return predictor

    monkeypatch.setattr(pipelines, "load", noted)
    clock = FakeClock()
    with _serving(tmp_path, folders[way], clock, idle_unload_seconds=60) as bus:
        first = bus.request("ML", MLRequest(inputs=TEXTS[0]))
        clock.wait_for_sleeper("model#idle")
        clock.advance(59)
        alive = [one() is not None for one in loaded]
        clock.advance(2)
        until(lambda: bool(_lines(bus, "is unloaded after 1 min")), "the model is unloaded")
        dead = [one() is None for one in loaded]
        again = bus.request("ML", MLRequest(inputs=TEXTS[0]))

    assert (alive, dead) == ([True, True], [True, True])
    assert again.output == first.output
    assert len(loaded) == 4


def test_requests_that_come_while_a_model_is_unloaded_are_all_answered(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    with _serving(tmp_path, folders["engine"], idle_unload_seconds=0.001) as bus:
        answers = [bus.request("ML", MLRequest(inputs=TEXTS[number % 5])) for number in range(10)]
        until(lambda: bool(_lines(bus, "is unloaded after")), "the model is unloaded")

    assert len(answers) == 10 and len({str(one.output) for one in answers}) == 5


def test_a_model_is_never_let_go_of_while_it_is_borrowed() -> None:
    clock, ended, released = FakeClock(), threading.Event(), threading.Event()
    resident = Resident(object, clock, ended, lambda seconds: released.set())

    with resident.borrowed(10) as first:
        with resident.borrowed(10):
            pass
        clock.advance(1000)
        with resident.borrowed(10) as second:
            assert first is second
    clock.wait_for_sleeper("model#idle")
    clock.advance(10)

    assert released.wait(20)
    ended.set()


def test_who_keeps_it_longest_counts() -> None:
    clock, ended = FakeClock(), threading.Event()
    resident = Resident(object, clock, ended, lambda seconds: None)

    with resident.borrowed(10) as first:
        pass
    with resident.borrowed() as second:
        pass
    clock.advance(1000)
    with resident.borrowed(10) as third:
        pass

    assert first is second is third
    ended.set()


def test_what_could_not_be_loaded_is_loaded_when_it_is_asked_for_again() -> None:
    tried: list[int] = []

    def load() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("the disk is away")
        return "a model"

    resident = Resident(load, FakeClock(), threading.Event(), lambda seconds: None)

    with pytest.raises(OSError, match="the disk is away"), resident.borrowed():
        pass
    with resident.borrowed() as held:
        assert held == "a model"


# -- stops while a model loads -------------------------------------------------------------------------------------


class Held:
    """A load that goes on until the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        load = pipelines.load

        def held(*arguments: Any, **options: Any) -> Any:
            self.entered.set()
            assert self.go.wait(60)
            return load(*arguments, **options)

        monkeypatch.setattr(pipelines, "load", held)


def test_a_first_request_waits_in_the_queue_while_the_model_loads(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Held(monkeypatch)
    with _serving(tmp_path, folders["pytorch"]) as bus:
        assert loading.entered.wait(60)
        state, item = bus.production.state, bus.items()[0].state
        answer = bus.begin("ML", MLRequest(inputs=TEXTS[0]))
        until(lambda: bus.items()[0].queued == 1, "the request is queued")
        loading.go.set()

        assert (state, item) == ("Running", "Starting")
        assert answer.result(60).model == "toy"


def test_models_of_several_items_load_at_the_same_time(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    load = pipelines.load

    def together(*arguments: Any, **options: Any) -> Any:
        both.wait(60)
        return load(*arguments, **options)

    monkeypatch.setattr(pipelines, "load", together)
    place = Home(tmp_path).create()
    prod = Production("Test.Serving")
    for name in ("one", "two"):
        stage(ModelStore(place.models), name, folders["pytorch"])
        prod.operation(name, MLOperation, settings={"name": name, "task": TASK})

    with testing.production(prod, place.root) as bus:
        answers = [bus.request(name, MLRequest(inputs=TEXTS[0])) for name in ("one", "two")]

    assert [one.model for one in answers] == ["one", "two"]


def test_a_stop_while_a_model_loads_does_not_wait_for_it(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Held(monkeypatch)
    with _serving(tmp_path, folders["pytorch"]) as bus:
        assert loading.entered.wait(60)
        began = time.monotonic()
        state = bus.production.stop(30.0)
        seconds = time.monotonic() - began
    loading.go.set()

    assert (state, seconds < 10) == ("Stopped", True)


def test_a_stop_while_a_model_loads_finishes_what_somebody_waits_for(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Held(monkeypatch)
    with _serving(tmp_path, folders["pytorch"]) as bus:
        assert loading.entered.wait(60)
        answer = bus.begin("ML", MLRequest(inputs=TEXTS[0]))
        until(lambda: bus.items()[0].queued == 1, "the request is queued")
        stopping = threading.Thread(target=bus.production.stop, args=(60.0,))
        stopping.start()
        until(lambda: bus.production.state == "Stopping", "the production stops")
        loading.go.set()
        stopping.join(60)

        assert (answer.result(0).model, bus.production.state) == ("toy", "Stopped")


def test_an_item_that_stops_while_its_model_loads_starts_again_and_answers(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = Held(monkeypatch)
    with _serving(tmp_path, folders["pytorch"]) as bus:
        assert loading.entered.wait(60)
        assert bus.production.stop_item("ML") == "Stopped"
        loading.go.set()
        bus.production.start_item("ML")

        assert bus.request("ML", MLRequest(inputs=TEXTS[0])).model == "toy"


def test_a_model_that_cannot_be_loaded_is_the_item_s_trouble_and_a_new_start_tries_again(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = pipelines.load

    def broken(*arguments: Any, **options: Any) -> Any:
        raise BadRequest("the disk is away: put it back.")

    monkeypatch.setattr(pipelines, "load", broken)
    with _serving(tmp_path, folders["pytorch"]) as bus:
        assert bus.production.wait_ready(60)
        item = bus.items()[0]
        with pytest.raises(RequestFailed, match="item 'ML' does not run: the disk is away: put it back"):
            bus.request("ML", MLRequest(inputs=TEXTS[0]))
        monkeypatch.setattr(pipelines, "load", load)
        bus.production.start_item("ML")

        assert (item.state, item.error) == ("Error", "the disk is away: put it back.")
        assert bus.request("ML", MLRequest(inputs=TEXTS[0])).model == "toy"
