"""Detection models on an engine: the boxes, labels and pictures of the pipeline, or a sentence that names the model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import tinymodels
from optimising import optimised
from wattbus.errors import BadRequest, ModelError
from wattbus.ml import boxes, model_files, pipelines
from wattbus.ml.comparison import likeness
from wattbus.ml.conversion import Converter
from wattbus.ml.engine import EnginePredictor
from wattbus.ml.images import ImageSource
from wattbus.ml.manifest import check_folder
from wattbus.ml.pipeline_tasks import find_task
from wattbus.ml.pipelines import Predictor

TASK = "object-detection"
PICTURES = tuple(f"{number}.png" for number in range(10))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    uploads = tmp_path_factory.mktemp("uploads")
    for number, name in enumerate(PICTURES):
        image = Image.new("RGB", (60 + 17 * number, 150 - 11 * number), "white")
        ImageDraw.Draw(image).ellipse(
            (5, 5 + number, 40 + number, 60), fill=("red", "blue", "green")[number % 3]
        )
        image.save(uploads / name)

    def fetch(address: str) -> bytes:
        raise AssertionError(address)

    return ImageSource(uploads, fetch)


def converter(folder: Path) -> Converter:
    loaded = model_files.load_parts(folder, TASK, {})
    facts = Predictor(find_task(TASK), loaded, {}, None, None).facts()
    return Converter(folder, loaded, facts, folder.with_name("work"))


def made(folder: Path) -> Path:
    return converter(folder).make("fp32", folder.with_name("made"), ())


def both(folder: Path, target: Path, source: ImageSource) -> tuple[Predictor, EnginePredictor]:
    old = pipelines.load(folder, TASK, {}, images=source)
    new = pipelines.load(target, TASK, {}, images=source)
    assert isinstance(old, Predictor) and isinstance(new, EnginePredictor)
    return old, new


@pytest.mark.parametrize("kind", ["yolos", "conditional-detr", "rt-detr"])
def test_detectors_of_other_kinds_find_the_same_in_pictures_of_every_shape(
    kind: str, tmp_path: Path, source: ImageSource
) -> None:
    folder = tinymodels.build_detector(kind, tmp_path / "model")
    old, new = both(folder, made(folder), source)

    for name in PICTURES:
        before = old.predict({"url": name, "threshold": 0.2})
        after = new.predict({"url": name, "threshold": 0.2})
        assert before.output
        assert [one["label"] for one in after.output] == [one["label"] for one in before.output]
        for one, other in zip(before.output, after.output, strict=True):
            assert abs(one["score"] - other["score"]) < 1e-3
            assert all(abs(one["box"][edge] - other["box"][edge]) <= 1 for edge in one["box"])
            assert all(type(edge) is int for edge in other["box"].values())


def test_the_picture_with_its_boxes_is_the_one_that_the_pipeline_draws(
    tmp_path: Path, source: ImageSource
) -> None:
    folder = tinymodels.build(TASK, tmp_path / "model")
    old, new = both(folder, made(folder), source)

    before, after = (one.predict({"images": list(PICTURES[:2])}) for one in (old, new))

    assert [one.kind for one in after.pictures] == ["annotated", "annotated"]
    sizes = [Image.open(io.BytesIO(one.png)).size for one in after.pictures]
    assert sizes == [Image.open(io.BytesIO(one.png)).size for one in before.pictures]
    assert [one.name for one in after.pictures] == [one.name for one in before.pictures]


def test_every_candidate_of_a_detector_is_a_sound_version_that_finds_things_in_the_same_places(
    tmp_path: Path, source: ImageSource
) -> None:
    folder = tinymodels.build(TASK, tmp_path / "model")
    made = converter(folder)
    samples = [made.pixels(source.open(name).image) for name in PICTURES]

    for candidate in ("fp16", "int8-weights", "int8", "onnx-int8"):
        target = made.make(candidate, tmp_path / candidate, samples)
        found = likeness(TASK, *both(folder, target, source), PICTURES)

        assert check_folder(target)
        assert found.measure == "objects"
        assert found.compared >= len(PICTURES)
        # The weights were drawn, wide apart: less precise ones move many of the boxes.
        assert found.agreement > (0.9 if candidate == "fp16" else 0)
        assert found.max_difference is not None and found.mean_difference is not None


def test_a_detector_whose_graph_keeps_one_size_is_refused_by_its_architecture(tmp_path: Path) -> None:
    folder = tinymodels.build_detector("deformable-detr", tmp_path / "model")

    with pytest.raises(
        ModelError,
        match=r"cannot take the model 'model' \(DeformableDetrForObjectDetection\): .* for pictures of one size only",
    ):
        made(folder)


def test_pictures_in_which_nothing_is_found_say_nothing_of_a_model(
    tmp_path: Path, source: ImageSource
) -> None:
    class Blind:
        def predict(self, inputs: Any) -> Any:
            return type("P", (), {"output": []})

    with pytest.raises(
        BadRequest, match="nothing to compare: the model finds no objects in any of the 10 inputs"
    ):
        likeness(TASK, Blind(), Blind(), PICTURES)


def test_rows_that_name_no_picture_are_a_sentence_before_the_model_is_converted(
    tmp_path: Path, source: ImageSource
) -> None:
    folder = tinymodels.build(TASK, source.uploads / "model")
    (source.uploads / "words.png").write_text("no picture at all")

    for name, sentence in (("words.png", "is not an image"), ("none.png", "there is no image 'none.png'")):
        with pytest.raises(BadRequest, match=f"row 3 of the pictures to compare on: .*{sentence}"):
            optimised(folder, TASK, "fp32", (*PICTURES[:2], name, *PICTURES[2:]))


def thing(label: str, *edges: int) -> dict[str, Any]:
    return {
        "label": label,
        "score": 0.9,
        "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)),
    }


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ([thing("cat", 0, 0, 100, 100)], [thing("cat", 0, 0, 100, 100)], [True]),
        ([thing("cat", 0, 0, 100, 100)], [thing("cat", 0, 0, 100, 90)], [True]),
        ([thing("cat", 0, 0, 100, 100)], [thing("cat", 0, 0, 100, 89)], [False]),
        ([thing("cat", 0, 0, 100, 100)], [thing("dog", 0, 0, 100, 100)], [False]),
        ([thing("cat", 0, 0, 100, 100)] * 2, [thing("cat", 0, 0, 100, 100)], [True, False]),
        ([thing("cat", 5, 5, 5, 5)], [thing("cat", 5, 5, 5, 5)], [True]),
        ([], [thing("cat", 0, 0, 9, 9)], [False]),
        ([], [], []),
    ],
)
def test_two_objects_are_the_same_prediction_when_label_and_place_are_the_same(
    old: list[Any], new: list[Any], same: list[bool]
) -> None:
    assert [alike for _, _, alike in boxes.matched(old, new)] == same
