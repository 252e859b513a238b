"""Synchronising from a provider: everything is kept with its figure or its reason, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine

from fakehublist import FakeHubList, fake_hub_list
from wattbus.energy.figures import Source, Stage
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, ModelError, UnknownName
from wattbus.home import Home
from wattbus.labels.evaluate import evaluate
from wattbus.labels.profiles import get_profile
from wattbus.labels.synchronise import (
    SyncRun,
    provider_figures,
    provider_model,
    provider_models,
    reasons,
    sync_run,
    synchronise,
)
from wattbus.ml.hub import Patience
from wattbus.ml.hub_figures import HubList, Selection
from wattbus.store.documents import save_document
from wattbus.store.item_settings import opened

PATIENCE = Patience(describe_seconds=10, tries=2, pause_seconds=0.01, longest_wait_seconds=1)


class Killed(Exception):
    """The process ended here."""


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


@pytest.fixture
def hub() -> Iterator[FakeHubList]:
    with fake_hub_list() as hub:
        yield hub


def keeping(engine: Engine) -> Any:
    return lambda documents: [save_document(engine, *one, "test") for one in documents]


def synchronised(
    engine: Engine, hub: FakeHubList, selection: Selection | None = None, **options: Any
) -> SyncRun:
    selection = selection or Selection()
    provider = HubList(hub.endpoint, patience=PATIENCE)
    keep = options.pop("keep", keeping(engine))
    return synchronise(provider, selection, keep, sync_run(engine, selection), lambda: 1_000_000, **options)


def test_each_model_is_kept_with_its_figure_or_with_its_reason(engine: Engine, hub: FakeHubList) -> None:
    hub.add("org/good", "0.5 kg", downloads=10)
    hub.add("org/bad", "10-20 g")
    hub.add("org/negative", -1)
    hub.add("org/silent")

    run = synchronised(engine, hub, Selection(everything=True))

    found = {one.name: one for one in provider_models(engine)}
    assert (run.kept, run.skipped, run.is_whole) == (1, 3, True)
    assert set(found) == {"org/good", "org/bad", "org/negative", "org/silent"}
    assert found["org/good"].figures is not None and found["org/good"].figures.carbon_grams == 500
    assert "more than one number" in found["org/bad"].skipped
    assert all((one.figures is None) == bool(one.skipped) for one in found.values())
    assert sum(reasons(list(found.values())).values()) == 3


def test_what_a_provider_declares_stays_apart_from_what_was_measured(
    engine: Engine, hub: FakeHubList
) -> None:
    hub.add("org/model", {"emissions": 20, "source": "codecarbon", "geographical_location": "Germany"})

    synchronised(engine, hub)

    figures = provider_figures(engine, "org/model")
    assert (figures.source, figures.stage, figures.tier) == (Source.PROVIDER, Stage.TRAINING, Tier.NONE)
    assert figures.energy_joules is None and figures.low_joules is None
    assert figures.method == "codecarbon" and hub.endpoint in figures.origin


def test_a_declared_model_is_graded_with_gaissas_profile(engine: Engine, hub: FakeHubList) -> None:
    hub.add(
        "org/model", "5 g", downloads=500, safetensors={"parameters": {"F32": 100_000_000}, "total": 100_000_000},
        card={"model-index": [{"results": [{"metrics": [{"type": "accuracy", "value": 0.9}]}]}]},
    )  # fmt: skip
    synchronised(engine, hub)

    found = evaluate(get_profile(engine, "gaissa-training"), provider_figures(engine, "org/model"))

    letters = {one.metric: one.letter for one in found.grades}
    assert letters == {
        "co2_eq_emissions": "B", "downloads": "C", "performance_score": "B", "size_efficency": "D",
        "datasets_size_efficency": None,
    }  # fmt: skip
    assert found.letter == "C"


def test_a_doubted_figure_says_so_wherever_it_is_used(engine: Engine, hub: FakeHubList) -> None:
    hub.add("org/model", "~20 g")

    synchronised(engine, hub)

    assert provider_model(engine, "org/model").doubts == ("its card gives it as a rough figure",)
    assert "doubted: its card gives it as a rough figure" in provider_figures(engine, "org/model").origin


def test_a_skipped_model_cannot_be_graded_and_says_why(engine: Engine, hub: FakeHubList) -> None:
    hub.add("org/model", "5 kWh")
    synchronised(engine, hub)

    with pytest.raises(BadRequest, match="cannot be graded: its emissions are in 'kwh', which is no mass"):
        provider_figures(engine, "org/model")
    with pytest.raises(UnknownName, match="org/model"):
        provider_figures(engine, "org/modle")


@pytest.mark.parametrize("killed_after", [0, 1, 99, 100, 101, 150, 201, 250])
def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    engine: Engine, hub: FakeHubList, killed_after: int
) -> None:
    for number in range(250):
        hub.add(f"org/model-{number:03}", number + 1 if number % 3 else "many")
    saved, keep = 0, keeping(engine)

    def keep_until_killed(documents: Sequence[Any]) -> None:
        nonlocal saved
        for one in documents:
            if saved == killed_after:
                raise Killed
            saved += 1
            keep([one])

    with pytest.raises(Killed):
        synchronised(engine, hub, keep=keep_until_killed)
    pages = len(hub.asked)
    run = synchronised(engine, hub)

    models = provider_models(engine)
    assert (run.read, run.kept, run.skipped, run.is_whole) == (250, 166, 84, True)
    assert len(models) == 250 and {one.version for one in models} == {1}
    assert len(hub.asked) - pages <= 3


def test_a_limit_ends_a_run_and_the_next_goes_on_there(engine: Engine, hub: FakeHubList) -> None:
    for number in range(7):
        hub.add(f"org/model-{number}", number + 1)

    read = [synchronised(engine, hub, limit=3).read for _ in range(3)]

    assert read == [3, 6, 7]
    assert len(provider_models(engine)) == 7


def test_a_limit_within_a_page_is_taken_up_within_it(engine: Engine, hub: FakeHubList) -> None:
    for number in range(120):
        hub.add(f"org/model-{number:03}", number + 1)
    whole = Selection()

    first = synchronised(engine, hub, whole, limit=110)
    assert first.read == 110 and not first.is_whole and first.taken == 10
    last = synchronised(engine, hub, whole)

    assert last.read == 120 and last.is_whole
    assert "There are more: the next run goes on" in first.sentence


def test_a_hub_that_fails_in_the_middle_leaves_what_was_read(engine: Engine, hub: FakeHubList) -> None:
    for number in range(150):
        hub.add(f"org/model-{number:03}", number + 1)
    keep = keeping(engine)

    def failing_after_a_page(documents: Sequence[Any]) -> None:
        keep(documents)
        hub.faults = [(429, {"retry-after": "900"}, b"")]

    with pytest.raises(ModelError, match="asks to wait 900 s"):
        synchronised(engine, hub, keep=failing_after_a_page)

    assert len(provider_models(engine)) == 100
    assert synchronised(engine, hub).read == 150


def test_a_whole_run_begins_anew_and_a_changed_card_is_a_new_version(
    engine: Engine, hub: FakeHubList
) -> None:
    hub.add("org/same", 1)
    hub.add("org/other", "5 g")
    synchronised(engine, hub)
    hub.models[1]["cardData"]["co2_eq_emissions"] = "5 kg"

    run = synchronised(engine, hub)

    found = {one.name: one for one in provider_models(engine)}
    assert run.read == 2
    assert (found["org/same"].version, found["org/other"].version) == (1, 2)
    assert provider_figures(engine, "org/other").carbon_grams == 5000


def test_a_list_without_models_is_told(engine: Engine, hub: FakeHubList) -> None:
    run = synchronised(engine, hub, Selection(author="nobody"))

    assert run.sentence == f"{hub.endpoint} lists no such model."


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_is_none_is_refused(engine: Engine, hub: FakeHubList, limit: int) -> None:
    with pytest.raises(BadRequest, match="give a number of models from 1"):
        synchronised(engine, hub, limit=limit)
