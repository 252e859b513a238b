"""The port of the HTTP door: taken by somebody else, closed again."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest
from doors import open_door

from components import echo_production
from wattbus.config import read_config
from wattbus.door import Director
from wattbus.errors import BadSettings
from wattbus.web.serve import HttpDoor


def test_a_taken_port_is_a_sentence_that_names_the_holder_and_the_option(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(BadSettings, match=rf"port {port} is taken by process {os.getpid()} .*--port"):
            HttpDoor(Director(echo_production(), home=tmp_path), read_config(home=tmp_path, port=port))


def test_an_address_that_is_not_here_is_a_sentence(tmp_path: Path) -> None:
    config = read_config(home=tmp_path, port=0, http_host="192.0.2.1", token="t" * 16)

    with pytest.raises(BadSettings, match="cannot be opened"):
        HttpDoor(Director(echo_production(), home=tmp_path), config)


def test_a_closed_door_answers_nobody_and_its_port_is_free_again(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        before = ask("GET", "/api/iop/version")
        port = int(ask.url.rpartition(":")[2])

    assert before.status == 200
    with pytest.raises(ConnectionRefusedError):
        ask("GET", "/api/iop/version")
    with closing(socket.create_server(("127.0.0.1", port))):
        pass


def test_small_answers_on_a_kept_connection_are_sent_at_once(tmp_path: Path) -> None:
    door = HttpDoor(Director(echo_production(), home=tmp_path), read_config(home=tmp_path, port=0))
    with closing(door):
        # asyncio sets TCP_NODELAY on connections of a socket that names TCP, and not where it says "any".
        assert door._socket.proto == socket.IPPROTO_TCP
