"""The bill of materials matches what is pinned, and the security page names tests that are there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SECURITY = (ROOT / "docs" / "security.md").read_text()


def test_the_bill_of_materials_is_what_is_pinned_with_a_licence_each() -> None:
    """S48."""
    script = [sys.executable, ROOT / "misc" / "sbom.py"]
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    pins = {canonicalize_name(found.name): found for found in (Requirement(line) for line in lines if line)}

    bill = json.loads(subprocess.run(script, capture_output=True, text=True, check=True).stdout)

    parts = {part["name"]: part for part in bill["components"]}
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert set(parts) == set(pins)
    assert [name for name, pin in pins.items() if not pin.specifier.contains(parts[name]["version"])] == []
    assert [name for name, part in parts.items() if "licenses" not in part] == []


def test_every_attack_has_its_line_and_every_test_that_is_named_is_there() -> None:
    told: set[int] = set()
    for row in re.findall(r"^\| (S\d+[^|]*) \|", SECURITY, re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"\d+", row)]
        told |= set(range(numbers[0], numbers[-1] + 1)) if " to " in row else set(numbers)

    files = set(re.findall(r"tests/[\w/]+\.py", SECURITY))
    assert told == set(range(1, 49))
    assert [file for file in files if not (ROOT / file).exists()] == []
