"""The server: one production in a process of its own, held by signals and the control socket."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from iop.messages.dispatch import dispatch_serializer

from wattbus.config import Config
from wattbus.door import read_production, running
from wattbus.errors import AlreadyRunning, NotRunning, StoreError
from wattbus.home import OWNER_FILE, Home
from wattbus.runtime.control import ControlServer, call
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.types import type_name
from wattbus.store.database import holder_of

START_SECONDS = 60.0
STOP_SECONDS = 45.0


def serve(config: Config, production_path: Path | None) -> str:
    """Run the production in this process until it is told to stop, and return the state it ended in."""
    os.umask(0o077)
    production = running(read_production(production_path, config), config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    production.start()
    control = ControlServer(production.home, _calls(production, stop))
    sys.stdout.write(
        f"{production.production.name} is Running (process {os.getpid()}, {production.home.root})\n"
    )
    sys.stdout.flush()
    try:
        stop.wait()
    finally:
        control.close()
        state = production.stop()
    return state


def start(config: Config, production_path: Path | None) -> dict[str, Any]:
    """Start the production in a process of its own and return its status once it runs."""
    home = Home.find(config.home).create()
    holder = holder_of(home)
    if holder is not None:
        raise AlreadyRunning(
            f"already running: process {holder} holds {home.root}. See it with `wattbus status`, end it with "
            "`wattbus stop`."
        )
    command = [sys.executable, "-m", "wattbus", "start", "--foreground"]
    if production_path is not None:
        command += ["--settings", str(production_path)]
    environment = {**os.environ, "WATTBUS_HOME": str(home.root)}
    descriptor = os.open(home.log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, OWNER_FILE)
    told = home.log_file.stat().st_size
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, env=environment,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StoreError(_last_words(home, told))
        try:
            return status(home)
        except NotRunning:
            time.sleep(0.05)
    raise NotRunning(
        f"the production does not answer after {START_SECONDS:g} s; its output is in {home.log_file}."
    )


def status(home: Home) -> dict[str, Any]:
    """Return how the running production stands."""
    answer: dict[str, Any] = call(home, "status", timeout_seconds=10)
    return answer


def stop(home: Home) -> str:
    """Tell the running production to stop, wait for its end, and return the state it ended in."""
    pid = holder_of(home)
    call(home, "stop", timeout_seconds=10)
    deadline = time.monotonic() + STOP_SECONDS
    while holder_of(home) == pid and time.monotonic() < deadline:
        time.sleep(0.05)
    if holder_of(home) == pid:
        raise StoreError(
            f"process {pid} is still busy after {STOP_SECONDS:g} s: ask again, or end it with `kill {pid}`."
        )
    return "Stopped"


def _last_words(home: Home, told: int) -> str:
    with home.log_file.open("rb") as log:
        log.seek(told)
        said = log.read().decode(errors="replace").strip()
    lines = [line for line in said.splitlines() if line.strip()]
    text = (
        lines[-1].removeprefix("error: ") if lines else f"the production ended at once; see {home.log_file}."
    )
    return text


def _calls(production: RunningProduction, stop: threading.Event) -> dict[str, Any]:
    def tell_status(_request: dict[str, Any]) -> dict[str, Any]:
        return {
            "production": production.production.name,
            "status": production.state,
            "pid": os.getpid(),
            "home": str(production.home.root),
            "items": [dataclasses.asdict(item) for item in production.items()],
        }

    def test(request: dict[str, Any]) -> dict[str, Any]:
        message = production.message(request["type"], request["body"])
        key = request.get("idempotency_key")
        if request.get("background"):
            return {
                "message_id": production.submit(request["item"], message, door="CLI", idempotency_key=key)
            }
        message_id, response = production.exchange(
            request["item"],
            message,
            timeout_seconds=request.get("timeout", -1),
            door="CLI",
            idempotency_key=key,
        )
        answer: dict[str, Any] = {"message_id": message_id, "type": None, "body": None}
        if response is not None:
            answer |= {"type": type_name(type(response)), "body": dispatch_serializer(response).json}
        return answer

    def end(_request: dict[str, Any]) -> bool:
        stop.set()
        return True

    def types(_request: dict[str, Any]) -> list[str]:
        return production.types.names()

    return {"status": tell_status, "test": test, "stop": end, "types": types}
