"""Imported runs are kept, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.errors import UnknownName
from wattbus.home import Home
from wattbus.imports.stored_runs import forget_run, list_runs, save_run, stored_run
from wattbus.store.item_settings import opened

RUN = RunFigures(
    name="reviews, run 5b0f",
    stage=Stage.TRAINING,
    source=Source.IMPORTED,
    origin="emissions.csv, run 5b0f",
    energy_joules=3600.0,
    tier=Tier.MODELLED,
    extra={"cpu_energy_joules": 3000.0},
)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def test_a_kept_run_comes_back_as_it_was(engine: Engine) -> None:
    save_run(engine, RUN, "ann")

    assert stored_run(engine, RUN.name) == RUN


def test_the_newest_of_each_name_is_listed_and_one_can_be_forgotten(engine: Engine) -> None:
    other = replace(RUN, name="reviews, run 77aa", energy_joules=None)
    for run in (RUN, other, replace(RUN, energy_joules=7200.0)):
        save_run(engine, run)

    listed = list_runs(engine)

    assert {one.name: one.energy_joules for one in listed} == {RUN.name: 7200.0, other.name: None}
    assert forget_run(engine, RUN.name) == 2
    with pytest.raises(UnknownName, match="did you mean 'reviews, run 77aa'"):
        stored_run(engine, RUN.name)
