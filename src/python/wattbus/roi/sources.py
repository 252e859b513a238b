"""Where the energies of an analysis come from: runs that are kept, messages and models of the ledger, or a form."""

from __future__ import annotations

from sqlalchemy import Engine

from wattbus.energy.carbon import CarbonIntensity, carbon_intensity
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.label import JOULES_PER_WH, ModelLabel, labels_of
from wattbus.energy.record import EnergyRecord, EnergyStatus, Tier, is_hit
from wattbus.errors import BadRequest, NotRunning, UnknownName
from wattbus.imports.stored_runs import stored_run
from wattbus.roi.analysis import Analysis, Carbon, Energy
from wattbus.roi.given import Draft, GivenEnergy, GivenSide
from wattbus.roi.outcome import outcome_of
from wattbus.roi.tactics import Tactic, tactic_of
from wattbus.store.energy_queries import newest_records_of, records_of_message


def analysed(
    draft: Draft, engine: Engine | None = None, configured: CarbonIntensity | None = None
) -> Analysis:
    """Read the figures that a draft names; ``engine`` is the store, None where there is none yet.

    ``configured`` is the carbon intensity of this wattbus, for a draft that names none.
    """
    tactic = tactic_of(draft.tactic)
    before = _side(draft.before, "before", tactic, engine)
    if draft.after.reduction is None:
        after = _side(draft.after, "after", tactic, engine)
    else:
        if draft.after.ways != ["reduction"]:
            raise BadRequest("after: an energy and a reduction are both given: one says the other.")
        after = _reduced(draft.after.reduction, before)
    for name, side, energy in (("before", draft.before, before), ("after", draft.after, after)):
        price = draft.price_per_kwh if side.price_per_kwh is None else side.price_per_kwh
        if energy.joules is None and price:
            raise BadRequest(
                f"{name}: the energy is unknown ({energy.origin}): give it, or set {name}.price_per_kwh to 0 "
                "where a fee holds the electricity."
            )
    analysis = Analysis(
        given=draft, before=before, after=after, own=_own(draft, engine), carbon=_carbon(draft, configured)
    )
    outcome_of(analysis)  # what cannot be reckoned, such as a run below 0, is refused here and never kept
    return analysis


# -- one side ---------------------------------------------------------------------------------------------------------


def _side(given: GivenSide, name: str, tactic: Tactic, engine: Engine | None) -> Energy:
    if given.requests is not None and given.run is None and given.message is None:
        raise BadRequest(
            f"{name}: a number of requests is for a run or a message; typed joules are for one {tactic.unit}."
        )
    if given.run is not None:
        return _for_one(stored_run(_store(engine), given.run), given.requests, name, tactic)
    if given.message is not None:
        return _for_one(
            message_figures(_store(engine), given.message, given.scope), given.requests, name, tactic
        )
    if given.model is not None:
        if tactic.unit == "training":
            raise BadRequest(
                f"{name}: a model has inferences, and trainings are counted here: name a message or a run."
            )
        return _of_model(_store(engine), given, name)
    return _typed(given)


def _typed(given: GivenEnergy) -> Energy:
    if given.joules is None:
        return Energy(joules=None, origin="not given")
    return Energy(joules=given.joules, low_joules=given.low_joules, high_joules=given.high_joules)


def _reduced(reduction: float, before: Energy) -> Energy:
    """Return the energy after a typed reduction; it errs with that before."""
    origin = f"typed: {reduction:.6g} of the energy before is saved"
    if before.joules is None:
        return Energy(joules=None, origin="a share of an unknown energy")
    share = 1 - reduction
    bounds = before.bounds
    return Energy(
        joules=before.joules * share,
        low_joules=None if bounds is None else bounds[0] * share,
        high_joules=None if bounds is None else bounds[1] * share,
        tier=before.tier,
        source=Source.TYPED,
        origin=origin,
    )


def _for_one(run: RunFigures, requests: int | None, name: str, tactic: Tactic) -> Energy:
    """Return the energy of one inference or training of a run."""
    count = 1
    if tactic.unit == "inference":
        if run.stage is not Stage.INFERENCE:
            raise BadRequest(
                f"{name}: {run.origin} is a training, and inferences are counted here: name one of those."
            )
        told = requests if requests is not None else run.requests
        if not told:
            raise BadRequest(
                f"{name}: {run.origin} does not say how many inferences it answered: give {name}.requests."
            )
        count = told
    elif run.stage is not Stage.TRAINING:
        raise BadRequest(f"{name}: {run.origin} is no training, and trainings are counted here: name one.")
    return _energy(run, count)


def _energy(run: RunFigures, count: int) -> Energy:
    def share(value: float | None) -> float | None:
        return None if value is None else value / count

    return Energy(
        joules=share(run.energy_joules),
        low_joules=share(run.low_joules),
        high_joules=share(run.high_joules),
        tier=run.tier,
        source=run.source,
        origin=run.origin,
        counted=count,
        model=run.model,
        revision=run.revision,
        method=run.method,
        hardware=run.hardware,
        accuracy=run.accuracy,
        carbon_grams=share(run.carbon_grams),
    )


def _of_model(engine: Engine, given: GivenSide, name: str) -> Energy:
    """Return the mean energy of one inference of a model, of its newest version unless one is named."""
    model, revision = given.model or "", given.revision
    records = newest_records_of(engine, model)
    labels = [one for one in labels_of(model, records) if given.scope in (None, one.scope)]
    if not labels:
        raise BadRequest(
            f"{name}: no inference of {model!r} was metered here: ask it first, or type the figure."
        )
    if revision is not None:
        known = sorted({one.revision for one in labels if one.revision is not None})
        labels = [one for one in labels if one.revision == revision]
        if not labels:
            raise UnknownName(f"version of {model!r} with metered inferences", revision, known)
    of_version = [one for one in labels if one.revision == labels[0].revision]
    known_wh = [one for one in of_version if one.wh is not None]
    if not known_wh:
        raise BadRequest(f"{name}: {model} has {of_version[0].missing}: ask it more often, then analyse.")
    if len(known_wh) > 1:
        ways = ", ".join(f"{one.tier} ({one.scope})" for one in known_wh)
        raise BadRequest(
            f"{name}: {model} was metered in several ways, {ways}, which are never added: name a scope, a message "
            "or a run."
        )
    label = known_wh[0]
    method = next(
        (one.method for one in reversed(records) if one.revision == label.revision and one.method), None
    )
    return _of_label(label, method)


def _of_label(label: ModelLabel, method: str | None) -> Energy:
    def joules(wh_per_1000: float | None) -> float | None:
        return None if wh_per_1000 is None else wh_per_1000 * JOULES_PER_WH / 1000

    return Energy(
        joules=joules(label.wh),
        low_joules=joules(label.tier_low_wh),
        high_joules=joules(label.tier_high_wh),
        tier=Tier(label.tier),
        source=Source.LEDGER,
        origin=f"the mean of {label.runs} metered attempts",
        counted=label.requests,
        model=label.model,
        revision=label.revision,
        method=method,
    )


# -- the ledger and the rest ------------------------------------------------------------------------------------------


def message_figures(engine: Engine, message_id: int, scope: str | None = None) -> RunFigures:
    """Return what all attempts of a message used, also those that failed; unknown where one of them is."""
    records = [
        one for one in records_of_message(engine, message_id) if scope is None or one.scope.value == scope
    ]
    if not records:
        raise BadRequest(
            f"message {message_id} has no energy record: name a request that an operation answered."
        )
    if any(one.status is EnergyStatus.PENDING for one in records):
        raise BadRequest(f"the energy of message {message_id} is not settled yet: try again in a moment.")
    if all(is_hit(one) for one in records):
        raise BadRequest(
            f"message {message_id} was answered from the cache of answers, so no model has worked for it: name a "
            "message that the model answered."
        )
    scopes = {one.scope for one in records}
    if len(scopes) > 1:
        raise BadRequest(
            f"message {message_id} has energy on several sides ({', '.join(sorted(scopes))}), which are never added: "
            "name one as scope."
        )
    last = records[-1]
    facts = last.facts
    trained = facts is not None and facts.stage in ("finetuning", "training")
    tiers = sorted({one.tier for one in records}, key=list(Tier).index)
    return RunFigures(
        name=f"message {message_id}",
        stage=Stage.TRAINING if trained else Stage.INFERENCE,
        source=Source.LEDGER,
        origin=f"message {message_id}",
        model=last.model,
        revision=last.revision,
        energy_joules=_sum(records, "energy_joules"),
        low_joules=_sum(records, "low_joules"),
        high_joules=_sum(records, "high_joules"),
        tier=tiers[-1],
        method=last.method,
        carbon_grams=_sum(records, "carbon_grams"),
        requests=(facts.requests if facts is not None else None) or 1,
        accuracy=facts.accuracy if facts is not None else None,
    )


def _sum(records: list[EnergyRecord], name: str) -> float | None:
    values = [getattr(one, name) for one in records]
    return None if None in values else sum(values)


def _own(draft: Draft, engine: Engine | None) -> Energy | None:
    given = draft.own
    if given.model is not None:
        raise BadRequest("own: a model has many inferences: name the message or the run that the tactic was.")
    if given.run is not None:
        return _energy(stored_run(_store(engine), given.run), 1)
    if given.message is not None:
        return _energy(message_figures(_store(engine), given.message, given.scope), 1)
    if given.joules is None:
        return None
    return _typed(given)


def _carbon(draft: Draft, configured: CarbonIntensity | None) -> Carbon | None:
    if draft.carbon_g_per_kwh is not None:
        return Carbon(g_per_kwh=draft.carbon_g_per_kwh, source=draft.carbon_source or "typed")
    found = carbon_intensity(country=draft.country) or configured
    return None if found is None else Carbon(g_per_kwh=found.g_per_kwh, source=found.label)


def _store(engine: Engine | None) -> Engine:
    if engine is None:
        raise NotRunning(
            "there is no store yet, so no run is kept: start the production once, or type the figures."
        )
    return engine
