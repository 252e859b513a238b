"""The control socket of a running production: a local door for the CLI, owner only, one JSON object a line.

A request is ``{"call": name, ...}``; the answer ``{"ok": ...}`` or ``{"error": class name, "text": sentence}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattbus import errors
from wattbus.errors import NotRunning, WattbusError
from wattbus.home import Home, make_owner_folder, write_durably

LONGEST_LINE_BYTES = 300 * 1024 * 1024
# The kernel's limit for the path of a socket, less its end.
_LONGEST_PATH = 100
#: How long the end of a process waits for answers that are on their way.
_LAST_ANSWERS_SECONDS = 2.0

Call = Callable[[dict[str, Any]], Any]


class ControlServer:
    """Answers calls in threads of its own."""

    def __init__(self, home: Home, calls: dict[str, Call]) -> None:
        self._pointer = home.root / "control.json"
        self._path = _socket_path(home)
        self._path.unlink(missing_ok=True)
        self._server = _Server(str(self._path), calls)
        self._path.chmod(0o600)
        write_durably(self._pointer, json.dumps({"socket": str(self._path), "pid": os.getpid()}).encode())
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="wattbus-control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer what is in hand, a moment long, and then no more."""
        self._server.shutdown()
        self._server.wait_for_the_last()
        self._server.server_close()
        self._path.unlink(missing_ok=True)
        self._pointer.unlink(missing_ok=True)


def call(home: Home, name: str, *, timeout_seconds: float | None = None, **values: Any) -> Any:
    """Call the production that runs on ``home`` and return its answer; raise its errors as they were raised there."""
    try:
        path = json.loads((home.root / "control.json").read_bytes())["socket"]
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(path)
            connection.sendall(json.dumps({"call": name, **values}).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        line = b""
    except TimeoutError:
        raise NotRunning(f"the production on {home.root} does not answer: see `wattbus log`.") from None
    if not line:
        raise NotRunning(f"no production runs on {home.root}: start it with `wattbus start`.")
    answer = json.loads(line)
    if "error" in answer:
        raise _rebuilt(answer["error"], answer["text"])
    return answer["ok"]


def server_of(home: Home) -> int | None:
    """Return the id of another process that answers calls for ``home``; None where there is none."""
    try:
        pointer = json.loads((home.root / "control.json").read_bytes())
        if pointer["pid"] == os.getpid():
            return None
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(pointer["socket"])
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    return int(pointer["pid"])


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, calls: dict[str, Call]) -> None:
        self.calls = calls
        self._answering = 0
        self._answered = threading.Condition()
        before = os.umask(0o177)
        try:
            super().__init__(path, _Handler)
        finally:
            os.umask(before)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one call, in its own thread."""
        with self._answered:
            self._answering += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._answered:
                self._answering -= 1
                self._answered.notify_all()

    def wait_for_the_last(self) -> None:
        """Wait until every call is answered, but not for ever."""
        with self._answered:
            self._answered.wait_for(lambda: self._answering == 0, _LAST_ANSWERS_SECONDS)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        threading.current_thread().name = "wattbus-door"
        line = self.rfile.readline(LONGEST_LINE_BYTES)
        if not line:
            return
        try:
            request = json.loads(line)
            answer = {"ok": self.server.calls[request["call"]](request)}
        except WattbusError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            answer = {
                "error": "BadRequest",
                "text": f"the call was not understood: {type(error).__name__} {error}",
            }
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def _socket_path(home: Home) -> Path:
    path = home.root / "control.sock"
    if len(str(path)) <= _LONGEST_PATH:
        return path
    return make_owner_folder(Path(tempfile.mkdtemp(prefix="wattbus-"))) / "control.sock"


def _rebuilt(name: str, text: str) -> WattbusError:
    cls = getattr(errors, name, WattbusError)
    if not (isinstance(cls, type) and issubclass(cls, WattbusError)):
        cls = WattbusError
    error = cls.__new__(cls)
    Exception.__init__(error, text)
    return error
