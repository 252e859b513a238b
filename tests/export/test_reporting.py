"""Seven kinds of work, each in one block with nothing typed, become reports that the official schemas accept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kinds
import tinymodels
import wattbus
from boamps_samples import GPU_MACHINE, MACHINE, OfficialSchemas, official_schemas
from fakehub import FakeHub
from wattbus.energy import FakeFeed, NullFeed
from wattbus.energy.cloud import CloudFacts
from wattbus.energy.feed import PowerFacts, PowerReading
from wattbus.energy.process_meter import ProcessMeter
from wattbus.errors import BadRequest
from wattbus.export.boamps_model import validate
from wattbus.export.boamps_score import filled_paths
from wattbus.export.organisation import Organisation, write_organisation
from wattbus.export.reporting import ReportedRun, boamps_report
from wattbus.home import Home

ACME = Organisation(
    name="Acme",
    division="Lab",
    licence="CC BY 4.0",
    estimated_accuracy="good",
    country="France",
    location="Paris",
    latitude=48.8,
    longitude=2.3,
    power_supplier="public",
    power_source="nuclear",
    carbon_intensity_g_per_kwh=50,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tinymodels.build("text-classification", tmp_path_factory.mktemp("models") / "tiny-bert")
    return kinds.cached(folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _hub_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr("sys.argv", ["/home/somebody/train_reviews.py"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


class ModelledFeed(FakeFeed):
    """A feed that says of itself what codecarbon says on a machine without counters."""

    def __init__(self) -> None:
        at_rest = PowerReading(10.0, cpu_joules=20.0, ram_joules=50.0)
        super().__init__(ram_watts=5.0, idle_watts=2.0, script=[at_rest])

    def start(self) -> PowerFacts:
        return replace(super().start(), method="codecarbon 3.3.2: cpu load, ram constant 5 W")


@pytest.fixture
def meter() -> Iterator[ProcessMeter]:
    meter = ProcessMeter(ModelledFeed(), interval_seconds=3600.0)
    yield meter
    meter.stop()


@pytest.fixture
def reported(meter: ProcessMeter) -> Callable[..., ReportedRun]:
    """Run work in a block of its own, on a machine that has no GPU, and return what it came to."""

    def run(work: Callable[[], Any], **options: Any) -> ReportedRun:
        meter.start()
        assert meter.ledger.wait_ready()
        assert meter.ledger.settle()  # the reading at rest comes before the work
        with boamps_report("task", meter=meter, **{"machine": MACHINE, **options}) as report:
            work()
        assert report.reason is None, report.reason
        return report

    return run


@pytest.fixture
def judge() -> OfficialSchemas:
    return official_schemas()


def works(cache: Path, tmp_path: Path, hub: FakeHub) -> dict[str, Callable[[], Any]]:
    return {
        "a pipeline": lambda: kinds.hub_pipeline_run(cache),
        "the Trainer": lambda: kinds.trainer_run(cache, kinds.reviews(tmp_path), tmp_path / "run"),
        "a plain torch loop": kinds.torch_run,
        "scikit-learn": kinds.sklearn_run,
        "keras": kinds.keras_run,
        "a remote call": lambda: kinds.remote_run(hub),
        "a generic task": kinds.generic_run,
    }


#: What each fills at least, unasked and then with the organisation's answers.
FLOORS = {
    "a pipeline": (53, 60),
    "the Trainer": (58, 65),
    "a plain torch loop": (52, 60),
    "scikit-learn": (53, 60),
    "keras": (53, 60),
    "a remote call": (44, 53),
    "a generic task": (39, 47),
}


@pytest.mark.parametrize("kind", FLOORS)
def test_a_block_of_each_kind_becomes_a_valid_report(
    kind: str, cache: Path, tmp_path: Path, reported: Callable[..., ReportedRun], judge: OfficialSchemas
) -> None:
    with FakeHub() as hub:
        report = reported(works(cache, tmp_path, hub)[kind])

    assert report.path is not None and report.score is not None
    document = json.loads(report.path.read_text())
    assert validate(document) == []
    assert judge.faults(document) == []
    missing = [path for path, _ in report.score.missing]
    assert report.score.filled >= FLOORS[kind][0], missing
    assert set(document["x-wattbus-provenance"]) >= {"task.taskStage", "measures[0].powerConsumption"}
    assert not [
        text for text in (*kinds.TEXTS, "How are you", str(tmp_path)) if text in report.path.read_text()
    ]


def test_all_kinds_together_fill_70_of_the_77_fields(
    cache: Path, tmp_path: Path, home: Home, reported: Callable[..., ReportedRun]
) -> None:
    write_organisation(home, ACME)
    cloud = CloudFacts("aws", "g5.xlarge", "eu-west-3", "the firmware")
    in_a_cloud = replace(GPU_MACHINE, distribution="Debian", distribution_version="12", cloud=cloud)

    filled: set[str] = set()
    counts: dict[str, int] = {}
    with FakeHub() as hub:
        for kind, work in works(cache, tmp_path, hub).items():
            report = reported(work, machine=in_a_cloud if kind == "keras" else MACHINE)
            assert report.score is not None and report.report is not None
            counts[kind] = report.score.filled
            for one in (report.report, report.remote_report):
                filled |= filled_paths(one.document) if one is not None else set()
    with_table = tmp_path / "reviews.csv"
    with_table.write_text("a,b\n" + "1,2\n" * 50)
    filled |= filled_paths(reported(lambda: _fit_on(with_table)).document)

    assert {kind: count for kind, count in counts.items() if count < FLOORS[kind][1]} == {}
    assert len(filled) >= 70, sorted(set(_all_paths()) - filled)


def test_both_sides_of_a_remote_call_are_reports_of_their_own(
    cache: Path, tmp_path: Path, reported: Callable[..., ReportedRun], judge: OfficialSchemas
) -> None:
    with FakeHub() as hub:
        report = reported(works(cache, tmp_path, hub)["a remote call"])

    assert report.report is not None and report.remote_report is not None
    here, there = report.report.document, report.remote_report.document
    assert here["measures"][0]["x-wattbus-scope"] == "client"
    assert there["measures"][0]["x-wattbus-tier"] == "estimated-remote"
    assert there["infrastructure"]["components"][0]["componentName"] == "NVIDIA H100 80GB"
    assert there["task"]["algorithms"][0]["parametersNumber"] == 7
    assert judge.faults(there) == []


def test_a_function_is_reported_each_time_it_runs(meter: ProcessMeter) -> None:
    @boamps_report("squares", meter=meter, machine=MACHINE)
    def squares() -> int:
        return kinds.generic_run()

    first = squares()
    one = squares.report.path  # type: ignore[attr-defined]
    squares()

    assert first == kinds.generic_run()
    assert one is not None and one.exists()
    assert squares.report.path not in (None, one)  # type: ignore[attr-defined]


def test_a_block_that_fails_has_no_report_and_its_error_is_the_users(meter: ProcessMeter, home: Home) -> None:
    block = boamps_report("task", meter=meter, machine=MACHINE)

    with pytest.raises(ZeroDivisionError), block as report:
        kinds.generic_run() / 0

    assert (report.path, report.reason) == (None, "the block ended with ZeroDivisionError")
    assert list(home.exports.iterdir()) == []


def test_without_a_power_meter_there_is_a_reason_and_no_report(home: Home) -> None:
    meter = ProcessMeter(NullFeed("no counter here"), interval_seconds=3600.0)
    try:
        with boamps_report("task", meter=meter, machine=MACHINE) as report:
            kinds.generic_run()
    finally:
        meter.stop()

    assert report.path is None and report.score is None
    assert report.reason is not None and "no counter here" in report.reason
    assert list(home.exports.iterdir()) == []


def test_blocks_inside_blocks_have_a_report_each(meter: ProcessMeter) -> None:
    with boamps_report("outer", meter=meter, machine=MACHINE) as outer:
        kinds.generic_run()
        with boamps_report("inner", meter=meter, machine=MACHINE) as inner:
            kinds.sklearn_run()

    assert inner.document is not None and outer.document is not None
    assert inner.document["task"]["algorithms"][0]["algorithmName"] == "SGDClassifier"
    assert outer.document["header"]["reportId"] != inner.document["header"]["reportId"]


def test_the_block_in_the_documentation_runs_as_it_stands(
    meter: ProcessMeter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "boamps.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr("wattbus.export.reporting.process_meter", lambda: meter)

    exec(compile(block, "docs/boamps.md", "exec"), {})

    assert re.fullmatch(r"\S+/exports/boamps-\S+\.json \d+ / \d+ None\n", capsys.readouterr().out)


def test_a_coroutine_function_cannot_be_reported_as_one_block() -> None:
    async def later() -> None: ...

    with pytest.raises(BadRequest, match="runs in parts"):
        wattbus.boamps_report("task")(later)


def _fit_on(file: Path) -> None:
    import pandas
    from sklearn.linear_model import LinearRegression

    table = pandas.read_csv(file)
    LinearRegression().fit(table[["a"]], table["b"])


def _all_paths() -> list[str]:
    from wattbus.export.boamps_model import leaf_paths

    return list(leaf_paths())
