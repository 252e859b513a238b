"""Pictures that came with a request stay until its message has ended, also over a new start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from iop import Production

from components import Gate, Text
from waiting import wait_for
from wattbus import testing
from wattbus.runtime import uploads


@pytest.fixture(autouse=True)
def closed_gate() -> None:
    Gate.opened.clear()


def gate_production() -> Production:
    prod = Production("Test.Gate")
    prod.operation("Gate", Gate)
    return prod


def test_a_picture_stays_while_its_message_is_open_and_goes_when_it_has_ended(tmp_path: Path) -> None:
    with testing.production(gate_production(), tmp_path) as bus:
        running = bus.production
        name, key = uploads.keep(running.home, b"a picture", "png")
        message = running.submit("Gate", Text("x"), idempotency_key=key)
        kept = uploads.sweep(running.home, running.store.engine)
        there = (running.home.uploads / name).exists()
        Gate.opened.set()
        wait_for(bus, lambda rows: any(row.id == message and row.status == "Completed" for row in rows))
        removed = uploads.sweep(running.home, running.store.engine)

    assert (kept, there, removed) == (0, True, 1)
    assert not (tmp_path / "uploads" / name).exists()


def test_a_picture_whose_message_never_came_goes_at_once_or_when_it_is_old(tmp_path: Path) -> None:
    with testing.production(gate_production(), tmp_path) as bus:
        home, engine = bus.production.home, bus.production.store.engine
        refused, _ = uploads.keep(home, b"refused", "png")
        young, _ = uploads.keep(home, b"young", "png")
        old, _ = uploads.keep(home, b"old", "jpeg")
        own = home.uploads / "cat.jpg"
        own.write_bytes(b"the user's own")
        os.utime(home.uploads / old, (0, 0))
        removed = uploads.sweep(home, engine, refused)
        left = sorted(file.name for file in home.uploads.iterdir())

    assert removed == 2
    assert left == sorted([young, "cat.jpg"])
