"""``wattbus energy`` and ``wattbus energy check`` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import Command
from components import Text, echo_production
from wattbus import testing
from wattbus.energy.carbon import carbon_intensity
from wattbus.energy.feed import FakeFeed


@pytest.fixture
def wattbus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("WATTBUS_COUNTRY", raising=False)
    return Command(tmp_path)


def worked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a production answer once, metered."""
    monkeypatch.setenv("WATTBUS_CARBON_G_PER_KWH", "50")
    monkeypatch.setenv("WATTBUS_CARBON_YEAR", "2025")
    monkeypatch.setenv("WATTBUS_CARBON_SOURCE", "our contract")
    with testing.production(echo_production(), command.home, feed=FakeFeed(ram_watts=5.0)) as bus:
        assert bus.production.ledger.wait_ready()
        bus.request("Echo", Text("hi"))
        assert bus.production.ledger.settle()


def test_the_sums_stand_with_the_machine_the_carbon_and_the_factors(
    wattbus: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked(wattbus, monkeypatch)
    monkeypatch.setenv("WATTBUS_PUE", "1.5")
    monkeypatch.setenv("WATTBUS_PUE_SOURCE", "operator, 2025")

    text, said = wattbus("energy"), wattbus.json("energy")

    (bucket,) = said["buckets"]
    assert f"The machine {bucket['host']}, " in text
    assert "50 g/kWh (2025, our contract)" in text
    assert "beside it: with the data centre" in text and "(PUE 1.5: operator, 2025)" in text
    assert [item["item"] for item in said["items"]] == ["Echo"]
    assert said["carbon"][0]["source"] == "2025, our contract"
    (beside,) = said["factors"]
    assert beside["machine"][0]["value"] == pytest.approx(1.5 * bucket["total_joules"] / 3600)
    assert carbon_intensity(g_per_kwh=50.0) is not None


def test_without_a_place_the_carbon_is_unknown_and_says_what_to_set(
    wattbus: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with testing.production(echo_production(), wattbus.home, feed=FakeFeed()) as bus:
        assert bus.production.ledger.wait_ready()
        bus.request("Echo", Text("hi"))

    text, said = wattbus("energy"), wattbus.json("energy")

    assert "Carbon: unknown: set WATTBUS_COUNTRY" in text
    assert said["carbon"] == []


def test_a_check_without_a_meter_says_so_and_how_to_have_one(wattbus: Command) -> None:
    text, said = wattbus("energy", "check"), wattbus.json("energy", "check")

    assert "No reading: WATTBUS_ENERGY is off." in text
    assert "Run: unset WATTBUS_ENERGY" in text
    assert "Carbon: unknown" in text
    assert (said["watts"], said["why_none"], said["carbon"]) == ({}, "WATTBUS_ENERGY is off", None)


def test_a_factor_that_is_none_is_refused_in_one_sentence(
    wattbus: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTBUS_EMBODIED_G", "5")

    said = wattbus("energy", "check", status=1)

    assert said.strip() == (
        "error: WATTBUS_EMBODIED_G and WATTBUS_EMBODIED_HOURS belong together: set both, or none of them."
    )
