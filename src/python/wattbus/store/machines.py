"""Which process counts the energy of a machine, where several on it share a store.

Each process reads the whole machine. One of them, the reader, books its readings whole; the attempts of the others
are in its bucket "others". Each of those books a transfer: what its attempts and its bus used, taken out of others. A
transfer has no seconds and no total, so that all that is booked for a machine sums to the machine, once. It is decided
inside the transaction that writes the reading.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Dialect

from wattbus.energy.cloud import read_text
from wattbus.energy.record import IntervalRecord
from wattbus.store.moves import execute
from wattbus.store.tables import energy_readers, instances

# A bus at rest writes one reading a minute. Who has been silent for longer has died or hangs.
SILENT_US = 90_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def booking(
    cursor: Any, dialect: Dialect, instance: str, host: str, interval: IntervalRecord
) -> tuple[IntervalRecord, str] | None:
    """Return what this process is to write down of a reading, and for which machine; None: nothing."""
    one, machine = energy_readers.c, machine_id()
    ended_us = interval.started_at_us + int(interval.duration_seconds * 1e6)
    ours = {
        "instance": instance, "host": host, "tier": str(interval.tier), "method": interval.method,
        "counted_until_us": ended_us,
    }  # fmt: skip
    first = insert(energy_readers).values(machine=machine, **ours).on_conflict_do_nothing()
    # The reader alone locks its row, unless it has gone: transfers wait for nobody.
    again = update(energy_readers).where(one.machine == machine, one.instance == instance).values(**ours)
    if (
        execute(cursor, again, dialect).rowcount == 1
        or execute(cursor, first.inline(), dialect).rowcount == 1
    ):
        return interval, host
    status = select(instances.c.status).where(instances.c.id == one.instance).scalar_subquery()
    query = select(one.instance, one.host, one.tier, one.method, one.counted_until_us, status)
    reader, place, tier, method, until_us, state = execute(
        cursor, query.where(one.machine == machine), dialect
    ).fetchone()
    gone = state != "Running" or ended_us - until_us > SILENT_US
    if gone and interval.started_at_us >= until_us:
        unchanged = (one.machine == machine, one.instance == reader, one.counted_until_us == until_us)
        instead = update(energy_readers).where(*unchanged).values(**ours)
        if execute(cursor, instead, dialect).rowcount == 1:
            return interval, host
    if (tier, method) != (ours["tier"], ours["method"]):
        return None  # figures of unlike origin are not taken out of each other: it stays with the reader's others
    return _transfer(interval), place


def _transfer(interval: IntervalRecord) -> IntervalRecord:
    """Return what the process used of the reading, taken out of what the machine's others used."""
    return replace(
        interval,
        duration_seconds=0.0,
        total_joules=0.0,
        idle_joules=0.0,
        others_joules=-(interval.operations_joules + interval.overhead_joules),
    )


@cache
def machine_id() -> str:
    """Return what tells a machine from others and is the same in all containers on it."""
    return (read_text(_BOOT_ID) or "").strip() or socket.gethostname()[:64]
