"""The demo: the main job from end to end, each step with its progress and one line of result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattbus import words
from wattbus.config import Config
from wattbus.door import SHIPPED_SETTINGS, PythonDoor, run
from wattbus.errors import WattbusError
from wattbus.export.stored import write_boamps
from wattbus.messages import MLRequest, OverrideRequest, TrainRequest
from wattbus.ml.models import ModelStore
from wattbus.ml.tables import TrainingTables
from wattbus.store.queries import energy_buckets, energy_groups
from wattbus.store.store import now_us

if TYPE_CHECKING:
    from rich.console import Console

MODEL = "all-MiniLM-L6-v2"
TABLE = "iris.Review"
QUESTION = "This was a really bad experience"
ROWS = 512
_HERE = Path(__file__).parent
#: The sample reviews: beside the package in a checkout, inside it once installed.
REVIEWS = next(
    (
        f
        for f in (_HERE / "shipped" / "reviews.csv", _HERE.parents[2] / "misc" / "data" / "reviews.csv")
        if f.exists()
    ),
    _HERE / "shipped" / "reviews.csv",
)
STEPS = 10


def run_demo(config: Config, *, quiet: bool = False) -> dict[str, Any]:
    """Run the ten steps and return the line of each; raise WattbusError where one cannot be done."""
    began_us, began = now_us(), time.monotonic()
    show = _Show(quiet)
    with run(SHIPPED_SETTINGS, config=config) as bus:
        home = bus.production.home
        models = ModelStore(home.models)
        cached = models.names()

        with show.step(1, "start the production") as step:
            while not bus.wait_ready(0.1):
                step.show("items start, the model is fetched and loaded")
            bus.production.ledger.wait_ready(20)
            broken = [item for item in bus.items() if item.error]
            if broken:
                raise WattbusError(f"item {broken[0].name} does not run: {broken[0].error}")
            step.done(", ".join(f"{item.name} {item.state}" for item in bus.items()))

        with show.step(2, f"cache {MODEL}") as step:
            base = _base_version(models)
            models.open_verified(MODEL, base.id)
            came = (
                "already cached, 0 bytes fetched"
                if MODEL in cached
                else f"{words.size(base.size_bytes)} fetched ({base.size_bytes:,} bytes)"
            )
            step.done(f"{came}; version {base.id}, every file as its manifest says")

        with show.step(3, f"load the reviews into {TABLE}") as step:
            tables = TrainingTables(bus.production.place.tables_url)
            loaded = tables.load_csv(TABLE, REVIEWS)
            facts = tables.describe(TABLE)
            step.done(
                f"{facts.rows:,} rows{'' if loaded else ', there already'}: {', '.join(c.name for c in facts.columns)}"
            )

        with show.step(4, "ask the untuned model") as step:
            if models.current(MODEL).id != base.id:
                models.publish(MODEL, base.id)
            step.done(_answer(bus.request("Python.MLOperation", MLRequest(inputs=QUESTION))))

        with show.step(5, f"fine-tune on {ROWS} rows") as step:
            trained = _train(bus, step)
            step.done(
                f"{trained.train_rows} rows trained in {words.seconds(trained.seconds)}, "
                f"staged as {trained.new_version}"
            )
        _compare(show, trained)

        with show.step(6, "publish it") as step:
            override = bus.request("Python.TuningOperation", OverrideRequest())
            step.done(f"{override.version} replaces {override.replaced}; {override.note}")

        with show.step(7, "ask again") as step:
            step.done(_answer(bus.request("Python.MLOperation", MLRequest(inputs=QUESTION))))

        with show.step(8, "draw the visual trace") as step:
            bus.production.ledger.settle(5)
            trace = bus.trace()
            step.done(f"session {trace.session_id}")
        show.console.print(trace)

        with show.step(9, "account for the energy") as step:
            lines = _account(bus, began_us, step)
        for line in lines:
            show.line(line)

        with show.step(10, "write the BoAmps reports") as step:
            bus.production.store.flush()
            made = write_boamps(
                bus.production.store.engine, home, home.exports, country=config.country, since_us=began_us
            )
            if not made.reports:
                raise WattbusError(
                    f"no report could be written: {'; '.join(made.skipped) or 'nothing was metered'}"
                )
            step.done("valid; " + "; ".join(
                f"{report.stage} {report.filled} / {report.applicable} fields filled" for report in made.reports
            ))  # fmt: skip
        for report in made.reports:
            show.line(f"     {report.path}")
    seconds = time.monotonic() - began
    show.line(f"\nAll {STEPS} steps done in {words.seconds(seconds)}. State: {home.root}")
    return {
        "steps": show.results,
        "seconds": seconds,
        "reports": [str(report.path) for report in made.reports],
    }


class _Show:
    """Where the demo speaks: a terminal with bars, plain lines, or nowhere; the line of each step is kept."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console

        self.console = Console(quiet=quiet, highlight=False)
        self.results: list[dict[str, Any]] = []

    def line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[_Step]:
        step = _Step(self.console, f"{number:>2}/{STEPS} {title}")
        with step.bar:
            yield step
        self.results.append({"step": number, "title": title, "result": step.result})
        self.console.print(f"[green]✓[/green] {step.title}: ", end="")
        self.line(words.clean(step.result))


class _Step:
    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.title, self.result = title, ""
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
            transient=True, console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self.bar.add_task(title, total=None, text="")

    def show(self, text: str, done: int | None = None, total: int | None = None) -> None:
        self.bar.update(self._task, text=words.clean(text), completed=done or 0, total=total)

    def done(self, result: str) -> None:
        self.result = result


def _base_version(models: ModelStore) -> Any:
    """Return the version that every other one was made from."""
    version = models.current(MODEL)
    while version.parent is not None:
        version = models.get(MODEL, version.parent)
    return version


def _train(bus: PythonDoor, step: _Step) -> Any:
    request = TrainRequest(
        columns="ReviewLabel,ReviewText",
        table=TABLE,
        limit=ROWS,
        p_of_train=0.8,
        # more and smaller steps than the default: better on rows that no training has read, see docs/benchmarks.md
        num_train_epochs=6,
        learning_rate=1e-4,
    )
    waiter = bus.production.submit_and_watch("Python.TuningOperation", request)
    while not waiter.wait(0.2):
        told = bus.production.bus.progress.get(waiter.message_id)
        if told is not None:
            step.show(told.text, told.done, told.total)
    return bus.production.response(waiter, "Python.TuningOperation")


def _compare(show: _Show, trained: Any) -> None:
    from rich.table import Table

    table = Table(title=f"{trained.test_rows} test rows, {trained.changed_predictions} answers changed")
    for column in ("metric", f"old {trained.old_version}", f"new {trained.new_version}"):
        table.add_column(column)
    for name, old in trained.old_metrics.items():
        table.add_row(name, f"{old:.3f}", f"{trained.new_metrics[name]:.3f}")
    show.console.print(table)


def _answer(response: Any) -> str:
    best = response.output[0] if isinstance(response.output, list) else response.output
    said = f"{QUESTION!r} is {best['label']} ({best['score']:.2f}), says {response.model} {response.version}"
    return said + (f"; {response.notes[0]}" if response.notes else "")


def _account(bus: PythonDoor, began_us: int, step: _Step) -> list[str]:
    bus.production.ledger.settle(5)
    bus.production.store.flush()
    engine = bus.production.store.engine
    for bucket in energy_buckets(engine, since_us=began_us):
        parts = {
            "operations": bucket.operations_joules,
            "idle": bucket.idle_joules,
            "others": bucket.others_joules,
            "overhead": bucket.overhead_joules,
        }
        gap = abs(sum(parts.values()) - bucket.total_joules)
        if gap > 1e-6 * max(1.0, bucket.total_joules):
            raise WattbusError(f"the buckets differ from the total by {gap} J: please report this.")
        told = " + ".join(f"{name} {words.joules(value, bucket.tier)}" for name, value in parts.items())
        step.done(
            f"{told} = {words.joules(bucket.total_joules, bucket.tier)} over {words.seconds(bucket.seconds)}; "
            f"the buckets sum to the total (difference {gap:.0e} J)"
        )
    return [
        f"     {group.item:<24} {words.counted(group.attempts, 'attempt')}, {words.joules(group.joules, group.tier)}, "
        f"CPU {words.seconds(group.cpu_seconds)}"
        for group in energy_groups(engine, since_us=began_us)
    ]
