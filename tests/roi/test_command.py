"""The command ``wattbus roi``: alone, and while a process holds the store."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import SETTINGS, Command
from roi_samples import PAYS

NEW = (
    "--tactic", "quantise", "--before-joules", "3.6e6", "--reduction", "0.5", "--cost", "10", "--price", "0.15",
    "-n", "1000",
)  # fmt: skip


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    status = command.run("status", "--json")
    if status.returncode == 0:
        os.kill(json.loads(status.stdout)["pid"], signal.SIGKILL)


def test_an_analysis_is_made_shown_compared_exported_and_forgotten(wattbus: Command) -> None:
    made = wattbus.json("roi", "new", "int8", *NEW)
    dearer = wattbus("roi", "new", "dearer", *NEW, "--cost", "20", "--set", "before.accuracy=0.9")
    listed = wattbus.json("roi", "ls")
    shown = wattbus("roi", "show", "int8")
    compared = wattbus.json("roi", "compare", "int8", "dearer")
    exported = wattbus.json("roi", "export", "int8", "--format", "csv")
    gone = wattbus("roi", "rm", "int8")
    unknown = wattbus("roi", "show", "int8", status=1)

    assert made["outcome"]["ordinary_return"]["at"]["value"] == 6.5
    assert "It pays over 1,000 inferences." in dearer
    assert [(one["name"], one["version"], one["verdict"]) for one in listed] == [
        ("dearer", 1, "saves"),
        ("int8", 1, "saves"),
    ]
    assert "0.7647 (76.47 %)" in shown and "134 inferences" in shown
    assert {row["key"]: row["places"][1]["difference"] for row in compared["rows"]}["net_saving"] == -10.0
    assert (wattbus.folder / exported["file"]).read_text().startswith("part,key,name")
    assert "int8 is forgotten, 1 version of it" in gone
    assert "unknown analysis 'int8'" in unknown


def test_what_show_printed_and_a_file_are_read_again_with_options_before_them(wattbus: Command) -> None:
    (wattbus.folder / "draft.json").write_text(json.dumps(PAYS))
    first = wattbus.json("roi", "new", "from-file", "--from", "draft.json")
    (wattbus.folder / "shown.json").write_text(json.dumps(first))

    again = wattbus.json("roi", "new", "from-file", "--from", "shown.json", "--cost", "20")

    assert (again["version"], again["analysis"]["given"]["cost"]) == (2, 20.0)
    assert wattbus.json("roi", "show", "from-file", "--version", "1") == first


def test_what_is_wrong_is_one_sentence(wattbus: Command) -> None:
    (wattbus.folder / "list.json").write_text("[1]")

    said = [
        wattbus("roi", "new", "x", *NEW[:-2], status=1),
        wattbus("roi", "new", "x", *NEW, "--cost", "-1", status=1),
        wattbus("roi", "new", "x", *NEW, "--set", "before", status=1),
        wattbus("roi", "new", "x", "--from", "nothing.json", status=1),
        wattbus("roi", "new", "x", "--from", "list.json", status=1),
        wattbus("roi", "new", "x", *NEW, "--before-run", "fp32", status=1),
    ]

    for sentence, part in zip(
        said,
        (
            "how far to look is needed once",
            "field 'cost': it cannot be below 0",
            "write FIELD=VALUE",
            "cannot be read",
            "no JSON object",
            "before: run and joules are both given",
        ),
        strict=True,
    ):
        assert part in sentence and "Traceback" not in sentence


def test_while_a_process_holds_the_store_it_is_the_one_that_writes(wattbus: Command) -> None:
    wattbus("start")
    made = wattbus.json("roi", "new", "int8", *NEW)
    again = wattbus.json("roi", "new", "int8", *NEW, "--cost", "20")
    gone = wattbus.json("roi", "rm", "int8")
    unknown = wattbus("roi", "rm", "int8", status=1)
    wattbus("stop")

    assert (made["version"], again["version"], made["made_by"]) == (1, 2, "CLI")
    assert gone == {"versions": 2}
    assert "unknown analysis 'int8'" in unknown


def test_the_tactics_are_listed_with_the_costs_to_think_of(wattbus: Command) -> None:
    assert "remote-to-local" in wattbus("roi", "tactics")
    assert {one["name"] for one in wattbus.json("roi", "tactics")} >= {"fine-tune", "quantise", "cache"}
