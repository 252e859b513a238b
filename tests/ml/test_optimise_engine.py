"""An engine answers as the pipeline does, for every task that it knows, without PyTorch and without transformers."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import tinymodels
from wattbus.errors import BadRequest, BadSettings, ModelCorrupt, ModelError, WattbusError
from wattbus.ml import model_files, pipelines
from wattbus.ml.conversion import Converter
from wattbus.ml.engine import EnginePredictor
from wattbus.ml.engine_files import CARD, CONSTANTS, GRAPH
from wattbus.ml.images import ImageSource
from wattbus.ml.pipeline_tasks import find_task
from wattbus.ml.pipelines import Predictor

LONG = " ".join(tinymodels.SENTENCES * 12)
BAD = tinymodels.SENTENCES[1]
REQUESTS: dict[str, tuple[dict[str, Any], ...]] = {
    "text-classification": (
        {"inputs": BAD},
        {"inputs": list(tinymodels.SENTENCES)},
        {"inputs": BAD, "top_k": 2},
        {"inputs": [BAD, "Two cats."], "top_k": None},
        {"inputs": BAD, "top_k": 3, "function_to_apply": "sigmoid"},
        {"inputs": BAD, "function_to_apply": "none"},
        {"inputs": BAD, "text_pair": "Two cats sleep."},
        {"inputs": ""},
        {"inputs": LONG},
        {"inputs": LONG, "text_pair": LONG},
    ),
    "token-classification": (
        {"inputs": BAD},
        {"inputs": list(tinymodels.SENTENCES[:3])},
        {"inputs": BAD, "ignore_labels": "B-PER,O"},
        *({"inputs": BAD, "aggregation_strategy": one} for one in ("simple", "first", "average", "max")),
        {"inputs": LONG, "aggregation_strategy": "simple", "stride": 16},
        {"inputs": LONG},
        {"inputs": ""},
    ),
    "fill-mask": (
        {"inputs": "George Washington lived in [MASK]."},
        {"inputs": ["George [MASK] lived in washington.", "The food was [MASK]."], "top_k": 2},
        {"inputs": ["The food was [MASK]."]},
        {"inputs": "The [MASK] was [MASK].", "top_k": 3},
        {"inputs": "The food was [MASK].", "targets": "great,clean"},
    ),
    "feature-extraction": (
        {"inputs": BAD},
        {"inputs": [BAD, "Two cats."]},
        {"inputs": BAD, "pooling": "mean"},
        {"inputs": [BAD, "Two cats."], "pooling": "cls", "normalize": True},
        {"inputs": LONG, "normalize": True},
    ),
    "image-classification": (
        {"url": "one.png"},
        {"images": ["one.png", "two.png"]},
        {"url": "two.png", "top_k": 2, "function_to_apply": "none"},
    ),
    "object-detection": (
        {"url": "one.png"},
        {"images": ["one.png", "two.png"]},
        {"images": ["two.png"], "threshold": 0.05},
        {"url": "two.png", "threshold": 0.999},
    ),
}
CASES = [(task, number) for task, several in REQUESTS.items() for number in range(len(several))]
#: A pair that is cut gets a note from the engine only; a text that is read in pieces is not cut, and gets none from it.
NOTED_BETTER = (("text-classification", 9), ("token-classification", 7))
Pair = tuple[Predictor, EnginePredictor]


def picture(width: int, height: int) -> bytes:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).ellipse((5, 5, width // 2, height - 9), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    uploads = tmp_path_factory.mktemp("uploads")
    (uploads / "one.png").write_bytes(picture(90, 60))
    (uploads / "two.png").write_bytes(picture(41, 133))
    (uploads / "none.png").write_bytes(b"no picture at all")

    def fetch(address: str) -> bytes:
        raise AssertionError(address)

    return ImageSource(uploads, fetch)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """The folder of a tiny model and that of its conversion, each made once."""
    root = tmp_path_factory.mktemp("engines")
    made: dict[str, tuple[Path, Path]] = {}

    def both(task: str) -> tuple[Path, Path]:
        if task not in made:
            folder = tinymodels.build(task, root / task)
            loaded = model_files.load_parts(folder, task, {})
            facts = Predictor(find_task(task), loaded, {}, None, None).facts()
            target = root / f"{task}-fp32"
            Converter(folder, loaded, facts, root / f"{task}-work").make("fp32", target, ())
            made[task] = (folder, target)
        return made[task]

    return both


@pytest.fixture(scope="module")
def pair(folders: Callable[[str], tuple[Path, Path]], source: ImageSource) -> Callable[[str], Pair]:
    """The pipeline and the engine of a task."""
    made: dict[str, Pair] = {}

    def both(task: str) -> Pair:
        if task not in made:
            before, after = folders(task)
            old = pipelines.load(before, task, {}, images=source)
            new = pipelines.load(after, task, {}, images=source)
            assert isinstance(old, Predictor) and isinstance(new, EnginePredictor)
            made[task] = (old, new)
        return made[task]

    return both


def near(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same but for the rounding of their numbers."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(near(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, float):
        return type(other) is float and abs(one - other) < 1e-4
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(("task", "number"), CASES)
def test_an_engine_answers_as_the_pipeline_does(task: str, number: int, pair: Callable[[str], Pair]) -> None:
    old, new = pair(task)
    request = REQUESTS[task][number]

    before, after = old.predict(request), new.predict(request)

    assert near(before.output, after.output), (before.output, after.output)
    assert after.notes == before.notes or (task, number) in NOTED_BETTER
    assert (after.input_items, after.input_bytes) == (before.input_items, before.input_bytes)


@pytest.mark.parametrize("task", REQUESTS)
def test_requests_that_come_together_get_the_answers_that_they_get_alone(
    task: str, pair: Callable[[str], Pair]
) -> None:
    _, engine = pair(task)

    together = engine.predict_all(REQUESTS[task])

    for request, answer in zip(REQUESTS[task], together, strict=True):
        assert not isinstance(answer, WattbusError)
        assert near(answer.output, engine.predict(request).output)


def test_a_bad_request_fails_alone_and_the_others_of_its_batch_are_answered(
    pair: Callable[[str], Pair],
) -> None:
    _, engine = pair("text-classification")

    good, many, unknown, last = engine.predict_all(
        [{"inputs": BAD}, {"inputs": ["a"] * 1000}, {"input": BAD}, {"inputs": "Two cats."}]
    )

    assert not isinstance(good, WattbusError) and not isinstance(last, WattbusError)
    assert good.output == engine.predict({"inputs": BAD}).output
    assert str(many) == "'inputs' has 1000 texts, and one request may have 256: send several."
    assert "did you mean 'inputs'" in str(unknown)


def test_a_file_that_is_no_picture_fails_alone(pair: Callable[[str], Pair]) -> None:
    _, engine = pair("image-classification")

    bad, good = engine.predict_all([{"url": "none.png"}, {"url": "one.png"}])

    assert str(bad) == "'none.png' is not an image: it must be a JPEG, PNG or WebP file."
    assert not isinstance(good, WattbusError)


def test_a_text_without_a_place_to_fill_is_a_sentence(pair: Callable[[str], Pair]) -> None:
    _, engine = pair("fill-mask")

    with pytest.raises(BadRequest, match=r"the text has no \[MASK\], the place to fill"):
        engine.predict({"inputs": "George lived."})


def test_eight_threads_on_one_engine_answer_as_one_thread_does(pair: Callable[[str], Pair]) -> None:
    _, engine = pair("text-classification")
    alone = [engine.predict({"inputs": text}).output for text in tinymodels.SENTENCES]

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(engine.predict, {"inputs": text}) for text in tinymodels.SENTENCES * 4]

    assert [answer.result().output for answer in asked] == alone * 4


def test_the_facts_are_those_of_the_model_and_of_its_engine(pair: Callable[[str], Pair]) -> None:
    old, new = (one.facts() for one in pair("text-classification"))

    same = ("task", "family", "model_type", "architecture", "class_path", "parameters", "layers", "precision")
    assert [getattr(new, name) for name in same] == [getattr(old, name) for name in same]
    assert (old.framework, new.framework, new.device) == ("transformers", "openvino", "cpu")


_SERVE = """
import sys
from pathlib import Path
from wattbus.ml import pipelines
engine = pipelines.load(Path(sys.argv[1]), sys.argv[2], {}, cache=Path(sys.argv[3]))
print(engine.predict({"inputs": "Two cats sleep."}).output)
print(sorted({"torch", "transformers", "openvino_telemetry", "codecarbon"} & set(sys.modules)))
"""


def test_a_fresh_process_that_serves_an_optimised_version_imports_neither_pytorch_nor_telemetry(
    folders: Callable[[str], tuple[Path, Path]], pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    _, folder = folders("text-classification")
    command = [sys.executable, "-c", _SERVE, str(folder), "text-classification", str(tmp_path / "compiled")]

    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]

    answer, imported = runs[0].splitlines()
    assert runs[0] == runs[1]
    assert imported == "[]"
    assert near(eval(answer), pair("text-classification")[0].predict({"inputs": "Two cats sleep."}).output)
    blobs = list((tmp_path / "compiled").iterdir())
    assert blobs and all(blob.stat().st_mode & 0o077 == 0 for blob in blobs)


def test_compiled_code_that_is_damaged_or_cannot_be_written_is_done_without(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    _, folder = folders("text-classification")
    task, cache = "text-classification", tmp_path / "compiled"
    expected = pipelines.load(folder, task, {}, cache=cache).predict({"inputs": BAD}).output
    for blob in cache.iterdir():
        blob.write_bytes(b"damaged")
    (tmp_path / "file").write_text("no folder")

    damaged = pipelines.load(folder, task, {}, cache=cache)
    nowhere = pipelines.load(folder, task, {}, cache=tmp_path / "file")

    assert damaged.predict({"inputs": BAD}).output == expected
    assert nowhere.predict({"inputs": BAD}).output == expected


def test_an_optimised_version_for_another_task_device_or_number_of_labels_is_a_sentence(
    folders: Callable[[str], tuple[Path, Path]],
) -> None:
    _, folder = folders("text-classification")

    with pytest.raises(
        ModelError, match="was optimised for text-classification, and the item asks for fill-mask"
    ):
        pipelines.load(folder, "fill-mask", {})
    with pytest.raises(BadSettings, match="an optimised version runs on the processor"):
        pipelines.load(folder, "text-classification", {"device": "cuda"})
    with pytest.raises(BadSettings, match="num_labels is 7 and the optimised version has 5 labels"):
        pipelines.load(folder, "text-classification", {"num_labels": "7"})


def test_a_graph_that_an_engine_does_not_take_is_a_sentence(
    folders: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    _, folder = folders("text-classification")
    for name in (CARD, CONSTANTS, "config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / GRAPH).write_text(
        "<net version='11'><layers><layer id='0' type='What' version='opset1'/></layers></net>"
    )

    with pytest.raises(ModelCorrupt, match="openvino does not take the graph of"):
        pipelines.load(tmp_path, "text-classification", {})
