"""A user's script, run as Python would run it, in one reported block: no line of it changes."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from wattbus.errors import BadRequest
from wattbus.export.reporting import ReportedRun, boamps_report

_INTERPRETERS = ("python", "python3")


def run_script(command: Sequence[str], folder: Path | None = None) -> tuple[ReportedRun, int]:
    """Run ``[python] script.py arguments`` or ``-m module arguments``; return what it came to, and its exit status.

    An error of the script goes on to the caller, after it was metered; such a run has no report.
    """
    words = list(command)
    if words and Path(words[0]).name in _INTERPRETERS:
        words = words[1:]
    if not words or words == ["-m"]:
        raise BadRequest("there is nothing to run: name a script, or -m and a module.")
    is_module = words[0] == "-m"
    target, arguments = (words[1], words[2:]) if is_module else (words[0], words[1:])
    if not is_module and not Path(target).is_file():
        raise BadRequest(f"there is no script {target!r}: give its path, or -m and a module.")
    name = target if is_module else Path(target).stem
    kept_argv, kept_path = sys.argv, sys.path[:]
    sys.argv = [target, *arguments]
    sys.path.insert(0, str(Path.cwd() if is_module else Path(target).absolute().parent))
    status = 0
    try:
        with boamps_report(name, folder=folder) as run:
            try:
                if is_module:
                    runpy.run_module(target, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(target, run_name="__main__")
            except SystemExit as ended:
                status = _status(ended)
                if status:
                    raise _Failed from ended
    except _Failed:
        pass
    finally:
        sys.argv, sys.path[:] = kept_argv, kept_path
    return run, status


class _Failed(Exception):
    """The script ended itself with a status that is not 0."""


def _status(ended: SystemExit) -> int:
    """Return the exit status as the interpreter takes it: a text is printed, and is a failure."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1
