"""The emissions of a model version's training, for its card: from the ledger's records of that training, in grams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine

from wattbus.energy.hardware import MachineFacts, read_machine
from wattbus.errors import Refused, UnknownName
from wattbus.export.boamps_draft import significant
from wattbus.export.boamps_groups import Totals, add_up, why_unknown
from wattbus.export.organisation import read_organisation
from wattbus.home import Home
from wattbus.ml.model_card import CardEmissions
from wattbus.store.queries import energy_records

if TYPE_CHECKING:
    from wattbus.ml.models import ModelStore, ModelVersion


def emissions_of_version(
    engine: Engine,
    home: Home,
    models: ModelStore,
    name: str,
    version: str | None = None,
    *,
    country: str | None = None,
) -> CardEmissions:
    """Return what the training of a version emitted; the newest fine-tuned one unless one is named.

    Raises Refused where the version was not trained here, or its energy or the carbon intensity is unknown.
    """
    chosen = _version(models, name, version)
    message = chosen.facts.get("message_id")
    if message is None:
        raise Refused(f"{name} {chosen.id} was not trained here: it is {chosen.source}.")
    records = [record for record in energy_records(engine) if record.message_id == message]
    if not records:
        raise Refused(f"the energy records of message {message}, which trained {chosen.id}, were purged.")
    if unknown := next((reason for record in records if (reason := why_unknown(record))), None):
        raise Refused(f"the energy of the training of {chosen.id} is unknown ({unknown}).")
    totals = add_up(records)
    grams = significant(totals.carbon_grams)
    if grams is None:
        raise Refused(
            "the carbon intensity is unknown, so there are joules and no grams: set WATTBUS_COUNTRY or "
            "WATTBUS_CARBON_G_PER_KWH before a training."
        )
    organisation = read_organisation(home)
    place = ", ".join(part for part in (organisation.location, organisation.country or country) if part)
    return CardEmissions(
        grams,
        _source(totals, records[0].method),
        "fine-tuning",
        place or None,
        _hardware(read_machine(), totals),
    )


def _version(models: ModelStore, name: str, version: str | None) -> ModelVersion:
    versions = models.versions(name)
    if not versions:
        raise UnknownName("model", name, models.names())
    if version is None:
        trained = [one for one in versions if one.facts.get("message_id") is not None]
        if not trained:
            raise Refused(
                f"no version of {name} was trained here: its card has no training of ours to tell of."
            )
        return max(trained, key=lambda one: one.created_at_us)
    found = next((one for one in versions if one.id == version), None)
    if found is None:
        raise UnknownName("version", version, [one.id for one in versions])
    return found


def _source(totals: Totals, method: str | None) -> str:
    return f"wattbus, tier {totals.tier.value}" + (f" ({method})" if method else "")


def _hardware(machine: MachineFacts, totals: Totals) -> str | None:
    """Name the processor, and the GPUs where the training used one; the machine is this one."""
    parts = [f"{machine.cpu.packages or 1} x {machine.cpu.name}"] if machine.cpu.name else []
    if totals.gpu_seconds:
        parts += [f"{gpu.count} x {gpu.name}" for gpu in machine.gpus or ()]
    return ", ".join(parts) or None
