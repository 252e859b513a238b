"""A private server: a peer's program with its own configuration, folder and port, ended with the benchmark."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from peers.contender import NotHere

_START_SECONDS = 15.0


def program(name: str, variable: str) -> str:
    """Return the path of a server's program: named by the variable, beside this Python, or on the machine."""
    named = os.environ.get(variable)
    if named is not None:
        if shutil.which(named) is None:
            raise NotHere(f"{variable} is {named!r}, which is no program")
        return named
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=places)
    if found is None:
        raise NotHere(f"the program {name} is not installed; {variable} may name it")
    return found


def told_version(path: str) -> str:
    """Return the first line that a program prints about its version."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class PrivateServer:
    """A server process of this benchmark alone; it listens when ``__init__`` returns."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        # The kernel ends it as well when the process that began it is killed.
        bound = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*bound, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait(command[0], port)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, name: str, port: int) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                said = self._log.read_text(errors="replace").strip().splitlines()
                raise NotHere(
                    f"{name} ended with {self._process.returncode}: {said[-1] if said else 'no word'}"
                )
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise NotHere(f"{name} did not listen within {_START_SECONDS:g} s")


def redis_server(folder: Path) -> tuple[PrivateServer, int]:
    """Start a Redis that has each write on disk before it answers."""
    path, port = program("redis-server", "BENCH_REDIS_SERVER"), free_port()
    place = folder / "redis"
    place.mkdir()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(place),
        "appendonly": "yes",
        "appendfsync": "always",
        "auto-aof-rewrite-percentage": "0",  # no rewriting in the middle of a measurement
        "save": "",
        "maxclients": "2000",
    }
    command = [path, *(part for name, value in options.items() for part in (f"--{name}", value))]
    return PrivateServer(command, place, port), port
