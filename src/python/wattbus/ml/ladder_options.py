"""What a training is asked of its ladder: checks of each value, with a sentence for what does not fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from wattbus.errors import BadRequest, nearest
from wattbus.training_report import AUTO, METHODS, RUNGS, TARGET_METRICS

BALANCED = "balanced"
JOULES_PER_WH = 3600.0
MOST_PATIENCE = 1000
#: Fields of a TrainSpec that came with the ladder: where they are left out, a training is what it was before.
LADDER_FIELDS = (
    "method",
    "target",
    "target_metric",
    "energy_budget_wh",
    "class_weights",
    "early_stopping_patience",
)


def parse_method(value: object) -> str | None:
    """Return the name of a way to fine-tune, None as it is."""
    return None if value is None else _choice("method", value, METHODS)


def parse_target_metric(value: object) -> str:
    """Return the name of a metric that a target can be set for."""
    return _choice("target_metric", value, TARGET_METRICS)


def parse_target(value: object) -> float | None:
    """Return a target from 0 to 1, None as it is."""
    if value is None:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise BadRequest(
            f"target is {str(value)[:40]!r}: it must be from 0 to 1, such as 0.8 for 80 % of the test rows right."
        )
    return number


def parse_budget(value: object) -> float | None:
    """Return an energy budget in Wh above 0, None as it is."""
    if value is None:
        return None
    number = _number(value)
    if number is None or number <= 0:
        raise BadRequest(
            f"energy_budget_wh is {str(value)[:40]!r}: it must be above 0, in watt-hours (1 Wh is 3600 J); leave it "
            "out to train without a bound."
        )
    return number


def parse_patience(value: object) -> int | None:
    """Return a number of evaluations, None as it is."""
    if value is None:
        return None
    number = _number(value)
    if number is None or number != int(number) or not 1 <= number <= MOST_PATIENCE:
        raise BadRequest(
            f"early_stopping_patience is {str(value)[:40]!r}: it must be a whole number from 1 to {MOST_PATIENCE}, the "
            "evaluations without a better one after which the training ends."
        )
    return int(number)


def parse_class_weights(value: object) -> str | dict[str, float] | None:
    """Return "balanced", or a weight above 0 by label; a JSON text is read."""
    if value is None:
        return None
    given = value
    if isinstance(given, str) and given.strip().startswith("{"):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if isinstance(given, str) and given.strip().lower() == BALANCED:
        return BALANCED
    if not isinstance(given, Mapping) or not given:
        raise BadRequest(
            f"class_weights is {str(value)[:60]!r}: it must be {BALANCED!r}, or a weight by label, such as "
            '{"1": 2.0, "5": 1.0}.'
        )
    weights = {str(label): _number(weight) for label, weight in given.items()}
    for label, weight in weights.items():
        if weight is None or not 0 < weight <= 1e6:
            raise BadRequest(
                f"class_weights gives {label[:40]!r} the weight {str(given.get(label))[:40]!r}: a number above 0 is "
                "needed, at most 1000000."
            )
    return {label: weight for label, weight in weights.items() if weight is not None}


def rungs_of(method: str | None, target: float | None, budget_wh: float | None) -> tuple[str, ...]:
    """Return the rungs to walk: all for auto, which a target or a budget also asks for; else the one that is named.

    >>> rungs_of(None, None, None), rungs_of("lora", 0.9, None)
    (('full',), ('lora',))
    >>> rungs_of(None, 0.9, None) == rungs_of("auto", None, None) == RUNGS
    True
    """
    if method not in (None, AUTO):
        return (str(method),)
    return RUNGS if method == AUTO or target is not None or budget_wh is not None else ("full",)


def class_weights(
    given: str | Mapping[str, float] | None, labels: tuple[str, ...], train_labels: list[int]
) -> list[float] | None:
    """Return a weight for each of ``labels``, 1 on average over the rows that train; BadRequest names one that is none.

    Labels that a map leaves out weigh 1; balanced gives each label the same part of the loss.
    """
    if given is None:
        return None
    counts = [train_labels.count(number) for number in range(len(labels))]
    if isinstance(given, str):
        present = sum(1 for count in counts if count)
        return [len(train_labels) / (present * count) if count else 1.0 for count in counts]
    for label in given:
        if label not in labels:
            near = nearest(label, labels)
            meant = f" Did you mean {near!r}?" if near else ""
            raise BadRequest(
                f"class_weights names the label {label[:40]!r}, which no row has.{meant} The labels are "
                f"{', '.join(labels[:12])}."
            )
    weights = [float(given.get(label, 1.0)) for label in labels]
    mean = sum(weight * count for weight, count in zip(weights, counts, strict=True)) / len(train_labels)
    return [weight / mean for weight in weights]


def _choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    word = value.strip().lower().replace("_", "-") if isinstance(value, str) else None
    if word not in choices:
        raise BadRequest(f"{name} is {str(value)[:40]!r}: it must be one of {', '.join(choices)}.")
    return str(word)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
