"""`wattbus boamps`, `wattbus meter` and the other exports, as they are typed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

import tinymodels
from boamps_samples import FACTS, official_schemas, record
from fakehub import FakeHub, HubDataset
from wattbus.cli import app
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, Tier
from wattbus.export.organisation import Organisation, read_organisation, write_organisation
from wattbus.export.publishing import DATASET
from wattbus.export.signing import signing_key
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.store.item_settings import opened
from wattbus.store.rows import energy_row
from wattbus.store.tables import energy

TOKEN = "hf_" + "x" * 30
KNOWN = {"carbon_intensity_g_per_kwh": 56.0, "carbon_grams": 36 / 3.6e6 * 56, "carbon_source": "test"}


def keep(home: Home, *records: EnergyRecord) -> None:
    """Put settled records into the store of a home."""
    with opened(home, None) as engine, engine.begin() as connection:
        for one in records:
            values = dict(zip(energy.c.keys(), energy_row(one), strict=True))
            values["facts"] = json.loads(values["facts"])
            connection.execute(insert(energy).values(values))


@pytest.fixture
def run(home: Home) -> Callable[..., Any]:
    """Run the command in this process and return what it printed, as JSON where it is asked for."""

    def run(*words: str, status: int = 0, stdin: str = "") -> Any:
        done = CliRunner().invoke(app, list(words), input=stdin)
        failed = (
            1 if done.exception is not None and not isinstance(done.exception, SystemExit) else done.exit_code
        )
        said = done.output + (f"error: {done.exception}" if failed and done.exception else "")
        assert failed == status, said
        return json.loads(done.output) if "--json" in words and not failed else said

    return run


@pytest.fixture
def exported(home: Home, run: Callable[..., Any]) -> str:
    keep(home, record(message_id=1), record(message_id=2))
    (report,) = run("boamps", "export", "--json")["reports"]
    return Path(report["path"]).name


def test_reports_are_exported_signed_and_listed(home: Home, run: Callable[..., Any], exported: str) -> None:
    (row,) = run("boamps", "ls", "--json")

    assert (row["name"], row["status"], row["signature"], row["fault"]) == (exported, "draft", "valid", "")
    assert exported in run("boamps", "ls")
    assert run("boamps", "sign", "--json")["public_key"] == signing_key(home).public_key  # type: ignore[union-attr]


def test_the_older_name_of_the_export_is_the_same_command(home: Home, run: Callable[..., Any]) -> None:
    keep(home, record())

    assert len(run("export", "boamps", "--json")["reports"]) == 1


def test_both_sides_of_a_productions_remote_call_are_reports(home: Home, run: Callable[..., Any]) -> None:
    address = "https://router.huggingface.co/hf-inference/models/acme/Tiny-70B"
    facts = replace(FACTS, parameters=int(70e9), foundation_model_uri=address, class_path=None)
    estimated = {"tier": Tier.ESTIMATED_REMOTE, "status": EnergyStatus.ESTIMATED, "energy_joules": 663.0}
    keep(
        home,
        record(facts=facts, scope=Scope.CLIENT),
        record(facts=facts, scope=Scope.REMOTE, **estimated),
    )

    made = run("boamps", "export", "--json")

    there = [json.loads(Path(report["path"]).read_text()) for report in made["reports"]]
    (remote,) = [one for one in there if one["measures"][0]["x-wattbus-scope"] == "remote"]
    assert len(there) == 2 and made["skipped"] == {}
    infrastructure = remote["infrastructure"]
    assert (infrastructure["cloudProvider"], infrastructure["cloudService"]) == (
        "Hugging Face", "router.huggingface.co",
    )  # fmt: skip
    assert infrastructure["components"][0]["nbComponent"] == 4
    assert official_schemas().faults(remote) == []


def test_an_export_as_csv_is_a_row_a_report(home: Home, run: Callable[..., Any]) -> None:
    keep(home, record(message_id=1), record(message_id=2, item="Other"))

    made = run("boamps", "export", "--format", "csv", "--json")

    lines = Path(made["csv"]).read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("header_formatVersion,")
    assert "unknown format" in run("boamps", "export", "--format", "xml", status=1)


def test_a_report_goes_from_draft_to_final_to_corrective(
    home: Home, run: Callable[..., Any], exported: str
) -> None:
    write_organisation(home, Organisation(name="Acme", country="France"))

    final = run("boamps", "final", exported, "--json")
    again = run("boamps", "final", final["file"], status=1)
    made = run(
        "boamps", "correct", final["report_id"] + ".final", "--set", "environment.location=Lyon",
        "--because", "the town was left out", "--json",
    )  # fmt: skip
    said = run("boamps", "verify", exported, final["file"], made["file"])
    rows = {row["name"]: row for row in run("boamps", "ls", "--json")}

    assert "correct it" in again
    assert json.loads(Path(final["file"]).read_text())["environment"]["country"] == "France"
    assert said.count("valid ") == 3
    assert rows[Path(made["file"]).name]["corrects"] == final["report_id"]
    assert sorted(row["status"] for row in rows.values()) == ["corrective", "draft", "final"]


def test_a_changed_report_is_told_from_one_of_an_unknown_key(
    home: Home, run: Callable[..., Any], exported: str, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.json"
    theirs.write_text((home.exports / exported).read_text())
    document = json.loads(theirs.read_text())
    document["quality"] = "high"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    key = signing_key(home).public_key  # type: ignore[union-attr]
    home.signing_key_file.unlink()

    assert "unknown key" in run("boamps", "verify", str(theirs), status=1)
    assert "changed" in run("boamps", "verify", str(changed), "--key", key, status=1)
    assert "valid" in run("boamps", "verify", str(theirs), "--key", key)
    assert "there is no report 'nowhere'" in run("boamps", "verify", "nowhere", status=1)


def test_without_a_terminal_the_form_is_a_list_and_waits_for_nobody(
    home: Home, run: Callable[..., Any]
) -> None:
    write_organisation(home, Organisation(name="Acme"))

    listed = run("boamps", "fill")
    rows = run("boamps", "fill", "--json")

    assert "licence" in listed
    assert "name" not in [row["field"] for row in rows]
    assert next(row for row in rows if row["field"] == "power_source")["choices"][0] == "solar"


def test_in_a_terminal_the_form_offers_each_field_and_enter_skips(home: Home) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    typed = ["Acme", "", "", "CC BY 4.0", "publik", "public", "\x04"]
    process = subprocess.Popen(
        [sys.executable, "-m", "wattbus", "boamps", "fill"],
        stdin=child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True,
    )  # fmt: skip
    os.close(child)
    os.write(parent, ("\n".join(typed)).encode())
    said, _ = process.communicate(timeout=60)
    os.close(parent)

    assert process.returncode == 0, said
    assert read_organisation(home) == Organisation(name="Acme", licence="CC BY 4.0", confidentiality="public")
    assert "publik" in said and "kept" in said


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.accounts[TOKEN] = "ann"
        hub.datasets[DATASET] = HubDataset()
        monkeypatch.setenv("WATTBUS_HUB_URL", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_publishing_shows_what_would_leave_and_leaves_without_a_yes_nothing(
    home: Home, run: Callable[..., Any], exported: str, hub: FakeHub
) -> None:
    write_organisation(home, Organisation(name="Acme", confidentiality="public"))
    final = run("boamps", "final", exported, "--json")["file"]

    asked = run("boamps", "publish", final, status=1)
    before = len(hub.datasets[DATASET].pulls)
    done = run("boamps", "publish", final, "--yes")
    again = run("boamps", "publish", final, "--yes", status=1)

    size = f"{Path(final).stat().st_size:,} bytes"
    for text in (asked, done):
        assert f"To {hub.endpoint}/datasets/{DATASET}, as ann" in text
        assert size in text and "published by Acme" in text
    assert "say --yes" in asked and before == 0
    assert f"Opened: {hub.endpoint}/datasets/{DATASET}/discussions/1" in done
    assert "was published before" in again
    assert TOKEN not in asked + done + again


def test_an_internal_report_says_how_it_becomes_one_that_is_published(
    run: Callable[..., Any], exported: str, hub: FakeHub
) -> None:
    final = run("boamps", "final", exported, "--json")["file"]

    said = run("boamps", "publish", final, "--yes", status=1)
    public = run(
        "boamps", "correct", final, "--set", "header.publisher.confidentialityLevel=public",
        "--because", "it may be read by everybody", "--json",
    )["file"]  # fmt: skip
    done = run("boamps", "publish", public, "--yes", "--json")

    assert "--set header.publisher.confidentialityLevel=public" in said
    assert done["pull_request"].endswith("/discussions/1")
    assert [Path(file["file"]) for file in done["files"]] == [Path(public)]


def test_the_sci_score_is_told_or_why_there_is_none(home: Home, run: Callable[..., Any]) -> None:
    keep(home, record(**KNOWN))

    without = run("export", "sci", "--json")["scores"]
    with_making = run("export", "sci", "--embodied-grams", "36000", "--embodied-hours", "1000", "--json")
    shown = run("export", "sci")

    assert without[0]["grams"] is None and "unknown M" in without[0]["reason"]
    assert with_making["scores"][0]["grams"] == pytest.approx(36 / 3.6e6 * 56 + 36_000 * 2 / 3600 / 1000)
    assert "consumer" in shown and "unknown" in shown
    assert "belong together" in run("export", "sci", "--embodied-grams", "1", status=1)


def test_a_model_card_gets_the_emissions_of_the_training_in_grams(
    home: Home, run: Callable[..., Any], tmp_path: Path
) -> None:
    models = ModelStore(home.models)
    source = tinymodels.build("text-classification", tmp_path / "tiny")

    def build(folder: Path) -> None:
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())

    models.stage("stars", build, source="fine-tuning", facts={"message_id": 7})
    facts = FACTS.__class__("finetuning", family="textClassification")
    keep(home, record(message_id=7, facts=facts, **KNOWN))
    write_organisation(home, Organisation(country="France", location="Paris"))
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\ntags:\n- stars\n---\n# Stars\n\nOne to five.\n")

    printed = run("export", "model-card", "stars")
    run("export", "model-card", "stars", "--into", str(card))

    from huggingface_hub import ModelCard

    written = ModelCard(card.read_text())
    emissions = written.data.to_dict()["co2_eq_emissions"]
    assert emissions["emissions"] == pytest.approx(36 / 3.6e6 * 56)
    assert (emissions["training_type"], emissions["geographical_location"]) == (
        "fine-tuning",
        "Paris, France",
    )
    assert emissions["source"].startswith("wattbus, tier modelled")
    assert (written.data.license, written.data.tags) == ("mit", ["stars"])
    assert written.text.strip() == "# Stars\n\nOne to five."
    assert "co2_eq_emissions:" in printed


@pytest.mark.parametrize(
    ("facts", "records", "said"),
    [
        ({}, (), "was trained here"),
        ({"message_id": 7}, (), "were purged"),
        ({"message_id": 7}, (record(message_id=7),), "no grams: set WATTBUS_COUNTRY"),
        ({"message_id": 7}, (record(message_id=7, energy_joules=None, reason="no meter"),), "no meter"),
    ],
)
def test_a_card_without_a_known_figure_is_a_sentence(
    home: Home, run: Callable[..., Any], tmp_path: Path, facts: Any, records: Any, said: str
) -> None:
    source = tinymodels.build("text-classification", tmp_path / "tiny")
    ModelStore(home.models).stage(
        "stars",
        lambda folder: (
            [(folder / file.name).write_bytes(file.read_bytes()) for file in source.iterdir()] and None
        ),
        source="folder",
        facts=facts,
    )
    keep(home, *records)

    assert said in run("export", "model-card", "stars", status=1)


SCRIPT = """
import sys
from sklearn.linear_model import LinearRegression

print("arguments", sys.argv[1:], __name__)
LinearRegression().fit([[float(n)] for n in range(2000)], range(2000))
sum(number * number for number in range(2_000_000))
if "--fail" in sys.argv:
    sys.exit(7)
if "--raise" in sys.argv:
    raise ZeroDivisionError("of the script")
"""


def test_a_script_is_metered_as_it_is_and_has_its_report(home: Home, tmp_path: Path) -> None:
    script = tmp_path / "fit_line.py"
    script.write_text(SCRIPT)

    def meter(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return subprocess.run(
            [sys.executable, "-m", "wattbus", "meter", *words],
            capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path, check=False,
        )  # fmt: skip

    done = meter("--json", "python", "fit_line.py", "--epochs", "3")
    failed = meter(str(script), "--fail")
    raised = meter(str(script), "--raise")
    missing = meter("nowhere.py")

    first, _, answer = done.stdout.partition("\n")
    assert first == "arguments ['--epochs', '3'] __main__", done.stdout + done.stderr
    made = json.loads(answer)
    document = json.loads(Path(made["report"]).read_text())
    assert document["task"]["algorithms"][0]["algorithmName"] == "LinearRegression"
    assert document["header"]["publisher"]["projectName"] == "fit_line"
    assert made["filled"] >= 45
    assert (failed.returncode, "no report" in failed.stdout) == (7, True)
    assert (raised.returncode, "ZeroDivisionError: of the script" in raised.stderr) == (1, True)
    assert missing.returncode == 1 and "there is no script 'nowhere.py'" in missing.stderr
    assert len(list(home.exports.glob("boamps-*.json"))) == 1
