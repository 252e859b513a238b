"""Where energies come from: kept runs, messages and models of the ledger, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from boamps_samples import record
from roi_samples import PAYS, run
from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.figures import Source, Stage
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier
from wattbus.errors import BadRequest, NotRunning, UnknownName
from wattbus.home import Home
from wattbus.imports.stored_runs import save_run
from wattbus.roi.analysis import Analysis
from wattbus.roi.formulas import State
from wattbus.roi.given import Draft
from wattbus.roi.inputs import inputs_of
from wattbus.roi.kept import forget_analysis, kept_analysis, kept_versions, list_analyses, save_analysis
from wattbus.roi.outcome import outcome_of
from wattbus.roi.sources import analysed
from wattbus.store.item_settings import opened
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy

TRAINING = TaskFacts(stage="finetuning")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def keep(engine: Engine, *records: EnergyRecord) -> None:
    with engine.begin() as connection:
        for one in records:
            values = dict(zip(energy.c.keys(), energy_row(one), strict=True))
            if values["facts"] is not None:
                values["facts"] = json.loads(values["facts"])
            connection.execute(insert(energy).values(values))


def analysis(engine: Engine | None, **changes: Any) -> Analysis:
    return analysed(Draft.model_validate({**PAYS, **changes}), engine)


def test_runs_before_and_after_are_read_for_one_inference_each(engine: Engine) -> None:
    save_run(engine, run("fp32", 4000.0, model="tiny", accuracy=0.91))
    save_run(engine, run("int8", 1000.0, model="tiny-int8", accuracy=0.90))

    found = analysis(engine, before={"run": "fp32"}, after={"run": "int8"}, price_per_kwh=900)

    assert (found.before.joules, found.before.low_joules, found.before.high_joules) == (4.0, 1.0, 8.0)
    assert (found.before.tier, found.before.source) == (Tier.MODELLED, Source.LEDGER)
    assert found.accuracies == (0.91, 0.90)
    assert outcome_of(found).energy_reduction.at.value == 0.75
    origins = {one.name: (one.text, one.origin) for one in inputs_of(found)}
    assert origins["energy of one inference before"] == (
        "4 J modelled (1 J to 8 J)",
        "metered by wattbus, the run fp32, tiny, 1,000 inferences",
    )
    assert origins["cost of implementing"] == ("10 EUR", "typed")


def test_a_message_of_the_ledger_is_read_with_all_its_attempts(engine: Engine) -> None:
    facts = TaskFacts(stage="inference", requests=4)
    keep(
        engine,
        record(message_id=7, attempt=1, energy_joules=6.0, low_joules=3.0, high_joules=12.0, facts=facts),
        record(message_id=7, attempt=2, energy_joules=2.0, low_joules=1.0, high_joules=4.0, facts=facts),
        record(message_id=8, facts=TRAINING, energy_joules=900.0, low_joules=450.0, high_joules=1800.0),
    )

    found = analysis(engine, before={"message": 7}, own={"message": 8})

    assert (found.before.joules, found.before.low_joules, found.before.counted) == (2.0, 1.0, 4)
    assert found.own is not None and (found.own.joules, found.own.high_joules) == (900.0, 1800.0)
    assert found.own.origin == "message 8"
    assert outcome_of(found).energy_break_even.at.value == 900
    with pytest.raises(BadRequest, match="before: message 8 is a training"):
        analysis(engine, before={"message": 8})
    with pytest.raises(BadRequest, match="message 9 has no energy record"):
        analysis(engine, before={"message": 9})


def test_an_attempt_of_unknown_energy_makes_the_whole_message_unknown(engine: Engine) -> None:
    keep(
        engine,
        record(message_id=7, attempt=1, energy_joules=None, tier=Tier.NONE, status=EnergyStatus.NOT_MEASURED),
        record(message_id=7, attempt=2),
        record(message_id=8, status=EnergyStatus.PENDING, energy_joules=None, tier=Tier.NONE),
    )

    with pytest.raises(BadRequest, match="before: the energy is unknown"):
        analysis(engine, before={"message": 7})
    with pytest.raises(BadRequest, match="not settled yet"):
        analysis(engine, before={"message": 8})


def test_the_sides_of_a_remote_call_are_never_added(engine: Engine) -> None:
    remote = record(
        message_id=7, scope=Scope.REMOTE, tier=Tier.ESTIMATED_REMOTE, energy_joules=90.0, low_joules=20.0,
        high_joules=900.0, status=EnergyStatus.ESTIMATED,
    )  # fmt: skip
    keep(engine, record(message_id=7, scope=Scope.CLIENT, energy_joules=1.0), remote)

    with pytest.raises(BadRequest, match="several sides"):
        analysis(engine, before={"message": 7})
    found = analysis(engine, before={"message": 7, "scope": "remote"}, after={"joules": 9})

    assert (found.before.joules, found.before.tier) == (90.0, Tier.ESTIMATED_REMOTE)
    notes = " ".join(outcome_of(found).notes)
    assert "not measured alike (estimated-remote, typed)" in notes
    assert "The electricity of the remote side is charged at your price" in notes


def test_a_model_is_read_as_the_mean_of_its_metered_inferences(engine: Engine) -> None:
    keep(
        engine,
        *(
            record(message_id=number, energy_joules=joules, low_joules=joules / 2, high_joules=joules * 2)
            for number, joules in enumerate((10.0, 20.0, 30.0), start=1)
        ),
        record(message_id=9, model="other"),
    )

    found = analysis(engine, before={"model": "acme/tiny-bert"})

    assert found.before.joules == pytest.approx(20.0)
    assert (found.before.low_joules, found.before.counted) == (pytest.approx(10.0), 3)
    assert found.before.revision == "0" * 40
    with pytest.raises(BadRequest, match="1 of known energy, 3 are needed"):
        analysis(engine, before={"model": "other"})
    with pytest.raises(BadRequest, match="no inference of 'nothing' was metered"):
        analysis(engine, before={"model": "nothing"})
    with pytest.raises(UnknownName, match="version of 'acme/tiny-bert'"):
        analysis(engine, before={"model": "acme/tiny-bert", "revision": "1"})


def test_a_fine_tune_is_fed_by_trainings_only(engine: Engine) -> None:
    save_run(engine, run("from nothing", 9e6, stage=Stage.TRAINING, requests=None))
    keep(engine, record(message_id=8, facts=TRAINING, energy_joules=9e4, low_joules=1e4, high_joules=1e5))
    sides = {"before": {"run": "from nothing"}, "after": {"message": 8}}

    found = analysis(engine, tactic="fine-tune", units=100, **sides)

    assert (found.before.joules, found.after.joules) == (9e6, 9e4)
    with pytest.raises(BadRequest, match="after: message 8 is a training"):
        analysis(engine, before={"joules": 1}, after={"message": 8})
    with pytest.raises(BadRequest, match="before: a model has inferences, and trainings are counted"):
        analysis(engine, tactic="fine-tune", before={"model": "a"})


def test_a_run_that_does_not_say_its_inferences_needs_their_number(engine: Engine) -> None:
    save_run(engine, run("emissions", 500.0, source=Source.IMPORTED, requests=None, low_joules=None))

    with pytest.raises(BadRequest, match=r"give before\.requests"):
        analysis(engine, before={"run": "emissions"})
    found = analysis(engine, before={"run": "emissions", "requests": 100})

    assert found.before.joules == 5.0
    assert outcome_of(found).gaissa_roi.low is None
    assert outcome_of(found).gaissa_roi.at.state is State.FIGURE
    with pytest.raises(UnknownName, match="did you mean 'emissions'"):
        analysis(engine, before={"run": "emission"})


@pytest.mark.parametrize("wrong", [{"energy_joules": -5.0}, {"low_joules": -1.0}, {"high_joules": 1e300}])
def test_a_run_that_cannot_be_is_refused(engine: Engine, wrong: dict[str, float]) -> None:
    save_run(engine, run("wrong", 5.0, **wrong))

    with pytest.raises(BadRequest, match="the energy before is"):
        analysis(engine, before={"run": "wrong"})


def test_without_a_store_typed_figures_do_and_a_run_says_what_lacks() -> None:
    assert outcome_of(analysis(None)).verdict == "saves"
    with pytest.raises(NotRunning, match="there is no store yet"):
        analysis(None, before={"run": "fp32"})


def test_the_configured_carbon_intensity_counts_where_none_is_given(engine: Engine) -> None:
    configured = CarbonIntensity(56.0, "FRA", 2023, "codecarbon")
    draft = Draft.model_validate(PAYS)

    assert analysed(draft, engine).carbon is None
    found = analysed(draft, engine, configured).carbon
    assert found is not None and (found.g_per_kwh, found.source) == (56.0, "FRA, 2023, codecarbon")
    given = Draft.model_validate({**PAYS, "carbon_g_per_kwh": 20, "carbon_source": "contract 2025"})
    own = analysed(given, engine, configured).carbon
    assert own is not None and (own.g_per_kwh, own.source) == (20.0, "contract 2025")


# -- kept ---------------------------------------------------------------------------------------------------------


def test_an_analysis_is_kept_with_its_figures_and_its_versions(engine: Engine) -> None:
    save_run(engine, run("fp32", 4000.0))
    first = save_analysis(engine, analysis(engine, before={"run": "fp32"}), "ann")
    save_run(engine, run("fp32", 8000.0))
    second = save_analysis(engine, analysis(engine, before={"run": "fp32"}), "ben")

    assert kept_analysis(engine, "pays", 1) == first
    assert [one.analysis.before.joules for one in kept_versions(engine, "pays")] == [8.0, 4.0]
    assert [(one.name, one.version, one.made_by) for one in list_analyses(engine)] == [("pays", 2, "ben")]
    assert second.version == 2
    assert forget_analysis(engine, "pays") == 2
    with pytest.raises(UnknownName, match="unknown analysis 'pays'"):
        kept_analysis(engine, "pays")
