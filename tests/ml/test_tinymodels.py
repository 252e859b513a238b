"""The tiny models that other tests stand on are whole, small and the same each time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import tinymodels

TASKS = (*tinymodels.tasks(), "ner")


@pytest.mark.parametrize("task", TASKS)
def test_a_tiny_model_is_a_whole_folder_under_one_megabyte(task: str, tmp_path: Path) -> None:
    folder = tinymodels.build(task, tmp_path / task)

    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors"} <= names
    assert names & {"tokenizer.json", "preprocessor_config.json"}
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("task", ["text-generation", "fill-mask", "object-detection"])
def test_building_a_tiny_model_twice_gives_the_same_weights(task: str, tmp_path: Path) -> None:
    digests = {
        hashlib.sha256(
            (tinymodels.build(task, tmp_path / name) / "model.safetensors").read_bytes()
        ).hexdigest()
        for name in ("first", "second")
    }

    assert len(digests) == 1


def test_building_a_tiny_model_leaves_the_random_state_of_the_caller_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tinymodels.build("fill-mask", tmp_path)

    assert torch.equal(torch.rand(1), expected)


def test_the_tokenizers_write_back_what_they_read() -> None:
    text = "George Washington lived in washington."

    byte_level = tinymodels.gpt2_tokenizer()
    pieces = tinymodels.bert_tokenizer()

    assert byte_level.decode(byte_level(text)["input_ids"]) == text
    assert pieces.decode(pieces(text)["input_ids"], skip_special_tokens=True) == text
    assert pieces.mask_token_id in pieces("in [MASK].")["input_ids"]
