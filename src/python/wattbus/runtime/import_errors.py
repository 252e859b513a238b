"""Why a settings file could not be imported, in a sentence with file, line and cure."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from wattbus.errors import nearest


def import_sentence(
    file: Path, roots: Sequence[str], modules: Mapping[str, ModuleType], error: BaseException
) -> str:
    """Say what was wrong with a settings file or a module it imports; ``modules`` are those imported by then."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        where = f"line {error.lineno} of {_shown(roots, error.filename)}"
        return f"{file} cannot be imported: {where}: {type(error).__name__}: {error.msg}. Mend that line."
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if any(frame.filename.startswith(root + os.sep) for root in roots)
    ]
    where = f"line {frames[-1].lineno} of {_shown(roots, frames[-1].filename)}: " if frames else ""
    said = f"{type(error).__name__}: {error}".rstrip(": .")
    return f"{file} cannot be imported: {where}{said}. {_cure(file, modules, error)}"


def _shown(roots: Sequence[str], file: str) -> str:
    for root in roots:
        if file.startswith(root + os.sep):
            return file[len(root) + 1 :]
    return file


def _cure(file: Path, modules: Mapping[str, ModuleType], error: BaseException) -> str:
    name = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and isinstance(name, str):
        return _cure_of_missing(file, name)
    if isinstance(error, ImportError) and "relative import" in str(error):
        return (
            f"Modules are imported from the folder of {file.name}: write `from bo import X`, without a dot."
        )
    if isinstance(error, ImportError) and isinstance(name, str) and name in modules:
        wanted = str(error).partition("'")[2].partition("'")[0]
        close = nearest(wanted, vars(modules[name]))
        return f"Did you mean {close!r}?" if close else f"Define it in {name}, or take it out of the import."
    if isinstance(error, SystemExit):
        return "A settings file only describes the production: take out what ends the program."
    return "Mend it, and see `wattbus check`."


def _cure_of_missing(file: Path, name: str) -> str:
    if name.partition(".")[0] == "grongier":
        return "iop 4 has no grongier.pex any more: write `from iop import ...`."
    beside = [other.stem for other in file.parent.glob("*.py")]
    beside += [folder.name for folder in file.parent.iterdir() if folder.is_dir()]
    # Stricter than elsewhere: a package of that name may well exist, and only is not installed.
    close = difflib.get_close_matches(name, set(beside) - {name}, n=1, cutoff=0.75)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Put {name.partition('.')[0]}.py beside {file.name}, or install the package that has it."
