"""What a body may be is seen from its signs while it comes, however it is cut into parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from wattbus.web.arriving import MOST_DEPTH, MOST_NAMES, MOST_VALUES, Shape

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def refused(text: bytes, size: int = 65_536) -> int | None:
    """Return the status of the refusal, or None."""
    shape = Shape()
    try:
        for at in range(0, len(text), size):
            shape.take(text[at : at + size])
    except HTTPException as error:
        return error.status_code
    return None


@given(VALUES, st.integers(1, 40), st.booleans())
def test_json_is_taken_whole_and_in_parts(value: Any, size: int, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii).encode(errors="surrogatepass")

    assert refused(text, size) is None


@given(
    st.sampled_from([b"NaN", b"-Infinity", b"1e400", b"1E+999", b"-2.5e309", b"1e9999999999999"]),
    st.integers(1, 9),
)
def test_what_is_no_number_is_refused_wherever_it_is_cut(word: bytes, size: int) -> None:
    assert refused(b'{"a": [1, ' + word + b"]}", size) == 400
    assert refused(b'{"a": "\\"' + word + b' \\\\"}', size) is None


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_break_the_reader(text: bytes, size: int) -> None:
    assert refused(text, size) in (None, 400, 413)


@pytest.mark.parametrize("size", [65_536, 7])
@pytest.mark.parametrize(
    "text",
    [
        b"[" * (MOST_DEPTH + 1),
        b'{"a":' * 100_000,
        b"{" + b'"a":1,' * (MOST_NAMES + 1),
        b"[" + b"1," * (MOST_VALUES + 1),
    ],
    ids=["deep lists", "deep objects", "names", "values"],
)
def test_too_much_of_anything_is_refused_before_it_is_parsed(text: bytes, size: int) -> None:
    assert refused(text, size if len(text) < 1_000_000 else 65_536) == 413


def test_signs_in_strings_do_not_count() -> None:
    assert refused(json.dumps({"a": "[{:," * 500_000 + '"\\'}).encode()) is None
