"""The trainer: a child process that fine-tunes a tiny model, can be ended at any moment, and goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from wattbus.errors import BadRequest, BadSettings, Refused, TrainingFailed
from wattbus.ml.classifier import load_classifier
from wattbus.ml.fit import LengthGroups
from wattbus.ml.tables import TrainingTables
from wattbus.ml.trainer import TrainProgress, TrainResult, TrainSpec, train
from wattbus.ml.training_options import MAPPED, RENAMED, allowed_options, parse_options

WORDS = {1: "never worst bad cold slow meal", 2: "good great kind clean place staff"}
FILLER = ["the", "was", "and", "a", "we", "will", "it", "this", "review", "hotel", "room", "service", "food"]
DEADLINE_SECONDS = 60.0
# six steps an epoch and a checkpoint every ten: the kills below fall inside an epoch
OPTIONS: dict[str, Any] = {
    "output_dir": "/irisdev/app/src/model/checkpoints",
    "learning_rate": 0.01,
    "num_train_epochs": 20,
    "per_device_train_batch_size": 4,
    "save_strategy": "steps",
    "save_steps": 10,
    "seed": 11,
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny model and a table of 30 reviews, two labels, one of them without text."""
    folder = tmp_path_factory.mktemp("ground")
    tinymodels.build("text-classification", folder / "model")
    chance = random.Random(5)
    lines = ["ReviewLabel,ReviewText", "1,"]
    for row in range(30):
        label = 1 + row % 2
        words = chance.choices(WORDS[label].split(), k=3) + chance.choices(FILLER, k=chance.randrange(2, 12))
        lines.append(f"{label},{' '.join(chance.sample(words, k=len(words)))}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    tables = TrainingTables(f"sqlite:///{folder}/tables.sqlite")
    tables.load_csv("iris.Review", folder / "rows.csv")
    (folder / "one.csv").write_text("ReviewLabel,ReviewText\n" + "1,same again\n" * 6)
    tables.load_csv("OneLabel", folder / "one.csv")
    return folder


def spec_in(ground: Path, run: str, **changes: Any) -> TrainSpec:
    given: dict[str, Any] = {
        "model_folder": ground / "model",
        "table_url": f"sqlite:///{ground}/tables.sqlite",
        "table": "iris.Review",
        "columns": "ReviewLabel,ReviewText",
        "p_of_train": 0.8,
        "run_folder": ground / run,
        "options": OPTIONS,
    }
    return TrainSpec(**{**given, **changes})


@dataclasses.dataclass
class Finished:
    spec: TrainSpec
    result: TrainResult
    told: list[TrainProgress]
    children: list[int]


@pytest.fixture(scope="module")
def finished(ground: Path) -> Finished:
    """Return a training that ran from start to end."""
    os.environ["OMP_NUM_THREADS"] = "1"
    spec = spec_in(ground, "whole")
    told: list[TrainProgress] = []
    children: list[int] = []
    result = train(spec, on_progress=told.append, on_child=children.append)
    return Finished(spec, result, told, children)


def weights(result: TrainResult) -> str:
    return hashlib.sha256((result.model_folder / "model.safetensors").read_bytes()).hexdigest()


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_training_betters_the_model_and_tells_both_sides(finished: Finished) -> None:
    result = finished.result

    assert (result.train_rows, result.test_rows, result.dropped_rows) == (24, 6, 1)
    assert result.labels == ("1", "2")
    assert result.new_metrics.accuracy > result.old_metrics.accuracy
    assert result.old_note is not None
    assert "other labels (1 stars" in result.old_note
    assert (result.steps, result.epochs, result.batch_size) == (120, 20.0, 4)
    assert (result.precision, result.resumed_from_step) == ("fp32", None)
    assert result.changed_predictions >= len(result.changed_examples) > 0
    assert result.cpu_seconds is not None
    assert result.cpu_seconds > 0
    assert result.class_path.endswith("BertForSequenceClassification")
    assert any("1 rows without ReviewLabel or ReviewText" in note for note in result.notes)
    assert any("/irisdev/app/src/model/checkpoints is mapped to" in note for note in result.notes)


def test_a_training_tells_its_stages_and_steps_as_it_goes(finished: Finished) -> None:
    stages = list(dict.fromkeys(progress.stage for progress in finished.told))
    steps = [progress.step for progress in finished.told if progress.stage == "training"]

    assert stages[0] == "reading rows"
    assert stages[-1] == "evaluating the new model"
    assert steps == sorted(steps, key=lambda step: step or 0)
    assert steps[-1] == 120
    assert len(finished.children) == 1
    assert not is_running(finished.children[0])


def test_the_new_model_is_safetensors_with_its_labels_and_the_old_one_is_untouched(
    finished: Finished,
) -> None:
    saved = finished.result.model_folder

    assert json.loads((saved / "config.json").read_text())["id2label"] == {"0": "1", "1": "2"}
    assert {path.name for path in saved.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    old = json.loads((finished.spec.model_folder / "config.json").read_text())
    assert old["id2label"]["0"] == "1 stars"
    assert all(path.stat().st_mode & 0o077 == 0 for path in [saved, *saved.iterdir()])
    assert not (finished.spec.run_folder / "checkpoints").exists()


def test_a_training_that_had_ended_is_not_done_again(finished: Finished) -> None:
    told: list[TrainProgress] = []

    again = train(finished.spec, on_progress=told.append)

    assert again.new_metrics == finished.result.new_metrics
    assert "nothing was trained again" in again.notes[-1]
    assert not any(progress.stage == "training" for progress in told)


def test_a_killed_training_goes_on_from_its_newest_complete_checkpoint_to_the_same_model(
    ground: Path, finished: Finished
) -> None:
    spec = spec_in(ground, "killed")
    children: list[int] = []

    def kill_at_the_third_checkpoint(progress: TrainProgress) -> None:
        if progress.stage == "checkpoint at step 30":
            os.kill(children[0], signal.SIGKILL)

    with pytest.raises(TrainingFailed, match="killed by signal 9 at step"):
        train(spec, on_progress=kill_at_the_third_checkpoint, on_child=children.append)
    kept = sorted(
        (spec.run_folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name[11:])
    )
    newest = kept[-1]
    (newest / "complete.json").unlink(missing_ok=True)  # as if killed while that one was written
    result = train(spec)

    assert result.resumed_from_step == int(kept[-2].name[11:])
    assert any("1 checkpoints were incomplete" in note for note in result.notes)
    assert result.new_metrics == finished.result.new_metrics
    assert weights(result) == weights(finished.result)


def test_a_cancelled_training_ends_its_process_and_leaves_no_model(ground: Path) -> None:
    spec = spec_in(ground, "cancelled", options={**OPTIONS, "num_train_epochs": 1000})
    children: list[int] = []
    told: list[TrainProgress] = []
    used: list[float] = []

    with pytest.raises(TrainingFailed, match="was cancelled at step"):
        train(
            spec,
            on_progress=told.append,
            on_child=children.append,
            on_cpu_seconds=used.append,
            cancelled=lambda: any(progress.stage == "training" for progress in told),
        )

    assert not is_running(children[0])
    assert not (spec.run_folder / "model").exists()
    assert len(used) == 1 and used[0] > 0  # failing work is metered as well


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"memory_limit_bytes": 20_000_000}, r"killed, out of memory, limit 19 MB: it used"),
        ({"time_limit_seconds": 0.2}, r"longer than its limit of 0\.2 s"),
    ],
)
def test_a_training_beyond_its_limits_is_ended(ground: Path, limits: dict[str, Any], why: str) -> None:
    children: list[int] = []

    with pytest.raises(TrainingFailed, match=why):
        train(spec_in(ground, "limited"), on_child=children.append, **limits)

    assert not is_running(children[0])


def test_the_child_of_a_killed_parent_ends_and_frees_the_run_folder(ground: Path, tmp_path: Path) -> None:
    spec = spec_in(ground, "orphan", options={**OPTIONS, "num_train_epochs": 1000})
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    script = (
        "import sys; from wattbus.ml.trainer import TrainSpec, train\n"
        "spec = TrainSpec.model_validate_json(open(sys.argv[1]).read())\n"
        "train(spec, on_child=lambda pid: print(pid, flush=True),"
        " on_progress=lambda told: print(told.stage, flush=True))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "spec.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert any(line.strip() == "training" for line in parent.stdout)

        parent.kill()

    wait_until(lambda: not is_running(child))
    with pytest.raises(TrainingFailed, match="took longer"):  # and not: another training works in the folder
        train(spec, time_limit_seconds=0.2)


def test_a_loss_that_is_no_number_ends_the_training_with_a_hint(ground: Path) -> None:
    spec = spec_in(ground, "diverged", options={**OPTIONS, "learning_rate": 1e38, "warmup_steps": 0})

    with pytest.raises(TrainingFailed, match=r"the loss was no number .* learning rate is 1e\+38"):
        train(spec)

    assert not (spec.run_folder / "model").exists()
    assert not (spec.run_folder / "result.json").exists()


def test_rows_that_cannot_be_learnt_from_come_back_as_a_sentence(ground: Path) -> None:
    with pytest.raises(BadRequest, match="have the same ReviewLabel '1'"):
        train(spec_in(ground, "one", table="OneLabel"))
    with pytest.raises(BadRequest, match=r"did you mean 'iris\.Review'"):
        train(spec_in(ground, "typo", table="iris.Revie"))


def test_the_head_is_the_stored_one_where_it_knows_the_labels_and_else_a_seeded_new_one(ground: Path) -> None:
    own = load_classifier(ground / "model", ("1 stars", "5 stars"), None, seed=1)
    fresh = load_classifier(ground / "model", ("a", "b"), None, seed=1)
    same_seed = load_classifier(ground / "model", ("a", "b"), None, seed=1)
    other_seed = load_classifier(ground / "model", ("a", "b"), None, seed=2)
    spare = load_classifier(ground / "model", ("a", "b"), 4, seed=1)

    assert (len(own.labels), own.label_ids["5 stars"], own.old_note) == (5, 4, None)
    assert fresh.old_note is not None
    assert fresh.model.classifier.weight.equal(same_seed.model.classifier.weight)
    assert not fresh.model.classifier.weight.equal(other_seed.model.classifier.weight)
    assert spare.labels == ("a", "b", "unused_2", "unused_3")
    with pytest.raises(BadRequest, match="num_labels is 2 and the rows hold 3"):
        load_classifier(ground / "model", ("a", "b", "c"), 2, seed=1)


def test_a_model_folder_without_safetensors_is_refused(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(Refused, match="no safetensors weights"):
        train(spec_in(ground, "pickle", model_folder=tmp_path))


def test_a_training_that_would_fill_the_disk_does_not_begin(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2 * 10**12)  # two terabytes on paper, no block on the disk

    with pytest.raises(TrainingFailed, match=r"needs 22000\.00 GB in .* are free"):
        train(spec_in(ground, "huge", model_folder=tmp_path))

    assert not (ground / "huge" / "spec.json").exists()


def test_a_password_of_the_database_is_in_no_file_of_the_run(ground: Path) -> None:
    spec = spec_in(
        ground,
        "secret",
        table_url="postgresql+psycopg://user:canary-7f3@127.0.0.1:1/none?sslpassword=canary-8",
    )

    with pytest.raises(BadSettings, match="cannot be read"):
        train(spec)

    files = [path for path in spec.run_folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"spec.json", "train.log"}
    assert not [path for path in files if b"canary" in path.read_bytes()]


def padded(lengths: list[int], order: list[int]) -> int:
    """Return the tokens of all batches of eight, each padded to its longest row."""
    batches = [[lengths[row] for row in order[start : start + 8]] for start in range(0, len(order), 8)]
    return sum(len(batch) * max(batch) for batch in batches)


def test_an_order_of_batches_groups_like_lengths_and_repeats_with_seed_and_epoch() -> None:
    chance = random.Random(1)
    lengths = [chance.randrange(5, 80) for _ in range(203)]
    order = LengthGroups(lengths, batch_size=8, group=8, seed=3)

    first = list(order)

    assert sorted(first) == list(range(203))
    assert padded(lengths, first) < 0.9 * padded(lengths, list(range(203)))
    assert first == list(LengthGroups(lengths, batch_size=8, group=8, seed=3))
    assert first != list(LengthGroups(lengths, batch_size=8, group=8, seed=3, epoch=1))
    assert first != list(LengthGroups(lengths, batch_size=8, group=8, seed=4))


# the spec


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"p_of_train": 0}, "p_of_train is '0'"),
        ({"p_of_train": 1}, "p_of_train"),
        ({"p_of_train": float("nan")}, "p_of_train"),
        ({"p_of_train": True}, "p_of_train"),
        ({"p_of_train": "a lot"}, "p_of_train"),
        ({"columns": "ReviewLabel"}, "columns names 1"),
        ({"columns": "a,b,c"}, "columns names 3"),
        ({"columns": ["a", 2]}, "columns must be names"),
        ({"columns": "a,a"}, "twice"),
        ({"limit": "1; DROP"}, "limit is"),
        ({"num_labels": 1}, "num_labels is"),
        ({"num_labels": True}, "num_labels is"),
        ({"options": {"push_to_hub": True}}, "push_to_hub"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_refused_in_words(
    ground: Path, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadRequest, match=why):
        spec_in(ground, "never", **change)

    assert not (ground / "never").exists()


def test_a_spec_survives_its_file(ground: Path) -> None:
    spec = spec_in(ground, "file", columns=["ReviewLabel", "ReviewText"], limit="20")

    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec
    assert (spec.columns, spec.limit) == (("ReviewLabel", "ReviewText"), 20)


# options


def test_every_allowed_option_is_a_training_argument_of_the_installed_transformers() -> None:
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments)}

    assert set(allowed_options()) <= known
    assert set(RENAMED.values()) <= known
    assert not set(RENAMED) & known


@pytest.mark.parametrize(
    ("given", "typed"),
    [
        ({"learning_rate": "1e-4"}, {"learning_rate": 1e-4}),
        ({"num_train_epochs": "2"}, {"num_train_epochs": 2.0}),
        ({"max_steps": 3.0}, {"max_steps": 3}),
        ({"bf16": "true"}, {"bf16": True}),
        ({"evaluation_strategy": "steps"}, {"eval_strategy": "steps"}),
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"lr_scheduler_type": "Cosine"}, {"lr_scheduler_type": "cosine"}),
        ({"output_dir": "/irisdev/app/src/model/checkpoints"}, {}),
    ],
)
def test_options_are_typed_and_translated(given: dict[str, Any], typed: dict[str, Any]) -> None:
    assert parse_options(given, Path("/run")).arguments == typed


@pytest.mark.parametrize(
    "key",
    [
        "push_to_hub", "hub_token", "hub_model_id", "report_to", "deepspeed", "fsdp", "resume_from_checkpoint",
        "trust_remote_code", "torch_compile", "run_name", "accelerator_config", "ddp_backend", "optim_args", "",
    ],
)  # fmt: skip
def test_an_option_outside_the_list_is_refused_by_name(key: str) -> None:
    with pytest.raises(Refused, match=rf"the option '{key}' is not allowed.*Allowed: adam_beta1"):
        parse_options({key: "x"}, Path("/run"))


def test_a_misspelt_option_gets_the_nearest_right_one() -> None:
    with pytest.raises(Refused, match="Did you mean 'learning_rate'"):
        parse_options({"lerning_rate": 1}, Path("/run"))


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": "fast"},
        {"learning_rate": float("nan")},
        {"learning_rate": 0},
        {"num_train_epochs": True},
        {"per_device_train_batch_size": 0},
        {"per_device_train_batch_size": 2.5},
        {"save_total_limit": 1},
        {"optim": "adamw_bnb_8bit"},
        {"eval_strategy": "sometimes"},
        {"bf16": 3},
        {"seed": -1},
        {"seed": {}},
        {"eval_strategy": "no", "evaluation_strategy": "no"},
    ],
)
def test_an_option_value_that_does_not_fit_is_refused_with_what_would(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"must be|the same option"):
        parse_options(given, Path("/run"))


@pytest.mark.parametrize("name", MAPPED)
@pytest.mark.parametrize("folder", ["../x", "a/../../b", "..\\x", "x\0y", "x\ny", "", 7])
def test_a_folder_option_that_leads_out_is_refused(name: str, folder: object) -> None:
    with pytest.raises(BadRequest, match=name):
        parse_options({name: folder}, Path("/run"))
