"""The emissions that a model card declares: a number of grams, an object, or words with a unit.

The Hub defines ``co2_eq_emissions`` as a number in grams of CO2, or an object whose ``emissions`` is one:
https://huggingface.co/docs/hub/model-cards-co2. Cards say it in many other ways, and some say kilograms.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

#: More than a thousand tonnes: more than any model so far is known to have taken.
MOST_GRAMS = 1e9
# Grams for each parameter. Llama 3.1 8B, trained on 15 T tokens, is at 0.05; a fine-tune of minutes at 1e-10.
_MOST_PER_PARAMETER = 1.0
_LEAST_PER_PARAMETER = 1e-13
# A pre-training from nothing: the small ones that are known are at 5e-5; a thousandth of that is kg taken for g.
_LEAST_OF_PRE_TRAINING = 1e-6
_GRAMS = {
    "": 1.0, "g": 1.0, "gr": 1.0, "gram": 1.0, "grams": 1.0, "gramme": 1.0, "grammes": 1.0,
    "kg": 1e3, "kgs": 1e3, "kilo": 1e3, "kilos": 1e3, "kilogram": 1e3, "kilograms": 1e3, "kilogramme": 1e3,
    "t": 1e6, "ton": 1e6, "tons": 1e6, "tonne": 1e6, "tonnes": 1e6, "metric ton": 1e6, "metric tons": 1e6,
    "mt": 1e6, "kt": 1e9, "megatonnes": 1e12, "mg": 1e-3, "milligram": 1e-3, "milligrams": 1e-3,
    "lb": 453.59237, "lbs": 453.59237, "pound": 453.59237, "pounds": 453.59237,
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?(?:\d[\d,.' _]*\d|\d|\.\d+)(?:e[-+]?\d+)?", re.I)
_GAS = re.compile(
    r"(?:of\s+)?(?:co\s*2|co₂|carbon(?: dioxide)?)(?:[\s_.-]*(?:e|eq|eqv|equiv|equivalents?)\.?)?\b\.?", re.I
)
_ABOUT = re.compile(
    r"^(?:[~≈∼≤≥]|<=?|>=?|about|around|approx(?:imately|\.)?|circa|ca\.?|roughly|est(?:imated|\.)?)\s*", re.I
)
_LONGEST = 200


@dataclass(frozen=True)
class Declared:
    """What a card says of its training. ``grams`` is None with a sentence in ``missing``; ``doubts`` are sentences."""

    grams: float | None
    missing: str = ""
    doubts: tuple[str, ...] = ()
    said: str = ""  # as it stood there
    source: str = ""
    training_type: str = ""
    location: str = ""
    hardware: str = ""


def declared_emissions(value: Any) -> Declared:
    """Read what ``co2_eq_emissions`` holds; nothing is guessed, and what cannot be read says why."""
    if value is None:
        return Declared(None, "its card declares no emissions")
    if isinstance(value, dict):
        found = declared_emissions(value.get("emissions"))
        if value.get("emissions") is None:
            found = Declared(None, "its card has co2_eq_emissions without a figure")
        return Declared(
            found.grams,
            found.missing,
            found.doubts,
            found.said,
            source=_words(value.get("source")),
            training_type=_words(value.get("training_type")),
            location=_words(value.get("geographical_location")),
            hardware=_words(value.get("hardware_used")),
        )
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return Declared(
            None, f"its co2_eq_emissions is a {type(value).__name__}, not a number", said=_words(value)
        )
    said = _words(value)
    if isinstance(value, str):
        return _read(value.strip(), said)
    try:
        return _possible(float(value), said)
    except OverflowError:
        return Declared(None, "its emissions are not a finite number", said=said)


def _read(text: str, said: str) -> Declared:
    """Read a number with a unit out of words."""
    rest, about = text[:_LONGEST], False
    while found := _ABOUT.match(rest):
        rest, about = rest[found.end() :], True
    if rest.lower() in ("nan", "inf", "-inf", "+inf", "infinity", "-infinity"):
        return Declared(None, "its emissions are not a finite number", said=said)
    number = _NUMBER.match(rest)
    if number is None:
        return Declared(None, f"its emissions are words without a number: {said!r}", said=said)
    unit = _unit(rest[number.end() :])
    if re.search(r"\d", unit):
        return Declared(None, f"its emissions are more than one number: {said!r}", said=said)
    value = _value(number[0])
    if value is None:
        return Declared(
            None, f"its emissions are written in a way that may mean several numbers: {said!r}", said=said
        )
    if unit not in _GRAMS:
        return Declared(None, f"its emissions are in {unit[:30]!r}, which is no mass: {said!r}", said=said)
    read = _possible(value * _GRAMS[unit], said)
    doubts = list(read.doubts)
    if about:
        doubts.append("its card gives it as a rough figure")
    if re.fullmatch(r"[-+]?\d{1,3},\d{3}", number[0]):
        doubts.append("its comma is read as one of thousands, and may be a decimal comma")
    return Declared(read.grams, read.missing, tuple(doubts) if read.grams is not None else (), said)


def _unit(text: str) -> str:
    """Return the unit without the gas that is weighed.

    >>> [_unit(text) for text in (" kg CO2eq", "gCO2e", " grams of CO2", " kg-CO₂ eq.", " kWh")]
    ['kg', 'g', 'grams', 'kg', 'kwh']
    """
    parts = re.sub(r"(?i)(?<=[a-z])(?=CO2|CO₂)", " ", text.strip())
    parts = _GAS.sub(" ", parts.replace("-", " ").replace("(", " ").replace(")", " "))
    unit = re.sub(r"\s+", " ", parts).strip(" .;,")
    return {"Mg": "t", "Mt": "megatonnes"}.get(unit, unit.lower())


def _value(text: str) -> float | None:
    """Read a number as people write it; None where it may be two numbers.

    >>> [_value(text) for text in ("1,234.5", "0,5", "5e-3", "1 234", "1.234,5", "12", "1'000", "1,234", "1.2.3")]
    [1234.5, 0.5, 0.005, 1234.0, 1234.5, 12.0, 1000.0, 1234.0, None]
    """
    digits, _, power = text.lower().partition("e")
    digits = re.sub(r"(?<=\d)[ '_](?=\d{3}(?!\d))", "", digits)
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?\d+,\d+", digits):
        digits = digits.replace(",", ".")
    if not re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)", digits):
        return None
    return float(f"{digits}e{power}" if power else digits)


def _possible(grams: float, said: str) -> Declared:
    if not math.isfinite(grams):
        return Declared(None, "its emissions are not a finite number", said=said)
    if grams < 0:
        return Declared(None, f"its emissions are negative: {said}", said=said)
    if grams == 0:
        return Declared(
            None, "its emissions are 0, and no training emits nothing: they are not known", said=said
        )
    doubts = () if grams <= MOST_GRAMS else ("it is more than 1,000 tonnes, more than any known training",)
    return Declared(grams, "", doubts, said)


def doubts_of(declared: Declared, parameters: int | None) -> tuple[str, ...]:
    """Return what speaks against a declared figure, the number of parameters taken into account."""
    doubts = list(declared.doubts)
    if declared.grams is None or not parameters:
        return tuple(doubts)
    each = declared.grams / parameters
    if each > _MOST_PER_PARAMETER:
        doubts.append(f"{each:.2g} g for each parameter is more than any known training took")
    elif each < _LEAST_PER_PARAMETER:
        doubts.append(f"{each:.2g} g for each parameter is less than loading the model takes")
    elif each < _LEAST_OF_PRE_TRAINING and "pre" in declared.training_type.lower():
        doubts.append(
            f"{each:.2g} g for each parameter is little for a pre-training: the card may mean kilograms, which "
            "codecarbon counts in"
        )
    return tuple(doubts)


def _words(value: Any) -> str:
    if value is None:
        return ""
    text = " ".join(str(part) for part in value) if isinstance(value, list) else str(value)
    return text.strip()[:_LONGEST]
