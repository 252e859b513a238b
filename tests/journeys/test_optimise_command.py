"""``wattbus models optimise`` and ``wattbus models publish``, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinymodels
from command import Command
from optimising import TEXTS, load_texts, stage
from wattbus.home import Home
from wattbus.ml.models import ModelStore


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a folder with one model and a table of texts."""
    monkeypatch.setenv("WATTBUS_TABLES_URL", load_texts(tmp_path))
    command = Command(tmp_path)
    models = ModelStore(Home(command.home).create().models)
    stage(models, "toy", tinymodels.build("text-classification", tmp_path / "model"))
    return command


def test_a_model_is_optimised_published_and_rolled_back_with_the_command(typed: Command) -> None:
    models = ModelStore(Home(typed.home).models)
    old = models.current("toy").id
    asked = ("models", "optimise", "toy", "--to", "fp32", "--table", "Review", "--text-column", "ReviewText")

    report = typed.json(*asked, "--min-speedup", "0.01")
    published = typed("models", "publish", "toy")
    live = models.current("toy").id
    rolled_back = typed("models", "rollback", "toy")

    assert (report["chosen"], report["rows"], report["old_version"]) == ("fp32", len(TEXTS), old)
    assert report["candidates"][0]["likeness"]["agreement"] == 1.0
    assert live == report["new_version"]
    assert published == f"toy: {live} answers from now on, in place of {old}.\n"
    assert rolled_back == f"toy: {old} answers from now on, in place of {live}.\n"
    assert not list(Home(typed.home).runs.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--to", "fp23", "--requests", "5"), "did you mean 'fp32'"),
        ((), "name a table with its text column, or a number of kept requests"),
        (
            ("--table", "Review", "--text-column", "ReviewText", "--min-agreement", "2"),
            "--min-agreement cannot be",
        ),
        (("--requests", "5"), "there is no store in"),
    ],
)
def test_what_cannot_be_optimised_is_a_sentence_of_the_command(
    options: tuple[str, ...], sentence: str, typed: Command
) -> None:
    done = typed.run("models", "optimise", "toy", *options)

    assert done.returncode == (3 if "store" in sentence else 1)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
