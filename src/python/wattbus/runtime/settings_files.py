"""Settings files: where the productions of a home come from, and where ``iop --migrate`` puts uploaded ones."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from wattbus.config import Config
from wattbus.errors import BadSettings, Refused, WattbusError
from wattbus.home import Home, make_owner_folder, sync_folder, write_durably
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.reading import load, load_all

_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SUFFIXES = (".py", ".cls")
#: In an uploaded folder, the name of its settings file.
_POINTER = "settings-file"


class SettingsFiles:
    """Productions in memory, then those of one settings file, then those that were uploaded."""

    def __init__(
        self,
        home: Home,
        file: Path | None,
        given: Sequence[ProductionConfig] = (),
        wanted: str | None = None,
    ) -> None:
        self._home, self._file, self._wanted = home, file, wanted
        self._given = {production.name: production for production in given}
        self._found: dict[str, ProductionConfig] | None = None

    def productions(self) -> dict[str, ProductionConfig]:
        """Return the productions by name as they were read last; the first is the default one."""
        if self._found is None:
            return self.read_again()
        return self._found

    def read_again(self) -> dict[str, ProductionConfig]:
        """Read all files anew and return the productions by name."""
        found = dict(self._given)
        for file in self._files():
            for name, production in self._productions_of(file).items():
                found.setdefault(name, production)
        self._found = found
        return found

    def _productions_of(self, file: Path) -> dict[str, ProductionConfig]:
        try:
            return load_all(file)
        except BadSettings:
            # One of several cannot be used; the one that is wanted may.
            production = load(file, self._wanted)
            return {production.name: production}

    def use(self, file: Path, strict: bool = False) -> None:
        """Read this file before the others from now on; one that cannot be read changes nothing.

        ``strict`` refuses what iop's validation has to remark on.
        """
        before, self._file = self._file, file
        try:
            if strict:
                _validate(load_all(file))
            self.read_again()
        except WattbusError:
            self._file = before
            raise

    def _files(self) -> list[Path]:
        first = [self._file] if self._file is not None else []
        uploaded = (folder / (folder / _POINTER).read_text() for folder in _uploads(self._home))
        return list(dict.fromkeys([*first, *uploaded]))

    def upload(
        self, package: str, settings_file: str, texts: Mapping[str, str], strict: bool = False
    ) -> Path:
        """Put uploaded files in the place of those of their package, whole or not at all; return the settings file."""
        if not _PACKAGE.fullmatch(package):
            raise Refused(f"the package {package!r} cannot be a folder: use letters, digits and _.")
        folder = make_owner_folder(self._home.productions) / package
        aside, before = folder.with_name(f".{package}.new"), folder.with_name(f".{package}.old")
        for leftover in (aside, before):
            shutil.rmtree(leftover, ignore_errors=True)
        for name, text in {**texts, _POINTER: settings_file}.items():
            target = aside / _inside(name)
            make_owner_folder(target.parent)
            write_durably(target, text.encode())
        if not (aside / _inside(settings_file)).is_file():
            raise BadSettings(
                f"the upload names {settings_file!r} as its settings file and does not hold it."
            )
        if folder.exists():
            os.replace(folder, before)
        os.replace(aside, folder)
        try:
            self.use(folder / settings_file, strict)
        except WattbusError:
            shutil.rmtree(folder)
            if before.exists():
                os.replace(before, folder)
            raise
        finally:
            sync_folder(folder.parent)
        shutil.rmtree(before, ignore_errors=True)
        return folder / settings_file


def named_settings(config: Config) -> Path | None:
    """Return the settings file that is configured, or that lies here; None where there is none."""
    if config.settings is not None:
        return config.settings
    return next(
        (file for file in (Path("settings.py"), Path("src/python/settings.py")) if file.is_file()), None
    )


def _validate(productions: Mapping[str, ProductionConfig]) -> None:
    from iop.production.validation import ProductionValidationError, validate_production_entry

    for production in productions.values():
        try:
            validate_production_entry(production.definition, strict=True)
        except ProductionValidationError as error:
            raise BadSettings(f"{production.source}: {error}") from None


def _uploads(home: Home) -> list[Path]:
    if not home.productions.is_dir():
        return []
    folders = sorted(home.productions.iterdir())
    return [folder for folder in folders if (folder / _POINTER).is_file() and not folder.name.startswith(".")]


def _inside(name: str) -> PurePosixPath:
    """Return an uploaded file's name, once it is sure that it stays inside its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.name:
        raise Refused(f"the uploaded file {name!r} would lie outside its folder: use a name relative to it.")
    if name != _POINTER and not name.endswith(_SUFFIXES):
        raise Refused(
            f"the uploaded file {name!r} is neither Python nor ObjectScript: only .py and .cls are taken."
        )
    return path
