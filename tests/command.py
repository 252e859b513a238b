"""The command ``wattbus`` in a folder of its own, each call a process; for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTINGS = """
import time
from dataclasses import dataclass
from pathlib import Path

from iop import BusinessOperation, Message, Production
from wattbus.operations import TuningOperation


@dataclass
class Job(Message):
    number: int = 0


class Slow(BusinessOperation):
    def work(self, request: Job) -> Job:
        while (Path(__file__).parent / "hold").exists():
            time.sleep(0.01)
        return request


prod = Production("Test.Command")
prod.operation("Slow", Slow)
prod.operation("Python.TuningOperation", TuningOperation, settings={"model_name": "tiny"})
PRODUCTIONS = [prod]
"""


class Command:
    """``wattbus`` in one folder."""

    def __init__(self, folder: Path, *, supervised: bool = False) -> None:
        # What a test kills stays dead, unless it is about that.
        self.folder, self.supervised = folder, supervised
        self.home = folder / "home"

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.run(*words)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *words: str, status: int = 0) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "WATTBUS_HOME": str(self.home),
            "WATTBUS_ENERGY": "0",
            "WATTBUS_PORT": "0",
            "WATTBUS_SUPERVISOR": "on" if self.supervised else "off",
        }
        return subprocess.run(
            [sys.executable, "-m", "wattbus", *words],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while not condition():
            assert time.monotonic() < deadline, self("log", "--limit", "30")
            pause.wait(0.1)
