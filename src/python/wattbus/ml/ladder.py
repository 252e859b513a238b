"""The ladder: rungs from the cheapest on, until one meets the target or the energy budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wattbus import words
from wattbus.errors import ModelError, TrainingFailed
from wattbus.ml.features_rung import FEATURES, climb_features
from wattbus.ml.fitted_rung import climb_fitted, remove_checkpoints
from wattbus.ml.ground import Ground
from wattbus.ml.ladder_options import JOULES_PER_WH
from wattbus.ml.pace import joule_words
from wattbus.ml.rung_records import RungRecord
from wattbus.training_report import Rung


@dataclass(frozen=True)
class Walked:
    """The rungs as they ended, the one whose model is kept, and what that says about the target."""

    records: tuple[RungRecord, ...]
    chosen: RungRecord
    met: bool | None  # None: there was no target
    outcome: str


def walk(ground: Ground, rungs: Sequence[str]) -> Walked:
    """Climb ``rungs`` in their order; a rung that ended in an earlier attempt is not run again.

    Stops at the first that meets the target, and before one that what is left of the budget does not reach for. Raises
    TrainingFailed where no rung made a model.
    """
    target, metric = ground.spec.target, ground.spec.target_metric
    records: list[RungRecord] = []
    ended = _best([one for name in rungs if (one := ground.records.read(name)) is not None], metric)
    if ended is not None and not ground.records.has_model(ended.rung.name):
        ground.records.forget()
    for name in rungs:
        record = ground.records.read(name) or _climbed(ground, name, records, alone=len(rungs) == 1)
        records.append(record)
        best = _best(records, metric)
        ground.records.drop_models_but(best.rung.name if best else None)
        remove_checkpoints(ground.spec.run_folder)
        if len(rungs) > 1:
            ground.progress(f"rung {name}: {_ended(record, metric)}")
        if record.made_a_model and target is not None and record.value(metric) >= target:
            break
    best = _best(records, metric)
    if best is None:
        ground.records.forget()
        raise TrainingFailed(_no_model(ground, records))
    met = None if target is None else best.value(metric) >= target
    return Walked(tuple(records), best, met, _outcome(ground, records, best, met))


def _climbed(ground: Ground, name: str, before: Sequence[RungRecord], *, alone: bool) -> RungRecord:
    """Run one rung and write its record; one that cannot be run is skipped, unless it is the only one."""
    begun = ground.spending.begin(name)
    left = _left(ground, begun.joules)
    if left is not None and left <= 0:
        record = _skipped(ground, name, "not begun: the energy budget was spent")
    else:
        if not alone:
            ground.progress(f"rung {name} begins")
        try:
            if name == FEATURES:
                record = climb_features(ground)
            else:
                steps = sum(one.rung.steps for one in before)
                record = climb_fitted(ground, name, measured=bool(before), steps_before=steps)
        except (TrainingFailed, ModelError) as error:
            if alone:
                raise
            record = _skipped(ground, name, str(error).removesuffix(" Nothing was staged."))
    used = ground.spending.now(exact=True).since(begun)
    rung = record.rung.model_copy(update={"seconds": round(used.seconds, 3), "joules": used.joules})
    record = record.model_copy(update={"rung": rung})
    ground.records.keep(record)
    return record


def _left(ground: Ground, spent: float | None) -> float | None:
    """Return the joules that are left of the budget; None where there is none."""
    budget = ground.budget_joules
    return None if budget is None or spent is None else budget - spent


def _skipped(ground: Ground, name: str, why: str) -> RungRecord:
    return RungRecord(fingerprint=ground.fingerprint, rung=Rung(name=name, state="skipped", words=why))


def _best(records: Sequence[RungRecord], metric: str) -> RungRecord | None:
    """Return the record of the highest value, the cheapest of those that are equal."""
    made = [record for record in records if record.made_a_model]
    return max(made, key=lambda record: record.value(metric)) if made else None  # max keeps the first


def _ended(record: RungRecord, metric: str) -> str:
    if not record.made_a_model:
        return f"skipped, {record.rung.words}"
    joules = "" if record.rung.joules is None else f", {joule_words(record.rung.joules)}"
    return f"{metric} {record.value(metric):.3f} in {words.seconds(record.rung.seconds)}{joules}"


def _no_model(ground: Ground, records: Sequence[RungRecord]) -> str:
    budget = ground.spec.energy_budget_wh
    if budget is not None and all("energy budget" in record.rung.words for record in records):
        return (
            f"the energy budget of {budget:g} Wh ({budget * JOULES_PER_WH:g} J) was spent before a rung made a model: "
            "nothing was staged. Raise energy_budget_wh."
        )
    told = "; ".join(f"{record.rung.name}: {record.rung.words}" for record in records)
    return f"no rung made a model, nothing was staged ({told})"


def _outcome(ground: Ground, records: Sequence[RungRecord], best: RungRecord, met: bool | None) -> str:
    """Say in one sentence which rung was chosen and why the ladder ended there."""
    spec, name = ground.spec, best.rung.name
    value = f"{spec.target_metric} {best.value(spec.target_metric):.3f}"
    last = records[-1].rung
    dear = [one.rung.name for one in records if "budget" in one.rung.words and one.rung.state != "done"]
    if met:
        return f"{name} is the cheapest rung that met the target: {value} of at least {spec.target:g}."
    bound = ""
    if dear and spec.energy_budget_wh is not None:
        bound = f" The energy budget of {spec.energy_budget_wh:g} Wh did not reach for {', '.join(dear)}."
    if met is False:
        return f"no rung met the target of {spec.target:g}: the best, {name} with {value}, was kept.{bound}"
    if len(records) == 1:
        return f"{name}: {value}; {last.words}.{bound}"
    return f"{name} did best of the rungs that were run: {value}.{bound}"
