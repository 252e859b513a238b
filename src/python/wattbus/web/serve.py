"""The server process with its HTTP door: uvicorn in a thread, open while the process lives."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from pathlib import Path

import psutil
import uvicorn

from wattbus import server
from wattbus.config import Config
from wattbus.errors import BadSettings
from wattbus.runtime.director import Director
from wattbus.web.app import make_app
from wattbus.web.guard import Rules, is_loopback

#: How long the requests in hand may take to end when the door closes; a waiting caller is told to call again.
_GRACE_SECONDS = 5
_BACKLOG = 256


def serve(config: Config, production_path: Path | None) -> str:
    """Be the process of a home until told to end, with an HTTP door unless that is switched off."""
    open_door = (lambda director: HttpDoor(director, config)) if config.http else None
    return server.serve(config, production_path, open_door)


class HttpDoor:
    """An open port; :attr:`url` says where."""

    def __init__(self, director: Director, config: Config, rules: Rules | None = None) -> None:
        password = config.password.get_secret_value() if config.password is not None else None
        if not password and not is_loopback(config.http_host):
            raise BadSettings(
                f"WATTBUS_HTTP_HOST is {config.http_host!r}, which others can reach, and there is no password: set "
                "WATTBUS_PASSWORD, or leave the door on 127.0.0.1."
            )
        self._socket = _bound(config.http_host, config.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        app = make_app(director, rules or Rules(password or None))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="wattbus-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no more, and let what is in hand end."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _bound(host: str, port: int) -> socket.socket:
    """Take the port, or say who has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    # A port whose last connections linger is free; on Linux this does not share it with one who listens.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno != errno.EADDRINUSE:
            raise BadSettings(
                f"port {port} of {host} cannot be opened ({error.strerror}): set WATTBUS_HTTP_HOST and WATTBUS_PORT, "
                "or start with `--port NUMBER`."
            ) from error
        raise BadSettings(
            f"port {port} is taken by {_holder(port)}: start with `--port NUMBER` (0 takes a free one), or with "
            "`--no-http`."
        ) from error
    return bound


def _holder(port: int) -> str:
    """Say which process listens on a port."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                name = psutil.Process(connection.pid).name()
                return f"process {connection.pid} ({name})"
    return "another process"
