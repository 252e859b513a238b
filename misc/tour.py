"""The tour: a fresh home, the demo's journey in small, and a picture of every page of the portal at two widths.

    python misc/tour.py

Writes docs/pictures/*.png and docs/tour.md. Needs Chromium: `apt install chromium`, or name one in CHROMIUM. What the
pages show was done by the script: nothing is painted. A page that is not there, is broken, complains on its console or
is wider than its window is named in docs/tour.md and ends the script with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from PIL import Image
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright

from wattbus.web.drawing import MENU

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REVIEWS = ROOT / "misc" / "data" / "reviews.csv"
WIDTHS = {1280: 860, 390: 844}
#: A picture shows so many of a page's pixels from above, at most.
TALLEST = {1280: 1500, 390: 1500}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
)  # fmt: skip
LIMIT_SECONDS = 240
QUESTIONS = (
    "This was a really bad experience", "The best meal of my life", "It was fine, nothing special",
    "Never again, the staff were rude", "Lovely garden and friendly people", "Average food, slow service",
)  # fmt: skip


@dataclass(frozen=True)
class Stop:
    """A page of the tour: where it is, its name, what it is for.

    ``follow`` are CSS selectors of links, one page after the other: the first such link leads on to the page meant.
    """

    path: str
    title: str
    sentence: str
    follow: tuple[str, ...] = ()
    name: str = ""

    @property
    def file(self) -> str:
        return self.name or (self.path.split("?")[0].strip("/").replace("/", "-") or "home")


#: In the order in which somebody new would look. A new page is a line here; a page of the menu must be.
STOPS = (
    Stop("/", "Home", "Is it healthy, what ran, what it cost, what waits longest; errors first."),
    Stop("/production", "Production", "Services, processes, operations: state, queue, start and stop."),
    Stop("/production", "Item", "One item: its settings, queue, log, jobs and energy.",
         ("main a[href^='/items/']",), "item"),
    Stop("/test?item=Python.MLOperation", "Test", "Pick an item and a type of message, fill in, see the answer."),
    Stop("/messages", "Messages", "Find a message among a million by time, item, state, header or text."),
    Stop("/messages", "Message", "One message: header, body, attempts; resend, edit and resend.",
         ("main a[href^='/messages/']:not([href*='bulk']):not([href*='dead'])",), "message"),
    Stop("/messages/dead", "Dead letters", "What failed or was set aside, by item."),
    Stop("/trace", "Traces", "The last sessions, with their length and energy."),
    Stop("/trace", "Visual trace", "One session: who sent what to whom, how long it took, and its joules.",
         ("main tr:has(.state.good):has-text('TrainRequest') a[href^='/trace/']",), "trace-session"),
    Stop("/log", "Event log", "What the production and its items said, errors marked."),
    Stop("/queues", "Queues", "What waits where, and for how long."),
    Stop("/queues", "Queue", "One queue: its messages, in the order in which they are served.",
         ("main a[href^='/queues/']",), "queue"),
    Stop("/jobs", "Jobs", "The workers of each item."),
    Stop("/attempts", "Attempts", "Each try of each message: how long it took and how it ended."),
    Stop("/alerts", "Alerts", "What somebody should look at."),
    Stop("/purge", "Purge", "Take out what is old, after a look at what that would be."),
    Stop("/doctor", "Doctor", "Whether the store is whole, and what to do where it is not."),
    Stop("/models", "Models", "The cached models with their published versions."),
    Stop("/models", "Model", "The versions of one model; verify, publish, roll back.",
         ("main a[href^='/models/']",), "model"),
    Stop("/models", "Optimise", "Convert a model, compare the answers, measure both, publish or roll back.",
         ("main a[href^='/models/']", "main a[href$='/optimise']"), "optimise"),
    Stop("/trainings", "Trainings", "Each training with its result, its time and its energy."),
    Stop("/trainings", "Training", "One training: loss, metrics and power, old beside new.",
         ("main tr:has(.state.good) a[href^='/trainings/']:not([href*='compare'])",), "training"),
    Stop("/tables", "SQL tables", "What trainings read."),
    Stop("/tables", "SQL table", "One table: its rows, its labels, and a button that trains on it.",
         ("main a[href^='/tables/']",), "table"),
    Stop("/energy?days=1", "Energy", "Joules by item, model and day with their tier; the machine's buckets add up."),
    Stop("/energy/power", "Live power", "Watts by bucket, second by second."),
    Stop("/energy/models", "Labels", "What each model uses for 1,000 inferences."),
    Stop("/energy/models", "Label of a model", "An absolute figure with its interval, tier and coverage; no letter.",
         ("main a[href^='/energy/models/']",), "label"),
    Stop("/energy/boamps", "BoAmps reports", "What could be shared, how full it is, and what is left to whom."),
    Stop("/energy/roi/new", "Return on investment", "What a way to spend less energy costs, and when it pays."),
    Stop("/energy/savings", "Savings", "Each run beside the other way of doing it, measured on a sample."),
    Stop("/energy/machine", "This machine", "What is measured here, on which tier, and what would improve it."),
    Stop("/access", "Access", "Tokens with their roles."),
)  # fmt: skip


@dataclass
class Tour:
    """What was seen, and what was wrong with it."""

    seen: list[Stop] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started is ended
    missing = sorted({address for address, _, _ in MENU} - {stop.path.split("?")[0] for stop in STOPS})
    if missing:
        sys.exit(f"these pages of the menu are not in STOPS of {__file__}: {', '.join(missing)}.")
    with served() as (url, token):
        say(f"{url}: the journey")
        journey(Api(url, token), options.rows)
        say("the pictures")
        tour = look(url, token, options.pictures)
    write_page(tour, options.pictures)
    for sentence in tour.wrong:
        say(f"WRONG {sentence}")
    say(f"{len(tour.seen)} pages, {len(tour.wrong)} faults: {DOCS / 'tour.md'}")
    sys.exit(1 if tour.wrong else 0)


# -- a wattbus with a history ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served() -> Iterator[tuple[str, str]]:
    """Start wattbus on a fresh home and stop it at the end; give its address and an admin's token."""
    token = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="wattbus-tour-") as folder:
        environment = {
            **os.environ, "WATTBUS_HOME": str(Path(folder) / "wattbus"), "WATTBUS_TOKEN": token,
            "WATTBUS_SETTINGS": str(ROOT / "src" / "python" / "settings.py"), "WATTBUS_COUNTRY": "FRA",
        }  # fmt: skip

        def wattbus(*words: str) -> str:
            command = [sys.executable, "-m", "wattbus", *words]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
            )
            if done.returncode != 0:
                raise RuntimeError(f"wattbus {' '.join(words)}: {done.stderr or done.stdout}")
            return done.stdout

        wattbus("tables", "load", "iris.Review", str(REVIEWS))
        try:
            status = json.loads(wattbus("start", "--port", "0", "--json"))
            yield str(status["url"]), token
        finally:
            with contextlib.suppress(RuntimeError):
                wattbus("stop")


@dataclass(frozen=True)
class Api:
    """The REST door."""

    url: str
    token: str

    def send(self, item: str, kind: str, body: dict[str, Any], seconds: float = 60.0) -> tuple[int, Any]:
        """Send a message, wait, and return the status and the answer."""
        asked = {"item": item, "type": kind, "body": body, "timeout_seconds": seconds}
        request = urllib.request.Request(
            f"{self.url}/api/v1/messages",
            json.dumps(asked).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds + 10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def journey(api: Api, rows: int) -> None:
    """Do the main job in small: ask, train, publish, ask again; and a few things that go wrong."""
    for question in QUESTIONS[:3]:
        _well(api.send("Python.MLOperation", "MLRequest", {"inputs": question}))
    training = {
        "columns": "ReviewLabel,ReviewText", "table": "iris.Review", "limit": rows, "p_of_train": 0.8,
        "num_train_epochs": 1, "learning_rate": 1e-4,
    }  # fmt: skip
    _well(api.send("Python.TuningOperation", "TrainRequest", training, LIMIT_SECONDS))
    _well(api.send("Python.TuningOperation", "OverrideRequest", {}))
    for question in QUESTIONS:
        _well(api.send("Python.MLOperation", "MLRequest", {"inputs": question}))
    # Wrong on purpose, so that the log, the dead letters and the home page have something to say.
    for body in ({"inptus": "a misspelt field"}, {"inputs": ["x"], "version": "no-such-version"}):
        api.send("Python.MLOperation", "MLRequest", body)
    api.send("Python.TuningOperation", "TrainRequest", {**training, "table": "iris.Nothing"})
    time.sleep(2.5)  # the energy of the last attempt settles with the second that holds it


def _well(answer: tuple[int, Any]) -> None:
    status, said = answer
    if status != 200:
        raise RuntimeError(f"the journey ended with {status}: {said}")


# -- the pictures ------------------------------------------------------------------------------------------------------


def look(url: str, token: str, folder: Path) -> Tour:
    """Sign in and take a picture of each stop at each width."""
    tour = Tour()
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            context = browser.new_context(viewport={"width": 1280, "height": WIDTHS[1280]}, locale="en-GB")
            page = context.new_page()
            told: list[str] = []
            page.on("console", lambda line: told.append(line.text) if line.type == "error" else None)
            page.on("pageerror", lambda error: told.append(str(error)))
            page.goto(f"{url}/login")
            page.fill("#token", token)
            page.click("button")
            page.wait_for_load_state()
            for stop in STOPS:
                told.clear()
                fault = visit(page, url, stop, folder)
                if fault is None:
                    tour.seen.append(stop)
                    tour.wrong += [f"{stop.title} ({stop.path}): the console says {text}" for text in told]
                else:
                    tour.wrong.append(f"{stop.title} ({stop.path}): {fault}")
        finally:
            browser.close()
    return tour


def visit(page: Page, url: str, stop: Stop, folder: Path) -> str | None:
    """Take the pictures of one stop; return what is wrong with it, or None."""
    try:
        address = f"{url}{stop.path}"
        answer = page.goto(address)
        for selector in stop.follow:
            link = page.locator(selector).first
            if link.count() == 0:
                return f"no link {selector} leads there: {answer.status if answer else 'no answer'}"
            address = urljoin(url, link.get_attribute("href") or "")  # a link in a drawing has no plain href
            answer = page.goto(address)
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            answer = page.goto(address)
            if answer is None or answer.status != 200:
                return f"it answers {None if answer is None else answer.status}"
            page.wait_for_timeout(2_500 if "power" in stop.path else 400)
            wide = int(page.evaluate("document.documentElement.scrollWidth"))
            if wide > width:
                return f"it is {wide} pixels wide in a window of {width}"
            tall = min(int(page.evaluate("document.documentElement.scrollHeight")), TALLEST[width])
            shot = page.screenshot(
                full_page=True, clip={"x": 0, "y": 0, "width": width, "height": max(tall, height)}
            )
            save(shot, folder / f"{stop.file}-{width}.png")
    except BrowserError as error:
        return str(error).splitlines()[0]
    return None


def save(shot: bytes, file: Path) -> None:
    """Write a picture in few bytes: a page has few colours."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    picture.quantize(96, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)


def chromium() -> str:
    """Return the browser: named by CHROMIUM, or found on the path."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        sys.exit("There is no Chromium: apt install chromium, or name one in CHROMIUM.")
    return found


# -- the page ----------------------------------------------------------------------------------------------------------


def write_page(tour: Tour, folder: Path) -> None:
    """Write docs/tour.md, and remove pictures that no stop has any more."""
    kept = {f"{stop.file}-{width}.png" for stop in tour.seen for width in WIDTHS}
    for file in folder.glob("*.png"):
        if file.name not in kept:
            file.unlink()
    where = os.path.relpath(folder, DOCS)
    lines = [
        "# A tour of the portal",
        "",
        "Made by `make tour`: a fresh home, the main job in small (ask, fine-tune, publish, ask again, some mistakes), "
        "and a picture of each page in a window of 1280 pixels; the link under it leads to the same on a phone of 390. "
        "Tall pages are cut.",
        "",
    ]
    for stop in tour.seen:
        path = stop.path.split("?")[0]
        lines += [
            f"## {stop.title}",
            "",
            f"{stop.sentence} `{path}`" + (", and from there" if stop.follow else ""),
            "",
            f"![{stop.title}]({where}/{stop.file}-1280.png)",
            "",
            f"[on a phone]({where}/{stop.file}-390.png)",
            "",
        ]
    if tour.wrong:
        lines += [
            "## What was wrong when this was made",
            "",
            *(f"- {sentence}" for sentence in tour.wrong),
            "",
        ]
    (DOCS / "tour.md").write_text("\n".join(lines))


def say(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=48, help="that the training reads")
    parser.add_argument("--pictures", type=Path, default=DOCS / "pictures")
    options = parser.parse_args()
    if not 20 <= options.rows <= 2_000:
        parser.error("--rows is 20 to 2,000")
    return options


if __name__ == "__main__":
    main()
