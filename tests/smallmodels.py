"""Model folders made byte by byte, for tests that never load them: any size, no torch."""

from __future__ import annotations

import json
import random
from pathlib import Path


def safetensors_bytes(data_bytes: int = 4000, seed: int = 1) -> bytes:
    """Return a sound safetensors file with one tensor of random bytes."""
    entry = {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}
    return with_header({"weight": entry}, random.Random(seed).randbytes(data_bytes))


def with_header(header: object, data: bytes) -> bytes:
    """Return ``data`` behind a safetensors header, sound or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def build(folder: Path, data_bytes: int = 4000, seed: int = 1) -> Path:
    """Make a complete model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(data_bytes, seed))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "seed": seed}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model for tests.\n")
    return folder
