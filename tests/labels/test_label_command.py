"""`wattbus label`: grade, measure, compare and keep profiles from a terminal, with and without a running production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from iop import Production
from typer.testing import CliRunner

import wattbus
from components import Echo
from wattbus import cli
from wattbus.energy.feed import NullFeed
from wattbus.errors import BadRequest, RequestFailed, UnknownName, WattbusError
from wattbus.home import Home
from wattbus.labels.history import get_evaluation
from wattbus.runtime.calls import Calls
from wattbus.runtime.control import ControlServer
from wattbus.runtime.director import Director

EMISSIONS = """timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code
2026-01-02T03:04:05,p,r1,10.0,0.012,0.5,FRA
"""


def say(*words: str) -> str:
    """Run a command and return what it printed; its error is raised as it is."""
    done = CliRunner().invoke(cli.app, ["label", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def told(*words: str) -> Any:
    return json.loads(say(*words, "--json"))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTBUS_ENERGY", "off")


def test_typed_values_are_graded_and_kept(home: Home) -> None:
    done = told("evaluate", "--profile", "gaissa-inference", "--metric", "flops=2e9", "--model", "m")

    assert (done["name"], done["version"], done["letter"]) == ("m gaissa-inference", 1, "C")
    text = say("show", "m")
    assert "gaissa-inference@1: C" in text and "made of 1 of 6 metrics" in text
    assert "power draw" in text.lower() or "Energy draw" in text


def test_a_file_and_a_kept_run_are_graded(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "emissions.csv"
    file.write_text(EMISSIONS)

    done = told(
        "evaluate", "--profile", "gaissa-training", "--file", str(file), "--metric", "downloads=20000"
    )

    classes = {one["name"]: one["letter"] for one in done["face"]["classes"]}
    assert classes["CO2 emissions"] == "C"  # 0.012 kg are 12 g
    assert classes["Downloads"] == "A"
    with pytest.raises(UnknownName, match="nobody"):
        say("evaluate", "--run", "nobody")


def test_a_profile_is_copied_edited_and_saved_and_both_versions_stay(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "ours.json"
    content = told("profile", "show", "gaissa-inference") | {"name": "ours"}
    file.write_text(json.dumps(content))

    first = told("profile", "save", str(file))
    content["metrics"][0]["weight"] = 1
    file.write_text(json.dumps(content))
    second = told("profile", "save", str(file))

    assert (first["version"], second["version"]) == (1, 2)
    assert told("profile", "show", "ours", "--version", "1")["metrics"][0]["weight"] == 6.0
    assert [one["name"] for one in told("profiles")][-1] == "ours"
    assert "ours" in say("profiles")


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("evaluate",), BadRequest, "no value was given"),
        (("evaluate", "--metric", "flops"), BadRequest, "write ID=VALUE"),
        (("evaluate", "--profile", "gaissa"), UnknownName, "gaissa"),
        (("evaluate", "--profile", "gaissa-inference", "--metric", "flops=-1"), BadRequest, "lie above 0"),
        (("evaluate", "--file", "a", "--run", "b"), BadRequest, "choose one"),
        (("measure",), BadRequest, "name a cached model, or the address"),
        (("measure", "nothing", "--task", "fill-mask"), WattbusError, "nothing"),
        (("measure", "--endpoint", "http://127.0.0.1/x"), BadRequest, "only public addresses"),
        (("measure", "--endpoint", "http://127.0.0.1/x", "--repeats", "1"), BadRequest, "1 repeats"),
        (("profile", "show", "nothing"), UnknownName, "nothing"),
        (("profile", "save", "/nowhere/profile.json"), BadRequest, "cannot be read"),
        (("show", "nobody"), UnknownName, "nobody"),
    ],
)
def test_what_is_wrong_is_a_sentence(
    home: Home, words: tuple[str, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as refused:
        say(*words)

    assert said in str(refused.value)


def test_an_endpoint_that_is_down_is_a_sentence(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTBUS_ALLOW_HOSTS", "127.0.0.1:9")

    with pytest.raises(RequestFailed, match="did not answer"):
        say("measure", "--endpoint", "http://127.0.0.1:9/x")


def test_nothing_to_compare_is_said(home: Home) -> None:
    assert "no model whose energy and quality are both known" in say("compare")
    assert told("compare") == {"groups": [], "unplaced": [], "note": told("compare")["note"]}


def test_while_a_production_runs_its_process_keeps_the_result(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = Production("Labels.Command")
    production.operation("Echo", Echo)
    with wattbus.run(production, home=home.root, feed=NullFeed("a test")) as bus:
        director = Director.of(bus.production)
        control = ControlServer(home, Calls(director, url=None, supervisor=None, end=lambda: 0.0).by_name())
        # The pointer names this process, and one's own production is asked directly otherwise.
        monkeypatch.setattr("wattbus.runtime.control.server_of", lambda _home: 1)
        try:
            done = told("evaluate", "--profile", "gaissa-inference", "--metric", "flops=2e9", "--model", "m")
        finally:
            control.close()
        kept = get_evaluation(bus.production.store.engine, done["name"])

    assert (kept.version, kept.made_by, kept.evaluation.letter) == (1, "CLI", "C")
