"""How many of BoAmps' fields a report fills, with nothing typed, beside codecarbon's own exporter on the same run.

    python misc/bench/boamps_fields.py           # about half a minute
    python misc/bench/boamps_fields.py --write   # puts the table into docs/energy.md

Each row is one run of small work, metered by both at once: wattbus' block around codecarbon's offline tracker, whose
BoAmps output is told nothing either. Counted are the distinct fields of the 77 that hold a value. "Valid" is what
wattbus' own model of the format says, and the official schemas where they are found (WATTBUS_SHARED, or ../shared).
No machine has an organisation file, a country or a network here: codecarbon is given a country, which its offline
tracker asks for, and wattbus the same one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WATTBUS_COUNTRY"] = COUNTRY = "FRA"

import kinds  # noqa: E402  # the runs that the tests look at, too
import tinymodels  # noqa: E402
import wattbus  # noqa: E402
from boamps_samples import OfficialSchemas, shared_folder  # noqa: E402
from fakehub import FakeHub  # noqa: E402
from table import machine, table, write_block  # noqa: E402
from wattbus import words  # noqa: E402
from wattbus.energy import wait_until_metering  # noqa: E402
from wattbus.export.boamps_model import leaf_paths, validate  # noqa: E402
from wattbus.export.boamps_score import filled_paths  # noqa: E402


@dataclass(frozen=True)
class Counted:
    """What one run came to in both."""

    name: str
    ours: frozenset[str]
    applicable: int
    ours_faults: int
    theirs: frozenset[str]
    theirs_faults: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/energy.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    where = machine(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder))
    text = report(rows, where)
    print(text)
    if options.write:
        write_block("boamps-fields", text, ROOT / "docs" / "energy.md")


def measure(folder: Path) -> list[Counted]:
    os.environ["WATTBUS_HOME"] = str(folder / "home")
    import huggingface_hub

    model = tinymodels.build("text-classification", folder / "tiny-bert")
    cache = kinds.cached(model, folder / "cache")
    huggingface_hub.constants.HF_HUB_CACHE = str(cache)
    reviews = kinds.reviews(folder)
    works: dict[str, Callable[[], Any]] = {
        "a pipeline": lambda: kinds.hub_pipeline_run(cache),
        "a fine-tune by the Trainer": lambda: kinds.trainer_run(cache, reviews, folder / "run"),
        "a plain torch loop": kinds.torch_run,
        "scikit-learn": kinds.sklearn_run,
        "keras": kinds.keras_run,
        "a remote call, our side": lambda: kinds.remote_run(hub),
        "a generic task": kinds.generic_run,
    }
    wait_until_metering()
    with FakeHub() as hub:
        return [counted(name, work, folder / "out") for name, work in works.items()]


def counted(name: str, work: Callable[[], Any], folder: Path) -> Counted:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.boamps import BoAmpsOutput

    theirs = BoAmpsOutput(output_dir=str(folder))
    with contextlib.redirect_stdout(io.StringIO()), wattbus.boamps_report(name, folder=folder) as run:
        tracker = OfflineEmissionsTracker(
            country_iso_code=COUNTRY, save_to_file=False, output_handlers=[theirs], log_level="critical"
        )
        tracker.start()
        work()
        kinds.generic_run()
        tracker.stop()
    if run.report is None or run.score is None or theirs.save_file_path is None:
        raise SystemExit(f"{name}: no report ({run.reason}).")
    other = json.loads(Path(theirs.save_file_path).read_text())
    return Counted(
        name,
        filled_paths(run.report.document),
        run.score.applicable,
        faults(run.report.document),
        filled_paths(other),
        faults(other),
    )


def faults(document: dict[str, Any]) -> int:
    folder = shared_folder()
    official = OfficialSchemas(folder).faults(document) if folder is not None else []
    return len(official) or len(validate(document))


def verdict(faults: int) -> str:
    return f"not valid: {words.counted(faults, 'fault')}" if faults else "valid"


def report(rows: list[Counted], where: str) -> str:
    known = len(leaf_paths())
    ours = frozenset().union(*(row.ours for row in rows))
    theirs = frozenset().union(*(row.theirs for row in rows))
    lines = [
        (
            row.name,
            f"{len(row.ours)} of {row.applicable}",
            verdict(row.ours_faults),
            str(len(row.theirs)),
            verdict(row.theirs_faults),
        )
        for row in rows
    ]
    lines.append((f"all together, of {known}", str(len(ours)), "", str(len(theirs)), ""))
    head = ("run", "wattbus fills", "by the schemas", "codecarbon fills", "by the schemas")
    judged = "the official schemas" if shared_folder() is not None else "wattbus' model of the format"
    return (
        f"{table(head, lines)}\n\n{where}\nwattbus {version('wattbus')}, codecarbon {version('codecarbon')}; "
        f"valid by {judged}; nothing typed but the country."
    )


if __name__ == "__main__":
    main()
