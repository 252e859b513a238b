"""Tables of benchmark results: markdown rows, the machine they come from, and their place in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a markdown table; all columns but the first ``text_columns`` are aligned to the right."""
    rule = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def figure(value: float | None, unit: str = "") -> str:
    """Return three digits of ``value`` with its unit; a dash where there is no figure."""
    if value is None:
        return "–"
    if value >= 1000:
        text = f"{value:,.0f}"
    elif value >= 100:
        text = f"{value:.0f}"
    elif value >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    return f"{text} {unit}".strip()


def machine(folder: Path) -> str:
    """Describe the machine, the load on it and the file system of ``folder`` in one line."""
    load = os.getloadavg()[0]
    return (
        f"{date.today().isoformat()}; {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB; "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}; "
        f"{_file_system(folder)}; load {load:.1f} when it began."
    )


def fsync_seconds(folder: Path, times: int = 200) -> float:
    """Return the median time of a durable write of 4 KiB into space that is there already."""
    file = folder / "fsync.probe"
    block = os.urandom(4096)
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.pwrite(descriptor, block * times, 0)
        os.fsync(descriptor)
        found = []
        for number in range(times):
            began = time.perf_counter()
            os.pwrite(descriptor, block, number * 4096)
            os.fdatasync(descriptor)
            found.append(time.perf_counter() - began)
        return statistics.median(found)
    finally:
        os.close(descriptor)
        file.unlink()


def write_block(name: str, text: str, file: Path = BENCHMARKS) -> None:
    """Replace what lies between ``<!-- name -->`` and ``<!-- /name -->``."""
    page = file.read_text()
    block = f"<!-- {name} -->\n{text.strip()}\n<!-- /{name} -->"
    page, found = re.subn(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _: block, page, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{file} has {found} blocks <!-- {name} --> ... <!-- /{name} -->: it needs one.")
    file.write_text(page)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name.group(1).strip() if name else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _file_system(folder: Path) -> str:
    try:
        command = ["df", "--output=fstype,source", str(folder)]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    except (OSError, subprocess.CalledProcessError):
        return "file system unknown"
    kind, source = line.split()
    return f"{kind} on {source}"
