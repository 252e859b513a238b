"""Canonical JSON by RFC 8785 (JCS): one text for one value, so that a signature outlives reformatting."""

from __future__ import annotations

import json
import math
from typing import Any

from wattbus.errors import BadRequest

_LARGEST_EXACT = 2**53 - 1


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as RFC 8785 writes it: keys in UTF-16 order, numbers as ECMAScript, no white space.

    >>> canonical_json({"b": [1.0, 1e-7, 1e21], "a": "é\\n"}).decode()
    '{"a":"é\\\\n","b":[1,1e-7,1e+21]}'

    Raises BadRequest for what JSON cannot hold: NaN, a number beyond a double, half a surrogate pair.
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"the text {error.object!r} holds half a character: it is no Unicode.") from None


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be"))
        return "{" + ",".join(f"{_text(str(key))}:{_text(value[key])}" for key in keys) + "}"
    raise BadRequest(f"a {type(value).__name__} cannot be written as JSON.")


def _number(value: int | float) -> str:
    if (isinstance(value, int) and abs(value) > _LARGEST_EXACT) or not math.isfinite(value):
        raise BadRequest(f"the number {value} cannot be written as JSON without a loss.")
    if isinstance(value, int) or value == 0:
        return str(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.digits times ten to the power of this:
    point = len(whole.lstrip("0")) + int(exponent or 0)
    if not whole.strip("0"):
        point = int(exponent or 0) - (len(fraction) - len(fraction.lstrip("0")))
    digits = digits.rstrip("0")
    return sign + _es6(digits, point)


def _es6(digits: str, point: int) -> str:
    """Write a number as ECMAScript's Number::toString does."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = f"{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"{digits[0]}{'.' + digits[1:] if count > 1 else ''}e{exponent}"
