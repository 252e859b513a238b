"""A production inside a test: in the test's own process and folder, with no power feed to wait for."""

from __future__ import annotations

import socket
from pathlib import Path

import iop

from wattbus.config import read_config
from wattbus.door import PythonDoor, run
from wattbus.energy.feed import NullFeed, PowerFeed
from wattbus.transport import Resolver


def production(
    prod: iop.Production | str | Path | None,
    home: Path,
    *,
    feed: PowerFeed | None = None,
    store_url: str | None = None,
    allow_hosts: frozenset[str] = frozenset(),
    hub_url: str | None = None,
    resolver: Resolver = socket.getaddrinfo,
) -> PythonDoor:
    """Return the production ready to run in ``home``; enter it as a context.

    Energies are unknown unless a feed is given, such as ``wattbus.energy.FakeFeed``.
    """
    config = read_config(home=home, store_url=store_url, allow_hosts=allow_hosts, hub_url=hub_url)
    return run(prod, config=config, feed=feed or NullFeed("a test without a power feed"), resolver=resolver)
