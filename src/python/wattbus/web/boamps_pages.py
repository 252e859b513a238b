"""BoAmps: the reports that could be written now, what is left to fill and by whom, the files, and the organisation."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel

from wattbus import words
from wattbus.access import Role
from wattbus.energy.tiers import SCOPES
from wattbus.errors import BadRequest, BadSettings
from wattbus.export.boamps_fields import FIELDS
from wattbus.export.organisation import (
    HINTS,
    Organisation,
    choices_of,
    organisation_file,
    read_organisation,
    write_organisation,
)
from wattbus.export.stored import (
    PossibleReport,
    ReportFile,
    Written,
    possible_boamps,
    read_report,
    report_files,
    write_boamps,
)
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.twin import Twins

_PATH = "/energy/boamps"


@dataclass(frozen=True)
class LeftToFill:
    """A field that some of the reports lack, and what fills it."""

    path: str
    remedy: str
    reports: int
    yours: bool  # only the organisation can say it


@dataclass(frozen=True)
class FormField:
    """A field of the optional form, with what stands in it and what may."""

    name: str
    label: str
    value: str
    hint: str
    choices: list[str]


@dataclass(frozen=True)
class BoampsView:
    """What the page of the reports shows."""

    days: int
    reports: list[PossibleReport]
    left_out: dict[str, int]
    cut: bool
    left_to_fill: list[LeftToFill]
    to_confirm: list[LeftToFill]
    files: list[ReportFile]
    form: list[FormField]
    organisation_file: str
    organisation_fault: str


@dataclass(frozen=True)
class Exported:
    """What an export wrote: the names of the files, and what was left out."""

    files: list[str]
    skipped: dict[str, int]


class Export(BaseModel):
    """From which day on records go into the reports; by default all do."""

    days: Annotated[int, Query(ge=1, le=3660)] | None = None


def add(twins: Twins, desk: Desk) -> None:
    """Open the page, the form, the export and the download."""

    def reports(days: Annotated[int, Query(ge=1, le=3660)] = 30) -> BoampsView:
        """Return the reports that could be written of the last days, their scores, and what is left to fill."""
        organisation, fault = _organisation(desk)
        with desk.reading() as engine:
            possible = (
                None
                if engine is None or fault
                else possible_boamps(engine, desk.home, country=desk.config.country, since_us=_since(days))
            )
        found = possible.reports if possible is not None else []
        file = organisation_file(desk.home)
        return BoampsView(
            days,
            found,
            possible.skipped if possible is not None else {},
            possible.cut if possible is not None else False,
            _left([one.score.missing for one in found]),
            _left([one.score.to_confirm for one in found]),
            report_files(desk.home.exports),
            _form(organisation),
            file.name if file is not None else "WATTBUS_ORGANISATION",
            fault,
        )

    def export(body: Export) -> Exported:
        """Write the reports into the folder of exports, as `wattbus export boamps` does."""
        since_us = _since(body.days) if body.days is not None else 0
        with desk.store() as engine:
            made = write_boamps(
                engine, desk.home, desk.home.exports, country=desk.config.country, since_us=since_us
            )
        if not made.reports:
            why = "; ".join(f"{count} x {reason}" for reason, count in made.skipped.items())
            raise BadRequest(
                "there is nothing to report: no settled inference or training is in the store"
                + (f" ({why})." if why else ".")
            )
        return _exported(made)

    def organise(body: Organisation) -> Organisation:
        """Say once who publishes and where the machine stands; all of it is optional."""
        write_organisation(desk.home, body)
        return body

    def document(name: str) -> Any:
        """Return one report, checked, as the JSON that others read."""
        return Response(
            json.dumps(read_report(desk.home.exports, name), indent=2, ensure_ascii=False),
            media_type="application/json",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    twins.share(scope_words=SCOPES, boamps_fields=len(FIELDS))
    twins.view(_PATH, "boamps.html", reports, tag="energy")
    twins.action(f"{_PATH}/export", export, tag="energy", then=_PATH, said=_said)
    twins.action(
        f"{_PATH}/organisation",
        organise,
        role=Role.ADMIN,
        tag="energy",
        then=_PATH,
        said="The organisation is kept: the next reports carry it.",
    )
    path = f"{_PATH}/reports/{{name}}"
    twins.pages.add_api_route(path, document, methods=["GET"], dependencies=[needs(Role.VIEWER)])
    twins.api.add_api_route(
        path,
        document,
        methods=["GET"],
        dependencies=[needs(Role.VIEWER)],
        tags=["energy"],
        response_model=None,
    )


def _since(days: int) -> int:
    return int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1e6)


def _organisation(desk: Desk) -> tuple[Organisation, str]:
    """Return the organisation, or an empty one and why it cannot be read."""
    try:
        return read_organisation(desk.home, os.environ), ""
    except BadSettings as error:
        return Organisation(), str(error)


def _left(lists: list[tuple[tuple[str, str], ...]]) -> list[LeftToFill]:
    """Return each field that is missing somewhere, those of most reports first."""
    counted: dict[tuple[str, str], int] = {}
    for fields in lists:
        for field in fields:
            counted[field] = counted.get(field, 0) + 1
    left = [
        LeftToFill(path, remedy, count, "organisation.toml" in remedy)
        for (path, remedy), count in counted.items()
    ]
    return sorted(left, key=lambda one: (not one.yours, -one.reports, one.path))


def _form(organisation: Organisation) -> list[FormField]:
    values = organisation.model_dump(mode="json")
    return [
        FormField(
            name,
            name.replace("_", " ").capitalize(),
            "" if values[name] is None else str(values[name]),
            HINTS[name],
            choices_of(name),
        )
        for name, field in Organisation.model_fields.items()
    ]


def _exported(made: Written) -> Exported:
    return Exported([report.path.name for report in made.reports], dict(made.skipped))


def _said(done: Exported) -> str:
    left = sum(done.skipped.values())
    return f"{words.counted(len(done.files), 'valid report')} written" + (
        f"; {words.counted(left, 'record')} left out." if left else "."
    )
