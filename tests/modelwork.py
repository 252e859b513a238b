"""A production that works on models, in a process that a test may kill, and what is left of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import smallmodels
from waiting import wait_for
from wattbus import doctor, testing
from wattbus.door import PythonDoor
from wattbus.energy import FakeFeed
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.ml.versions import ModelFolder
from wattbus.store.queries import list_messages
from wattbus.store.rows import Header
from wattbus.store.tables import Status

OPEN = (Status.QUEUED, Status.DELIVERED, Status.DEFERRED)
NO_SUCH_TABLE = {"columns": "label,text", "table": "None"}

_SETTINGS = """
from iop import BusinessOperation, Message, Production
from wattbus.operations import HFOperation, OptimiseOperation, TuningOperation

class Echo(BusinessOperation):
    def on_message(self, request):
        return request

prod = Production("Test.Models")
prod.operation("Echo", Echo)
prod.operation("Tune", TuningOperation, settings={tuning!r}, pool_size={pool_size})
prod.operation("HF", HFOperation, settings={hf!r})
prod.operation("Optimise", OptimiseOperation, settings={{"name": "toy", "task": "text-classification"}})
PRODUCTIONS = [prod]
"""

# Sends each request once, under a key, and says so; then waits for its response.
_WORKER = """
import json, sys
from pathlib import Path
from wattbus import testing
from wattbus.energy import FakeFeed

settings, home = Path(sys.argv[1]), Path(sys.argv[2])
options, requests = json.loads(sys.argv[3]), json.loads(sys.argv[4])
options["allow_hosts"] = frozenset(options["allow_hosts"])
with testing.production(settings, home, feed=FakeFeed(), **options) as bus:
    bus.production.ledger.wait_ready()
    for key, (item, type_name, body) in requests.items():
        print("sent", key, flush=True)
        bus.request(item, bus.message(type_name, body), idempotency_key=key, timeout_seconds=240)
"""

Requests = dict[str, tuple[str, str, dict[str, Any]]]


@dataclass(frozen=True)
class Work:
    """One home, its production, and the Hub that it knows."""

    folder: Path
    hub_url: str | None = None
    hub_address: str | None = None

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def models(self) -> ModelStore:
        return ModelStore(self.home.models, hub_url=self.hub_url)

    def declare(self, *, pool_size: int = 1, tuning: dict[str, str] | None = None, **hf: str) -> Work:
        """Write the production's settings.py."""
        model = {"model_name": "toy", **({"model_url": "org/toy"} if self.hub_url else {}), **(tuning or {})}
        hosts = {"api_hosts": self.hub_address} if self.hub_address else {}
        text = _SETTINGS.format(tuning=model, pool_size=pool_size, hf={**hosts, **hf})
        (self.folder / "settings.py").write_text(text)
        return self

    def publish(self, *seeds: int, staged: int | None = None) -> list[str]:
        """Publish a version a seed, one after the other, and stage one more; return their ids."""
        ids = []
        for seed in (*seeds, *(() if staged is None else (staged,))):
            version = self.models.stage("toy", lambda folder, seed=seed: _fill(folder, seed), source="test")
            ids.append(version.id)
            if seed != staged:
                self.models.publish("toy")
        return ids

    def start(self, **options: Any) -> testing.ProductionUnderTest:
        """Return the production, to be run in the test's own process."""
        options = {"feed": FakeFeed(), **options}
        hosts = frozenset({self.hub_address} if self.hub_address else ())
        return testing.production(
            self.folder / "settings.py", self.home.root, hub_url=self.hub_url, allow_hosts=hosts, **options
        )

    def begin(self, requests: Requests, kill_at: str | None = None) -> subprocess.Popen[str]:
        """Start a process that runs the production and sends ``requests``, to be killed, or killing itself."""
        options = {"hub_url": self.hub_url, "allow_hosts": [self.hub_address] if self.hub_address else []}
        environment = {**os.environ, **({"WATTBUS_KILL_AT": kill_at} if kill_at else {})}
        command = [sys.executable, "-c", _WORKER, str(self.folder / "settings.py"), str(self.home.root)]
        return subprocess.Popen(
            [*command, json.dumps(options), json.dumps(requests)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def die_at(self, point: str, requests: Requests, seconds: float = 120.0) -> None:
        """Run the production in a process that kills itself at ``point``."""
        process = self.begin(requests, point)
        try:
            process.communicate(timeout=seconds)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -9, f"{point} was never reached"

    def goes_on(self, seconds: float = 60.0, **options: Any) -> list[Header]:
        """Start again and return the requests, the oldest first, once each has ended."""
        with self.start(**options) as bus:
            return self.ended(bus, seconds)

    def ended(self, bus: PythonDoor, seconds: float = 60.0) -> list[Header]:
        """Return the requests, the oldest first, once each has ended."""
        wait_for(bus, lambda rows: bool(rows) and not any(row.status in OPEN for row in rows), seconds)
        rows = list_messages(bus.production.store.engine, limit=1000)
        return [row for row in reversed(rows) if row.type == "Request"]

    def whole(self) -> bool:
        """Tell whether every version equals its manifest, nothing is left aside, and the doctor is content."""
        folder = self.home.models / "toy"
        left = [
            path for path in folder.rglob("*") if {"aside", "partial"} & set(path.parts) and path.is_file()
        ]
        left += [path for path in folder.rglob("*.part")]
        assert left == []
        assert [check for check in self.models.verify() if not check.ok] == []
        report = doctor.examine(self.home)
        assert report.ok, report.to_text()
        return True

    def current(self) -> str | None:
        """Return the id of the published version, None where there is none."""
        pointer = ModelFolder(self.home.models, "toy").current()
        return pointer.version if pointer is not None else None


def _fill(folder: Path, seed: int) -> None:
    smallmodels.build(folder, seed=seed)
