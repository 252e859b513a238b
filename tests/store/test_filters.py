"""Message filters: their text, and what they find on both databases."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iop import Production

from components import Checked, Echo, Text
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.errors import BadRequest, RequestFailed, UnknownName
from wattbus.store.filters import MessageFilter, duration_seconds, parse_filter, parse_terms
from wattbus.store.queries import count_messages, count_unsearched, list_messages
from wattbus.store.store import INLINE_BODY_BYTES

NOW = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MessageFilter()),
        ("status=error,Suspended", MessageFilter(statuses=("Error", "Suspended"))),
        ("item=Echo since=1h", MessageFilter(item="Echo", since_us=NOW - 3_600_000_000)),
        ("until=30s", MessageFilter(until_us=NOW - 30_000_000)),
        ("since=2027-01-15T08:00:00+00:00", MessageFilter(since_us=1_800_000_000_000_000)),
        ("body=MLRequest", MessageFilter(body_class="MLRequest")),
        ("id=5..9", MessageFilter(first_id=5, last_id=9)),
        ("id=5..", MessageFilter(first_id=5)),
        ("id=7 session=3", MessageFilter(first_id=7, last_id=7, session_id=3)),
        ("error=yes resent=no", MessageFilter(is_error=True, resent=False)),
        ("type=Request priority=high", MessageFilter(header=(("type", "Request"), ("priority", 1)))),
        ('"body contains a b"', MessageFilter(body_contains=("a b",))),
        ('"error contains boom"', MessageFilter(error_contains=("boom",))),
        ("$.number=3 $.a.b[0]=x", MessageFilter(body_fields=(("$.number", "3"), ("$.a.b[0]", "x")))),
        ("$.text=", MessageFilter(body_fields=(("$.text", ""),))),
    ],
)
def test_a_text_is_read_term_by_term(text: str, expected: MessageFilter) -> None:
    assert parse_filter(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("stauts=Error", UnknownName, "did you mean 'status'"),
        ("status=Eror", UnknownName, "did you mean 'Error'"),
        ("Echo", BadRequest, "write key=value"),
        ("item=", BadRequest, "has no value"),
        ("since=yesterday", BadRequest, "15m, 2h, 7d"),
        ("id=five", BadRequest, "no id"),
        ("id=99999999999999999999", BadRequest, "no id"),
        ("error=maybe", BadRequest, "neither yes nor no"),
        ("$x=1", BadRequest, "no path"),
        ('"body contains x', BadRequest, "close the quotation mark"),
        ("priority=urgent", BadRequest, "'urgent' is no id"),
    ],
)
def test_a_term_that_is_not_understood_is_refused_with_the_right_word(
    text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        parse_filter(text, NOW)


def test_the_words_of_a_command_are_terms_already() -> None:
    assert parse_terms(["status=Error", "body contains two words"]) == MessageFilter(
        statuses=("Error",), body_contains=("two words",)
    )


@pytest.mark.parametrize("text", ["", "1", "1y", "h", "-1h", "1 hour"])
def test_a_duration_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="write 90s"):
        duration_seconds(text)


@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(parse_filter(text, NOW), MessageFilter)


FOUND = {
    "type=Request": [0, 1, 2, 3, 4],
    "type=Request target=Other.Echo": [2, 3],
    "item=Echo type=Request": [0, 1, 4],
    "body=Checked type=Request": [2],
    "body=components.Checked type=Request": [2],
    "body=hecked": [],
    "status=Error": [3],
    "error=yes": [3],
    "error=no status=Error": [],
    '"error contains BOOM"': [3],
    'type=Request "body contains \\"hi\\""': [0],
    'type=Request "body contains 50%"': [0],
    'type=Request "body contains 5_%"': [],
    'type=Request "body contains naïve"': [1],
    "type=Request $.times=3": [0],
    "type=Request $.times=3.0": [0],
    "type=Request $.number=3": [2],
    "type=Request $.text=boom": [3],
    "type=Request $.text=boo": [],
    "type=Request $.missing=1": [],
    "type=Request $.number[0]=3": [],
    "since=1h type=Request": [0, 1, 2, 3, 4],
    "until=1h": [],
    "priority=sync type=Request": [0, 1, 2, 3, 4],
    "priority=high": [],
    "resent=yes": [],
}


def echoes() -> Production:
    prod = Production("Test.Filters")
    prod.operation("Echo", Echo)
    prod.operation("Other.Echo", Echo)
    return prod


def test_a_filter_finds_what_it_says(tmp_path: Path) -> None:
    with testing.production(echoes(), tmp_path) as bus:
        assert found_in(bus) == FOUND


def test_a_filter_finds_the_same_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    with testing.production(echoes(), tmp_path, store_url=postgres_url) as bus:
        assert found_in(bus) == FOUND


def found_in(bus: PythonDoor) -> dict[str, list[int]]:
    """Send five requests and return for each filter which of them it finds, counted from 0."""
    bus.request("Echo", Text('she said "hi" 50%', times=3))
    bus.request("Echo", Text("naïve_a", times=1))
    bus.request("Other.Echo", Checked(number=3))
    with pytest.raises(RequestFailed):
        bus.request("Other.Echo", Text("boom"))
    bus.request("Echo", Text("x" * (INLINE_BODY_BYTES + 1)))
    engine = bus.production.store.engine
    place = {
        row.id: index
        for index, row in enumerate(list_messages(engine, which=parse_filter("type=Request"))[::-1])
    }
    found = {text: list_messages(engine, which=parse_filter(text)) for text in FOUND}
    assert {text: count_messages(engine, parse_filter(text)) for text in FOUND} == {
        text: len(rows) for text, rows in found.items()
    }
    return {text: sorted(place[row.id] for row in rows) for text, rows in found.items()}


def test_bodies_out_of_line_are_counted_as_not_searched(tmp_path: Path) -> None:
    with testing.production(echoes(), tmp_path) as bus:
        bus.request("Echo", Text("x" * (INLINE_BODY_BYTES + 1)))
        bus.request("Other.Echo", Text("x"))
        engine = bus.production.store.engine

        counted = {
            text: count_unsearched(engine, parse_filter(text))
            for text in (
                'type=Request "body contains xxx"',
                "type=Request item=Other.Echo $.text=x",
                "type=Request",
            )
        }

    assert list(counted.values()) == [1, 0, 0]


def test_pages_follow_each_other_by_the_last_id_and_a_count_stops_where_it_is_told_to(tmp_path: Path) -> None:
    which = parse_filter("type=Request")
    with testing.production(echoes(), tmp_path) as bus:
        ids = [bus.submit("Echo", Text(str(number))) for number in range(5)]
        engine = bus.production.store.engine

        first = list_messages(engine, which=which, limit=2)
        second = list_messages(engine, which=which, limit=2, before_id=first[-1].id)
        counted = count_messages(engine, which, most=3)

    assert [row.id for row in first + second] == ids[:0:-1]
    assert counted == 3


def test_a_body_that_is_no_json_for_the_database_is_passed_over(tmp_path: Path) -> None:
    with testing.production(echoes(), tmp_path) as bus:
        bus.request("Echo", Text("x"))
        with bus.production.store.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE bodies SET json = '{\"text\": NaN}' WHERE id = 1")

        found = list_messages(bus.production.store.engine, which=parse_filter("$.text=x type=Request"))

    assert found == []
