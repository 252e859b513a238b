"""What a training has spent so far, over all attempts: joules, as the parent's ledger knows them, and seconds."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wattbus.errors import Refused
from wattbus.home import OWNER_FILE

SPENT = "spent.json"
#: A budget that needs joules waits so long for the first reading of the meter.
FIRST_READING_SECONDS = 10.0
_ANSWER_SECONDS = 15.0


@dataclass(frozen=True)
class Spent:
    """Joules, None where they are not known, and seconds."""

    joules: float | None
    seconds: float

    def since(self, before: Spent) -> Spent:
        """Return what came after ``before``."""
        known = self.joules is not None and before.joules is not None
        joules = max(0.0, (self.joules or 0.0) - (before.joules or 0.0)) if known else None
        return Spent(joules, max(0.0, self.seconds - before.seconds))


class Parent:
    """The process that waits for this one: its lines are answers, and its end is ours (exit status 3)."""

    def __init__(self, ask: Callable[[bool], None]) -> None:
        self._ask = ask
        self._answers: queue.Queue[float | None] = queue.Queue()
        threading.Thread(target=self._listen, name="parent-watch", daemon=True).start()

    def joules(self, exact: bool) -> float | None:
        """Return what this attempt used so far; ``exact`` has the meter read now, else it is a second old."""
        self._ask(exact)
        try:
            return self._answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            return None

    def _listen(self) -> None:
        rest = b""
        while data := os.read(0, 4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._answers.put(json.loads(line).get("joules"))
        os._exit(3)


class Spending:
    """Counts on over attempts: what was spent lies in a small file of the run folder, which a kill does not take."""

    def __init__(self, run_folder: Path, joules: Callable[[bool], float | None]) -> None:
        self._file = run_folder / SPENT
        self._joules = joules
        self._started = time.monotonic()
        self._begun: dict[str, Spent] = {}
        self._before = Spent(0.0, 0.0)
        try:
            told = json.loads(self._file.read_bytes())
            self._before = Spent(told["joules"], float(told["seconds"]))
            self._begun = {name: Spent(*one) for name, one in told["begun"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the first attempt

    def now(self, *, exact: bool = False) -> Spent:
        """Return what the training used until now, and note it."""
        joules, before = self._joules(exact), self._before
        total = None if joules is None or before.joules is None else before.joules + joules
        spent = Spent(total, before.seconds + time.monotonic() - self._started)
        self._note(spent)
        return spent

    def begin(self, rung: str) -> Spent:
        """Return what was spent when ``rung`` began for the first time."""
        if rung not in self._begun:
            self._begun[rung] = self.now(exact=True)
            self._note(self._begun[rung])
        return self._begun[rung]

    def need_joules(self) -> None:
        """Wait for the first reading; Refused where none comes, for a budget cannot be kept without."""
        deadline = time.monotonic() + FIRST_READING_SECONDS
        while self.now(exact=True).joules is None:
            if time.monotonic() >= deadline:
                raise Refused(
                    "energy_budget_wh cannot be kept: the joules of this training are not known, for the meter gives "
                    "no reading. Leave the budget out, or see `wattbus energy` for what the meter lacks."
                )
            time.sleep(0.2)

    def _note(self, spent: Spent) -> None:
        told = {
            "joules": spent.joules,
            "seconds": spent.seconds,
            "begun": {name: (one.joules, one.seconds) for name, one in self._begun.items()},
        }
        aside = self._file.with_suffix(".part")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(told, file)
        aside.replace(self._file)
