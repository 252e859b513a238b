"""Text is generated in bf16 where the processor has it, and in fp32 where it has not."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinymodels
from wattbus.ml.pipelines import load
from wattbus.ml.precision import BF16_BYTES, choose_dtype, has_bf16

WRITES, GRADES = "text-generation", "text-classification"


@pytest.mark.parametrize(
    ("task", "asked", "kept", "size", "native", "dtype", "note"),
    [
        (
            WRITES,
            "auto",
            "float32",
            BF16_BYTES,
            True,
            "bfloat16",
            "loaded as bf16; the setting dtype=float32",
        ),
        (WRITES, "auto", "float16", BF16_BYTES, True, "bfloat16", "the weights are fp16, loaded as bf16"),
        (WRITES, "auto", "float32", BF16_BYTES - 1, True, "auto", ""),
        (WRITES, "float32", "float32", BF16_BYTES, True, "float32", ""),
        (WRITES, "auto", "float32", BF16_BYTES, False, "auto", ""),
        (WRITES, "auto", "bfloat16", BF16_BYTES, False, "float32", "this processor has no bf16"),
        (WRITES, "bfloat16", "float32", 1, False, "float32", "this processor has no bf16"),
        (WRITES, "bfloat16", "float32", 1, True, "bfloat16", ""),
        (GRADES, "auto", "float32", BF16_BYTES, True, "auto", ""),
        (GRADES, "auto", "float16", BF16_BYTES, True, "float32", "which a CPU is slow at"),
        (GRADES, "bfloat16", "float32", 1, False, "bfloat16", ""),
    ],
)
def test_the_format_fits_task_files_and_processor(
    task: str, asked: str, kept: str, size: int, native: bool, dtype: str, note: str
) -> None:
    chosen, notes = choose_dtype(task, asked, kept, size, native_bf16=native)

    assert chosen == dtype
    assert [note in told for told in notes] == [True] * bool(note)


def test_a_model_that_is_to_write_in_bf16_does_so_or_says_why_not(tmp_path: Path) -> None:
    predictor = load(tinymodels.build(WRITES, tmp_path / "gpt2"), WRITES, {"dtype": "bf16"})

    answer = predictor.predict({"inputs": "the meal", "max_new_tokens": 2})

    native = has_bf16("cpu")
    assert predictor.facts().precision == ("bf16" if native else "fp32")
    assert any("no bf16 arithmetic" in note for note in answer.notes) is not native
