"""Figures and texts as they are shown to people: seconds, joules with their tier, sizes, cleaned text."""

from __future__ import annotations

import math
from datetime import UTC, datetime

#: What stands where a figure is not known.
UNKNOWN = "—"
# A guess does not get better with more digits: only a counter's figure is shown with three.
_DIGITS = {"measured": 3}
_PREFIXES = ((1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def seconds(value: float | None) -> str:
    """Show a duration.

    >>> [seconds(value) for value in (None, 0, 0.00000042, 0.00123, 0.0314, 0.9996, 5.25, 200, 7500)]
    ['—', '0 s', '<1 µs', '1.2 ms', '31 ms', '1.0 s', '5.2 s', '3 min 20 s', '2 h 05 min']
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 0:
        return "-" + seconds(-value)
    if value == 0:
        return "0 s"
    if value < 1e-6:
        return "<1 µs"
    for unit, factor in (("µs", 1e6), ("ms", 1e3), ("s", 1.0)):
        shown = value * factor
        if shown < (59.5 if unit == "s" else 999.5):
            return f"{shown:.1f} {unit}" if shown < 9.95 else f"{shown:.0f} {unit}"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def joules(value: float | None, tier: str) -> str:
    """Show an energy with its tier in words; what is not measured gets two significant digits at most.

    >>> joules(0.0173762, "modelled"), joules(1234.5, "modelled-generic"), joules(12.3456, "measured")
    ('17 mJ modelled', '1.2 kJ modelled-generic', '12.3 J measured')
    >>> joules(None, "none"), joules(0.9999, "modelled"), joules(125, "attributed")
    ('—', '1.0 J modelled', '120 J attributed')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{_joules(value, _DIGITS.get(tier, 2))} {'of unknown origin' if tier == 'none' else tier}"


def joule_range(low: float | None, high: float | None) -> str:
    """Show the bounds of an energy; empty where one of them is not known.

    >>> joule_range(0.0087, 0.087), joule_range(None, 2.0)
    ('8.7 mJ to 87 mJ', '')
    """
    if low is None or high is None:
        return ""
    return f"{_joules(low, 2)} to {_joules(high, 2)}"


def watts(value: float | None, tier: str) -> str:
    """Show a power with as many digits as its tier is worth; the tier itself stands beside it once.

    >>> watts(27.93, "modelled-generic"), watts(27.93, "measured"), watts(0.004, "modelled"), watts(None, "none")
    ('28 W', '27.9 W', '4.0 mW', '—')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return _joules(value, _DIGITS.get(tier, 2), "W")


def _joules(value: float, digits: int, unit: str = "J") -> str:
    if value == 0:
        return f"0 {unit}"
    rounded = float(f"{value:.{digits - 1}e}")
    factor, prefix = next((pair for pair in _PREFIXES if abs(rounded) >= pair[0] * 0.9999999), _PREFIXES[-1])
    shown = rounded / factor
    places = max(0, digits - 1 - math.floor(math.log10(abs(shown)) + 1e-9))
    return f"{shown:.{places}f} {prefix}{unit}"


def size(count: int | None) -> str:
    """Show a number of bytes, in powers of 1,000.

    >>> size(None), size(13), size(1234), size(999_999), size(104_857_600)
    ('—', '13 B', '1.2 kB', '1.0 MB', '105 MB')
    """
    if count is None:
        return UNKNOWN
    if count < 1000:
        return f"{count} B"
    shown, units = float(count), ["TB", "GB", "MB", "kB"]
    while shown >= 999.5 and units:
        shown, unit = shown / 1000, units.pop()
    return f"{shown:.1f} {unit}" if shown < 9.95 else f"{shown:.0f} {unit}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Show a number with its noun.

    >>> counted(1, "message"), counted(1204, "message"), counted(2, "body", "bodies")
    ('1 message', '1,204 messages', '2 bodies')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def clean(text: str, longest: int | None = None) -> str:
    r"""Return ``text`` as one line that a terminal only shows: control and direction characters are escaped.

    >>> clean("a\x1b[31mred\nb\u202e"), clean("x" * 10, 4)
    ('a\\x1b[31mred\\nb\\u202e', 'xxx…')
    """
    if longest is not None and len(text) > longest:
        text = text[: max(0, longest - 1)] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def clean_lines(text: str) -> str:
    r"""Return ``text`` with its line ends, and every other control and direction character escaped.

    >>> clean_lines("a\x1b[31m\nb")
    'a\\x1b[31m\nb'
    """
    return "\n".join(clean(line.rstrip("\r")) for line in text.split("\n"))


def _escaped(char: str) -> str:
    # Spaces of other widths count as not printable, and are harmless.
    return " " if char.isspace() and char > "\x9f" and char not in "\u2028\u2029" else repr(char)[1:-1]


def utc_time(time_us: int) -> str:
    """Return microseconds since the epoch as ISO 8601, UTC.

    >>> utc_time(1_700_000_000_123_456)
    '2023-11-14T22:13:20.123Z'
    """
    return (
        datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def local_time(time_us: int) -> str:
    """Return microseconds since the epoch as date and time of this machine's zone."""
    return datetime.fromtimestamp(time_us / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S")
