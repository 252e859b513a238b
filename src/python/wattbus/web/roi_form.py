"""The form of an analysis: its fields by part, made from the model that reads them, with what was typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from wattbus.energy.figures import RunFigures
from wattbus.roi.given import Draft, GivenAfter, GivenOwn, GivenSide
from wattbus.roi.tactics import TACTICS


@dataclass(frozen=True)
class RoiField:
    """A field: its name in the form, what stands beside it, what is in it, and what may be chosen."""

    name: str
    label: str
    hint: str
    value: str
    choices: list[str]
    suggestions: list[str]
    number: bool
    needed: bool


@dataclass(frozen=True)
class RoiPart:
    """Fields that belong together; ``more`` are those that few need."""

    title: str
    hint: str
    fields: list[RoiField]
    more: list[RoiField]


_MAIN = ("run", "message", "model", "joules", "reduction")
_LABELS = {
    "run": "A stored run",
    "message": "Or a metered message",
    "model": "Or a metered model",
    "joules": "Or joules, typed",
    "reduction": "Or the share that is saved",
    "low_joules": "Lower bound, joules",
    "high_joules": "Upper bound, joules",
    "requests": "Inferences of that run or message",
    "price_per_kwh": "Price of a kWh",
    "carbon_g_per_kwh": "Carbon intensity, g/kWh",
    "carbon_grams": "Carbon, grams",
    "units": "How many",
    "days": "Or how many days",
    "per_day": "How many a day",
    "cost": "Cost of implementing",
    "point_price": "Price of a point of accuracy",
    "country": "Or the country of the electricity",
    "carbon_source": "Who says the carbon intensity",
}
_TEXTS = ("run", "model", "revision", "scope", "carbon_source", "country", "currency", "name", "note")
_PREFIXED: tuple[tuple[str, str, str, type[BaseModel]], ...] = (
    ("before", "Before", "Say where the energy of one {unit} comes from, in one of these ways.", GivenSide),
    ("after", "After the tactic", "The same for the work after it, or the share that it saves.", GivenAfter),
    ("own", "The tactic itself", "What it used once: {own}. 0 where that is nothing.", GivenOwn),
)
_GENERAL: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Money", "", ("cost", "price_per_kwh", "currency"), ("point_price",)),
    ("How far to look", "A count, or days at a traffic.", ("units", "days", "per_day"), ()),
    ("Carbon", "Left empty, it is what this wattbus is configured with; else it stays unknown.",
     ("carbon_g_per_kwh", "carbon_source"), ("country",)),
)  # fmt: skip


def parts_of(
    typed: Mapping[str, Any], tactic: str, runs: Iterable[RunFigures], models: Iterable[str]
) -> list[RoiPart]:
    """Return the parts of the form; ``typed`` is by the names of the form, such as ``before.joules``."""
    chosen = next((one for one in TACTICS if one.name == tactic), TACTICS[0])
    suggestions = {"run": [run.name for run in runs], "model": list(models)}
    parts = []
    for prefix, title, hint, model in _PREFIXED:
        names = [
            name for name in model.model_fields if not (prefix == "own" and name in ("model", "revision"))
        ]
        fields = {name: _field(model, name, f"{prefix}.{name}", typed, suggestions) for name in names}
        parts.append(
            RoiPart(
                title,
                hint.format(unit=chosen.unit, own=chosen.own_energy),
                [fields[name] for name in _MAIN if name in fields],
                [field for name, field in fields.items() if name not in _MAIN],
            )
        )
    for title, hint, main, more in _GENERAL:
        parts.append(
            RoiPart(
                title,
                hint,
                [_field(Draft, name, name, typed, {}) for name in main],
                [_field(Draft, name, name, typed, {}) for name in more],
            )
        )
    return parts


def typed_of(draft: Draft) -> dict[str, str]:
    """Return the fields of the form that a draft would have been typed as."""
    typed: dict[str, str] = {}
    for name, value in draft.model_dump(exclude_defaults=True).items():
        parts = value if isinstance(value, dict) else {"": value}
        for field, part in parts.items():
            typed[f"{name}.{field}" if field else name] = _text(part)
    return typed


def _text(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _field(
    model: type[BaseModel],
    name: str,
    form_name: str,
    typed: Mapping[str, Any],
    suggestions: Mapping[str, list[str]],
) -> RoiField:
    info = model.model_fields[name]
    default = info.default if isinstance(info.default, str) else ""
    return RoiField(
        name=form_name,
        label=_LABELS.get(name, name.replace("_", " ").capitalize()),
        hint=info.description or "",
        value=str(typed.get(form_name, default)),
        choices=["local", "client", "remote"] if name == "scope" else [],
        suggestions=suggestions.get(name, []),
        number=name not in _TEXTS,
        needed=info.is_required(),
    )
