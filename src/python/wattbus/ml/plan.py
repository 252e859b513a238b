"""Which files of one commit of a repository a model needs, and how each is known to be right."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wattbus.errors import ModelError, Refused
from wattbus.ml.manifest import LARGEST_SIDE_FILE_BYTES, is_allowed, is_pickle

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_MODULE = re.compile(
    r"\d{1,2}_\w{1,40}/(?:config\.json|model\.safetensors)", re.ASCII
)  # of sentence-transformers


_OTHER_WEIGHTS = (".safetensors", ".onnx", ".gguf", ".ot", ".tflite", ".pb")


@dataclass(frozen=True)
class PlannedFile:
    """A file to fetch; ``sha256`` for large files, ``git_oid`` (sha1 of git's blob) for the others."""

    path: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None


@dataclass(frozen=True)
class Plan:
    """The files of one commit that a model needs, and what its repository lists beside them."""

    repo_id: str
    commit: str
    files: tuple[PlannedFile, ...]
    licence: str | None
    listed_bytes: int | None = (
        None  # of all files at the top, in every format; None where a size is not listed
    )
    formats: tuple[str, ...] = ()  # the endings under which the weights are there

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def make_plan(repo_id: str, info: Any) -> Plan:
    """Choose the files of the commit that ``info`` (huggingface_hub's ModelInfo) describes.

    Raises Refused when the weights are there only in a format that can run code.
    """
    if not info.sha or not _COMMIT.fullmatch(info.sha):
        raise ModelError(f"the Hub names no commit for {repo_id}: it does not answer like a Hub.")
    siblings = info.siblings or []
    chosen = tuple(_chosen(repo_id, siblings))
    return Plan(repo_id, info.sha, chosen, _licence(info), *_listed(siblings))


def problem_of(path: Path, file: PlannedFile) -> str | None:
    """Say how ``path`` differs from what the Hub lists, or None."""
    size = path.stat().st_size
    if size != file.size_bytes:
        return f"{size:,} bytes where the Hub lists {file.size_bytes:,}"
    is_large = file.sha256 is not None
    # sha1 is git's name of a file, compared with what the Hub lists; it is no signature
    digest = hashlib.sha256() if is_large else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(1024 * 1024):
            digest.update(block)
    listed = file.sha256 or file.git_oid
    if digest.hexdigest() == listed:
        return None
    return f"{'sha256' if is_large else 'git sha1'} {digest.hexdigest()} where the Hub lists {listed}"


def _chosen(repo: str, siblings: list[Any]) -> list[PlannedFile]:
    names = {sibling.rfilename for sibling in siblings}
    weights = _weights(repo, names)
    files = []
    for sibling in siblings:
        name = sibling.rfilename
        is_weight = name.endswith(".safetensors") and "/" not in name
        if (
            not is_allowed(name)
            or (is_weight and name not in weights)
            or ("/" in name and not _MODULE.fullmatch(name))
        ):
            continue
        if name == "model.safetensors.index.json" and "model.safetensors" in weights:
            continue
        if sibling.size is None or (sibling.lfs is None and sibling.blob_id is None):
            raise ModelError(
                f"the Hub gives no size and no checksum for {name} of {repo}: it cannot be verified."
            )
        if not name.endswith(".safetensors") and sibling.size > LARGEST_SIDE_FILE_BYTES:
            continue
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        files.append(PlannedFile(name, sibling.size, sha256, None if sha256 else sibling.blob_id))
    if "config.json" not in names:
        raise ModelError(f"{repo} has no config.json: it is no model that transformers can load.")
    # Small files first: a configuration that is refused costs no gigabytes.
    return sorted(files, key=lambda file: (file.size_bytes, file.path))


def _listed(siblings: list[Any]) -> tuple[int | None, tuple[str, ...]]:
    """Return the bytes of every file at the top of a repository, and the formats that its weights are there in."""
    top = [sibling for sibling in siblings if "/" not in sibling.rfilename]
    sizes = [sibling.size for sibling in top]
    formats = {
        PurePosixPath(sibling.rfilename).suffix.lower()
        for sibling in top
        if is_pickle(sibling.rfilename) or sibling.rfilename.endswith(_OTHER_WEIGHTS)
    }
    return None if None in sizes else sum(sizes), tuple(sorted(formats))


def _weights(repo: str, names: set[str]) -> set[str]:
    if "model.safetensors" in names:
        return {"model.safetensors"}
    shards = {name for name in names if _SHARD.fullmatch(name)}
    if shards and "model.safetensors.index.json" in names:
        return shards
    pickles = sorted(name for name in names if is_pickle(name))
    if pickles:
        raise Refused(
            f"{repo} has its weights only as {pickles[0]}, a format that can run code: choose one with safetensors, "
            "or convert it yourself and put it into the models folder."
        )
    raise ModelError(f"{repo} has no model.safetensors: it is no model that transformers can load.")


def _licence(info: Any) -> str | None:
    card = getattr(info, "card_data", None)
    licence = card.get("license") if card is not None else None
    if isinstance(licence, list):
        licence = ", ".join(str(one) for one in licence)
    tags = (tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:"))
    return str(licence) if licence else next(tags, None)
