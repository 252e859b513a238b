"""The server: the process of a home, with its production, its doors and the signals that hold it.

The production can be stopped and started while the process lives; the doors stay open, as IRIS stays up.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from wattbus.config import Config
from wattbus.door import Director, read_production
from wattbus.errors import AlreadyRunning, NotRunning, StoreError, WattbusError
from wattbus.home import OWNER_FILE, Home
from wattbus.runtime import control
from wattbus.runtime.calls import Calls
from wattbus.runtime.control import ControlServer, call
from wattbus.runtime.director import CALL
from wattbus.store import instances, queues
from wattbus.store.database import holder_of, open_engine
from wattbus.store.instances import LastRun
from wattbus.store.store import Store
from wattbus.supervisor import VARIABLE

START_SECONDS = 60.0
#: What the end of a process may take longer than the grace of its production.
_END_SECONDS = 15.0
_STOP, _UPDATE = "stop", "update"


class Door(Protocol):
    """Another way in, open while the process lives."""

    url: str

    def close(self) -> None: ...


class Signals:
    """What signals and the control socket ask of the process, in the order in which they did.

    SIGTERM and SIGINT end it within the grace, a second SIGINT at once; SIGHUP reads the settings file again.
    """

    def __init__(self, director: Director, grace_seconds: float) -> None:
        self._director, self._grace_seconds = director, float(grace_seconds)
        # A handler may run while the queue itself is at work: of the queues only this one allows that.
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ending = False

    def listen(self) -> None:
        """Take the signals of this process from now on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def end(self) -> float:
        """End the process, and return how long its production may take for that."""
        self._ending = True
        self._asked.put(_STOP)
        return self._grace_seconds

    def wait_for_end(self) -> None:
        """Do what is asked until the process is to end."""
        while self._asked.get() != _STOP:
            self._update()

    def stop_production(self) -> str:
        """Stop the production within the grace and return the state that it ended in."""
        return self._director.close(self._grace_seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._asked.put(_UPDATE)
            return
        if self._ending and number == signal.SIGINT:
            self._grace_seconds = 0.0
            running = self._director.running
            if running is not None:
                running.hurry()
        self.end()

    def _update(self) -> None:
        running = self._director.running
        if running is None:
            return
        try:
            self._director.update_production()
        except WattbusError as error:
            running.bus.log("Error", f"not updated, everything goes on as it was: {error}", "")


def serve(
    config: Config, production_path: Path | None, open_door: Callable[[Director], Door] | None = None
) -> str:
    """Be the process of a home until told to end, and return the state its production ended in."""
    os.umask(0o077)
    if config.production is not None:
        read_production(production_path, config)  # says in a sentence what is wrong with that one
    director = Director(settings=production_path, config=config)
    signals = Signals(director, config.stop_seconds)
    signals.listen()
    door = open_door(director) if open_door is not None else None
    url = door.url if door is not None else None
    socket: ControlServer | None = None
    try:
        director.start_production(config.production)
        calls = Calls(director, url=url, supervisor=_supervisor(), end=signals.end)
        socket = ControlServer(director.home, calls.by_name())
        _tell_started(director, url)
        signals.wait_for_end()
    finally:
        # The doors outlive the production: who waits at one is still answered, and what is new is refused in words.
        state = signals.stop_production()
        if socket is not None:
            socket.close()
        if door is not None:
            door.close()
    return state


def leave() -> None:
    """End this process: a component that did not end in its time must not hold it up, nor crash what is over."""
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(0)


def _supervisor() -> int | None:
    """Return the process that starts this one again when it dies; None: nobody does."""
    pid = os.environ.get(VARIABLE, "")
    return int(pid) if pid.isdecimal() and int(pid) == os.getppid() else None


def _tell_started(director: Director, url: str | None) -> None:
    name = director.current().production.name
    at = f", {url}" if url else ""
    sys.stdout.write(f"{name} is Running (process {os.getpid()}, {director.home.root}{at})\n")
    sys.stdout.flush()


# -- from outside --------------------------------------------------------------------------------------------------


def command(production_path: Path | None, *, supervised: bool) -> list[str]:
    """Return the command that is the process of a home, in the foreground."""
    words = [sys.executable, "-m", "wattbus", "start", "--foreground"]
    if not supervised:
        words.append("--no-supervisor")
    if production_path is not None:
        words += ["--settings", str(production_path)]
    return words


def start(config: Config, production_path: Path | None) -> dict[str, Any]:
    """Start the production in a process of its own and return its status once it runs."""
    home = Home.find(config.home).create()
    if control.server_of(home) is not None and status(home)["status"] not in ("Running", "Stopping"):
        # The process is there and its production was stopped, by `iop --stop` for instance.
        call(home, CALL, method="start_production", arguments=[config.production], values={})
        return status(home)
    holder = holder_of(home)
    if holder is not None:
        raise AlreadyRunning(
            f"already running: process {holder} holds {home.root}. See it with `wattbus status`, end it with "
            "`wattbus stop`."
        )
    environment = {
        **os.environ,
        "WATTBUS_HOME": str(home.root),
        "WATTBUS_HTTP": str(config.http),
        "WATTBUS_PORT": str(config.port),
    }
    descriptor = os.open(home.log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, OWNER_FILE)
    told = home.log_file.stat().st_size
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command(production_path, supervised=config.supervisor), stdin=subprocess.DEVNULL, stdout=descriptor,
            stderr=descriptor, env=environment, start_new_session=True,
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


def last_run(config: Config) -> LastRun | None:
    """Return how a production stands whose process does not answer; None: none has ever run here."""
    home = Home.find(config.home)
    try:
        engine = open_engine(home, config.store_url, read_only=True)
    except NotRunning:
        return None
    found = instances.last_run(
        engine, home, shared=config.store_url is not None, now_us=time.time_ns() // 1000
    )
    engine.dispose()
    return found


def life(home: Home, action: str, **values: Any) -> dict[str, Any]:
    """Have the process of a home change how its production or one of its items runs."""
    answer: dict[str, Any] = call(home, "life", action=action, **values)
    return answer


def stop(config: Config) -> str:
    """Tell the process of a home to end, wait for that, and return the state its production ended in."""
    home = Home.find(config.home)
    pid = control.server_of(home)
    grace_seconds = float(call(home, "stop", timeout_seconds=10)) + _END_SECONDS
    deadline = time.monotonic() + grace_seconds

    def is_there() -> bool:
        return control.server_of(home) == pid or holder_of(home) == pid

    while is_there() and time.monotonic() < deadline:
        time.sleep(0.05)
    if is_there():
        raise StoreError(
            f"process {pid} is still busy after {grace_seconds:g} s: ask again, or end it with `kill {pid}`."
        )
    ended = last_run(config)
    return ended.state if ended is not None else "Stopped"


def recover(config: Config) -> dict[str, Any]:
    """Take back what a process that died had in hand, without starting anything that does not run."""
    home = Home.find(config.home)
    if control.server_of(home) is not None:
        return life(home, "recover")
    before = last_run(config)
    if before is None:
        raise NotRunning(f"no production has run on {home.root} yet: start one with `wattbus start`.")
    store = Store(home.create(), config.store_url)
    try:
        taken = store.recover()
        state = "Suspended" if queues.awaited(store.engine) else "Stopped"
        instances.bury(store.engine, store.instance, store.now_us(), state)
    finally:
        store.close()
    return {"production": before.production, "status": state, "taken_back": taken, "touched": [], "items": []}


def _last_words(home: Home, told: int) -> str:
    with home.log_file.open("rb") as log:
        log.seek(told)
        said = log.read().decode(errors="replace").strip()
    lines = [line for line in said.splitlines() if line.strip()]
    text = (
        lines[-1].removeprefix("error: ") if lines else f"the production ended at once; see {home.log_file}."
    )
    return text
