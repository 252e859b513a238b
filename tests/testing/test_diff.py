"""The difference between two recordings: pure, so here are tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from wattbus.testing.diff import Change, compare, rendered
from wattbus.testing.recording import Content, Hop, Recording


def hop(target: str, body: Any, *calls: Hop, sent: str = "async", kind: str = "m.Text", **rest: Any) -> Hop:
    return Hop("Door.Python", target, sent, Content(kind, body), calls=calls, **rest)


def recording(*calls: Hop) -> Recording:
    return Recording("Test", calls)


def said(old: Hop, new: Hop, *ignore: str) -> list[str]:
    return [str(difference) for difference in compare(recording(old), recording(new), ignore)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"a": 1}, {"a": 2}, ["request $.a: 1 -> 2"]),
        ({"a": 1}, {}, ["request $.a: 1 -> (not there)"]),
        ({}, {"a": None}, ["request $.a: (not there) -> null"]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, ["request $.a[1]: 2 -> 3", "request $.a[2]: (not there) -> 4"]),
        ({"a": {"b": 1}}, {"a": [1]}, ['request $.a: {"b": 1} -> [1]']),
        ({"a": 1}, {"a": True}, ["request $.a: 1 -> true"]),
        ({"a": 0}, {"a": False}, ["request $.a: 0 -> false"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": "é"}, {"a": "e"}, ['request $.a: "é" -> "e"']),
        (None, {"a": 1}, ['request $: null -> {"a": 1}']),
    ],
)
def test_a_changed_field_is_named_with_both_values(old: Any, new: Any, expected: list[str]) -> None:
    assert said(hop("Echo", old), hop("Echo", new)) == expected


@pytest.mark.parametrize(
    ("path", "is_same"),
    [
        ("$.meta", True),
        ("$.meta.at", True),
        ("$..at", True),
        ("$.*", True),
        ("$.meta.*", True),
        ("$.met", False),
        ("$.meta.a", False),
        ("$.list[*]", False),
    ],
)
def test_an_ignored_path_takes_what_is_below_it_along(path: str, is_same: bool) -> None:
    old, new = hop("Echo", {"meta": {"at": 1}, "list": [1]}), hop("Echo", {"meta": {"at": 2}, "list": [1]})

    assert (said(old, new, path) == []) is is_same


@pytest.mark.parametrize(
    ("path", "is_same"), [("$.list[*].id", True), ("$..id", True), ("$.list[0].id", False)]
)
def test_elements_of_a_list_are_ignored_one_by_one_or_all(path: str, is_same: bool) -> None:
    old = hop("Echo", {"list": [{"id": 1}, {"id": 2}]})
    new = hop("Echo", {"list": [{"id": 1}, {"id": 3}]})

    assert (said(old, new, path) == []) is is_same


@pytest.mark.parametrize("path", ["timestamp", "$", "$timestamp", "$.a[x]", "", "$."])
def test_a_path_that_is_none_is_refused_with_the_form_that_is_one(path: str) -> None:
    with pytest.raises(ValueError, match=r"write \$\.field"):
        compare(recording(), recording(), [path])


def test_messages_sent_together_are_matched_by_what_they_say_and_not_by_their_order() -> None:
    old = hop("P", {}, *(hop("Echo", {"n": n}) for n in range(50)))
    new = hop("P", {}, *(hop("Echo", {"n": n}) for n in reversed(range(50))))

    assert said(old, new) == []


def test_a_changed_message_is_matched_with_the_one_most_like_it() -> None:
    old = hop("P", {}, hop("Echo", {"n": 1, "text": "a"}), hop("Echo", {"n": 2, "text": "b"}))
    new = hop("P", {}, hop("Echo", {"n": 2, "text": "c"}), hop("Echo", {"n": 1, "text": "d"}))

    assert said(old, new) == ['request $.text: "a" -> "d"', 'request $.text: "b" -> "c"']


def test_a_message_that_changed_in_what_is_ignored_alone_is_matched_by_the_rest() -> None:
    old = hop("P", {}, *(hop("Echo", {"n": n, "at": n}) for n in (1, 2)))
    new = hop("P", {}, *(hop("Echo", {"n": n, "at": 9}) for n in (2, 1)))

    assert said(old, new, "$.at") == []


def test_missing_and_added_messages_are_shown_with_what_they_say() -> None:
    old = hop("P", {}, hop("Echo", {"n": 1}), hop("Other", {"n": 2}))
    new = hop("P", {}, hop("Echo", {"n": 1}), hop("Third", {"n": 3}))

    differences = compare(recording(old), recording(new))

    assert [(one.path, one.change) for one in differences] == [
        (("P", "Other"), Change.MISSING),
        (("P", "Third"), Change.ADDED),
    ]
    assert rendered(differences, recording(old)).splitlines() == [
        "2 differences to the recorded session of Test",
        "P > Other",
        '    missing: m.Text {"n": 2}',
        "P > Third",
        '    added: m.Text {"n": 3}',
    ]


def test_a_changed_order_counts_where_the_sender_waited() -> None:
    first, second = hop("A", {}, sent="sync"), hop("B", {}, sent="sync")

    assert said(hop("P", {}, first, second), hop("P", {}, second, first)) == ["order: A, B -> B, A"]


def test_another_answer_another_type_and_another_way_of_sending_are_differences() -> None:
    old = hop("Echo", {}, sent="sync", response=Content("m.Yes", {"a": 1}))
    new = hop("Echo", {}, kind="m.New", response=None, error="it broke")

    assert said(old, new) == [
        "sent: sync -> async",
        "request type: m.Text -> m.New",
        "error: None -> it broke",
        "response type: m.Yes -> none",
    ]


def test_a_long_value_is_shown_short() -> None:
    (line,) = said(hop("Echo", {"a": "x" * 5000}), hop("Echo", {"a": "y"}))

    assert len(line) < 300
    assert "(5,002 characters)" in line


def test_a_thousand_changed_messages_are_compared() -> None:
    old = hop("P", {}, *(hop("Echo", {"n": n, "v": 1}) for n in range(1000)))
    new = hop("P", {}, *(hop("Echo", {"n": n, "v": 2}) for n in range(1000)))

    assert len(said(old, new)) == 1000
