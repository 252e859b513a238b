"""RAPL read directly: which counters count, what one that begins anew gives, and on which tier its figures are."""

from __future__ import annotations

from pathlib import Path

import pytest

from energy_samples import Sink, burn, started
from wattbus.energy.codecarbon_feed import CodecarbonFeed
from wattbus.energy.feed import PowerFacts, PowerReading
from wattbus.energy.rapl import RaplFault, RaplLost, find_rapl
from wattbus.energy.record import Tier

RANGE_UJ = 65_532_610_987


class Powercap:
    """A ``/sys/class/powercap`` whose counters a test moves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def zone(self, zone: str, name: str, energy_uj: int, range_uj: int | None = RANGE_UJ) -> None:
        folder = self.root / "sys/class/powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        if range_uj is not None:
            (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.at(zone, energy_uj)

    def at(self, zone: str, energy_uj: int) -> None:
        (self.root / "sys/class/powercap" / zone / "energy_uj").write_text(f"{energy_uj}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    """Two packages with cores and memory, the platform, and the same packages shown again."""
    made = Powercap(tmp_path)
    for package, base in ((0, 1_000_000_000), (1, 5_000_000_000)):
        made.zone(f"intel-rapl:{package}", f"package-{package}", base)
        made.zone(f"intel-rapl:{package}:0", "core", base // 2)
        made.zone(f"intel-rapl:{package}:1", "dram", base // 4)
        made.zone(f"intel-rapl-mmio:{package}", f"package-{package}", base)
    made.zone("intel-rapl:2", "psys", 9_000_000_000)
    return made


def test_packages_are_added_up_and_memory_is_counted_apart(powercap: Powercap) -> None:
    rapl = find_rapl(powercap.root)
    assert rapl is not None
    rapl.start()
    powercap.at("intel-rapl:0", 1_030_000_000)
    powercap.at("intel-rapl:1", 5_012_000_000)
    powercap.at("intel-rapl:0:0", 900_000_000)  # inside its package
    powercap.at("intel-rapl:0:1", 253_000_000)
    powercap.at("intel-rapl:2", 9_900_000_000)  # the packages and more: not counted beside them

    read = rapl.read(1.0)
    again = rapl.read(1.0)

    assert (rapl.packages, rapl.memories) == (2, 2)
    assert read == pytest.approx((42.0, 3.0))
    assert again == (0.0, 0.0)


def test_a_counter_that_begins_anew_loses_nothing(powercap: Powercap) -> None:
    powercap.at("intel-rapl:0", RANGE_UJ - 4_000_000)
    rapl = find_rapl(powercap.root)
    assert rapl is not None
    rapl.start()

    powercap.at("intel-rapl:0", 6_000_000)

    assert rapl.read(1.0)[0] == pytest.approx(10.0)


def test_a_counter_without_a_range_that_runs_backwards_is_no_reading(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    powercap.zone("intel-rapl:0", "package-0", 5_000_000, range_uj=None)
    rapl = find_rapl(tmp_path)
    assert rapl is not None
    rapl.start()
    powercap.at("intel-rapl:0", 1_000_000)

    with pytest.raises(RaplLost, match="ran backwards, and its range is not known"):
        rapl.read(1.0)

    powercap.at("intel-rapl:0", 3_000_000)
    assert rapl.read(1.0) == (2.0, None)


def test_a_silence_in_which_a_counter_may_have_begun_anew_twice_is_no_reading(powercap: Powercap) -> None:
    rapl = find_rapl(powercap.root)
    assert rapl is not None
    rapl.start()

    with pytest.raises(RaplLost, match=r"was not read for 66 s and may have begun anew twice"):
        rapl.read(66.0)


def test_after_a_failed_read_the_next_one_spans_the_silence(powercap: Powercap) -> None:
    rapl = find_rapl(powercap.root)
    assert rapl is not None
    rapl.start()
    file = powercap.root / "sys/class/powercap/intel-rapl:0/energy_uj"
    file.unlink()

    with pytest.raises(RaplFault, match="cannot be read any more"):
        rapl.read(1.0)

    powercap.at("intel-rapl:0", 1_007_000_000)
    assert rapl.read(2.0)[0] == pytest.approx(7.0)


def test_mirrors_of_one_counter_count_once(tmp_path: Path) -> None:
    powercap = Powercap(tmp_path)
    for die in range(4):
        powercap.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 7_000_000_000 + die * 20_000)

    rapl = find_rapl(tmp_path)

    assert rapl is not None
    assert rapl.packages == 1


def test_a_part_of_the_machine_does_not_pass_for_all_of_it(powercap: Powercap) -> None:
    (powercap.root / "sys/class/powercap/intel-rapl:1/energy_uj").unlink()

    assert find_rapl(powercap.root) is None


def test_without_counters_there_is_none(tmp_path: Path) -> None:
    assert find_rapl(tmp_path) is None


def test_the_feed_reads_the_counters_and_memory_is_measured(powercap: Powercap, tmp_path: Path) -> None:
    now = [100.0]
    feed = CodecarbonFeed(clock=lambda: now[0], root=powercap.root)
    facts = feed.start()
    powercap.at("intel-rapl:0", 1_050_000_000)
    powercap.at("intel-rapl:1:1", 1_252_000_000)
    now[0] += 2.0

    reading = feed.read()

    assert facts.cpu is not None and (facts.cpu.tier, facts.cpu.method) == (Tier.MEASURED, "RAPL, 2 packages")
    assert facts.ram is not None and (facts.ram.tier, facts.ram.method) == (
        Tier.MEASURED,
        "RAPL, 2 memory counters",
    )
    assert (reading.duration_seconds, reading.cpu_joules, reading.ram_joules) == pytest.approx(
        (2.0, 50.0, 2.0)
    )


def test_figures_of_the_counters_are_attributed_and_hold_the_memory(powercap: Powercap) -> None:
    feed = CodecarbonFeed(root=powercap.root)
    sink = Sink()
    ledger = started(_Moving(feed, powercap), sink)
    window = ledger.open(1, 1, "Op")
    burn(0.05)
    window.close()
    assert ledger.settle()
    ledger.stop()

    record = sink.records[1]
    assert record.tier is Tier.ATTRIBUTED  # one reading: not alone for ten of them
    assert record.ram_joules is not None and record.ram_joules > 0
    assert record.low_joules == pytest.approx(0.75 * (record.energy_joules or 0))
    assert {interval.tier for interval in sink.intervals} == {Tier.MEASURED}
    assert sink.intervals[0].total_joules == pytest.approx(24.0)


class _Moving:
    """The feed, with 20 J of processor and 4 J of memory more at each reading."""

    def __init__(self, feed: CodecarbonFeed, powercap: Powercap) -> None:
        self._feed, self._powercap, self._reads = feed, powercap, 0

    def start(self) -> PowerFacts:
        return self._feed.start()

    def read(self) -> PowerReading:
        self._reads += 1
        self._powercap.at("intel-rapl:0", 1_000_000_000 + self._reads * 20_000_000)
        self._powercap.at("intel-rapl:0:1", 250_000_000 + self._reads * 4_000_000)
        return self._feed.read()

    def stop(self) -> None:
        self._feed.stop()
