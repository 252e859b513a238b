"""Label profiles: the list, one with its intervals, and the form in which it is edited as text rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wattbus.access import Role
from wattbus.errors import BadRequest
from wattbus.labels.profile import (
    MOST_METRICS,
    SCALES,
    Direction,
    Interval,
    Metric,
    Rule,
    number,
    profile_from,
)
from wattbus.labels.profile_text import intervals_from_text, intervals_to_text
from wattbus.labels.profiles import KeptProfile, get_profile, list_profiles, profile_versions, save_profile
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

_ROW = re.compile(r"m(\d{1,3})\.(\w+)")


class MetricRow(BaseModel):
    """A metric as it is typed; ``intervals`` are rows of a letter and two bounds, or a list of them."""

    model_config = ConfigDict(extra="forbid")

    id: str = ""
    name: str = ""
    unit: str = ""
    direction: str = Direction.LOWER.value
    weight: str | float = "1"
    task: str = ""
    intervals: str | list[Interval] = ""
    text: str = ""
    recommendation: str = ""

    def to_content(self) -> dict[str, Any]:
        """Return the metric for a profile; BadRequest for what cannot be read."""
        try:
            weight = float(self.weight)
        except ValueError:
            raise BadRequest(
                f"the weight of {self.id} is {str(self.weight)[:40]!r}: give a number, with a point for the decimals."
            ) from None
        given = self.intervals
        rows: list[Any] = (
            intervals_from_text(given, self.id)
            if isinstance(given, str)
            else [one.model_dump() for one in given]
        )
        content = self.model_dump(exclude={"weight", "intervals"})
        return {**content, "name": self.name or self.id, "weight": weight, "intervals": rows}


class ProfileBody(BaseModel):
    """A profile as it is typed. A metric without an id is left out, so that an emptied one is removed."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", description="under which it is saved; empty: that of the address")
    rule: str = Rule.COMPOUND.value
    stage: str = Field(default="", description="training, inference, or empty for both")
    classes: str = SCALES[0]
    source: str = ""
    metrics: list[MetricRow] = Field(max_length=MOST_METRICS)

    @model_validator(mode="before")
    @classmethod
    def _of_a_form(cls, given: Any) -> Any:
        """Take the fields of a form, ``m0.id`` and so on, as metrics."""
        if not isinstance(given, dict) or "metrics" in given:
            return given
        rows: dict[int, dict[str, Any]] = {}
        others = {}
        for name, value in given.items():
            if found := _ROW.fullmatch(str(name)):
                rows.setdefault(int(found[1]), {})[found[2]] = value
            else:
                others[name] = value
        return {**others, "metrics": [rows[place] for place in sorted(rows)]}


@dataclass(frozen=True)
class ProfilesView:
    """All profiles, the built-in ones first."""

    profiles: list[KeptProfile]


@dataclass(frozen=True)
class TypedProfile:
    """A profile as the fields of a form: what it is, or what was typed."""

    name: str
    rule: str
    stage: str
    classes: str
    source: str
    metrics: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ProfileView:
    """One version of a profile, its other versions, and the form."""

    kept: KeptProfile
    versions: list[KeptProfile]
    form: TypedProfile
    wrong: str = ""


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def profiles() -> ProfilesView:
        """List the label profiles."""
        with desk.reading() as engine:
            return ProfilesView(list_profiles(engine))

    def profile(name: str, version: int | None = None) -> ProfileView:
        """Show a profile, the newest version or another."""
        with desk.reading() as engine:
            kept = get_profile(engine, name, version)
            return ProfileView(kept, profile_versions(engine, name), _form(kept))

    def again(wrong: str, typed: Mapping[str, Any], name: str) -> ProfileView:
        with desk.reading() as engine:
            kept = get_profile(engine, name)
            return ProfileView(kept, profile_versions(engine, name), _typed(typed), wrong)

    def save(name: str, body: ProfileBody, who: Who) -> KeptProfile:
        """Save a profile as the next version of its name; built-in ones are saved under another."""
        content = {
            "name": body.name.strip() or name,
            "rule": body.rule,
            "stage": body.stage or None,
            "classes": body.classes,
            "source": body.source,
            "metrics": [row.to_content() for row in body.metrics if row.id.strip()],
        }
        made = profile_from(content)
        with desk.writing() as engine:
            return save_profile(engine, made, who.name)

    twins.view("/energy/labels/profiles", "label_profiles.html", profiles, tag="labels")
    twins.view("/energy/labels/profiles/{name}", "label_profile.html", profile, tag="labels")
    twins.action(
        "/energy/labels/profiles/{name}",
        save,
        role=Role.ADMIN,
        tag="labels",
        then=lambda done: f"/energy/labels/profiles/{done.profile.name}",
        said=lambda done: f"Saved as {done.title}.",
        again=("label_profile.html", again),
    )


def _form(kept: KeptProfile) -> TypedProfile:
    profile = kept.profile
    return TypedProfile(
        "" if kept.built_in else profile.name, profile.rule.value, profile.stage.value if profile.stage else "",
        profile.classes, profile.source, [_row(metric) for metric in profile.metrics] + [_blank()],
    )  # fmt: skip


def _row(metric: Metric) -> dict[str, str]:
    return {
        "id": metric.id, "name": metric.name, "unit": metric.unit, "direction": metric.direction.value,
        "weight": number(metric.weight), "task": metric.task, "intervals": intervals_to_text(metric.intervals),
        "text": metric.text, "recommendation": metric.recommendation,
    }  # fmt: skip


def _blank() -> dict[str, str]:
    return {**dict.fromkeys(MetricRow.model_fields, ""), "direction": Direction.LOWER.value}


def _typed(fields: Mapping[str, Any]) -> TypedProfile:
    """Return what was typed, every field of it."""
    rows: dict[int, dict[str, str]] = {}
    for name, value in fields.items():
        if found := _ROW.fullmatch(name):
            rows.setdefault(int(found[1]), _blank())[found[2]] = str(value)
    said = {name: str(fields.get(name, "")) for name in ("name", "rule", "stage", "classes", "source")}
    return TypedProfile(**said, metrics=[*(rows[place] for place in sorted(rows)), _blank()])
