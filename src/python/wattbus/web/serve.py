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
from wattbus.access import Access
from wattbus.config import Config
from wattbus.errors import BadSettings
from wattbus.home import Home
from wattbus.runtime.director import Director
from wattbus.web.app import make_app
from wattbus.web.connections import Connection
from wattbus.web.desk import Desk
from wattbus.web.guard import Rules
from wattbus.web.origins import is_loopback

#: How long the requests in hand may take to end when the door closes; a waiting caller is told to call again.
_GRACE_SECONDS = 5
_BACKLOG = 256
#: Under the 1,024 files that a process usually may open: the store needs some too.
_MOST_CONNECTIONS = 512
_IDLE_SECONDS = 5
#: No name that anybody would come under.
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what may not be bound without a token


def serve(config: Config, production_path: Path | None) -> str:
    """Be the process of a home until told to end, with an HTTP door unless that is switched off."""
    open_door = (lambda director: HttpDoor(director, config)) if config.http else None
    return server.serve(config, production_path, open_door)


class HttpDoor:
    """An open port; :attr:`url` says where."""

    def __init__(self, director: Director, config: Config, rules: Rules | None = None) -> None:
        rules = rules or rules_of(director.home, config)
        self._socket = _bound(config.http_host, config.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.desk = Desk(director, config, rules.access)
        self.app = make_app(self.desk, rules)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                http=Connection,
                ws="none",
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_IDLE_SECONDS,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
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
        self.desk.streams.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def access_of(home: Home, config: Config) -> Access:
    """Return the tokens of a home, with the one that the environment gives."""
    return Access(home.access_file, config.token.get_secret_value() if config.token is not None else None)


def rules_of(home: Home, config: Config) -> Rules:
    """Return what the guard holds to; refuse an address that others can reach while nobody has a token."""
    access = access_of(home, config)
    if not is_loopback(config.http_host):
        if config.insecure_local:
            raise BadSettings(
                f"WATTBUS_HTTP_HOST is {config.http_host!r}, which others can reach, and WATTBUS_INSECURE_LOCAL "
                "lets in who has no token: switch that off, or leave the door on 127.0.0.1."
            )
        if config.token is None and not access.tokens():
            raise BadSettings(
                f"WATTBUS_HTTP_HOST is {config.http_host!r}, which others can reach, and there is no token: make "
                "one with `wattbus token new NAME`, or set WATTBUS_TOKEN, or leave the door on 127.0.0.1."
            )
    names = frozenset(name.lower() for name in (*config.http_names, config.http_host))
    return Rules(access, config.insecure_local, names - _ANY_ADDRESS)


def _bound(host: str, port: int) -> socket.socket:
    """Take the port, or say who has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, asyncio switches off the delay that small answers would have on a connection that is kept.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
