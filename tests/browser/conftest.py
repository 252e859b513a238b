"""A real Chromium, driven by Playwright, that looks at a door on this machine as a person would."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doors import OpenDoor
from playwright.sync_api import Browser, sync_playwright

from browsing import WIDE, Visitor
from conftest import missing

CHROMIUM = os.environ.get("WATTBUS_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each gets a context of its own."""
    if not Path(CHROMIUM).exists():
        missing(f"no Chromium at {CHROMIUM}: install the package chromium, or set WATTBUS_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visitor]]:
    """Return what opens a browser window on a door: ``visit(door, size=PHONE, scheme="dark")``."""
    contexts = []

    def open_window(
        door: OpenDoor, size: tuple[int, int] = WIDE, scheme: str = "light", script: bool = True
    ) -> Visitor:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=script,
            service_workers="block",
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        return Visitor(context.new_page(), door)

    yield open_window
    for context in contexts:
        context.close()
