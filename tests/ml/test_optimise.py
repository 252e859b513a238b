"""An optimisation converts, compares and judges, in a child process that can be ended at any moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import faultshim
import smallmodels
import tinymodels
from optimising import OPEN_GATE, TEXTS, optimised, stage
from wattbus.errors import ModelError, OptimisingFailed, OptimisingKilled, UnknownName
from wattbus.ml import model_files, pipelines
from wattbus.ml.comparison import likeness
from wattbus.ml.conversion import Converter, NotMade
from wattbus.ml.manifest import check_folder
from wattbus.ml.models import ModelStore
from wattbus.ml.optimise_spec import (
    AUTO_ORDER,
    CANDIDATES,
    Candidate,
    Gate,
    Likeness,
    OptimiseSpec,
    Speed,
    best,
    candidates_of,
    judged,
)
from wattbus.ml.optimiser import optimise
from wattbus.ml.optimiser import stage as made_version
from wattbus.ml.pipeline_tasks import find_task
from wattbus.ml.pipelines import Predictor
from wattbus.ml.runner import arithmetics, import_openvino


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model."""
    folder = tmp_path_factory.mktemp("ground")
    tinymodels.build("text-classification", folder / "model")
    return folder


def spec_in(ground: Path, run: str, **changes: Any) -> OptimiseSpec:
    given: dict[str, Any] = {
        "model_folder": ground / "model", "task": "text-classification", "candidates": ("fp32",), "inputs": TEXTS,
        "uploads": ground, "run_folder": ground / run, "gate": OPEN_GATE, "rounds": 1, "metered": False,
    }  # fmt: skip
    return OptimiseSpec(**{**given, **changes})


def converter(folder: Path, task: str, work: Path) -> Converter:
    loaded = model_files.load_parts(folder, task, {})
    return Converter(folder, loaded, Predictor(find_task(task), loaded, {}, None, None).facts(), work)


# -- what is made ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", [one for one in CANDIDATES if one != "bf16"])
def test_every_candidate_is_a_sound_version_whose_answers_are_near_those_of_the_model(
    candidate: str, ground: Path, tmp_path: Path
) -> None:
    made = converter(ground / "model", "text-classification", tmp_path / "work")

    folder = made.make(candidate, tmp_path / "made", [made.feeds(text) for text in TEXTS])

    before = pipelines.load(ground / "model", "text-classification", {})
    after = pipelines.load(folder, "text-classification", {})
    found = likeness("text-classification", before, after, TEXTS)
    assert check_folder(folder)
    assert found.compared == len(TEXTS)
    assert found.max_difference is not None and found.mean_difference is not None
    assert found.mean_difference < (1e-4 if candidate == "fp32" else 0.02 if candidate == "fp16" else 1.5)
    assert found.changed == len(found.changed_rows) == round((1 - found.agreement) * len(TEXTS))


def test_arithmetic_that_the_processor_has_no_circuits_for_is_not_offered(
    ground: Path, tmp_path: Path
) -> None:
    made = converter(ground / "model", "text-classification", tmp_path / "work")

    if "bf16" in arithmetics(import_openvino().Core()):
        assert made.make("bf16", tmp_path / "made", [])
    else:
        with pytest.raises(NotMade, match=r"has no bf16: it would be run as fp32"):
            made.make("bf16", tmp_path / "made", [])


def test_vectors_are_compared_by_their_angle_and_words_by_themselves(tmp_path: Path) -> None:
    for task in ("feature-extraction", "fill-mask", "token-classification"):
        folder = tinymodels.build(task, tmp_path / task)
        made = converter(folder, task, tmp_path / f"{task}-work").make("fp32", tmp_path / f"{task}-made", [])
        texts = [text.replace(" the ", " [MASK] ", 1) for text in TEXTS if " the " in text]

        found = likeness(task, pipelines.load(folder, task, {}), pipelines.load(made, task, {}), texts)

        assert found.agreement == 1.0
        assert found.compared >= len(texts)
        assert (found.min_cosine is not None) == (task == "feature-extraction")
        assert found.min_cosine is None or found.min_cosine > 0.9999


# -- what cannot be made -----------------------------------------------------------------------------------------------


def test_a_model_of_another_task_is_a_sentence_of_the_child_process(tmp_path: Path) -> None:
    folder = tinymodels.build("text-generation", tmp_path / "model")

    with pytest.raises(ModelError, match="a model for text-generation cannot be optimised: what can is for"):
        optimised(folder, "text-generation", "fp32")


def test_a_model_that_the_converter_cannot_take_is_a_sentence(ground: Path, tmp_path: Path) -> None:
    made = converter(ground / "model", "text-classification", tmp_path / "work")

    def forward(input_ids: Any, attention_mask: Any, token_type_ids: Any, return_dict: bool) -> Any:
        raise RuntimeError("a loop that depends on the numbers")

    made._pipeline.model.forward = forward

    with pytest.raises(
        ModelError, match=r"cannot take the model 'model' \(BertForSequence.*a loop that depends"
    ):
        made.make("fp32", tmp_path / "made", [])


def test_a_tokenizer_without_a_fast_form_and_unknown_ways_with_pictures_are_sentences(tmp_path: Path) -> None:
    texts = tinymodels.build("text-classification", tmp_path / "texts")
    loaded = model_files.load_parts(texts, "text-classification", {})
    facts = Predictor(find_task("text-classification"), loaded, {}, None, None).facts()
    slow = SimpleNamespace(model=loaded.pipeline.model, tokenizer=SimpleNamespace(), image_processor=None)
    images = tinymodels.build("image-classification", tmp_path / "images")
    told = json.loads((images / "preprocessor_config.json").read_text())

    with pytest.raises(ModelError, match=r"the tokenizer of 'texts' has no fast form"):
        Converter(texts, model_files.LoadedModel(slow, (), None, None, ()), facts, tmp_path / "work")
    made = converter(images, "image-classification", tmp_path / "other")
    processor = made._pipeline.image_processor
    processor.to_json_string = lambda: json.dumps({**told, "image_processor_type": "GlpnImageProcessor"})
    with pytest.raises(ModelError, match="are prepared by GlpnImageProcessor, which an engine does not know"):
        made._side_files(tmp_path / "side")
    processor.to_json_string = lambda: json.dumps({**told, "image_mean": [0.1, 0.1, 0.1]})
    with pytest.raises(ModelError, match="are prepared in a way that an engine does not repeat"):
        made._side_files(tmp_path / "side")


def test_weights_that_are_no_numbers_are_a_sentence_that_names_them(tmp_path: Path) -> None:
    folder = tinymodels.build("text-classification", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})

    with pytest.raises(
        ModelError, match=r"hold numbers that are none \(NaN or infinite, in classifier.weight\)"
    ):
        optimised(folder, "text-classification", "fp32")


def test_an_answer_without_numbers_counts_as_changed() -> None:
    class Says:
        def __init__(self, score: float) -> None:
            self._score = score

        def predict(self, inputs: Any) -> Any:
            return SimpleNamespace(output=[{"label": "good", "score": self._score}])

    found = likeness("text-classification", Says(1.0), Says(float("nan")), TEXTS)

    assert (found.agreement, found.changed) == (0.0, len(TEXTS))
    assert found.changed_rows[0].new == "no number (NaN or infinite)"


def test_a_version_that_is_removed_while_it_is_optimised_is_a_sentence_and_nothing_is_staged(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path / "models")
    old = stage(store, "toy", tinymodels.build("text-classification", tmp_path / "model"))
    version = store.get("toy", old)
    result = optimised(version.path, "text-classification", "fp32")
    newer = stage(store, "toy", smallmodels.build(tmp_path / "newer"))
    store.remove("toy", old)

    with pytest.raises(
        ModelError, match=f"the version {old} of the model toy was removed while it was optimised"
    ):
        made_version(store, version, result, "a test")
    with pytest.raises(
        ModelError, match=f"the version {old} was removed while it was optimised: nothing was staged"
    ):
        optimised(version.path, "text-classification", "fp16")
    assert store.ids("toy") == [newer] == [store.current("toy").id]
    assert store.staged("toy") is None
    assert list((store.root / "toy" / "aside").iterdir()) == []


# -- the child process -------------------------------------------------------------------------------------------------


def test_a_cancelled_optimisation_ends_with_its_process_and_a_killed_one_says_so(ground: Path) -> None:
    children: list[int] = []
    told: list[str] = []

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(OptimisingFailed, match="the optimisation was cancelled"):
        optimise(spec_in(ground, "cancelled"), on_child=children.append, cancelled=lambda: True)
    with pytest.raises(OptimisingKilled, match="was killed by signal 9: the next attempt begins anew"):
        optimise(spec_in(ground, "killed"), on_child=kill, on_progress=told.append)

    assert not Path(f"/proc/{children[0]}").exists()


def test_a_child_that_needs_more_memory_than_its_limit_is_ended_with_a_sentence(ground: Path) -> None:
    used: list[float] = []

    with pytest.raises(OptimisingFailed, match=r"out of memory: it used .*, and the limit is"):
        optimise(spec_in(ground, "hungry"), memory_limit_bytes=1_000_000, on_cpu_seconds=used.append)

    assert used and used[0] > 0


def test_an_optimisation_that_had_ended_is_not_done_again(ground: Path) -> None:
    spec = spec_in(ground, "twice")
    first = optimise(spec)
    children: list[int] = []

    second = optimise(spec, on_child=children.append)

    assert (first.chosen, children) == ("fp32", [])
    assert second.model_copy(update={"cpu_seconds": None}) == first.model_copy(update={"cpu_seconds": None})


def test_a_disk_with_too_little_room_is_a_sentence_before_anything_is_done(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1000))

    with pytest.raises(OptimisingFailed, match=r"the optimisation needs .* GB in .* are free: make room"):
        optimise(spec_in(ground, "full"))


_FULL = """
import sys
from wattbus.ml import optimising
arm("write", "openvino_model.bin", 1, errno.ENOSPC)
sys.argv = ["optimising", sys.argv[2]]
print("status", optimising.main(), flush=True)
"""


def test_a_disk_that_fills_up_while_a_model_is_converted_is_a_sentence(ground: Path, tmp_path: Path) -> None:
    spec = spec_in(ground, "filling")
    spec.run_folder.mkdir()
    (spec.run_folder / "spec.json").write_text(spec.model_dump_json())

    lines = faultshim.run(tmp_path, _FULL, str(spec.run_folder / "spec.json"))

    error = json.loads(next(line for line in lines if '"error"' in line))
    assert error["kind"] == "ModelError"
    assert "are free on its disk: make room and send the request again" in error["message"]
    assert not any('"result"' in line for line in lines)


# -- the gate ----------------------------------------------------------------------------------------------------------


def side(per_second: float, size: int) -> Speed:
    return Speed(size_bytes=size, load_seconds=1, p50_ms=1, p95_ms=1, per_second=per_second)


def verdict(agreement: float, per_second: float, size: int, name: str = "fp32") -> Candidate:
    alike = Likeness(
        measure="labels", agreement=agreement, compared=1, max_difference=0, mean_difference=0, changed=0
    )
    return judged(Gate(), name, alike, side(100, 100), side(per_second, size))


@pytest.mark.parametrize(
    ("agreement", "per_second", "size", "passes", "words"),
    [
        (1.0, 200, 100, True, "100.00% of the labels stay, 2.00 times the throughput, 100% of the size"),
        (0.995, 110, 100, True, "1.10 times"),
        (0.994, 900, 10, False, "99.40% of the labels stay and 99.50% must: it was not kept"),
        (1.0, 109, 100, False, "it does not pay: 1.09 times the throughput"),
        (1.0, 96, 70, True, "70% of the size"),
        (1.0, 94, 10, False, "it does not pay"),
    ],
)
def test_the_gate_lets_through_what_keeps_the_answers_and_pays(
    agreement: float, per_second: float, size: int, passes: bool, words: str
) -> None:
    found = verdict(agreement, per_second, size)

    assert (found.passes, words in found.reason) == (passes, True)


def test_the_fastest_that_passes_is_chosen_and_of_those_near_it_the_smallest() -> None:
    fast, near = verdict(1, 400, 100, "fp32"), verdict(1, 390, 25, "int8-weights")
    wrong, slow = verdict(0.9, 900, 10, "int8"), verdict(1, 200, 10, "fp16")

    assert best([fast, near, wrong, slow]) == near
    assert best([wrong]) is None
    # In a busy moment both sides were slow, and the candidate the faster one all the same.
    busy = fast.model_copy(update={"before": side(20, 100), "after": side(100, 100)})
    assert best([fast, busy]) == busy
    assert best([]) is None


def test_auto_tries_all_and_an_unknown_way_gets_the_nearest_one() -> None:
    assert sorted(AUTO_ORDER) == sorted(CANDIDATES)
    assert candidates_of("auto") == AUTO_ORDER
    with pytest.raises(UnknownName, match="did you mean 'int8-weights'"):
        candidates_of("int8-weight")


def test_a_budget_that_is_spent_leaves_out_what_is_left(ground: Path) -> None:
    result = optimise(spec_in(ground, "short", candidates=("fp32", "fp16"), budget_seconds=0.001))

    assert [one.name for one in result.candidates] == ["fp32", "fp16"]
    assert result.candidates[1].reason.startswith("not tried: the budget of 0.001 s was spent after")
    assert result.chosen == "fp32"
