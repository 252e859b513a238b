"""A real Chromium, driven by Playwright, that looks at a door on this machine as a person would."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from conftest import missing
from doors import OpenDoor

CHROMIUM = os.environ.get("WATTBUS_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip
WIDE, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; each gets a context of its own."""
    if not Path(CHROMIUM).exists():
        missing(f"no Chromium at {CHROMIUM}: install the package chromium, or set WATTBUS_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """Somebody in front of a browser; everything that the page complains about is kept."""

    def __init__(self, page: Page, door: OpenDoor) -> None:
        self.page, self.door = page, door
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda said: self._complain(said.type, said.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def _complain(self, kind: str, text: str) -> None:
        # Chromium reports the status of a page that says "not found" as an error of the console.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    def sign_in(self, token: str | None = None) -> Page:
        """Show a token at the door, an admin's unless another is given."""
        self.page.goto(f"{self.door.url}/login")
        self.page.get_by_label("Token").fill(token or self.door.token)
        self.page.get_by_role("button", name="Sign in").click()
        return self.page

    def go(self, path: str) -> Page:
        """Open a page of the door."""
        self.page.goto(f"{self.door.url}{path}")
        return self.page

    def width_of_page(self) -> int:
        """Return how wide the page is; more than the window means that it scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


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
