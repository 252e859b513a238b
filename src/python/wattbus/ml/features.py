"""The features of texts from a frozen encoder: by its published engine where there is one, else by torch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.ml.classifier import Classifier
from wattbus.ml.engine_files import is_optimised, read_card
from wattbus.ml.feature_store import FeatureStore
from wattbus.ml.head import HeadForm

BATCH = 32
#: Texts that are made into features, and kept, at once: of random lengths, like lengths share a batch.
CHUNK = 256


@dataclass(frozen=True)
class Features:
    """The vectors that are there, by the place of their text, and where they came from."""

    vectors: dict[int, Any]
    made: int  # texts that the encoder read
    kept: int  # texts whose vector was there already
    by: str  # torch, or the engine and its precision
    complete: bool


def read_features(
    base: Classifier,
    form: HeadForm,
    texts: Sequence[str],
    *,
    folder: Path,
    engine_folder: Path | None,
    file: Path | None,
    seed: int,
    progress: Callable[[int, int], None],
    spent_out: Callable[[], bool],
) -> Features:
    """Return the vectors of ``texts``; ``spent_out`` is asked before each batch, and ends it early.

    The rows come in an order by chance, so that what there is at an early end is a sample.
    """
    encode, by, maker = _encoder(base, form, folder, engine_folder)
    store = FeatureStore(file, maker)
    vectors = store.read(texts)
    kept = len(vectors)
    missing = [place for place in range(len(texts)) if place not in vectors]
    random.Random(seed).shuffle(missing)  # noqa: S311  # an order, not a secret
    made = 0
    for start in range(0, len(missing), CHUNK):
        chunk = sorted(missing[start : start + CHUNK], key=lambda place: len(texts[place]))
        fresh: dict[str, Any] = {}
        for first in range(0, len(chunk), BATCH):
            if spent_out():
                store.keep(fresh)
                return Features(vectors, made, kept, by, complete=False)
            places = chunk[first : first + BATCH]
            for place, vector in zip(places, encode([texts[place] for place in places]), strict=True):
                vectors[place] = fresh[texts[place]] = vector
            made += len(places)
            progress(kept + made, len(texts))
        store.keep(fresh)
    return Features(vectors, made, kept, by, complete=True)


def serves_mean(engine_folder: Path | None) -> bool:
    """Tell whether an optimised version gives the token vectors that a mean is made of."""
    return (
        engine_folder is not None
        and is_optimised(engine_folder)
        and read_card(engine_folder).task == "feature-extraction"
    )


def _encoder(
    base: Classifier, form: HeadForm, folder: Path, engine_folder: Path | None
) -> tuple[Callable[[list[str]], Any], str, str]:
    """Return what makes vectors of texts, who that is, and the name under which they are kept."""
    if form.kind == "mean" and engine_folder is not None and serves_mean(engine_folder):
        from wattbus.ml.engine_texts import TextReader
        from wattbus.ml.runner import open_runner

        card = read_card(engine_folder)
        reader = TextReader(engine_folder, card, open_runner(engine_folder, card, None))

        def by_engine(texts: list[str]) -> Any:
            return [out[0].mean(axis=0) for out in reader.run([reader.tokens(text) for text in texts])]

        return by_engine, f"{card.engine} {card.precision}", f"{folder_digest(engine_folder)} {form.kind}"

    def by_torch(texts: list[str]) -> Any:
        batch = base.collate(base.encode(texts)).to(base.model.device)
        return form.vectors(batch)

    # a fresh head comes from the seed: what it reads is the encoder's alone in one form only
    head = "" if form.kind == "mean" else f" {_head_digest(base)}"
    return by_torch, "torch", f"{folder_digest(folder)} {form.kind} {base.max_tokens}{head}"


def folder_digest(folder: Path) -> str:
    """Return the sha256 of the files that decide what a model makes of a text."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".xml", ".onnx", ".json", ".txt", ".model"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _head_digest(base: Classifier) -> str:
    """Return the sha256 of the weights outside of the encoder, those of the last layer left out."""
    prefix = f"{base.model.base_model_prefix}."
    digest = hashlib.sha256()
    for name, weight in sorted(base.model.state_dict().items()):
        outside = not name.startswith(prefix) or ".pooler." in name
        if outside and weight.shape[:1] != (len(base.labels),):
            digest.update(name.encode() + weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()
