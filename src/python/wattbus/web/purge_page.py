"""The purge and the doctor: what is kept, what a purge would take out, and whether the promises of the store hold."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from wattbus import doctor as doctors
from wattbus.access import Role
from wattbus.doctor import Check
from wattbus.errors import AlreadyRunning
from wattbus.store import kept as kept_rows
from wattbus.store.actions import By
from wattbus.store.filters import MessageFilter, duration_seconds, parse_filter
from wattbus.store.kept import Kept
from wattbus.store.purge import Purged, purge
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

#: What a preview may take; a longer one ends there and says so.
_PREVIEW_SECONDS = 10.0


class PurgeTerms(BaseModel):
    """What a purge takes out: whole sessions whose messages are all at their end."""

    older_than: str = Field(
        max_length=20, description="age of the sessions: 90s, 15m, 2h, 30d, 4w", examples=["30d"]
    )
    filter: str = Field(
        default="", max_length=2000, description="only sessions with a message that this filter finds"
    )
    keep_errors: bool = Field(default=False, description="keep sessions that hold an error")
    with_energy: bool = Field(
        default=False, description="take out the energy records as well; else they stay"
    )


class PurgeOrder(PurgeTerms):
    """A purge as a program or the page orders it."""

    reason: str = Field(default="", max_length=500, description="for the event log")
    dry_run: bool = Field(default=False, description="count only, change nothing")


@dataclass(frozen=True)
class Preview:
    """What a purge would take out."""

    would: Purged
    sentence: str
    complete: bool  # False: it is at least that, the count was cut short


@dataclass(frozen=True)
class PurgeView:
    """What the page of the purge shows."""

    kept: Kept | None
    retention_days: float | None
    running: bool
    older_than: str
    filter: str
    keep_errors: bool
    with_energy: bool
    preview: Preview | None


@dataclass(frozen=True)
class DoctorView:
    """What the doctor said the last time, in this process; no checks: it was not asked yet."""

    ok: bool | None
    examined_us: int | None
    seconds: float | None
    checks: tuple[Check, ...]


class _Doctor:
    """The last report, and one examination at a time: it reads the whole store."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._turn = desk, threading.Lock()
        self.last = DoctorView(None, None, None, ())

    def examine(self) -> DoctorView:
        """Check the store and the folders of the home."""
        if not self._turn.acquire(blocking=False):
            raise AlreadyRunning("the doctor is at work already: wait until it has ended, then look again.")
        try:
            began, began_us = time.monotonic(), time.time_ns() // 1000
            report = doctors.examine(self._desk.home, self._desk.config.store_url)
            self.last = DoctorView(report.ok, began_us, time.monotonic() - began, report.checks)
        finally:
            self._turn.release()
        return self.last


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""
    doctor = _Doctor(desk)

    def purge_page(
        older_than: Annotated[
            str, Query(max_length=20, description="30d, 2h, ...: with it the answer has a preview")
        ] = "",
        filter: Annotated[str, Query(max_length=2000)] = "",
        keep_errors: bool = False,
        with_energy: bool = False,
    ) -> PurgeView:
        """Return what is kept, and with an age what a purge of older sessions would take out."""
        preview = None
        if older_than:
            preview = _preview(PurgeTerms(
                older_than=older_than, filter=filter, keep_errors=keep_errors, with_energy=with_energy
            ))  # fmt: skip
        with desk.reading() as engine:
            kept = None if engine is None else kept_rows.kept(engine, desk.home)
        return PurgeView(
            kept, desk.config.retention_days, desk.running is not None, older_than, filter, keep_errors,
            with_energy, preview,
        )  # fmt: skip

    def _preview(terms: PurgeTerms) -> Preview:
        ends, cut = time.monotonic() + _PREVIEW_SECONDS, threading.Event()

        def ending() -> bool:
            if time.monotonic() > ends:
                cut.set()
            return cut.is_set()

        store = desk.current().store
        age, which = duration_seconds(terms.older_than), _which(terms)
        by = By("the portal")
        would = purge(store, age, by, which=which, keep_errors=terms.keep_errors, dry_run=True, ending=ending)
        return Preview(would, would.sentence(f"older than {terms.older_than}"), not cut.is_set())

    def order(body: PurgeOrder, who: Who) -> Purged:
        """Take out old sessions, each whole; what it took out, and what it kept and why, is in the answer."""
        return purge(
            desk.current().store,
            duration_seconds(body.older_than),
            By(f"the portal ({who.name})", body.reason),
            which=_which(body),
            keep_errors=body.keep_errors,
            with_energy=body.with_energy,
            dry_run=body.dry_run,
        )

    def last_report() -> DoctorView:
        """Return what the doctor said the last time; POST asks it anew."""
        return doctor.last

    def examine() -> DoctorView:
        """Check the promises of the store, L1 to L8, and who can read the home; it may take minutes."""
        return doctor.examine()

    twins.view("/purge", "purge.html", purge_page, role=Role.ADMIN, tag="purge")
    twins.action("/purge", order, role=Role.ADMIN, tag="purge", said=_purged_sentence, then="/purge")
    twins.view("/doctor", "doctor.html", last_report, tag="doctor")
    twins.action("/doctor", examine, tag="doctor", then="/doctor", said=_examined_sentence)


def _which(terms: PurgeTerms) -> MessageFilter | None:
    return parse_filter(terms.filter) if terms.filter.strip() else None


def _purged_sentence(purged: Purged) -> str:
    return purged.sentence("as asked")


def _examined_sentence(view: DoctorView) -> str:
    wrong = [check.code for check in view.checks if not check.ok]
    return "the doctor has found nothing wrong." if not wrong else f"something is wrong: {', '.join(wrong)}."
