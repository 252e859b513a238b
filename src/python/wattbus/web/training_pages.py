"""The trainings: a list of all, one while it runs and afterwards, and several side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query

from wattbus.errors import BadRequest
from wattbus.ml.curve import CurvePoint, read_curve
from wattbus.runtime.context import Progress
from wattbus.runtime.forms import FREE_TEXT, free_lines
from wattbus.runtime.production import ItemConfig
from wattbus.store.moves import By
from wattbus.store.power import PowerCurve, power_curve
from wattbus.store.trainings import TrainingRun, get_trainings, list_trainings
from wattbus.web.charts import Line
from wattbus.web.comparison import CompareView, compared
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

PAGE = 50
MOST_COMPARED = 100
OVERRIDE_SECONDS = 60.0
_OPEN = ("Created", "Queued", "running", "Deferred")


@dataclass(frozen=True)
class TrainingsView:
    """The list: the newest first, and where the next page begins."""

    runs: list[TrainingRun]
    older: int | None
    items: list[str]  # that take a TrainRequest


@dataclass(frozen=True)
class TrainingView:
    """One training: how it stands, its curves, and what can be done with it now."""

    run: TrainingRun
    open: bool
    progress: Progress | None
    eta_seconds: float | None
    seconds: float | None  # from its start to its end, or to now
    losses: list[tuple[int, float]]  # step, loss
    metrics: dict[str, list[tuple[int, float]]]  # on the test rows, by name: step, value
    power: PowerCurve
    staged: bool  # its version waits to be published
    published: bool
    rolls_back_to: str | None
    again: str  # where the same request is prepared once more

    @property
    def watts(self) -> list[Line]:
        """The power as lines of a chart: by seconds since the start."""
        points, since = self.power.points, self.run.started_us or 0
        return [
            ("machine", [((one.time_us - since) / 1e6, one.machine_watts) for one in points]),
            ("operations", [((one.time_us - since) / 1e6, one.operations_watts) for one in points]),
        ]

    @property
    def calibration(self) -> list[Line]:
        """The calibration as lines of a chart: confidence, and the share that was right at it."""
        scores = None if self.run.ladder is None else self.run.ladder.new_scores
        bins = [] if scores is None else scores.calibration
        known = [
            (one.confidence, one.accuracy)
            for one in bins
            if one.confidence is not None and one.accuracy is not None
        ]
        return [("new model", known), ("as sure as right", [(0.0, 0.0), (1.0, 1.0)])] if known else []

    @property
    def learning(self) -> list[Line]:
        """The learning curve as lines of a chart: by training rows."""
        points = [] if self.run.ladder is None else self.run.ladder.learning_curve
        return [("mean", [(point.rows, point.value) for point in points])]


@dataclass(frozen=True)
class Cancelled:
    """What became of a training that was to be cancelled."""

    id: int
    sentence: str


@dataclass(frozen=True)
class Published:
    """Which version answers now, which one it replaced, and the message that did it."""

    model: str
    version: str
    replaced: str | None
    message_id: int


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def trainings(before: int | None = None) -> TrainingsView:
        """List the trainings, the newest first."""
        with desk.reading() as engine:
            runs = [] if engine is None else list_trainings(engine, limit=PAGE + 1, before_id=before)
        runs = [_with_model(desk, run) for run in runs]
        return TrainingsView(runs[:PAGE], runs[PAGE - 1].id if len(runs) > PAGE else None, tuning_items(desk))

    def compare(ids: Annotated[list[str], Query(default_factory=list)]) -> CompareView:
        """Put trainings side by side: settings, metrics and energy, with what differs marked."""
        numbers = _numbers(ids)
        with desk.store() as engine:
            return compared(get_trainings(engine, numbers))

    def training(message_id: int) -> TrainingView:
        """Show one training: progress and curves while it runs, then old beside new."""
        with desk.store() as engine:
            run = _with_model(desk, get_trainings(engine, [message_id])[0])
            until = run.ended_us or int(time.time() * 1e6)
            power = (
                PowerCurve()
                if run.started_us is None
                else power_curve(engine, run.started_us, until, message_id=run.id)
            )
        return _view(desk, run, power, until)

    def cancel(message_id: int, who: Who) -> Cancelled:
        """Cancel a training: one that waits is taken out of its queue, one that runs is ended."""
        running = desk.current()
        run = get_trainings(running.store.engine, [message_id])[0]
        acted = running.actions.abort([run.id], By(f"{who.name} in the portal"))
        if acted.refused:
            raise BadRequest(f"training {run.id} was not cancelled: {acted.refused[0].why}")
        ending = (
            "is being ended; nothing will be staged" if acted.cancelling else "was taken out of its queue"
        )
        return Cancelled(run.id, f"Training {run.id} {ending}.")

    def publish(message_id: int) -> Published:
        """Publish what a training has staged, by an OverrideRequest to the item that trained."""
        running = desk.current()
        run = get_trainings(running.store.engine, [message_id])[0]
        staged = desk.models().staged(run.model) if run.model else None
        if run.new_version is None or staged is None or staged.id != run.new_version:
            what = "it has made no version" if run.new_version is None else (
                f"{run.new_version} is not staged any more; publish it on the page of the model {run.model}"
            )  # fmt: skip
            raise BadRequest(f"training {run.id} has nothing to publish: {what}.")
        number, response = running.exchange(
            run.item,
            running.message("msg.OverrideRequest", {}),
            timeout_seconds=OVERRIDE_SECONDS,
            door="Portal",
        )
        return Published(response.model, response.version, response.replaced, number)

    twins.view("/trainings", "trainings.html", trainings, tag="trainings")
    twins.view("/trainings/compare", "training_compare.html", compare, tag="trainings")
    twins.view("/trainings/{message_id}", "training.html", training, tag="trainings")
    twins.action(
        "/trainings/{message_id}/cancel", cancel, tag="trainings", said=lambda done: str(done.sentence)
    )
    twins.action(
        "/trainings/{message_id}/publish",
        publish,
        tag="trainings",
        said=lambda done: (
            f"{done.model}: {done.version} answers from now on, in place of {done.replaced or 'none'}."
        ),
    )


def tuning_items(desk: Desk) -> list[str]:
    """Return the items that take a TrainRequest."""
    production = desk.production()
    return [] if production is None else [item.name for item in production.items.values() if _trains(item)]


def test_address(item: str, body: dict[str, Any]) -> str:
    """Return where a training is prepared: the page that sends requests, with this one filled in."""
    return "/test?" + urlencode(
        {"item": item, "type": "msg.TrainRequest", "body": json.dumps(body, ensure_ascii=False, indent=2)}
    )


def model_of(item: ItemConfig) -> str | None:
    """Return the model that the settings of an item name."""
    free = free_lines(item.host_settings.get(FREE_TEXT))
    for setting in ("model_name", "name"):
        named = item.host_settings.get(setting) or free.get(setting)
        if named:
            return str(named)
    return None


def _trains(item: ItemConfig) -> bool:
    from wattbus.operations import TuningOperation

    return issubclass(item.component, TuningOperation)


def _with_model(desk: Desk, run: TrainingRun) -> TrainingRun:
    """Name the model of a training that has not ended, which only the settings of its item say."""
    production = desk.production() if run.model is None and run.state in _OPEN else None
    item = None if production is None else production.items.get(run.item)
    return run if item is None else replace(run, model=model_of(item))


def _numbers(ids: Sequence[str]) -> list[int]:
    """Read ``ids=3,5`` as well as ``ids=3&ids=5``."""
    parts = [part.strip() for one in ids for part in one.split(",") if part.strip()]
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal() and len(part) < 19)]
    if wrong:
        raise BadRequest(f"ids names {wrong[0][:40]!r}: give the numbers of trainings, as in ids=3,5.")
    numbers = list(dict.fromkeys(int(part) for part in parts))
    if len(numbers) < 2:
        raise BadRequest("choose two trainings or more to compare, as in ids=3,5.")
    if len(numbers) > MOST_COMPARED:
        raise BadRequest(
            f"{len(numbers)} trainings were chosen: at most {MOST_COMPARED} are compared at once."
        )
    return numbers


def _view(desk: Desk, run: TrainingRun, power: PowerCurve, until_us: int) -> TrainingView:
    running = desk.running
    progress = None if running is None else running.bus.progress.get(run.id)
    points = read_curve(desk.home.runs / f"message-{run.id}")
    models = desk.models()
    current = staged = back = None
    if run.model and run.new_version and run.model in models.names():
        staged, back = models.staged(run.model), models.previous(run.model)
        current = models.published(run.model)
    is_open = run.state in _OPEN
    return TrainingView(
        run=run,
        open=is_open,
        progress=progress if is_open else None,
        eta_seconds=eta_seconds(points, run.started_us or 0, until_us) if is_open else None,
        seconds=None if run.started_us is None else (until_us - run.started_us) / 1e6,
        losses=[(point.step, point.loss) for point in points if point.loss is not None],
        metrics=_metrics(run, points),
        power=power,
        staged=staged is not None and staged.id == run.new_version,
        published=current is not None and current == run.new_version,
        rolls_back_to=back,
        again=test_address(run.item, _request(run)),
    )


def eta_seconds(points: Sequence[CurvePoint], since_us: int, now_us: int) -> float | None:
    """Return how long the steps that are left will take at the pace of this attempt; None before two points are known.

    >>> points = [CurvePoint(1, 101, 1_000_000, 1.0), CurvePoint(51, 101, 6_000_000, 0.5)]
    >>> eta_seconds(points, 0, 6_000_000)
    5.0
    """
    mine = [point for point in points if point.time_us >= since_us]
    if len(mine) < 2 or mine[-1].step <= mine[0].step:
        return None
    pace = (mine[-1].time_us - mine[0].time_us) / 1e6 / (mine[-1].step - mine[0].step)
    since_last = (now_us - mine[-1].time_us) / 1e6
    return max(0.0, pace * (mine[-1].total - mine[-1].step) - since_last)


def _metrics(run: TrainingRun, points: Sequence[CurvePoint]) -> dict[str, list[tuple[int, float]]]:
    """Return the metrics by step: of the old model, on the way, of the new model."""
    if not points:
        return {}  # no step to put them at
    last = points[-1].total
    found = [(0, run.old_metrics), *((point.step, point.metrics) for point in points)]
    if not points[-1].metrics or points[-1].step < last:
        found.append((last, run.new_metrics))
    lines: dict[str, list[tuple[int, float]]] = {}
    for step, metrics in found:
        for name, value in metrics.items():
            lines.setdefault(name, []).append((step, value))
    return lines


def _request(run: TrainingRun) -> dict[str, Any]:
    """Return the body of the request that asks for the same training."""
    body: dict[str, Any] = {"table": run.table, "columns": run.columns}
    if run.limit is not None:
        body["limit"] = run.limit
    return {**body, "p_of_train": run.p_of_train, **run.options}
