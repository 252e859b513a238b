"""Records, facts and machines for the tests of the BoAmps export, with the official schemas as a judge."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from wattbus.energy.hardware import CpuFacts, GpuFacts, MachineFacts
from wattbus.energy.record import DataFacts, EnergyRecord, EnergyStatus, TaskFacts, Tier, TrackerFacts
from wattbus.export.boamps import ReportInput

START_US = 1_750_000_000_000_000  # 2025-06-15 15:06:40 UTC

MACHINE = MachineFacts(
    os="linux",
    distribution="Debian GNU/Linux",
    distribution_version="12",
    python_version="3.11.7",
    cpu=CpuFacts("AMD EPYC 7763 64-Core Processor", "AMD", "EPYC", "7763", 1, 2, 4),
    memory_bytes=8 * 1024**3,
    gpus=(),
    virtual=False,
)
GPU_MACHINE = MachineFacts(
    os="linux",
    python_version="3.11.7",
    cpu=MACHINE.cpu,
    memory_bytes=8 * 1024**3,
    gpus=(GpuFacts("NVIDIA H200", 2, 141 * 1024**3, "NVIDIA", None, "H200"),),
    virtual=True,
)
TRACKER = TrackerFacts(
    method="codecarbon",
    version="3.3.2",
    cpu_mode="cpu load",
    cpu_utilisation=0.5,
    calibration_joules=36.0,
    calibration_seconds=5.0,
)
DATA = (
    DataFacts("input", "text", items=1, bytes=2_000, shape="(1, 12)", format="json", source="private"),
    DataFacts("output", "object", items=2, bytes=500, shape="(1, 2)", format="json", source="private"),
)
FACTS = TaskFacts(
    stage="inference", family="text-classification", requests=1, parameters=66_000_000, data=DATA
)


def record(**changes: Any) -> EnergyRecord:
    """Return a settled record of one inference; ``changes`` replace its fields."""
    values: dict[str, Any] = {
        "message_id": 1,
        "attempt": 1,
        "item": "Python.MLOperation",
        "started_at_us": START_US,
        "duration_seconds": 2.0,
        "operation_kind": "MLOperation",
        "model": "acme/tiny-bert",
        "revision": "0" * 40,
        "cpu_seconds": 4.0,
        "energy_joules": 36.0,
        "low_joules": 18.0,
        "high_joules": 72.0,
        "tier": Tier.MODELLED,
        "status": EnergyStatus.MEASURED,
        "method": "codecarbon cpu load",
        "facts": FACTS,
    }
    return EnergyRecord(**{**values, **changes})


def report_input(*records: EnergyRecord, **changes: Any) -> ReportInput:
    """Return the input of one report, by default of one inference on a small CPU machine."""
    values: dict[str, Any] = {
        "records": records or (record(),),
        "facts": FACTS,
        "machine": MACHINE,
        "tracker": TRACKER,
        "production": "Sustainable.Production",
    }
    return ReportInput(**{**values, **changes})


def shared_folder() -> Path | None:
    """Return the folder that holds the official schemas, where there is one."""
    named = os.environ.get("WATTBUS_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "boamps" / "model").is_dir() else None


class OfficialSchemas:
    """The five official schemas, registered by their ``id`` so that nothing is fetched."""

    def __init__(self, folder: Path) -> None:
        from jsonschema import Draft4Validator
        from referencing import Registry, Resource
        from referencing.jsonschema import DRAFT4

        paths = sorted((folder / "boamps" / "model").glob("*.json"))
        self.schemas = {path.stem.removesuffix("_schema"): json.loads(path.read_text()) for path in paths}
        resources = [
            (schema["id"], Resource.from_contents(schema, default_specification=DRAFT4))
            for schema in self.schemas.values()
        ]
        registry: Any = Registry().with_resources(resources)
        self._validator = Draft4Validator(self.schemas["report"], registry=registry)
        self.example = json.loads(next((folder / "boamps" / "examples").glob("*.json")).read_text())

    def faults(self, document: object) -> list[str]:
        return [f"{error.json_path}: {error.message}" for error in self._validator.iter_errors(document)]

    def leaf_paths(self) -> set[str]:
        return set(self._leaves(self.schemas["report"], ""))

    def _leaves(self, schema: dict[str, Any], prefix: str) -> list[str]:
        if "$ref" in schema:
            schema = next(one for one in self.schemas.values() if one["id"] == schema["$ref"])
        if "items" in schema:
            return self._leaves(schema["items"], prefix + "[]")
        if "properties" not in schema:
            return [prefix]
        steps = schema["properties"].items()
        return [leaf for name, inner in steps for leaf in self._leaves(inner, f"{prefix}.{name}".lstrip("."))]


def official_schemas() -> OfficialSchemas:
    """Return the official schemas, or skip the test with the reason."""
    folder = shared_folder()
    if folder is None:
        pytest.skip(
            "the official BoAmps schemas are missing: set WATTBUS_SHARED to the folder of boamps/model"
        )
    return OfficialSchemas(folder)
