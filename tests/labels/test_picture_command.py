"""`wattbus label picture`, `badge`, `sync` and `provider`: from a terminal, with and without a running production."""

from __future__ import annotations

import io
import json
import os
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image
from pypdf import PdfReader
from typer.testing import CliRunner

from command import SETTINGS, Command
from fakehublist import FakeHubList, fake_hub_list
from wattbus import cli
from wattbus.errors import BadRequest, ModelNotCached, UnknownName
from wattbus.home import Home
from wattbus.labels.synchronise import provider_models
from wattbus.store.item_settings import opened


def run(*words: str) -> Any:
    """Run a command; its error is raised as it is."""
    done = CliRunner().invoke(cli.app, ["label", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def say(*words: str) -> str:
    return str(run(*words).stdout)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubList]:
    with fake_hub_list() as hub:
        monkeypatch.setenv("WATTBUS_HUB_URL", hub.endpoint)
        hub.add("org/good", "0.5 kg", downloads=1200)
        hub.add("org/range", "10-20 g")
        yield hub


@pytest.fixture
def graded(home: Home) -> str:
    say(
        "evaluate",
        "--profile",
        "gaissa-inference",
        "--metric",
        "flops=2e9",
        "--model",
        "org/m",
        "--name",
        "mine",
    )
    return "mine"


def test_a_label_is_drawn_in_the_form_that_the_file_says(graded: str, tmp_path: Path) -> None:
    svg, png, pdf = (tmp_path / f"label.{form}" for form in ("svg", "png", "PDF"))

    told = [
        say("picture", graded, "--out", str(file), "--address", "https://a.example/")
        for file in (svg, png, pdf)
    ]

    picture = Image.open(io.BytesIO(png.read_bytes()))
    assert all(f"{file}: " in line for file, line in zip((svg, png, pdf), told, strict=True))
    assert "Energy label of org/m" in (ElementTree.fromstring(svg.read_text()).get("aria-label") or "")
    assert [one.text for one in zxingcpp.read_barcodes(picture)] == [
        "https://a.example/energy/labels/evaluations/mine?version=1"
    ]
    assert "graded by gaissa-inference@1" in PdfReader(io.BytesIO(pdf.read_bytes())).pages[0].extract_text()


def test_what_is_drawn_is_told_as_json(graded: str, tmp_path: Path) -> None:
    file = tmp_path / "label.png"

    told = json.loads(say("picture", graded, "--out", str(file), "--scale", "1", "--json"))

    assert told["bytes"] == file.stat().st_size
    assert told["says"].startswith("Energy label of org/m")
    assert Image.open(io.BytesIO(file.read_bytes())).width == 440


def test_a_badge_is_printed_or_written_with_its_line_for_a_readme(graded: str, tmp_path: Path) -> None:
    printed = say("badge", graded)
    told = say("badge", graded, "--out", str(tmp_path / "energy.svg"))

    assert ElementTree.fromstring(printed).get("height") == "20"
    assert "![energy: " in told and "(energy.svg)" in told
    assert json.loads(say("badge", graded, "--json"))["says"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("picture", "mine", "--out", "label.gif"), "end it in .svg, .png, .pdf"),
        (("picture", "mine", "--out", "label"), "says no form"),
        (("badge", "mine", "--out", "label.png"), "end it in .svg"),
        (("picture", "mine", "--out", "/nowhere/label.svg"), "cannot be written"),
        (("picture", "mime", "--out", "label.svg"), "unknown model 'mime'"),
        (("picture", "mine", "--version", "9", "--out", "label.svg"), "version"),
    ],
)
def test_what_cannot_be_drawn_is_told(graded: str, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        say(*words)


def test_the_list_of_a_provider_is_read_and_shown(home: Home, hub: FakeHubList) -> None:
    told = say("sync")

    assert f"2 models read from {hub.endpoint}: 1 with figures, 1 skipped, each with its reason." in told
    assert "1 model skipped: its emissions are more than one number" in told
    assert "org/good" in say("provider") and "0.5 kg" in say("provider")
    assert "10-20 g" in say("provider", "--skipped") and "org/good" not in say("provider", "--skipped")
    assert json.loads(say("provider", "org/good", "--json"))[0]["figures"]["carbon_grams"] == 500


def test_a_selection_a_limit_and_a_restart(home: Home, hub: FakeHubList) -> None:
    hub.add("other/model", 3, pipeline_tag="fill-mask")
    hub.add("other/silent")

    first = json.loads(say("sync", "--limit", "1", "--json"))
    again = json.loads(say("sync", "--limit", "1", "--json"))
    anew = json.loads(say("sync", "--limit", "1", "--restart", "--json"))
    narrow = json.loads(say("sync", "--author", "other", "--task", "fill-mask", "--json"))
    everything = json.loads(say("sync", "--author", "other", "--all", "--json"))

    assert [one["read"] for one in (first, again, anew, narrow, everything)] == [1, 2, 1, 1, 2]
    assert (first["to_the_end"], narrow["to_the_end"], everything["skipped"]) == (False, True, 1)


def test_a_declared_model_is_graded_and_drawn(home: Home, hub: FakeHubList, tmp_path: Path) -> None:
    say("sync")

    told = say("provider", "org/good", "--grade", "gaissa-training")
    say("picture", "org/good gaissa-training", "--out", str(tmp_path / "label.svg"))

    assert "declared by its provider, not measured here" in told
    assert "not measured here" in (tmp_path / "label.svg").read_text()


def test_what_is_wrong_with_a_provider_is_told(home: Home, hub: FakeHubList) -> None:
    say("sync")

    with pytest.raises(BadRequest, match="cannot be graded: its emissions are more than one number"):
        say("provider", "org/range", "--grade", "gaissa-training")
    with pytest.raises(UnknownName, match="org/good"):
        say("provider", "org/goood")
    with pytest.raises(BadRequest, match="name the model"):
        say("provider", "--grade", "gaissa-training")


def test_a_provider_that_is_down_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_hub_list() as gone:
        monkeypatch.setenv("WATTBUS_HUB_URL", gone.endpoint)

    with pytest.raises(ModelNotCached, match="cannot be reached"):
        say("sync")
    assert say("provider").startswith("Nothing is kept yet")


@pytest.fixture
def wattbus(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "settings.py").write_text(SETTINGS)
    command = Command(tmp_path)
    yield command
    running = command.run("status", "--json")
    if running.returncode == 0:
        os.kill(json.loads(running.stdout)["pid"], signal.SIGKILL)


def test_a_running_production_keeps_what_the_command_reads(wattbus: Command, hub: FakeHubList) -> None:
    wattbus("start")

    told = wattbus("label", "sync")
    graded = wattbus("label", "provider", "org/good", "--grade", "gaissa-training")
    wattbus("label", "picture", "org/good gaissa-training", "--out", "label.png")
    url = wattbus.json("status")["url"]
    wattbus("stop")

    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO((wattbus.folder / "label.png").read_bytes())))
    assert "1 with figures, 1 skipped" in told and "declared by its provider" in graded
    assert found.text.startswith(url.rstrip("/") + "/energy/labels/evaluations/")
    with opened(Home(wattbus.home), None) as engine:
        assert {one.name for one in provider_models(engine)} == {"org/good", "org/range"}
