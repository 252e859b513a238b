"""The row of ``emissions.csv``: names, order and units of codecarbon 3.3.2 (kWh, kg, watts, seconds, litres)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class EmissionsData:
    """What a run or a task used. Unknown is None, an empty field in the file: codecarbon would guess or write 0."""

    timestamp: str
    project_name: str
    run_id: str
    experiment_id: str
    duration: float
    emissions: float | None
    emissions_rate: float | None
    cpu_power: float | None
    gpu_power: float | None
    ram_power: float | None
    cpu_energy: float | None
    gpu_energy: float | None
    ram_energy: float | None
    energy_consumed: float | None
    water_consumed: float | None
    country_name: str | None
    country_iso_code: str | None
    region: str | None
    cloud_provider: str
    cloud_region: str
    os: str
    python_version: str
    codecarbon_version: str | None
    cpu_count: int | None
    cpu_model: str | None
    gpu_count: int | None
    gpu_model: str | None
    longitude: float | None
    latitude: float | None
    ram_total_size: float
    tracking_mode: str
    cpu_utilization_percent: float | None = None
    gpu_utilization_percent: float | None = None
    ram_utilization_percent: float | None = None
    ram_used_gb: float | None = None
    on_cloud: str = "N"
    pue: float = 1.0
    wue: float = 0.0

    @property
    def values(self) -> dict[str, Any]:
        """The fields by column, in their order."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def toJSON(self) -> str:
        """Return the fields as JSON."""
        return json.dumps(self.values, sort_keys=True, indent=4)

    def since(self, earlier: EmissionsData | None) -> EmissionsData:
        """Return what came since an earlier row of the same run."""
        if earlier is None:
            return self
        sums = ("duration", "emissions", "energy_consumed", "water_consumed")
        parts = ("cpu_energy", "gpu_energy", "ram_energy")
        changed = {name: _less(getattr(self, name), getattr(earlier, name)) for name in (*sums, *parts)}
        seconds = changed["duration"] or 0.0
        rate = None if changed["emissions"] is None or seconds <= 0 else changed["emissions"] / seconds
        return replace(self, **changed, emissions_rate=rate)  # type: ignore[arg-type]


#: The columns of a file of tasks: the name first, and what is said once a run left out.
TASK_COLUMNS = (
    "task_name",
    *(
        one.name
        for one in fields(EmissionsData)
        if one.name not in ("experiment_id", "pue", "wue")
    ),
)  # fmt: skip


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None else now - (before or 0.0)
