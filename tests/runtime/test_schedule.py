"""Schedules: IRIS's START and STOP events, cron's fields, intervals, and what summer time does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattbus.errors import BadSettings, NeedsIris
from wattbus.runtime.localtime import local_zone, moment
from wattbus.runtime.schedule import Schedule

PARIS = ZoneInfo("Europe/Paris")
#: Moves its clocks by half an hour.
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
MINUTE = timedelta(minutes=1)
# 2026: Paris skips 02:00 to 03:00 on 29 March and shows 02:00 to 03:00 twice on 25 October.
SPRING, AUTUMN = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)


def at(text: str, zone: tzinfo = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def shown(when: datetime | None, zone: tzinfo = UTC) -> str | None:
    return None if when is None else when.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "moment_", "is_open", "next_change"),
    [
        ("START:*-*-*T08:00:00,STOP:*-*-*T17:00:00", "2026-05-04 07:59:59", False, "2026-05-04 08:00:00"),
        ("START:*-*-*T08:00:00,STOP:*-*-*T17:00:00", "2026-05-04 08:00:00", True, "2026-05-04 17:00:00"),
        ("START:*-*-*T08:00:00,STOP:*-*-*T17:00:00", "2026-05-04 17:00:00", False, "2026-05-05 08:00:00"),
        ("START:*-*-*T22:00:00,STOP:*-*-*T06:00:00", "2026-05-04 23:59:59", True, "2026-05-05 06:00:00"),
        # IRIS's own examples
        ("STOP:*-01-02T07:00:00,START:*-01-03T07:00:00", "2026-01-02 12:00:00", False, "2026-01-03 07:00:00"),
        ("START:*-*-02T08:00:00,STOP:*-*-10T20:30:00", "2026-02-28 00:00:00", False, "2026-03-02 08:00:00"),
        ("STOP:WEEK-*-00T10:00:00,START:WEEK-*-01T08:30:00", "2026-05-03 11:00:00", False, "2026-05-04 08:30:00"),
        (
            "START:WEEK-03-02T09:00:00,STOP:WEEK-03-05T16:00:00",
            "2026-05-16 00:00:00", False, "2026-05-19 09:00:00",
        ),
        (
            "START:WEEK-03-02T09:00:00,STOP:WEEK-03-05T16:00:00",
            "2026-05-19 09:00:00", True, "2026-06-19 16:00:00",
        ),
        ("STOP:2010-12-31T23:59:59", "2010-12-31 23:59:58", True, "2010-12-31 23:59:59"),
        ("STOP:2010-12-31T23:59:59", "2026-01-01 00:00:00", False, None),
        ("START:2031-01-03T06:45:00", "2026-01-01 00:00:00", False, "2031-01-03 06:45:00"),
        ("START:*-*-*T02:00:00", "2026-01-01 00:00:00", True, None),
        ("START:WEEK-*-*T02:00:00", "2026-01-01 00:00:00", True, None),
        # to the left of a * everything is one
        ("START:2026-05-*T08:00:00,STOP:2026-*-*T09:00:00", "2027-01-01 08:30:00", True, "2027-01-01 09:00:00"),
        ("START:*-02-29T00:00:00,STOP:*-03-01T00:00:00", "2026-01-01 00:00:00", False, "2028-02-29 00:00:00"),
        # of two at the same moment, the last one counts
        ("STOP:*-*-*T08:00:00,START:*-*-*T08:00:00", "2026-01-01 09:00:00", True, None),
        ("start:*-*-*t08:00:00, stop:*-*-*t17:00:00 ", "2026-05-04 09:00:00", True, "2026-05-04 17:00:00"),
        ("cron: * 8-17 * * mon-fri", "2026-05-04 08:00:30", True, "2026-05-04 18:00:00"),
        ("cron: * 8-17 * * mon-fri", "2026-05-01 18:00:00", False, "2026-05-04 08:00:00"),
        ("cron: */5 8-17 * * mon-fri", "2026-05-04 08:05:59", True, "2026-05-04 08:06:00"),
        ("cron: * * * * 1-5", "2026-05-04 08:00:00", True, "2026-05-09 00:00:00"),
        ("cron: * * * * *", "2026-05-04 08:00:00", True, None),
        ("every 10 min", "2026-05-04 08:00:01", True, None),
    ],
)  # fmt: skip
def test_a_schedule_says_whether_an_item_runs_and_when_that_changes(
    text: str, moment_: str, is_open: bool, next_change: str | None
) -> None:
    schedule = Schedule.parse(text, UTC)

    assert schedule.is_open(at(moment_)) is is_open
    assert shown(schedule.next_change(at(moment_))) == next_change


@pytest.mark.parametrize(
    ("text", "after", "ticks"),
    [
        ("cron: */20 * * * *", "2026-05-04 08:05:00", ["08:20:00", "08:40:00", "09:00:00"]),
        ("cron: 0 9,17 * * *", "2026-05-04 08:05:00", ["09:00:00", "17:00:00", "09:00:00"]),
        ("cron: 30 6 13 * fri", "2026-11-12 00:00:00", ["06:30:00", "06:30:00", "06:30:00"]),
        ("cron: 5-10/2 0 1 JAN sun-sat", "2026-12-01 00:00:00", ["00:05:00", "00:07:00", "00:09:00"]),
        ("every 10 min", "2026-05-04 08:05:00", ["08:10:00", "08:20:00", "08:30:00"]),
        ("every 90 s", "2026-05-04 00:00:00", ["00:01:30", "00:03:00", "00:04:30"]),
        ("every hour", "2026-05-04 08:05:00", ["09:00:00", "10:00:00", "11:00:00"]),
        ("START:*-*-*T08:00:00,STOP:*-*-*T17:00:00", "2026-05-04 08:05:00", ["08:00:00"] * 3),
    ],
)
def test_a_timer_ticks_at_each_time_that_is_named(text: str, after: str, ticks: list[str]) -> None:
    schedule, when, found = Schedule.parse(text, UTC), at(after), []

    for _ in ticks:
        tick = schedule.next_tick(when)
        assert tick is not None and tick > when
        found.append(tick.strftime("%H:%M:%S"))
        when = tick

    assert found == ticks


def test_the_13th_or_a_friday_will_do_where_cron_limits_both() -> None:
    schedule = Schedule.parse("cron: 0 0 13 * fri", UTC)

    assert shown(schedule.next_tick(at("2026-05-09 00:00:00"))) == "2026-05-13 00:00:00"
    assert shown(schedule.next_tick(at("2026-05-13 00:00:00"))) == "2026-05-15 00:00:00"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an event is missing"),
        ("START:*-*-*T08:00:00,", "character 22.*take out the comma"),
        ("BEGIN:*-*-*T08:00:00", "'BEGIN' is no action: write START or STOP"),
        ("START:*-*-*T08:00", "is no event: write action:YYYY-MM-DDThh:mm:ss"),
        ("START:*-*-*T25:00:00", "character 13: 25:00:00 is no time"),
        ("START:*-02-30T08:00:00", "character 7: .*02-30 is on no calendar"),
        ("START:2026-02-29T08:00:00", "is on no calendar"),
        ("START:WEEK-*-07T08:00:00", "07 is no weekday: 00 is Sunday"),
        ("START:WEEK-06-01T08:00:00", "06 is no occurrence"),
        ("cron: * * * *", "five fields.*here are 4"),
        ("cron: 60 * * * *", "character 7: '60' is no minute: use 0 to 59"),
        ("cron: 0 0 * * mom", "'mom' is no weekday: use 0 to 7 or sun to sat"),
        ("cron: 0 17-8 * * *", "character 9: '17-8' ends before it begins: write 8-17"),
        ("cron: */0 * * * *", "has no step after the /"),
        ("cron: 0 0 31 feb *", "no month of these has such a day"),
        ("*/5 8-17 * * mon-fri", r"did you mean 'cron: \*/5 8-17"),
        ("every now and then", "every 10 min"),
        ("every 0 min", "every 10 min"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused_with_its_place_and_the_cure(text: str, says: str) -> None:
    with pytest.raises(BadSettings, match=says):
        Schedule.parse(text, UTC)


def test_a_schedule_that_is_kept_in_iris_says_so() -> None:
    with pytest.raises(NeedsIris, match=r"@Daytime.*write its text here"):
        Schedule.parse("@Daytime", UTC)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Schedule.parse("every 10 min", UTC).is_open(datetime(2026, 1, 1))


def test_what_falls_into_the_hour_that_summer_time_skips_takes_place_when_it_is_skipped() -> None:
    night = Schedule.parse("START:*-*-*T02:15:00,STOP:*-*-*T04:00:00", PARIS)
    cron = Schedule.parse("cron: 15 2 * * *", PARIS)
    before = SPRING - timedelta(hours=2)

    assert night.next_change(before) == SPRING
    assert cron.next_tick(before) == SPRING
    assert cron.is_open(SPRING)
    assert shown(cron.next_tick(SPRING), PARIS) == "2026-03-30 02:15:00"


def test_what_falls_into_the_hour_that_is_shown_twice_takes_place_once() -> None:
    night = Schedule.parse("START:*-*-*T02:15:00,STOP:*-*-*T02:45:00", PARIS)
    cron = Schedule.parse("cron: 15 2 * * *", PARIS)
    first = AUTUMN - timedelta(minutes=45)

    assert night.next_change(first - MINUTE) == first
    assert night.next_change(first) == first + timedelta(minutes=30)
    assert not night.is_open(AUTUMN + timedelta(minutes=20))
    assert cron.next_tick(first - MINUTE) == first
    assert shown(cron.next_tick(first), PARIS) == "2026-10-26 02:15:00"


def test_what_happens_every_few_minutes_goes_on_through_the_hour_that_is_shown_twice() -> None:
    schedule, when = Schedule.parse("cron: */30 * * * *", PARIS), AUTUMN - timedelta(hours=1, minutes=1)

    ticks = [when := schedule.next_tick(when) or when for _ in range(5)]

    assert ticks == [AUTUMN + timedelta(minutes=30 * number) for number in range(-2, 3)]


@pytest.mark.parametrize("zone", [UTC, PARIS, LORD_HOWE], ids=str)
@given(minutes=st.integers(0, 3 * 366 * 24 * 60))
@settings(max_examples=60, deadline=None)
def test_every_time_of_a_clock_has_its_moment(zone: tzinfo, minutes: int) -> None:
    wall = datetime(2025, 1, 1) + timedelta(minutes=minutes)

    found = moment(wall, zone)

    shows = found.astimezone(zone).replace(tzinfo=None)
    just_before = (found - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    assert shows == wall or just_before < wall < shows


two_digits = st.integers(0, 59).map(lambda number: f"{number:02d}")
dates = st.sampled_from(
    ["*-*-*", "*-*-31", "*-02-29", "*-10-25", "2026-03-29", "WEEK-*-00", "WEEK-05-06", "WEEK-01-01"]
)
events = st.builds(
    lambda action, day, hour, minute: f"{action}:{day}T{hour:02d}:{minute}:00",
    st.sampled_from(["START", "STOP"]), dates, st.integers(0, 23), two_digits,
)  # fmt: skip
crons = st.builds(
    lambda *fields: f"cron: {' '.join(fields)}",
    st.sampled_from(["*", "*/7", "0", "15,45", "10-50/20"]),
    st.sampled_from(["*", "2", "*/5", "1-3", "0,23"]),
    st.sampled_from(["*", "29", "1-7"]),
    st.sampled_from(["*", "3,10"]),
    st.sampled_from(["*", "sun", "mon-fri"]),
)
texts = st.one_of(st.lists(events, min_size=1, max_size=3).map(",".join), crons)
#: Around the days on which Paris moves its clocks.
moments = st.sampled_from([SPRING, AUTUMN]).flatmap(
    lambda day: st.integers(-3000, 3000).map(lambda minutes: day + minutes * MINUTE)
)


@given(text=texts, after=moments)
@settings(max_examples=60, deadline=None)
def test_between_a_moment_and_the_next_change_nothing_changes(text: str, after: datetime) -> None:
    schedule = Schedule.parse(text, PARIS)

    change = schedule.next_change(after)

    state = schedule.is_open(after)
    if change is not None:
        assert change > after
        assert schedule.is_open(change) is not state
    span = min(change - after, timedelta(days=2)) if change is not None else timedelta(days=2)
    looked = [after + span * share / 41 for share in range(41)]
    assert {schedule.is_open(when) for when in looked} == {state}


@given(text=crons, after=moments)
@settings(max_examples=30, deadline=None)
def test_cron_is_open_in_the_minutes_at_which_it_ticks_and_in_no_other(text: str, after: datetime) -> None:
    schedule = Schedule.parse(text, PARIS)
    minutes = [after + number * MINUTE for number in range(180)]

    ticks, when = set(), after - MINUTE
    while (tick := schedule.next_tick(when)) is not None and tick <= minutes[-1]:
        ticks.add(tick)
        when = tick

    assert {minute for minute in minutes if schedule.is_open(minute)} == ticks


def test_the_zone_is_that_of_the_environment_else_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert local_zone() == ZoneInfo("Asia/Tokyo")

    monkeypatch.setenv("TZ", "Middle/Earth")
    with pytest.raises(BadSettings, match=r"TZ is 'Middle/Earth'.*such as Europe/Paris"):
        local_zone()

    monkeypatch.delenv("TZ")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert now.astimezone(local_zone()).utcoffset() == now.astimezone().utcoffset()
