"""The emissions in a model's card: ``co2_eq_emissions`` in the YAML head of its README, as the Hub reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wattbus.errors import Refused

KEY = "co2_eq_emissions"


@dataclass(frozen=True)
class CardEmissions:
    """What the Hub shows of the training of a model; ``emissions_grams`` is in grams of CO2 equivalent."""

    emissions_grams: float
    source: str
    training_type: str  # pre-training or fine-tuning
    geographical_location: str | None = None
    hardware_used: str | None = None

    def content(self) -> dict[str, Any]:
        """Return the entry as the card holds it, without what is unknown."""
        values = {
            "emissions": self.emissions_grams,
            "source": self.source,
            "training_type": self.training_type,
            "geographical_location": self.geographical_location,
            "hardware_used": self.hardware_used,
        }
        return {name: value for name, value in values.items() if value is not None}


def card_with(card: str, emissions: CardEmissions) -> str:
    """Return a README with the emissions in its head, made where there is none; all else stays as it was.

    Raises Refused for a head that is no YAML mapping.
    """
    from huggingface_hub import ModelCard

    try:
        found = ModelCard(card, ignore_metadata_errors=False)
    except (ValueError, TypeError) as error:
        raise Refused(
            f"the head of the model card is no YAML that the Hub reads ({error}): correct it."
        ) from None
    found.data[KEY] = emissions.content()
    return str(found)
