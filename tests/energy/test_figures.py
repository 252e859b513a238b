"""The figures of a run: to JSON and back."""

from __future__ import annotations

import json

from wattbus.energy.figures import RunFigures, Source, Stage, figures_from_content
from wattbus.energy.record import Tier


def test_figures_come_back_from_json_as_they_were() -> None:
    figures = RunFigures(
        "a run",
        Stage.INFERENCE,
        Source.LEDGER,
        "message 12",
        energy_joules=0.0,
        tier=Tier.ATTRIBUTED,
        requests=3,
        extra={"downloads": 4.0},
    )

    content = json.loads(json.dumps(figures.to_content()))

    assert figures_from_content(content) == figures
    assert content["energy_joules"] == 0.0
    assert "carbon_grams" not in content


def test_a_field_of_a_later_release_is_left_out() -> None:
    content = {"name": "a run", "stage": "training", "source": "typed", "origin": "ann", "later": 1}

    assert figures_from_content(content) == RunFigures("a run", Stage.TRAINING, Source.TYPED, "ann")
