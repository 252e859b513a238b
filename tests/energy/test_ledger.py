"""The ledger: every attempt has its record, and every joule its bucket."""

import math
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_samples import Sink, burn, started, wait_until
from wattbus.energy import (
    CarbonIntensity,
    EnergyStatus,
    FakeFeed,
    Ledger,
    Scope,
    TaskFacts,
    Tier,
    current_window,
    estimate_remote,
)
from wattbus.energy.cputime import LinuxCpuTimes
from wattbus.energy.feed import PowerReading


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def ledger(sink: Sink) -> Iterator[Ledger]:
    ledger = started(FakeFeed(ram_watts=20.0), sink)
    yield ledger
    ledger.stop()


def test_an_attempt_is_pending_until_its_interval_is_read_and_then_has_energy(
    ledger: Ledger, sink: Sink
) -> None:
    window = ledger.open(1, 1, "Python.MLOperation")
    burn(0.02)
    provisional = window.close()

    assert ledger.settle()

    assert [record.status for record in provisional] == [EnergyStatus.PENDING]
    assert provisional[0].energy_joules is None
    assert provisional[0].cpu_seconds is not None
    assert provisional[0].cpu_seconds >= 0.02
    final = sink.records[1]
    assert (final.status, final.tier) == (EnergyStatus.ESTIMATED, Tier.MODELLED)
    assert final.energy_joules is not None
    assert final.energy_joules > 0
    assert final.low_joules is not None
    assert final.high_joules is not None
    assert final.low_joules <= final.energy_joules <= final.high_joules
    assert final.ram_joules is None
    assert (final.item, final.attempt, final.scope) == ("Python.MLOperation", 1, Scope.LOCAL)


def test_what_the_component_says_is_in_the_record(ledger: Ledger, sink: Sink) -> None:
    facts = TaskFacts(stage="inference", family="textClassification")
    window = ledger.open(1, 1, "x")

    current_window().describe(kind="inference", model="m")
    current_window().describe(revision="r", facts=facts)
    window.close()
    ledger.settle()

    record = sink.records[1]
    assert (record.operation_kind, record.model, record.revision, record.facts) == (
        "inference",
        "m",
        "r",
        facts,
    )


def test_outside_an_attempt_the_current_window_does_nothing() -> None:
    window = current_window()

    window.describe(kind="x")
    window.watch_child(1)
    window.add_child_cpu_seconds(1.0)
    window.remote(estimate_remote(None))

    assert window.close() == []


def test_the_window_is_current_only_while_it_is_open(ledger: Ledger) -> None:
    outside = current_window()
    window = ledger.open(1, 1, "x")
    inside = current_window()
    window.close()

    assert inside is window
    assert current_window() is outside


def test_closing_twice_gives_the_same_records(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")

    assert window.close() == window.close()
    ledger.settle()
    assert list(sink.records) == [1]


def test_failing_work_is_metered_too(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")
    burn(0.01)
    window.close(failed="ValueError")
    ledger.settle()

    record = sink.records[1]
    assert record.status is EnergyStatus.ESTIMATED
    assert record.energy_joules is not None
    assert record.reason == "the attempt failed: ValueError"


steps = st.lists(
    st.tuples(st.sampled_from(["open", "close", "tick"]), st.integers(0, 3)), min_size=1, max_size=25
)
given_watts = st.tuples(
    st.floats(0.5, 400),
    st.none() | st.floats(1, 700),
    st.none() | st.floats(1, 60),
    st.none() | st.floats(0, 300),
)


@settings(deadline=None, max_examples=40)
@given(
    steps=steps,
    watts=given_watts,
    tier=st.sampled_from([Tier.MEASURED, Tier.MODELLED, Tier.MODELLED_GENERIC]),
)
def test_whatever_runs_the_buckets_sum_to_the_feed_and_the_records_to_their_bucket(
    steps: list[tuple[str, int]], watts: tuple[float, float | None, float | None, float | None], tier: Tier
) -> None:
    sink = Sink()
    feed = FakeFeed(
        cpu_watts=watts[0], gpu_watts=watts[1], ram_watts=watts[2], idle_watts=watts[3], tier=tier
    )
    ledger = started(feed, sink)
    windows = []
    for number, (step, which) in enumerate(steps):
        if step == "open":
            window = ledger.open(number, 1, "x")
            window.describe(gpu=which % 2 == 0)
            windows.append(window)
            burn(0.0003 * which)
        elif step == "close" and windows:
            windows.pop(which % len(windows)).close()
        elif step == "tick":
            assert ledger.settle()
    for window in windows:
        window.close()

    ledger.stop()

    buckets = math.fsum(
        part
        for interval in sink.intervals
        for part in (
            interval.operations_joules,
            interval.idle_joules,
            interval.others_joules,
            interval.overhead_joules,
        )
    )
    assert buckets == pytest.approx(feed.total_joules, rel=1e-9)
    assert math.fsum(i.total_joules for i in sink.intervals) == pytest.approx(feed.total_joules, rel=1e-9)
    of_records = math.fsum(record.energy_joules or 0.0 for record in sink.records.values())
    of_intervals = math.fsum(interval.operations_joules for interval in sink.intervals)
    assert of_records == pytest.approx(of_intervals, rel=1e-9, abs=1e-12)
    assert len(sink.records) == sum(step == "open" for step, _ in steps)


def test_every_second_is_divided_while_eight_threads_work(sink: Sink) -> None:
    feed = FakeFeed(ram_watts=20.0)
    ledger = Ledger(feed, on_settled=sink, interval_seconds=0.01)
    ledger.start()
    assert ledger.wait_ready()

    def work(first: int) -> None:
        for number in range(first, first + 200):
            window = ledger.open(number, 1, "x")
            burn(0.00005)
            window.close()

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.stop()

    assert len(sink.records) == 1600
    assert all(record.energy_joules is not None for record in sink.records.values())
    total = math.fsum(
        i.operations_joules + i.idle_joules + i.others_joules + i.overhead_joules for i in sink.intervals
    )
    assert total == pytest.approx(feed.total_joules, rel=1e-9)


def test_an_attempt_over_several_intervals_sums_its_parts_and_is_seen_live(
    ledger: Ledger, sink: Sink
) -> None:
    window = ledger.open(1, 1, "x")
    burn(0.02)
    ledger.settle()
    first = ledger.live()
    burn(0.02)
    ledger.settle()
    second = ledger.live()
    window.close()
    ledger.settle()

    assert (first[0].status, first[0].partial) == (EnergyStatus.PENDING, True)
    assert first[0].energy_joules is not None
    assert second[0].energy_joules is not None
    final = sink.records[1]
    assert final.energy_joules is not None
    assert 0 < first[0].energy_joules < second[0].energy_joules <= final.energy_joules
    assert final.partial is False
    assert ledger.live() == []


def test_an_attempt_can_ask_what_it_has_used_so_far(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "x")
    unread = window.joules_so_far()
    burn(0.02)
    first = window.joules_so_far(exact=True)
    burn(0.02)
    second = window.joules_so_far(exact=True)
    window.close()
    ledger.settle()

    assert unread is None
    assert 0 < (first or 0) < (second or 0) <= (sink.records[1].energy_joules or 0)


def test_a_remote_call_has_two_rows_and_only_the_clients_is_settled(ledger: Ledger, sink: Sink) -> None:
    window = ledger.open(1, 1, "Python.HFOperation")
    current_window().remote(
        estimate_remote("text-generation", parameters=7e9, output_tokens=300), model="big", kind="remote"
    )
    client, remote = window.close()
    ledger.settle()

    assert client.scope is Scope.CLIENT
    assert (remote.scope, remote.tier, remote.status) == (
        Scope.REMOTE,
        Tier.ESTIMATED_REMOTE,
        EnergyStatus.ESTIMATED,
    )
    assert round(remote.energy_joules or 0) == 89
    assert remote.model == "big"
    assert sink.records[1].scope is Scope.CLIENT


def test_a_remote_call_that_cannot_be_estimated_says_why(ledger: Ledger) -> None:
    window = ledger.open(1, 1, "x")
    window.remote(estimate_remote("fill-mask"))
    _, remote = window.close()

    assert (remote.tier, remote.status, remote.energy_joules) == (Tier.NONE, EnergyStatus.NOT_MEASURED, None)
    assert "fill-mask" in (remote.reason or "")


def test_carbon_follows_the_configured_intensity_and_is_unknown_without(sink: Sink) -> None:
    ledger = started(FakeFeed(), sink, carbon=CarbonIntensity(360.0, "FRA", 2023, "a meter"))
    window = ledger.open(1, 1, "x")
    burn(0.01)
    window.close()
    ledger.stop()
    without = Sink()
    ledger = started(FakeFeed(), without)
    ledger.open(1, 1, "x").close()
    ledger.stop()

    record = sink.records[1]
    assert record.carbon_grams == pytest.approx((record.energy_joules or 0) * 1e-4)
    assert record.carbon_source == "FRA, 2023, a meter"
    assert without.records[1].carbon_grams is None
    assert without.records[1].carbon_intensity_g_per_kwh is None


def test_an_idle_bus_writes_one_interval_for_many(sink: Sink) -> None:
    feed = FakeFeed()
    ledger = Ledger(feed, on_settled=sink, interval_seconds=0.005)
    ledger.start()
    wait_until(lambda: feed.reads >= 20)
    ledger.stop()

    assert sink.calls == 1
    assert sink.intervals[0].total_joules == pytest.approx(feed.total_joules, rel=1e-9)


def test_records_that_could_not_be_stored_come_again(
    ledger: Ledger, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.errors.append(OSError("disk full"))
    ledger.open(1, 1, "x").close()
    ledger.settle()
    missing = dict(sink.records)
    ledger.settle()

    assert missing == {}
    assert list(sink.records) == [1]
    assert "could not be stored" in caplog.text


def test_an_attempt_that_outlives_the_ledger_has_a_partial_record(sink: Sink) -> None:
    ledger = started(FakeFeed(), sink)
    window = ledger.open(1, 1, "x")
    burn(0.02)
    ledger.stop()
    burn(0.01)
    [record] = window.close()

    assert sink.records == {}
    assert record.partial is True
    assert (record.energy_joules or 0) > 0
    assert "the energy ledger is not running" in (record.reason or "")
    assert (record.cpu_seconds or 0) >= 0.03


def test_the_remote_row_knows_nothing_of_the_own_side_even_when_it_is_settled_late(sink: Sink) -> None:
    ledger = started(FakeFeed(), sink, carbon=CarbonIntensity(100.0, "FRA", 2023, "s"))
    window = ledger.open(1, 1, "x")
    window.remote(estimate_remote("text-generation", parameters=7e9, output_tokens=10))
    burn(0.01)
    ledger.stop()
    client, remote = window.close()

    assert (client.cpu_joules or 0) > 0
    assert (remote.cpu_joules, remote.cpu_seconds, remote.carbon_grams, remote.partial) == (
        None,
        None,
        None,
        False,
    )


def test_an_attempt_without_a_running_ledger_is_not_measured(sink: Sink) -> None:
    ledger = Ledger(FakeFeed(), on_settled=sink)
    [record] = ledger.open(1, 1, "x").close()

    assert (record.status, record.energy_joules) == (EnergyStatus.NOT_MEASURED, None)
    assert record.reason == "the energy ledger is not running"


def test_a_jump_of_the_wall_clock_changes_no_duration_and_no_energy(sink: Sink) -> None:
    wall = [1e9]
    ledger = started(FakeFeed(), sink, wall=lambda: wall[0])
    window = ledger.open(1, 1, "x")
    burn(0.01)
    wall[0] -= 3600
    window.close()
    ledger.stop()

    assert 0 < (sink.records[1].duration_seconds or 0) < 60
    assert sink.intervals[0].duration_seconds > 0
    assert (sink.records[1].energy_joules or 0) > 0


def test_a_reading_that_spans_a_silence_keeps_the_sum_and_pays_for_what_ran_in_it(sink: Sink) -> None:
    class Machine(LinuxCpuTimes):
        seconds = (0.0, 0.0)

        def machine(self) -> tuple[float, float]:
            return self.seconds

    machine = Machine()
    feed = FakeFeed(script=[PowerReading(0.01, 0.1), OSError("no answer"), PowerReading(60.0, 600.0)])
    ledger = started(feed, sink, cpu=machine)
    ledger.settle()
    window = ledger.open(1, 1, "x")
    burn(0.02)
    machine.seconds = (120.0, 50.0)  # while the feed was silent, others used 50 seconds
    ledger.settle()
    burn(0.02)
    window.close()
    ledger.settle()
    ledger.stop()

    record = sink.records[1]
    assert record.partial is True
    assert "the power feed failed: OSError: no answer" in (record.reason or "")
    assert 0 < (record.energy_joules or 0) < 10
    spanning = next(i for i in sink.intervals if i.duration_seconds >= 60)
    assert spanning.others_joules > 400
    assert math.fsum(i.total_joules for i in sink.intervals) == pytest.approx(feed.total_joules, rel=1e-9)


def test_each_attempt_of_a_batch_keeps_what_was_said_of_it_and_else_what_was_said_of_the_batch() -> None:
    ledger = Ledger(FakeFeed(), on_settled=lambda records, interval: None)
    window = ledger.open_batch([(1, 1), (2, 1)], "ML")
    window.describe(kind="text-classification", facts=TaskFacts(stage="inference", family="all"))
    window.describe_each([TaskFacts(stage="inference", family="own"), None])

    (first,), (second,) = window.close_shares([None, "BadRequest"])

    assert first.facts is not None and second.facts is not None
    assert (first.facts.family, second.facts.family) == ("own", "all")
    assert (first.operation_kind, second.operation_kind) == ("text-classification", "text-classification")
