"""What makes a folder a model version: files of allowed kinds, sound, and a manifest with their sha256."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from wattbus.errors import BadRequest, ModelCorrupt, Refused
from wattbus.home import OWNER_FOLDER, sync_folder, write_durably
from wattbus.ml import engine_files
from wattbus.ml.weights import check_safetensors

MANIFEST = "manifest.json"
LARGEST_SIDE_FILE_BYTES = 64 * 1024 * 1024  # every file but the weights; the largest tokenizers have 35 MB
LARGEST_CONFIG_BYTES = 4 * 1024 * 1024
MOST_FILES = 1000
READ_ONLY = 0o400
# Keys by which transformers imports code of the folder or fetches from elsewhere.
CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code", "_attn_implementation_internal"})
_ATTENTION_KEYS = frozenset({"_attn_implementation", "attn_implementation", "_experts_implementation"})
_CLASS_KEYS = frozenset(
    {"tokenizer_class", "processor_class", "image_processor_type", "feature_extractor_type"}
)
_PICKLES = (
    ".bin",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".joblib",
    ".ckpt",
    ".h5",
    ".keras",
    ".msgpack",
    ".npy",
    ".npz",
)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,120}")
_ENDINGS = (".safetensors", ".json", ".txt", ".model", ".jinja", ".spm", ".tiktoken")
_NAMES = frozenset({"README.md", "LICENSE", "LICENSE.md", "NOTICE"})
_BLOCK_BYTES = 1024 * 1024


def is_allowed(path: str) -> bool:
    """Return whether a file of this relative path may be part of a model: weights, configuration, vocabulary.

    >>> [is_allowed(name) for name in ("model.safetensors", "1_Pooling/config.json", "pytorch_model.bin", "../x.json")]
    [True, True, False, False]
    """
    parts = path.split("/")
    if (
        path == MANIFEST
        or len(parts) > 2
        or not all(_PART.fullmatch(part) and ".." not in part for part in parts)
    ):
        return False
    return parts[-1] in _NAMES or parts[-1].endswith(_ENDINGS)


def is_pickle(path: str) -> bool:
    """Return whether the name is that of weights in a format that can run code when it is loaded."""
    return PurePosixPath(path).suffix.lower() in _PICKLES


def check_folder(folder: Path) -> list[str]:
    """Return the relative paths of a complete, sound model folder; Refused names the first file that is not.

    No link is followed: a link in the folder is refused.
    """
    files = sorted(_walk(folder, folder))
    optimised = engine_files.CARD in files
    graph = engine_files.engine_files(files) if optimised else frozenset()
    strange = [name for name in files if not is_allowed(name) and name not in graph]
    if strange:
        why = "a format that can run code" if is_pickle(strange[0]) else "no kind of file that a model needs"
        raise Refused(
            f"{strange[0]} is {why}: leave it out; a model is safetensors, JSON and vocabulary files."
        )
    if "config.json" not in files:
        raise BadRequest(f"there is no config.json in {folder.name}: give a complete model folder.")
    if optimised:
        engine_files.check_engine(folder, files)
    elif not any(name.endswith(".safetensors") for name in files):
        raise BadRequest(
            f"there are no weights (*.safetensors) in {folder.name}: give a complete model folder."
        )
    if "adapter_config.json" in files:
        raise Refused(
            "adapter_config.json makes the model load another one: merge the adapter into its model first."
        )
    for name in files:
        if name in graph:
            continue
        check_file(folder / name, name)
        if name.endswith(".safetensors.index.json"):
            _check_index(folder / name, name)
    return files


def _walk(top: Path, folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(itertools.islice(entries, MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise Refused(f"{folder.name} holds more than {MOST_FILES} files: that is no model.")
    for entry in found:
        name = Path(entry.path).relative_to(top).as_posix()
        if entry.is_file(follow_symlinks=False):
            yield name
        elif not entry.is_dir(follow_symlinks=False):
            raise Refused(f"{name} is a link or a device: a model holds plain files only.")
        elif folder != top:
            raise Refused(f"{name} lies too deep: a model has folders of one level only.")
        else:
            yield from _walk(top, Path(entry.path))


def check_file(path: Path, name: str) -> None:
    """Refuse a file whose content is not what its name says, or that would make transformers run code."""
    if name.endswith(".safetensors"):
        check_safetensors(path)
        return
    size = path.stat().st_size
    if size > LARGEST_SIDE_FILE_BYTES:
        raise Refused(
            f"{name} has {size:,} bytes, more than {LARGEST_SIDE_FILE_BYTES:,}: that is no configuration."
        )
    if name.endswith(".json"):
        _check_json(path, name, size)


def _check_json(path: Path, name: str, size: int) -> None:
    if name == "config.json" and size > LARGEST_CONFIG_BYTES:
        raise Refused(f"{name} has {size:,} bytes: that is no configuration.")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Refused(f"{name} is not JSON: fetch the model again, or mend the file.") from None
    if name == "config.json" and not isinstance(document, dict):
        raise Refused("config.json is not a JSON object: fetch the model again.")
    if "config" in name:
        for key, value in _entries(document):
            _check_key(name, key, value)


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_key(name: str, key: str, value: Any) -> None:
    if key in CODE_KEYS:
        raise Refused(
            f"{name} has the key {key!r}, by which a model brings code to run: choose a model without."
        )
    elsewhere = (
        (key in _ATTENTION_KEYS and isinstance(value, str) and "/" in value)
        or (key in _CLASS_KEYS and isinstance(value, str) and not value.isidentifier())
        # A plain name here is history that transformers overwrites (most models have one); an address is not.
        or (key == "_name_or_path" and isinstance(value, str) and ("://" in value or "\\\\" in value))
    )
    if elsewhere:
        raise Refused(f"{name} has {key!r} pointing elsewhere ({str(value)[:80]!r}): choose a model without.")


def _check_index(path: Path, name: str) -> None:
    document = json.loads(path.read_bytes())
    shards = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise Refused(f"{name} has no weight_map: fetch the model again.")
    for shard in sorted(set(shards.values())):
        if not is_allowed(shard) or not (path.parent / shard).is_file():
            raise BadRequest(
                f"{name} names {shard[:120]!r}, which is not there: give a complete model folder."
            )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(files: dict[str, dict[str, Any]]) -> str:
    """Return one digest of names and contents; a version's id holds its first eight digits."""
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def describe(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of each file, by relative path."""
    return {
        name: {"size_bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in names
    }


def seal(folder: Path, document: dict[str, Any]) -> None:
    """Make the files of ``folder`` durable and read-only, then write its manifest."""
    for name in document["files"]:
        path = folder / name
        path.chmod(READ_ONLY)
        sync_file(path)
    for inner in [entry for entry in folder.iterdir() if entry.is_dir()]:
        inner.chmod(OWNER_FOLDER)
        sync_folder(inner)
    folder.chmod(OWNER_FOLDER)
    write_durably(folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a version; ModelCorrupt when it cannot be read or was changed."""
    try:
        document: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if not folder.name.endswith("-" + fingerprint(document["files"])[:8]):
            raise ModelCorrupt(
                f"the manifest of {folder.name} was changed ({folder / MANIFEST}): roll back, or fetch anew."
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelCorrupt(
            f"the manifest {folder / MANIFEST} cannot be read ({error}): roll back to another version, or fetch anew."
        ) from None
    return document


def size_problems(folder: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    """Name the files that are missing, have another size, or are not in the manifest; reads no content."""
    problems = []
    for name, entry in sorted(files.items()):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["size_bytes"]:
            problems.append(
                f"{name} has {path.stat().st_size:,} bytes where {entry['size_bytes']:,} were published"
            )
    try:
        extra = set(_walk(folder, folder)) - set(files) - {MANIFEST}
    except (OSError, Refused) as error:
        return [*problems, str(error)]
    return problems + [f"{name} was added after publication" for name in sorted(extra)]


def content_problems(folder: Path, files: dict[str, dict[str, Any]]) -> list[str]:
    """Name the files whose content differs from the manifest, with both sha256."""
    problems = size_problems(folder, files)
    for name, entry in sorted(files.items()):
        path = folder / name
        if path.is_file() and not path.is_symlink():
            found = sha256_of(path)
            if found != entry["sha256"]:
                problems.append(f"{name} has sha256 {found} where {entry['sha256']} was published")
    return problems


def sync_file(path: Path) -> None:
    """Make the content of a file durable; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
