"""What runs cost beside the other way: trained and asked over the bus, measured on a sample, reckoned by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from iop import Production
from sqlalchemy import Engine
from trainings import TRAINING, prepared

import wattbus
from command import Command
from wattbus.energy.feed import FakeFeed, NullFeed
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, UnknownName, WattbusError
from wattbus.home import Home
from wattbus.messages import MLRequest, TrainRequest
from wattbus.ml.child import start_child
from wattbus.ml.models import ModelStore
from wattbus.ml.tables import TrainingTables
from wattbus.ml.template_way import TemplateSpec
from wattbus.operations import MLOperation, TuningOperation
from wattbus.savings import (
    KIND,
    Cost,
    Counterfactual,
    Place,
    Row,
    Run,
    Side,
    Size,
    csv_of,
    find_run,
    list_runs,
    measured,
    report,
)
from wattbus.savings.counterfactual import KeptSample
from wattbus.savings.files import shown_ratios
from wattbus.savings.measure import measure, obstacle
from wattbus.savings.phases import Phases
from wattbus.savings.reckoning import row_of, totals_of
from wattbus.savings.runs import TrainingWork
from wattbus.store.database import open_engine
from wattbus.store.documents import document_versions, save_document
from wattbus.store.item_settings import opened

SMALL = Size(rows=6, repeats=3, quiet_seconds=0.0)
ASKED = 3


def production() -> Production:
    made = Production("Test.Savings", testing_enabled=True)
    made.operation("Tune", TuningOperation, settings={"model_name": "toy"})
    made.operation("ML", MLOperation, settings={"name": "toy", "task": "text-classification"})
    return made


def place_of(home: Home, engine: Engine, feed: Any = None) -> Place:
    models, tables = ModelStore(home.models), TrainingTables(f"sqlite:///{home.tables_file}")
    return Place(home, engine, models, tables, feed or FakeFeed())


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home where a model was trained once and asked three times, and nothing was measured yet."""
    folder = tmp_path_factory.mktemp("worked")
    (folder / "home").mkdir()
    home = prepared(folder / "home")
    with wattbus.run(production(), home=home.root, feed=FakeFeed()) as bus:
        bus.wait_ready()
        bus.production.ledger.wait_ready(20)
        bus.request("Tune", TrainRequest(**TRAINING))
        for number in range(ASKED):
            bus.request("ML", MLRequest(inputs=f"row {number} very kind"))
    return home


@pytest.fixture(scope="module")
def sampled(worked: Home) -> dict[str, Counterfactual]:
    """The same home once each of its runs was measured, the answers with no power source; the samples by run."""
    found: dict[str, Counterfactual] = {}
    with opened(worked, None) as engine:
        for run in list_runs(engine, ModelStore(worked.models)):
            feed = FakeFeed() if run.kind == "training" else NullFeed("no counter here")
            ((_, sample),) = measured(place_of(worked, engine, feed), (run.name,), SMALL)
            assert isinstance(sample, Counterfactual), sample
            save_document(engine, KIND, sample.name, sample.to_content())
            found[run.name] = sample
        assert list(measured(place_of(worked, engine), (), SMALL)) == []  # each has a sample of its size
    return found


@pytest.fixture
def engine(worked: Home) -> Iterator[Engine]:
    opened = open_engine(worked, None, read_only=True)
    yield opened
    opened.dispose()


def rows_of(home: Home, engine: Engine) -> dict[str, Row]:
    place = place_of(home, engine)
    return {
        row.run.partition("-")[0].partition("/")[0]: row
        for row in report(engine, place.models, place.tables).rows
    }


def runs_of(home: Home, engine: Engine) -> list[Run]:
    return list_runs(engine, ModelStore(home.models))


def test_a_run_that_was_not_measured_says_so_with_the_command_and_is_in_no_sum(
    worked: Home, engine: Engine
) -> None:
    place = place_of(worked, engine)
    found = report(engine, place.models, place.tables)
    training = next(row for row in found.rows if row.kind == "training")

    assert training.not_measured == "not measured on this machine yet"
    assert training.command == f"wattbus savings measure {training.run}"
    assert (training.ours.tier, training.template) == (Tier.MODELLED, None)
    assert training.ours.joules and training.ours.seconds and training.ours.cpu_seconds
    assert (found.totals.measured, found.totals.left_out, found.totals.joules) == (0, 2, ())


def test_a_training_stands_beside_its_sample_scaled_by_hand(
    worked: Home, engine: Engine, sampled: dict[str, Counterfactual]
) -> None:
    row = rows_of(worked, engine)["training"]
    costs = sampled[row.run].costs

    # 32 of 40 rows trained for 2 epochs; old and new model were evaluated on the 8 others
    seconds = (
        costs["start"].seconds + 32 * 2 * costs["training"].seconds + 2 * 8 * costs["evaluation"].seconds
    )
    joules = [costs[part].joules or 0.0 for part in ("start", "training", "evaluation")]
    assert row.template is not None
    assert row.template.seconds == pytest.approx(seconds)
    assert row.template.joules == pytest.approx(joules[0] + 64 * joules[1] + 16 * joules[2])
    assert row.seconds_ratio == pytest.approx(seconds / (row.ours.seconds or 0.0))
    assert row.how.startswith("measured on 6 rows, 3 repeats, ")
    assert row.how.endswith("scaled to 32 rows x 2 epochs and 2 evaluations of 8 rows")


def test_answers_stand_beside_the_pipeline_asked_the_same_and_need_no_power_source(
    worked: Home, engine: Engine, sampled: dict[str, Counterfactual]
) -> None:
    run = next(one for one in runs_of(worked, engine) if one.kind == "answers")
    sample = sampled[run.name]
    ours = Side(seconds=2.0, joules=6.0, tier=Tier.MODELLED)

    row = row_of(replace(run, ours=ours), KeptSample(sample, 1, 0))

    assert row.what.startswith(f"{ASKED} answers of toy v0001-")
    assert row.template is not None
    assert row.template.seconds == pytest.approx(ASKED * sample.costs["answering"].seconds)
    assert (row.template.joules, row.joules_ratio, sample.tier) == (None, None, Tier.NONE)
    assert row.note.endswith("no joules of the other way: no counter here")
    assert sample.sample.startswith(f"the newest {ASKED} kept requests to ML, with toy v0001-")


def test_each_part_of_a_sample_has_its_cost_with_a_spread(sampled: dict[str, Counterfactual]) -> None:
    training = next(one for name, one in sampled.items() if name.startswith("training"))

    assert (training.rows, training.repeats, training.tier) == (6, 3, Tier.MODELLED)
    assert "padded to 512 tokens, float32" in training.way
    for part in ("start", "training", "evaluation"):
        cost = training.costs[part]
        assert 0 < cost.low_seconds <= cost.seconds <= cost.high_seconds, part
        assert cost.low_joules is not None and cost.joules is not None and cost.high_joules is not None
        assert 0 < cost.low_joules <= cost.joules <= cost.high_joules, part
    assert training.costs["training"].seconds > training.costs["evaluation"].seconds


def test_the_command_tells_both_sides(
    worked: Home, sampled: dict[str, Counterfactual], tmp_path: Path
) -> None:
    command = Command(tmp_path)
    command.home = worked.root

    told = command.json("savings")
    lines = list(csv.DictReader(io.StringIO(command("savings", "--csv"))))
    shown = command("savings", "--markdown")

    training = next(row for row in told["rows"] if row["kind"] == "training")
    assert training["template"]["seconds"] > 0 and training["ours"]["joules"] > 0
    assert training["seconds_ratio"] == pytest.approx(
        training["template"]["seconds"] / training["ours"]["seconds"]
    )
    assert told["totals"]["measured"] == 2
    assert told["totals"]["template_seconds"] == pytest.approx(
        sum(row["template"]["seconds"] for row in told["rows"])
    )
    assert {line["run"] for line in lines} == {row["run"] for row in told["rows"]}
    line = next(line for line in lines if line["kind"] == "training")
    assert float(line["ours_joules"]) == training["ours"]["joules"]
    assert "| training-" in shown and "2 runs with seconds on both sides" in shown


def test_a_run_that_cost_more_than_the_other_way_shows_as_such(
    worked: Home, sampled: dict[str, Counterfactual], tmp_path: Path, engine: Engine
) -> None:
    run = next(one for one in runs_of(worked, engine) if one.kind == "training")
    cheap = Cost(1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6)
    sample = replace(sampled[run.name], costs=dict.fromkeys(("start", "training", "evaluation"), cheap))

    row = row_of(run, KeptSample(sample, 1, 0))

    assert row.seconds_ratio is not None and row.seconds_ratio < 1
    assert "ours took more" in shown_ratios(row)
    assert totals_of([row]).ours_seconds > totals_of([row]).template_seconds


def test_joules_of_unlike_tiers_are_not_compared(
    worked: Home, sampled: dict[str, Counterfactual], engine: Engine
) -> None:
    run = next(one for one in runs_of(worked, engine) if one.kind == "training")
    other = replace(sampled[run.name], tier=Tier.MEASURED)

    row = row_of(run, KeptSample(other, 1, 0))

    assert (row.joules_ratio, row.template and row.template.joules) == (None, None)
    assert "ours are modelled, the other way's measured" in row.note
    assert row.seconds_ratio and totals_of([row]).joules == ()


def test_the_newest_sample_serves_and_the_older_ones_stay(
    worked: Home, engine: Engine, sampled: dict[str, Counterfactual]
) -> None:
    name = next(one for one in sampled if one.startswith("ML/"))
    dear = {"answering": Cost(100.0, 100.0, 100.0)}
    with opened(worked, None) as writing:
        again = replace(sampled[name], costs=dear)
        save_document(writing, KIND, again.name, again.to_content())
        row = rows_of(worked, engine)["ML"]
        versions = document_versions(engine, KIND, again.name)
        save_document(writing, KIND, again.name, sampled[name].to_content())

    assert row.template is not None and row.template.seconds == pytest.approx(ASKED * 100.0)
    assert [one.version for one in versions] == [2, 1]


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (Size(rows=0), "a sample of 0 rows was asked for: give 1 to 512"),
        (Size(repeats=0), "0 repeats were asked for: give 3 to 20"),
        (Size(rows=10**9), "give 1 to 512"),
    ],
)
def test_a_sample_of_no_size_is_refused(worked: Home, engine: Engine, size: Size, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        list(measured(place_of(worked, engine), (), size))


def test_an_unknown_run_is_told_with_the_nearest_one(worked: Home, engine: Engine) -> None:
    known = next(run.name for run in runs_of(worked, engine) if run.kind == "training")

    with pytest.raises(UnknownName, match=f"did you mean '{known}'"):
        list(measured(place_of(worked, engine), (known.replace("g-", "g_"),), SMALL))


def why_not(run: Run, place: Place) -> str:
    with pytest.raises(WattbusError) as raised:
        measure(run, place, SMALL)
    return str(raised.value)


def test_what_is_gone_cannot_be_measured_and_says_so(worked: Home, engine: Engine, tmp_path: Path) -> None:
    place = place_of(worked, engine)
    run = next(one for one in runs_of(worked, engine) if one.kind == "training")
    assert isinstance(run.work, TrainingWork)
    empty = Home(tmp_path / "empty").create()
    elsewhere = TrainingTables(f"sqlite:///{tmp_path}/other.sqlite")
    no_table = replace(run, work=replace(run.work, table="Gone"))
    no_labels = replace(run, work=replace(run.work, labels=("nobody",)))

    assert "the model toy v0001-" in why_not(run, replace(place, models=ModelStore(empty.models)))
    assert "set WATTBUS_TABLES_URL to it" in why_not(run, replace(place, tables=elsewhere))
    assert "Gone" in why_not(no_table, place)
    assert "its rows are gone" in why_not(no_labels, place)
    assert "has not ended yet" in why_not(replace(run, open=True), place)
    assert not list(worked.runs.glob("savings-*"))


def test_a_row_whose_model_or_table_is_gone_says_why_it_is_not_measured(
    worked: Home, engine: Engine, tmp_path: Path
) -> None:
    run = next(one for one in runs_of(worked, engine) if one.kind == "training")
    nothing, tables = ModelStore(tmp_path / "none"), TrainingTables(f"sqlite:///{worked.tables_file}")
    elsewhere = TrainingTables(f"sqlite:///{tmp_path}/other.sqlite")

    assert obstacle(run, ModelStore(worked.models), tables) == ""
    assert "is not here any more" in obstacle(run, nothing, tables)
    assert "its rows cannot be read" in obstacle(run, ModelStore(worked.models), elsewhere)


def test_requests_that_were_purged_cannot_be_asked_again(worked: Home, engine: Engine) -> None:
    run = next(one for one in runs_of(worked, engine) if one.kind == "answers")
    assert run.work is not None

    told = why_not(replace(run, work=replace(run.work, item="Nobody")), place_of(worked, engine))

    assert "none of its requests is kept any more" in told


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(
    worked: Home, engine: Engine, tmp_path: Path
) -> None:
    home = prepared(Home(tmp_path / "broken").create().root)
    models = ModelStore(home.models)
    version = models.ensure("toy").version
    for file in version.path.glob("*.safetensors"):
        file.chmod(0o600)
        file.write_bytes(b"nothing")
    run = next(one for one in runs_of(worked, engine) if one.kind == "training")

    told = why_not(
        replace(run, version=version.id), replace(place_of(worked, engine), home=home, models=models)
    )

    assert "the sample cannot be measured" in told or "ended before it had measured" in told
    assert not list(home.runs.glob("savings-*"))


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        (("savings", "measure"), 1, "name a run of `wattbus savings`, or give --all"),
        (("savings", "measure", "training-1"), 3, "there is no store yet"),
        (("savings", "--days", "0"), 1, "0 days were asked for"),
        (("savings", "--csv", "--json"), 1, "choose one"),
        (("savings",), 0, "No run in the last 30 days."),
    ],
)
def test_the_command_says_what_is_wrong(
    asked: tuple[str, ...], status: int, sentence: str, tmp_path: Path
) -> None:
    command = Command(tmp_path)

    done = command.run(*asked)

    assert (done.returncode, sentence in done.stdout + done.stderr) == (status, True)
    assert "Traceback" not in done.stderr


def test_csv_has_no_formula_and_json_is_whole(worked: Home, engine: Engine) -> None:
    row = next(iter(rows_of(worked, engine).values()))

    text = csv_of([replace(row, what="=cmd()")])

    assert "'=cmd()" in text
    assert json.loads(json.dumps(text))
    assert find_run(runs_of(worked, engine), row.run).name == row.run


def test_the_process_of_a_sample_ends_with_its_parent(tmp_path: Path) -> None:
    spec = TemplateSpec(model_folder=tmp_path, work=tmp_path, task="text-classification")
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    child = start_child("wattbus.ml.template_way", tmp_path / "spec.json", log=tmp_path / "log", told={})
    assert child.process.stdin is not None

    child.process.stdin.close()

    try:
        assert child.reap(120) and child.status == 3
    finally:
        child.end()


def test_a_machine_without_a_power_source_says_why_there_are_no_joules() -> None:
    with Phases(NullFeed("no counter here"), quiet_seconds=0.0) as phases, phases.part("start"):
        pass

    ((record,),) = phases.records().values()
    assert (record.energy_joules, phases.why_no_joules) == (None, "no counter here")
