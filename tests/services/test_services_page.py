"""The page on the ready-made services is true: its production runs, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wattbus import testing
from wattbus.operations import WebhookOperation
from wattbus.runtime.settings import HOST_SETTINGS
from wattbus.services import FileDropService, HTTPService, SQLPollService, TimerService
from wattbus.store.queries import list_events

PAGE = (Path(__file__).parents[2] / "docs" / "services.md").read_text()
#: Described once for all, in the text.
OF_EACH = {"Output", "TargetConfigNames"}


@pytest.mark.parametrize(
    "component", [FileDropService, SQLPollService, TimerService, HTTPService, WebhookOperation]
)
def test_every_setting_is_in_its_table_with_its_default_and_nothing_else_is(component: type) -> None:
    section = PAGE.partition(f"## {component.__name__}\n")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", section, re.MULTILINE)

    declared = {
        name: "" if default in (None, "") else str(default)
        for name, _, default, *_ in component._get_properties()  # type: ignore[attr-defined]
        if name not in OF_EACH
    }
    assert dict(rows) == declared


def test_every_alert_setting_of_the_page_is_one_of_the_host() -> None:
    section = PAGE.partition("## Alerts\n")[2]

    names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert len(names) == 4
    assert set(names) <= HOST_SETTINGS


def test_the_production_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "settings.py").write_text(settings)
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)

    with testing.production(tmp_path / "settings.py") as bus:
        bus.wait_ready()
        states = {item.name: item.state for item in bus.items()}
        bus.production.store.flush()
        errors = [line.text for line in list_events(bus.production.store.engine, type="Error")]

    orders = states.pop("Orders")
    assert set(states.values()) == {"Running"}
    assert orders in ("Running", "Stopped")
    assert all("no tables yet" in text for text in errors), errors
