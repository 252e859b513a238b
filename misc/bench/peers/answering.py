"""The contenders that answer texts or pictures: wattbus through the bus, and scripts with the libraries of others."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.turns import Windows, threads, timed

LITSERVE = Path(__file__).parent / "litserve_server.py"
LITSERVE_BATCH, LITSERVE_WAIT_SECONDS = 16, 0.01
SENTENCES_AT_ONCE = 32
LISTEN_SECONDS = 150.0
BATCH = 32
ITEM = "ML"


class Bus:
    """wattbus: a production with one MLOperation that serves an optimised version, durable and metered."""

    def __init__(
        self, folder: Path, task: str, home: Path, uploads: Path | None, more: dict[str, Any]
    ) -> None:
        import iop

        from peers.ours import door, wait_ready
        from wattbus.ml.models import ModelStore
        from wattbus.operations import MLOperation

        production = iop.Production("Bench.Optimised")
        lines = "\n".join(f"{name}={value}" for name, value in more.items())
        settings = {"name": "model", "task": task, "BatchSize": BATCH, "%settings": lines}
        production.operation(ITEM, MLOperation, settings=settings, pool_size=1)
        self._bus = door(production, home)
        store = ModelStore(self._bus.production.home.models)
        store.stage("model", lambda aside: _copied(folder, aside), source="optimising")
        store.publish("model")
        if uploads is not None:
            shutil.copytree(uploads, self._bus.production.home.uploads, dirs_exist_ok=True)
        self._bus.__enter__()
        wait_ready(self._bus)
        self._counts_from_us: int | None = None
        self._turns = 0

    def turn(self, inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
        from wattbus.messages import MLRequest

        if self._turns == 1:
            self._counts_from_us = time.time_ns() // 1000
        self._turns += 1
        return timed(lambda given: self._bus.request(ITEM, MLRequest(inputs=given)), inputs, clients)

    def settle(self) -> None:
        self._bus.production.ledger.settle(10)

    def energy(self) -> tuple[float | None, str]:
        """Return the sum of the ledger's records of the attempts."""
        from wattbus.store.energy_queries import newest_records

        running = self._bus.production
        running.store.flush()
        if self._counts_from_us is None:
            return None, "none"
        records = newest_records(running.store.engine, since_us=self._counts_from_us, limit=1_000_000)
        joules = [one.energy_joules for one in records if one.energy_joules is not None]
        if not joules or len(joules) < len(records):
            return None, "none"
        return sum(joules), records[-1].tier.value

    def close(self) -> None:
        self._bus.__exit__(None, None, None)


def _copied(folder: Path, aside: Path) -> None:
    shutil.copytree(folder, aside, dirs_exist_ok=True)


class Pipeline:
    """The pipeline of transformers in a script, one input at a time."""

    def __init__(self, folder: Path, task: str, uploads: Path | None) -> None:
        import torch
        from transformers import pipeline

        torch.set_num_threads(threads())
        self._answer = pipeline(task, model=str(folder), device="cpu")
        self._uploads = uploads
        self._windows = Windows()

    def turn(self, inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
        return self._windows.around(lambda: timed(self._ask, inputs, 1))

    def _ask(self, given: str) -> Any:
        if self._uploads is not None:
            return self._answer(str(self._uploads / given))
        return self._answer(given, truncation=True)

    def settle(self) -> None:
        self._windows.settle()

    def energy(self) -> tuple[float | None, str]:
        return self._windows.energy()

    def close(self) -> None:
        """Nothing was begun."""


class Sentences:
    """sentence-transformers in a script: one text at a time, or with 32 clients all texts in one call."""

    def __init__(self, folder: Path) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads())
        self._model = SentenceTransformer(str(folder), device="cpu")
        self._windows = Windows()

    def turn(self, inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
        if clients == 1:
            return self._windows.around(lambda: timed(self._ask, inputs, 1))
        return self._windows.around(lambda: self._together(inputs))

    def _ask(self, given: str) -> Any:
        return self._model.encode(given, show_progress_bar=False)

    def _together(self, inputs: Sequence[str]) -> tuple[float, None]:
        began = time.perf_counter()
        self._model.encode(list(inputs), batch_size=SENTENCES_AT_ONCE, show_progress_bar=False)
        return time.perf_counter() - began, None

    def settle(self) -> None:
        self._windows.settle()

    def energy(self) -> tuple[float | None, str]:
        return self._windows.energy()

    def close(self) -> None:
        """Nothing was begun."""


class LitServe:
    """LitServe with batching, its server in processes of their own, asked over kept HTTP connections on loopback."""

    def __init__(self, folder: Path | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        command = [sys.executable, str(LITSERVE), str(self._port), str(folder or "-"), str(threads())]
        command += [str(LITSERVE_BATCH), str(LITSERVE_WAIT_SECONDS)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._mine = threading.local()
        self._wait()
        self._windows = Windows()

    def turn(self, inputs: Sequence[str], clients: int) -> tuple[float, float | None]:
        return self._windows.around(lambda: timed(self._ask, inputs, clients))

    def settle(self) -> None:
        self._windows.settle()

    def energy(self) -> tuple[float | None, str]:
        """Return the joules of its processes and of its clients."""
        return self._windows.energy()

    def close(self) -> None:
        import psutil

        family = (
            psutil.Process(self._server.pid).children(recursive=True) if self._server.poll() is None else []
        )
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue

    def _ask(self, given: str) -> Any:
        if not hasattr(self._mine, "line"):
            self._mine.line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        line = self._mine.line
        line.request("POST", "/predict", json.dumps({"inputs": given}), {"Content-Type": "application/json"})
        answer = line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"LitServe answered {answer.status}: {body[:200]!r}")
        return json.loads(body)

    def _wait(self) -> None:
        until = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < until:
            if self._server.poll() is not None:
                assert self._server.stderr is not None
                raise RuntimeError(f"LitServe ended: {self._server.stderr.read()[-500:]}")
            try:
                self._ask("One text.")
            except (OSError, http.client.HTTPException, RuntimeError):
                del self._mine.line
                time.sleep(0.2)
            else:
                return
        self.close()
        raise TimeoutError("LitServe does not listen")
