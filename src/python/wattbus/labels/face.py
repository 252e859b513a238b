"""The face of a label: all that stands on it, as one frozen value that a picture, a page or a program shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wattbus import words

NO_REFERENCE = "no reference, no letter"


@dataclass(frozen=True)
class FaceClass:
    """One metric on the label: its value in words, and its letter or why there is none."""

    name: str
    value: str  # with its unit; words.UNKNOWN where it is not known
    letter: str | None
    reason: str = ""


@dataclass(frozen=True)
class LabelFace:
    """What stands on a label; texts are as they came, so who draws them escapes and shortens them."""

    model: str
    version: str  # of the model; empty where it is not stated
    stage: str  # "training" or "inference"
    task: str
    profile: str  # "default@1"
    headline: str  # "0.048", or what is missing in words
    unit: str  # "Wh for 1,000 inferences"; empty where there is no headline figure
    interval: str  # "95 % interval of 5 runs: 0.04 Wh to 0.05 Wh"; empty: not known
    bounds: str  # those of the tier; empty: not known
    letter: str | None
    reason: str  # why there is no letter, or what the letter rests on
    scale: str  # "ABCDE" or "ABCDEFG"
    span: str  # without a letter, the classes that the bounds reach: "C to E", or "D"; empty: none
    tier: str
    coverage: str  # "energy known of 5 of 6 attempts (83 %)"
    classes: tuple[FaceClass, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()  # hardware, batch, precision, date, country and year: name, value
    quality: tuple[tuple[str, str], ...] = ()  # beside, never mixed in: name, value
    record: str = ""  # "label m@3"
    address: str = ""  # the path of the record in the portal: /energy/labels/evaluations/m?version=3
    machine: dict[str, Any] = field(default_factory=dict)  # the same for programs, JSON values only

    @property
    def in_words(self) -> str:
        """Say all that the picture shows: its text for who does not see it."""
        parts = [
            f"Energy label of {self.model}" + (f", version {self.version}" if self.version else ""),
            f"{self.headline} {self.unit}".strip(),
            self.interval,
            self.bounds,
            f"class {self.letter} of {self.scale[0]} to {self.scale[-1]}" if self.letter else "no letter",
            f"its bounds reach {self.span}" if self.span else "",
            self.reason,
            f"tier {self.tier}",
            self.coverage,
            *(
                f"{one.name} {one.value}" + (f", class {one.letter}" if one.letter else "")
                for one in self.classes
            ),
            *(f"{name}: {value}" for name, value in (*self.lines, *self.quality)),
            f"profile {self.profile}",
        ]
        return words.clean("; ".join(part for part in parts if part) + ".")
