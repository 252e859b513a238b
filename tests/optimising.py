"""Tiny models that are optimised once a test session, and the production that serves them."""

from __future__ import annotations

import shutil
from pathlib import Path

from iop import Production

import tinymodels
from wattbus.ml.models import ModelStore
from wattbus.ml.optimise_spec import Gate, OptimiseResult, OptimiseSpec, candidates_of
from wattbus.ml.optimiser import optimise
from wattbus.ml.tables import TrainingTables
from wattbus.operations import MLOperation, OptimiseOperation, TuningOperation

TEXTS = (
    *tinymodels.SENTENCES,
    "The room was clean.",
    "Two cats.",
    "George Washington",
    "This was a really good experience, and we will come back to the hotel with five stars.",
)
#: Anything pays: what a test of other things asks for.
OPEN_GATE = Gate(min_agreement=0.5, min_speedup=0.01)


def stage(store: ModelStore, name: str, folder: Path) -> str:
    """Keep the model in ``folder`` as the published version of ``name``."""

    def copy(aside: Path) -> None:
        shutil.copytree(folder, aside, dirs_exist_ok=True)

    version = store.stage(name, copy, source="test")
    store.publish(name)
    return version.id


def optimised(folder: Path, task: str, to: str, inputs: tuple[str, ...] = TEXTS) -> OptimiseResult:
    """Optimise the model in ``folder`` and leave what was made beside it."""
    spec = OptimiseSpec(
        model_folder=folder,
        task=task,
        candidates=candidates_of(to),
        inputs=inputs,
        uploads=folder.parent,
        run_folder=folder.parent / f"run-{to}",
        gate=OPEN_GATE,
        rounds=1,
        metered=False,
    )
    return optimise(spec)


def load_texts(folder: Path, table: str = "Review") -> str:
    """Load TEXTS into a table below ``folder`` and return the address of its database."""
    file = folder / "texts.csv"
    rows = "".join('"{}"\n'.format(text.replace('"', '""')) for text in TEXTS)
    file.write_text(f"ReviewText\n{rows}")
    url = f"sqlite:///{folder}/tables.sqlite"
    TrainingTables(url).load_csv(table, file)
    return url


def serving(tables: str, task: str = "text-classification", batch: int = 1) -> Production:
    """Return a production that serves, optimises and swaps the model called toy."""
    prod = Production("Test.Optimising")
    settings = {"name": "toy", "task": task, "BatchSize": batch}
    prod.operation("ML", MLOperation, settings=settings, pool_size=2)
    prod.operation("Optimise", OptimiseOperation, settings={"name": "toy", "task": task, "tables": tables})
    prod.operation("Tune", TuningOperation, settings={"model_name": "toy", "tables": tables})
    return prod
