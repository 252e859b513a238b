"""Label profiles: what is refused and in which words, versions that stay, built-in ones that cannot be overwritten."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from wattbus.errors import BadRequest, UnknownName
from wattbus.home import Home
from wattbus.labels.builtin import BUILT_IN
from wattbus.labels.profile import profile_from
from wattbus.labels.profiles import get_profile, list_profiles, profile_versions, save_profile
from wattbus.store.item_settings import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, home: Home) -> Iterator[Engine]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(home, url) as engine:
        yield engine


def content(**changes: Any) -> dict[str, Any]:
    """Return the content of a small profile with changes to its metric, or to itself where they are its fields."""
    bounds = [(0, 1), (1, 10), (10, 100), (100, 1000), (1000, None)]
    metric: dict[str, Any] = {
        "id": "co2", "name": "CO2", "unit": "g", "direction": "lower", "weight": 1,
        "intervals": intervals(*((one, *pair) for one, pair in zip("ABCDE", bounds, strict=True))),
    }  # fmt: skip
    own = {name: value for name, value in changes.items() if name in ("name", "classes", "stage", "metrics")}
    metric.update({name: value for name, value in changes.items() if name not in own})
    return {"name": "ours", "metrics": [metric], **own}


def intervals(*bounds: tuple[str, float | None, float | None]) -> list[dict[str, Any]]:
    return [{"letter": letter, "lower": low, "upper": high} for letter, low, high in bounds]


OVERLAP = intervals(("A", 0, 1), ("B", 1, 10), ("C", 8, 100), ("D", 100, 1000), ("E", 1000, None))
GAP = intervals(("A", 0, 1), ("B", 1, 10), ("C", 12, 100), ("D", 100, 1000), ("E", 1000, None))
TURNED = intervals(("E", 0, 1), ("D", 1, 10), ("C", 10, 100), ("B", 100, 1000), ("A", 1000, None))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"intervals": OVERLAP}, "the intervals B and C of co2 overlap between 8 and 10"),
        ({"intervals": GAP}, "the intervals B and C of co2 leave a gap between 10 and 12"),
        ({"intervals": TURNED}, "its classes stand as EDCBA from small to large values: they have to stand as ABCDE"),
        ({"direction": "higher"}, "have to stand as EDCBA"),
        ({"intervals": GAP[:2]}, "has intervals for A, B: it needs one for each of A, B, C, D, E"),
        ({"classes": "ABCDEFG"}, "it needs one for each of A, B, C, D, E, F, G"),
        ({"classes": "XYZ"}, "the classes are 'XYZ': use ABCDE or ABCDEFG"),
        ({"weight": -1}, "the weight of co2 is -1"),
        ({"weight": math.nan}, "the weight of co2 is not a number"),
        ({"weight": math.inf}, "the weight of co2 is infinity"),
        ({"weight": 0}, "every metric has the weight 0"),
        ({"intervals": intervals(("A", 0, math.nan))}, "a bound of co2 is not a finite number"),
        ({"intervals": intervals(("A", 2, 1))}, "the interval A of co2 ends at 1 and begins at 2"),
        ({"metrics": []}, "metrics is []"),
        ({"name": "two words"}, "name is 'two words'"),
        ({"id": "CO2"}, "metrics.0.id is 'CO2'"),
        ({"weigth": 1}, "metrics.0.weigth is 1"),
        ({"direction": "up"}, "metrics.0.direction is 'up'"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        profile_from(content(**changes))

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_metric_that_is_there_twice_is_refused() -> None:
    twice = content()["metrics"] * 2

    with pytest.raises(BadRequest, match="the metric co2 is there twice"):
        profile_from(content(metrics=twice))


def test_each_version_of_a_profile_stays(engine: Engine) -> None:
    first = save_profile(engine, profile_from(content()), "ann")
    second = save_profile(engine, profile_from(content(weight=2)), "ben")

    assert (first.title, second.title) == ("ours@1", "ours@2")
    assert get_profile(engine, "ours") == second
    assert get_profile(engine, "ours", 1) == first
    assert [one.made_by for one in profile_versions(engine, "ours")] == ["ben", "ann"]
    assert [one.profile.name for one in list_profiles(engine)] == [*BUILT_IN, "ours"]


@pytest.mark.parametrize("name", [*BUILT_IN, "Default", "GAISSA-training"])
def test_a_built_in_profile_is_copied_and_never_overwritten(engine: Engine, name: str) -> None:
    with pytest.raises(BadRequest, match="stays as it is"):
        save_profile(engine, profile_from(content(name=name)), "ann")

    copied = BUILT_IN["gaissa-training"].model_copy(update={"name": "copied"})
    assert save_profile(engine, copied, "ann").version == 1


def test_an_unknown_profile_is_refused_with_the_nearest_name(engine: Engine) -> None:
    with pytest.raises(UnknownName, match="gaissa-inference"):
        get_profile(engine, "gaissa-inferenc")
    with pytest.raises(UnknownName, match="version"):
        get_profile(engine, "default", 99)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_profile_survives_the_way_through_json(name: str) -> None:
    profile = BUILT_IN[name]

    assert profile_from(profile.model_dump(mode="json")) == profile
    assert profile.source
