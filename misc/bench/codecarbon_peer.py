"""One script under codecarbon and under wattbus.codecarbon: do the totals agree within codecarbon's own spread?

    python misc/bench/codecarbon_peer.py             # about 6 minutes
    python misc/bench/codecarbon_peer.py --quick     # about 1 minute, not for quoting

The script is the same text but for its import line. Each run is a process of its own, and the two take turns, so that
what else the machine does falls on both. The figures are read from the ``emissions.csv`` that each leaves.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import wattbus
from table import figure, machine, table, write_block

SCRIPT = """
from {module} import OfflineEmissionsTracker
import time

tracker = OfflineEmissionsTracker(country_iso_code="FRA", measure_power_secs=1, log_level="critical")
tracker.start()
end = time.monotonic() + {seconds}
while time.monotonic() < end:  # busy for 0.6 of the time
    pause = time.monotonic() + 0.3
    while time.monotonic() < pause:
        sum(range(500))
    time.sleep(0.2)
tracker.stop()
"""
MODULES = ("codecarbon", "wattbus.codecarbon")
COLUMNS = {
    "energy_consumed": ("whole machine, mWh", 1e6),
    "cpu_energy": ("processor, mWh", 1e6),
    "ram_energy": ("memory, mWh", 1e6),
    "emissions": ("mg of CO2 equivalent", 1e6),
    "duration": ("seconds", 1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each")
    parser.add_argument("--seconds", type=float, default=12.0, help="seconds of work in a run")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    runs, seconds = (3, 4.0) if options.quick else (options.runs, options.seconds)

    where = machine(Path(tempfile.gettempdir()))
    found: dict[str, list[dict[str, float]]] = {module: [] for module in MODULES}
    for number in range(runs):
        for module in MODULES if number % 2 == 0 else reversed(MODULES):
            found[module].append(one_run(module, seconds))
    rows = [
        row(title, factor, *([run[column] for run in found[module]] for module in MODULES))
        for column, (title, factor) in COLUMNS.items()
    ]
    head = (
        "what a run has",
        f"codecarbon {version('codecarbon')}",
        "its spread",
        "wattbus",
        "apart",
        "within",
    )
    text = (
        f"{where} {runs} runs each of {seconds:g} s, by turns; means, with the standard deviation of single runs.\n\n"
        + table(head, rows)
    )
    print(text)
    if options.write:
        write_block("codecarbon", text)


def one_run(module: str, seconds: float) -> dict[str, float]:
    """Run the script in a folder of its own and return the figures of its row."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT.format(module=module, seconds=seconds)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(wattbus.__file__).parents[1]), "HOME": folder},
            check=True,
            timeout=seconds + 120,
        )
        with (Path(folder) / "emissions.csv").open(newline="") as lines:
            (found,) = csv.DictReader(lines)
    return {column: float(found[column]) for column in COLUMNS}


def row(title: str, factor: float, theirs: list[float], ours: list[float]) -> tuple[str, ...]:
    """Compare the means; "within" says whether they are less apart than two single runs of codecarbon usually are."""
    spread = statistics.stdev(theirs)
    mean, our_mean = statistics.mean(theirs), statistics.mean(ours)
    apart = abs(our_mean - mean)
    return (
        title,
        figure(mean * factor),
        f"± {figure(spread * factor)}",
        figure(our_mean * factor),
        f"{100 * (our_mean - mean) / mean:+.1f} %",
        "yes" if apart <= spread else "no",
    )


if __name__ == "__main__":
    main()
