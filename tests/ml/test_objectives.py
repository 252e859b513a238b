"""Trainings for each objective: rows are read or refused in words, old and new are compared, the new one serves."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import tinymodels
from wattbus.errors import BadRequest, ModelError, Refused, TrainingFailed, WattbusError
from wattbus.ml import pipelines
from wattbus.ml.images import ImageSource
from wattbus.ml.in_full import train_in_full
from wattbus.ml.objectives.base import IGNORED
from wattbus.ml.objectives.causal_lm import CausalRows, keeps_texts_apart
from wattbus.ml.objectives.entities import entities, entity_metrics
from wattbus.ml.objectives.known import OBJECTIVES
from wattbus.ml.objectives.masked_lm import MaskedRows
from wattbus.ml.objectives.next_sentence import DocumentRows
from wattbus.ml.objectives.reading import read_rows
from wattbus.ml.tables import TrainingTables
from wattbus.ml.trainer import TrainProgress, TrainResult, TrainSpec, train

WORDS = ["the", "review", "gives", "stars", "hotel", "room", "service", "staff"]
OPTIONS: dict[str, Any] = {"learning_rate": 0.01, "num_train_epochs": 8, "seed": 3}
#: model, table, columns, options on top
CASES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "token-classification": (
        "token-classification",
        "Tagged",
        "Tags,Words",
        {"num_train_epochs": 25, "learning_rate": 0.003},
    ),
    "masked-lm": ("fill-mask", "Documents", "Doc", {}),
    "causal-lm": ("text-generation", "Documents", "Doc", {"eval_strategy": "epoch"}),
    "next-sentence": ("feature-extraction", "Pairs", "IsNext,First,Second", {"num_train_epochs": 20}),
    "image-classification": ("image-classification", "Pictures", "Colour,Picture", {}),
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def tagged(chance: random.Random) -> tuple[str, str]:
    words, tags = chance.sample(WORDS, 4), ["O"] * 4
    for name, tag in (("George", "B-PER"), ("washington", "B-LOC")):
        place = chance.randrange(len(words))
        words.insert(place, name)
        tags.insert(place, tag)
    return json.dumps(tags), " ".join(words)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table for each objective, pictures to upload, and room for models and runs."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("objectives")
    chance = random.Random(3)
    tables = TrainingTables(f"sqlite:///{folder}/tables.sqlite")
    (folder / "uploads").mkdir()
    for number in range(12):
        Image.new("RGB", (40, 40), ("red", "blue")[number % 2]).save(folder / "uploads" / f"{number}.png")

    def load(table: str, header: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with (folder / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header.split(","), *rows])
        tables.load_csv(table, folder / "rows.csv")

    said = tinymodels.SENTENCES
    load("Documents", "Doc,n", ((" ".join(chance.sample(said, 3)), 1) for _ in range(16)))
    load("Tagged", "Tags,Words", (tagged(chance) for _ in range(40)))
    load("Pictures", "Colour,Picture", ((("red", "blue")[n % 2], f"{n}.png") for n in range(12)))
    follows = (("next", said[0], said[5]), ("not next", said[0], said[7]))
    load("Pairs", "IsNext,First,Second", (follows[n % 2] for n in range(24)))
    return folder


def spec_for(ground: Path, objective: str, run_folder: str, **changes: Any) -> TrainSpec:
    model, table, columns, options = CASES[objective]
    folder = ground / "models" / model
    if not folder.exists():
        tinymodels.build(model, folder)
    (ground / run_folder).mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "model_folder": folder, "table_url": f"sqlite:///{ground}/tables.sqlite", "table": table,
        "objective": objective, "columns": columns, "run_folder": ground / run_folder,
        "uploads": ground / "uploads", "options": {**OPTIONS, **options},
    }  # fmt: skip
    return TrainSpec(**{**given, **changes})


def trained(spec: TrainSpec) -> TrainResult:
    """Train in this process: a child needs seconds to begin."""
    return train_in_full(spec, lambda *_, **__: None)


INPUTS: dict[str, dict[str, Any]] = {
    "token-classification": {"inputs": "the George room gives washington staff"},
    "masked-lm": {"inputs": "Two cats sleep on a pink [MASK]"},
    "causal-lm": {"inputs": "George", "max_new_tokens": 1},
    "next-sentence": {"inputs": tinymodels.SENTENCES[0], "text_pair": tinymodels.SENTENCES[7]},
    "image-classification": {"image": "1.png"},
}


@pytest.mark.parametrize("objective", CASES)
def test_a_training_betters_the_model_and_the_new_version_serves_the_matching_task(
    ground: Path, objective: str
) -> None:
    result = trained(spec_for(ground, objective, f"run-{objective}"))
    old, new = result.old_metrics, result.new_metrics
    source = ImageSource(ground / "uploads", lambda url: b"")
    predictor = pipelines.load(result.model_folder, OBJECTIVES[objective].task, {}, images=source)
    output = predictor.predict(INPUTS[objective]).output

    assert set(new.measured()) == set(OBJECTIVES[objective].metrics)
    if new.loss is not None and old.loss is not None:
        assert new.loss < old.loss - 1
    else:
        assert new.accuracy > max(0.8, old.accuracy)
    assert result.changed_predictions == len(result.changed_examples) > 0
    assert all(one.old != one.new for one in result.changed_examples)
    assert not predictor.head_untrained
    assert output
    if objective == "token-classification":
        assert [(one["word"], one["entity"]) for one in output] == [
            ("George", "B-PER"),
            ("washington", "B-LOC"),
        ]
    if objective == "next-sentence":
        assert output["label"] == "not next"


def read(spec_of: dict[str, Any], *rows: tuple[Any, ...]) -> Any:
    return read_rows(iter(rows), TrainSpec(**spec_of))


@pytest.mark.parametrize(
    ("objective", "columns", "rows", "sentence"),
    [
        ("token-classification", "t,w", [('["O"]', "two words")], "row 1 of T has 1 tags in t and 2 words in w"),
        ("token-classification", "t,w", [("O O", "two words")] * 4, "all words of T have the same tag 'O'"),
        ("token-classification", "t,w", [(3, "word")], "column t of T holds int in row 1"),
        ("token-classification", "t,w", [("O", '["a", null]')], "column w of T has an entry in row 1"),
        ("masked-lm", "d", [], "table T is empty"),
        ("masked-lm", "d", [("a text",), (None,), (" ",)], r"T has 1 usable rows \(2 dropped\): at least 4"),
        ("causal-lm", "d", [(b"bytes",)], "column d of T holds bytes in row 1: causal-lm takes a column of texts"),
        ("next-sentence", "d", [("One. Two.",), *[("Alone.",)] * 9], "T has 1 usable rows"),
        ("next-sentence", "l,a,b", [("maybe", "a", "b")], "row 1 of T has the label 'maybe' in l: write next"),
        ("next-sentence", "l,a,b", [(1, "a", "b")] * 4, "all 4 rows of T are 'next': rows of both kinds"),
        ("next-sentence", "l,a,b", [(1, "a", 2)], "row 1 of T holds something else than text in a or b"),
        ("image-classification", "l,p", [("cat", "none.png")], "row 1 of T: there is no image 'none.png'"),
        ("image-classification", "l,p", [("cat", b"no picture")], "row 1 of T: .* is not an image"),
        ("image-classification", "l,p", [("cat", "../1.png")], "row 1 of T: the image name '../1.png' is not"),
        ("image-classification", "l,p", [("cat", "http://h/1.png")], "reads pictures of the uploads folder"),
        ("image-classification", "l,p", [("cat", 7)], "row 1 of column p of T holds int: an image is the name"),
        ("image-classification", "l,p", [("cat", "1.png")] * 4, "all 4 rows of T have the same l 'cat'"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_learnt_from_come_back_as_a_sentence(
    ground: Path, objective: str, columns: str, rows: list[tuple[Any, ...]], sentence: str
) -> None:
    asked = spec_for(ground, "masked-lm", "refused").model_dump()

    with pytest.raises((BadRequest, Refused), match=sentence):
        read({**asked, "objective": objective, "columns": columns, "table": "T"}, *rows)


@pytest.mark.parametrize(
    ("objective", "columns", "sentence"),
    [
        ("masked-lm", "a,b", "columns names 2 columns: masked-lm takes one column, the text"),
        ("next-sentence", "a,b", "takes 3 columns, the label first, .*, or one column, the document"),
        ("image-classification", "a", "takes 2 columns, the label first, then the image"),
        ("token-classification", "a,a", "columns names 'a' twice"),
        ("masked-ml", "a", "did you mean 'masked-lm'"),
    ],
)
def test_columns_that_an_objective_does_not_take_are_refused_with_those_that_it_does(
    ground: Path, objective: str, columns: str, sentence: str
) -> None:
    asked = spec_for(ground, "masked-lm", "refused").model_dump()

    with pytest.raises(WattbusError, match=sentence):
        TrainSpec(**{**asked, "objective": objective, "columns": columns})


def test_a_metric_that_an_objective_does_not_measure_is_refused_by_name(ground: Path) -> None:
    with pytest.raises(BadRequest, match="metric_for_best_model is 'f1', which masked-lm does not measure"):
        spec_for(ground, "masked-lm", "refused", options={"metric_for_best_model": "f1"})


@pytest.mark.parametrize(
    ("objective", "model", "sentence"),
    [
        ("masked-lm", "text-generation", r"is a gpt2 \(GPT2LMHeadModel\), which cannot be trained for masked-lm"),
        ("causal-lm", "fill-mask", r"is a bert \(BertForMaskedLM\), which cannot .* needs a decoder"),
        ("token-classification", "image-classification", "cannot be loaded|cannot be fine-tuned for token"),
        ("image-classification", "fill-mask", "cannot be fine-tuned for image classification"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_do_the_objective_is_refused_in_words(
    ground: Path, objective: str, model: str, sentence: str
) -> None:
    spec = spec_for(ground, objective, "refused")
    rows = read_rows(TrainingTables(spec.table_url).rows(spec.table, spec.columns), spec)
    folder = ground / "models" / model
    if not folder.exists():
        tinymodels.build(model, folder)

    with pytest.raises(ModelError, match=sentence):
        rows.load(folder, None, 1)


def test_held_out_texts_have_the_same_masks_for_every_model_and_the_others_new_ones_each_epoch(
    ground: Path,
) -> None:
    folder = spec_for(ground, "masked-lm", "refused").model_folder
    rows = MaskedRows(tinymodels.SENTENCES, tuple(range(9)), 0, "", 0)
    one, two = rows.load(folder, None, 5), rows.load(folder, None, 5)
    held_out = one.encode([0, 1, 2], held_out=True)
    training = one.encode([0, 1, 2], held_out=False)

    first = [dict(row) for row in training.rows]
    training.begin_epoch(1)
    second = [dict(row) for row in training.rows]
    training.begin_epoch(0)

    assert list(held_out.rows) == list(two.encode([0, 1, 2], held_out=True).rows)
    assert first != second
    assert first == list(training.rows)
    mask = one.base.reader.mask_token_id
    for row in held_out.rows:
        asked = [place for place, label in enumerate(row["labels"]) if label != IGNORED]
        assert asked
        assert [row["input_ids"][place] for place in asked] == [mask] * len(asked)


def test_texts_that_share_a_block_do_not_see_each_other(ground: Path) -> None:
    import torch

    folder = spec_for(ground, "causal-lm", "refused").model_folder
    learner = CausalRows(tinymodels.SENTENCES, tuple(range(9)), 0, "", 0).load(folder, None, 1)

    (block,) = learner.encode([0, 1], held_out=False).rows
    alone = [row["input_ids"] for row in learner.encode([0, 1], held_out=True).rows]
    with torch.inference_mode():
        batch = learner.base.collate([block])
        batch.pop("labels")
        together = learner.base.model(**batch).logits[0, len(alone[0]) :]
        apart = learner.base.model(input_ids=torch.tensor([alone[1]])).logits[0]

    assert keeps_texts_apart(learner.base.model)
    assert block["input_ids"] == alone[0] + alone[1]
    assert [place for place, label in enumerate(block["labels"]) if label == IGNORED] == [0, len(alone[0])]
    assert torch.allclose(together, apart, atol=1e-4)


def test_half_of_the_pairs_made_from_documents_are_of_two_documents() -> None:
    texts = tuple(f"{word} one. {word} two. {word} three." for word in ("Red", "Blue", "Green", "White"))
    rows = DocumentRows(texts, (1, 2, 3, 4), 0, "", 0)

    pairs = rows.pairs_of([0, 1, 2], seed=1)

    assert len(pairs) == 6
    assert sum(pair.label for _, pair in pairs) == 3
    assert all((pair.first[:3] == pair.second[:3]) == (pair.label == 0) for _, pair in pairs)
    assert not any("White" in pair.second for _, pair in pairs)  # of a row that is held out
    assert pairs == rows.pairs_of([0, 1, 2], seed=1) != rows.pairs_of([0, 1, 2], seed=2)


def test_the_head_that_a_model_was_pretrained_with_for_the_next_sentence_is_kept(tmp_path: Path) -> None:
    import torch
    from transformers import BertForNextSentencePrediction, BertForPreTraining

    tokenizer = tinymodels.bert_tokenizer()
    model = BertForPreTraining(tinymodels._bert_config(tokenizer))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = tuple(" ".join(tinymodels.SENTENCES[n : n + 2]) for n in range(6))

    learner = DocumentRows(texts, tuple(range(6)), 0, "", 0).load(tmp_path / "model", None, 1)

    inputs = tokenizer("Two cats", "sleep on a pink couch", return_tensors="pt")
    own = BertForNextSentencePrediction.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        assert torch.allclose(own(**inputs).logits, learner.base.model.eval()(**inputs).logits, atol=1e-6)
    assert learner.base.old_note is None


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", set()),
        ("B-A I-A O B-B", {("A", 0, 2), ("B", 3, 4)}),
        ("B-A B-A I-A", {("A", 0, 1), ("A", 1, 3)}),
        ("I-A I-A I-B", {("A", 0, 2), ("B", 2, 3)}),
        ("B-A I-B", {("A", 0, 1), ("B", 1, 2)}),
        ("S-A B-B I-B E-B I-B", {("A", 0, 1), ("B", 1, 4), ("B", 4, 5)}),
    ],
)
def test_entities_are_counted_as_conlleval_counts_them(tags: str, found: set[Any]) -> None:
    assert entities(tags.split()) == found


def test_an_entity_counts_when_its_kind_and_both_ends_are_right() -> None:
    metrics = entity_metrics([["B-A", "I-A", "O", "B-B"]], [["B-A", "I-A", "O", "O"]])

    assert (metrics.accuracy, metrics.precision, metrics.recall) == (0.75, 1.0, 0.5)
    assert metrics.f1 == pytest.approx(2 / 3)


def test_pictures_are_read_from_the_bytes_of_a_table_as_from_files(ground: Path) -> None:
    spec = spec_for(ground, "image-classification", "bytes")
    data = [((ground / "uploads" / f"{n}.png").read_bytes(), ("red", "blue")[n % 2]) for n in range(6)]

    rows = read_rows(((label, content) for content, label in data), spec)
    files = read_rows(((label, f"{n}.png") for n, (_, label) in enumerate(data)), spec)

    assert rows.digest == files.digest
    assert rows.bytes == sum(len(content) for content, _ in data)


def test_a_loss_that_is_no_number_is_said_as_in_every_training(ground: Path) -> None:
    options = {**OPTIONS, "learning_rate": 1e38, "warmup_steps": 0}

    with pytest.raises(TrainingFailed, match="the loss was no number any more at step"):
        trained(spec_for(ground, "causal-lm", "diverged", options=options))

    assert not (ground / "diverged" / "model").exists()


def test_a_killed_training_goes_on_with_the_masks_that_it_would_have_had(ground: Path) -> None:
    options = {
        **OPTIONS,
        "num_train_epochs": 6,
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    spec = spec_for(ground, "masked-lm", "killed", options=options)
    children: list[int] = []

    def kill(progress: TrainProgress) -> None:
        if progress.stage == "checkpoint at step 10":
            os.kill(children[0], signal.SIGKILL)

    with pytest.raises(TrainingFailed, match="killed by signal 9 at step"):
        train(spec, on_progress=kill, on_child=children.append)
    resumed = train(spec)
    whole = train(spec_for(ground, "masked-lm", "whole", options=options))

    assert resumed.resumed_from_step is not None
    assert resumed.new_metrics == whole.new_metrics
    weights = [(one.model_folder / "model.safetensors").read_bytes() for one in (resumed, whole)]
    assert weights[0] == weights[1]


def test_a_new_tokenizer_is_trained_first_and_the_model_learns_its_tokens(ground: Path) -> None:
    result = trained(spec_for(ground, "masked-lm", "retokenised", train_tokenizer=150))

    vocabulary = json.loads((result.model_folder / "tokenizer.json").read_text())["model"]["vocab"]
    predictor = pipelines.load(result.model_folder, "fill-mask", {})
    assert len(vocabulary) == 150
    assert any("a new tokenizer of 150 tokens" in note for note in result.notes)
    assert result.old_note is not None and result.old_note.startswith("the tokenizer is new")
    assert result.new_metrics.loss is not None and result.old_metrics.loss is not None
    assert result.new_metrics.loss < result.old_metrics.loss - 1
    assert predictor.predict({"inputs": "Two [MASK]"}).output
    assert not (ground / "retokenised" / "retokenised").exists()


@pytest.mark.parametrize(
    ("objective", "size", "sentence"),
    [
        ("token-classification", 200, "train_tokenizer goes with masked-lm and causal-lm"),
        ("masked-lm", 3, "a vocabulary of 3 tokens cannot be trained: choose 100 to 500000"),
    ],
)
def test_a_tokenizer_that_cannot_be_trained_is_a_sentence(
    ground: Path, objective: str, size: int, sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        spec_for(ground, objective, "refused", train_tokenizer=size)
