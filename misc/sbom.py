"""Write a bill of materials of the pinned packages as they are installed: CycloneDX 1.5, to standard output."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def pinned(file: Path) -> list[str]:
    """Return the names that a requirements file pins."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return sorted(canonicalize_name(Requirement(line).name) for line in lines if line)


def component(name: str) -> dict[str, Any]:
    """Describe an installed package."""
    told = importlib.metadata.metadata(name)
    version = importlib.metadata.version(name)
    found = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
    found["bom-ref"] = found["purl"]
    licence = licence_of(told)
    return {**found, "licenses": [{"license": {"name": licence}}]} if licence else found


def licence_of(told: Any) -> str | None:
    """Return the licence as the package tells it: an SPDX expression, a classifier, or a short text."""
    if told.get("License-Expression"):
        return str(told["License-Expression"])
    kinds = [
        line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License")
    ]
    text = (told.get("License") or "").strip()
    return ", ".join(kinds) or (text.splitlines()[0][:100] if text else None)


def bill() -> dict[str, Any]:
    """Return the whole bill."""
    names = pinned(ROOT / "requirements.txt")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "wattbus"}},
        "components": [component(name) for name in names],
    }


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=1)
    sys.stdout.write("\n")
