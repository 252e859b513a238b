"""The page about returns on investment: its example holds, its commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from command import Command
from wattbus.roi.given import Draft, GivenAfter, GivenOwn, GivenSide

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "roi.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_worked_example_holds() -> None:
    (example,) = blocks("python")

    assert example.count("assert ") == 8
    exec(compile(example, "docs/roi.md", "exec"), {})


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    wattbus = Command(tmp_path)
    (script,) = blocks("sh")

    said = [wattbus(*shlex.split(line)[1:]) for line in script.splitlines()]

    assert said[0] == said[1]
    assert "0.7647 (76.47 %)" in said[0]


def test_the_fields_that_the_page_names_are_there() -> None:
    known = {field for model in (Draft, GivenSide, GivenAfter, GivenOwn) for field in model.model_fields}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)

    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 4
    assert named <= known
