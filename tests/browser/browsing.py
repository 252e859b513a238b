"""Somebody in front of a browser, and the sizes of window that they have."""

from __future__ import annotations

from doors import OpenDoor
from playwright.sync_api import Page

WIDE, PHONE = (1280, 900), (390, 844)


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
        self.page.wait_for_url(lambda url: "/login" not in url)
        return self.page

    def go(self, path: str) -> Page:
        """Open a page of the door."""
        self.page.goto(f"{self.door.url}{path}")
        return self.page

    def width_of_page(self) -> int:
        """Return how wide the page is; more than the window means that it scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))
