"""The energy pages: what is summed and what never is, the buckets, live power, labels; through the door."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from doors import OpenDoor, basic, open_door
from iop import Production
from sqlalchemy import insert

from components import Echo
from waiting import until
from wattbus.energy.feed import FakeFeed
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, TaskFacts, Tier
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy, energy_intervals

TOKEN = "a-token-for-tests"
NOW_US = int(datetime.now(UTC).timestamp() * 1e6)
TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    production = Production("Energy.Test")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production, password=TOKEN, token=TOKEN) as door:
        yield door


def page(door: OpenDoor, path: str) -> str:
    """Return a page as a browser gets it."""
    connection = http.client.HTTPConnection(urlsplit(door.url).netloc, timeout=30)
    connection.request("GET", path, headers={"accept": "text/html", "authorization": basic(TOKEN)})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return text


def put(door: OpenDoor, *records: EnergyRecord) -> None:
    rows = [dict(zip(energy.c.keys(), energy_row(one), strict=True)) for one in records]
    for row in rows:
        row["facts"] = {"stage": "inference", "requests": 1, "precision": "fp32", "data": []}
    with door.director.current().store.engine.begin() as connection:
        connection.execute(insert(energy), rows)


def record(number: int, **changes: Any) -> EnergyRecord:
    values: dict[str, Any] = {
        "message_id": 1_000_000 + number, "attempt": 1, "item": "Op", "started_at_us": NOW_US, "duration_seconds": 0.5,
        "operation_kind": "text-classification", "model": "m", "revision": "v1", "cpu_seconds": 0.25,
        "energy_joules": 3.6, "low_joules": 1.8, "high_joules": 7.2, "tier": Tier.MODELLED,
        "status": EnergyStatus.ESTIMATED, "facts": TaskFacts("inference"),
    }  # fmt: skip
    return EnergyRecord(**{**values, **changes})


UNKNOWN = {
    "energy_joules": None, "low_joules": None, "high_joules": None, "tier": Tier.NONE,
    "status": EnergyStatus.NOT_MEASURED, "reason": "a test",
}  # fmt: skip


def test_sums_stand_beside_their_tier_bounds_cpu_time_and_unknown_attempts(ask: OpenDoor) -> None:
    put(ask, record(1), record(2), record(3, **UNKNOWN))

    view = ask("GET", "/api/v1/energy?days=1").said

    (row,) = [row for row in view["by_item"] if row["name"] == "Op"]
    assert (row["attempts"], row["unknown"], row["tier"], row["scope"]) == (3, 1, "modelled", "this machine")
    assert (row["joules"], row["low_joules"], row["high_joules"], row["cpu_seconds"]) == (
        7.2,
        3.6,
        14.4,
        0.75,
    )
    assert row["wh_per_1000"] == pytest.approx(1.0)
    assert [(one["name"], one["detail"]) for one in view["by_model"]] == [("m", "v1")]
    assert [one["name"] for one in view["by_day"] if one["joules"]] == [TODAY]
    text = page(ask, "/energy?days=1")
    assert "7.2 J modelled" in text and "3.6 J to 14 J" in text and "days are UTC" in text
    assert "unknown: set WATTBUS_COUNTRY" in text


def test_unlike_tiers_and_sides_stand_in_rows_of_their_own(ask: OpenDoor) -> None:
    put(
        ask,
        record(1),
        record(2, tier=Tier.MEASURED),
        record(3, scope=Scope.CLIENT),
        record(3, scope=Scope.REMOTE, tier=Tier.ESTIMATED_REMOTE),
        record(4, **UNKNOWN),
    )

    rows = [row for row in ask("GET", "/api/v1/energy?days=1").said["by_item"] if row["name"] == "Op"]

    assert sorted((row["scope"], row["tier"], row["attempts"], row["unknown"]) for row in rows) == [
        ("our side of a remote call", "modelled", 1, 0),
        ("the remote side", "estimated-remote", 1, 0),
        ("this machine", "measured", 1, 0),
        ("this machine", "modelled", 1, 0),
        ("this machine", "none", 1, 1),
    ]


def test_the_buckets_add_up_to_the_total_and_the_difference_is_shown(ask: OpenDoor) -> None:
    reading = {
        "instance": "x", "started_at_us": NOW_US, "duration_seconds": 1.0, "total_joules": 100.0,
        "operations_joules": 10.0, "idle_joules": 70.0, "others_joules": 15.0, "overhead_joules": 5.0,
        "tier": "modelled", "method": "m",
    }  # fmt: skip
    with ask.director.current().store.engine.begin() as connection:
        connection.execute(insert(energy_intervals), [reading, {**reading, "started_at_us": NOW_US + 1}])

    (bucket,) = ask("GET", "/api/v1/energy?days=1").said["buckets"]
    text = page(ask, "/energy?days=1")

    parts = [bucket["total"][f"{name}_joules"] for name in ("operations", "idle", "others", "overhead")]
    assert sum(parts) == bucket["total"]["total_joules"] == 200
    assert bucket["difference_joules"] == 0
    assert "difference to the sum of the buckets: 0 J" in text and '<svg class="chart"' in text


def test_an_item_and_a_span_are_kept_to(ask: OpenDoor) -> None:
    put(ask, record(1), record(2, item="Other"), record(3, started_at_us=NOW_US - 40 * 86_400_000_000))

    view = ask("GET", "/api/v1/energy?days=30&item=Op").said

    assert [(row["name"], row["attempts"]) for row in view["by_item"]] == [("Op", 1)]
    assert view["items"] == ["Op", "Other"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("until=yesterday", "'yesterday' is no day: write it as 2026-05-31; days are UTC."),
        ("days=0", "query.days"),
        ("days=nine", "query.days"),
    ],
)
def test_a_span_that_is_none_is_refused_in_a_sentence(ask: OpenDoor, query: str, said: str) -> None:
    answer = ask("GET", f"/api/v1/energy?{query}")

    assert answer.status == 400
    assert said in answer.said["detail"]


def test_hostile_names_are_only_text(ask: OpenDoor) -> None:
    evil = "<script>alert(1)</script>"
    put(ask, *(record(number, item=evil, model=evil, revision=evil) for number in range(3)))

    for path in ("/energy?days=1", "/energy/models", "/energy/models/%3Cscript%3Ealert(1)%3C/script%3E"):
        assert evil not in page(ask, path)


def test_stated_factors_stand_beside_the_energy_with_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_PUE", "1.5")
    monkeypatch.setenv("WATTBUS_PUE_SOURCE", "operator <b>2025</b>")
    monkeypatch.setenv("WATTBUS_EMBODIED_G", "1000000")
    monkeypatch.setenv("WATTBUS_EMBODIED_HOURS", "10000")
    production = Production("Factors.Test")
    production.operation("Echo", Echo)
    reading = {
        "instance": "x", "started_at_us": NOW_US, "duration_seconds": 36.0, "total_joules": 7200.0,
        "operations_joules": 3600.0, "idle_joules": 3600.0, "others_joules": 0.0, "overhead_joules": 0.0,
        "tier": "modelled", "method": "m", "host": "a-machine",
    }  # fmt: skip
    with open_door(tmp_path / "home", production, password=TOKEN, token=TOKEN) as door:
        with door.director.current().store.engine.begin() as connection:
            connection.execute(insert(energy_intervals), [reading])
        (bucket,) = door("GET", "/api/v1/energy?days=1").said["buckets"]
        text = page(door, "/energy?days=1")
        machine = page(door, "/energy/machine")

    assert bucket["total"]["total_joules"] == 7200.0
    assert [(one["name"], one["value"], one["source"]) for one in bucket["factors"]] == [
        ("with the data centre", 3.0, "operator <b>2025</b>"),
        ("making of the machine", 1.0, "no source is given"),
    ]
    assert [one["value"] for one in bucket["operations_factors"]] == [1.5]
    assert "a-machine:" in text and "None of this is in the energy above." in text
    assert "operator &lt;b&gt;2025&lt;/b&gt;" in text and "<b>2025</b>" not in text
    assert "PUE 1.5" in machine and "1,000,000 g CO2e over 10,000 h of use" in machine


def test_two_machines_on_one_store_have_sums_of_their_own(ask: OpenDoor) -> None:
    reading = {
        "instance": "x", "started_at_us": NOW_US, "duration_seconds": 1.0, "total_joules": 10.0,
        "operations_joules": 1.0, "idle_joules": 9.0, "others_joules": 0.0, "overhead_joules": 0.0,
        "tier": "modelled", "method": "m",
    }  # fmt: skip
    with ask.director.current().store.engine.begin() as connection:
        connection.execute(insert(energy_intervals), [{**reading, "host": host} for host in ("one", "two")])

    buckets = ask("GET", "/api/v1/energy?days=1").said["buckets"]

    assert sorted((one["total"]["host"], one["total"]["total_joules"]) for one in buckets) == [
        ("one", 10.0),
        ("two", 10.0),
    ]
    assert "one:" in page(ask, "/") and "two:" in page(ask, "/")


def test_power_is_shown_second_by_second_by_bucket(tmp_path: Path) -> None:
    production = Production("Power.Test")
    production.operation("Echo", Echo)
    with open_door(
        tmp_path / "home",
        production,
        password=TOKEN,
        token=TOKEN,
        feed=FakeFeed(cpu_watts=10.0, ram_watts=5.0),
    ) as door:
        ledger = door.director.current().ledger
        assert ledger.wait_ready()
        until(lambda: ledger.settle() and len(ledger.recent()) >= 2, "two readings")

        view = door("GET", "/api/v1/energy/power").said
        newer = door("GET", f"/api/v1/energy/power?since={view['steps'][-1]['started_at_us']}").said
        text = page(door, "/energy/power")
        machine = door("GET", "/api/v1/energy/machine").said

    step = view["steps"][-1]
    parts = sum(step[f"{name}_watts"] for name in ("operations", "idle", "others", "overhead"))
    assert step["total_watts"] == pytest.approx(15.0) == pytest.approx(parts)
    assert view["tier"] == "modelled"
    assert all(one["started_at_us"] > step["started_at_us"] for one in newer["steps"])
    assert "15 W" in text and 'data-power="/api/v1/energy/power"' in text
    assert machine["measured"][0] == {
        "component": "processor", "tier": "modelled", "method": "fake CPU",
        "improve": machine["measured"][0]["improve"], "command": machine["measured"][0]["command"],
    }  # fmt: skip
    assert machine["measured"][0]["improve"]


def test_without_a_feed_the_power_page_says_why(ask: OpenDoor) -> None:
    until(lambda: ask.director.current().ledger.wait_ready(1), "the feed")

    assert "a test" in ask("GET", "/api/v1/energy/power").said["why_none"]
    assert "What is measured here" in page(ask, "/energy/power")


def test_a_label_has_tier_coverage_interval_and_the_letter_that_its_bounds_allow(ask: OpenDoor) -> None:
    joules = (3.0, 3.6, 4.2)
    put(
        ask,
        *(record(number, energy_joules=value) for number, value in enumerate(joules)),
        record(9, **UNKNOWN),
    )

    view = ask("GET", "/api/v1/energy/models/m").said
    text = page(ask, "/energy/models/m")

    (label,) = view["labels"]
    assert label["wh"] == pytest.approx(1.0)
    assert label["low_wh"] < 1.0 < label["high_wh"]
    assert (label["runs"], label["attempts"], label["letter"]) == (
        3,
        4,
        "class C of A to G; the bounds reach into D",
    )
    assert (
        "3 of 4 attempts" in text and 'src="/energy/models/m/label.svg?revision=v1&amp;tier=modelled"' in text
    )
    assert 'href="/api/v1/energy/models/m"' in text


def test_two_runs_are_not_enough_for_a_label(ask: OpenDoor) -> None:
    put(ask, record(1), record(2))

    (label,) = ask("GET", "/api/v1/energy/models/m").said["labels"]

    assert label["wh"] is None and label["missing"] == "not enough runs: 2 of known energy, 3 are needed"
    assert "not enough runs" in page(ask, "/energy/models/m")


def test_a_model_that_is_not_here_is_named(ask: OpenDoor) -> None:
    answer = ask("GET", "/api/v1/energy/models/nobody")

    assert answer.status == 404 and "nobody" in answer.said["detail"]


def test_pages_say_what_to_do_while_nothing_was_metered(tmp_path: Path) -> None:
    production = Production("Never.Started")
    production.operation("Echo", Echo)
    with open_door(tmp_path / "home", production, password=TOKEN, token=TOKEN, start=False) as door:
        texts = [page(door, f"/energy{path}") for path in ("", "/power", "/models", "/boamps", "/machine")]

    assert "No power reading in this span." in texts[0]
    assert "No production runs" in texts[1]
    assert "No model has answered yet." in texts[2]
    assert "No report is written yet" in texts[3]
    assert "the power feed has not started" in texts[4]
