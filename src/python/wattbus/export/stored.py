"""Reports from a store: what has been metered becomes BoAmps files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from wattbus.energy.hardware import read_machine
from wattbus.energy.record import EnergyRecord, Scope
from wattbus.energy.remote import machine_behind
from wattbus.errors import Refused, UnknownName
from wattbus.export.boamps import BoampsReport, ReportInput, build_report, write_report
from wattbus.export.boamps_groups import Grouping, RecordGroup, group_records
from wattbus.export.boamps_score import Score
from wattbus.export.boamps_status import CORRECTS, status_of
from wattbus.export.boamps_tracker import tracker_from
from wattbus.export.organisation import read_organisation
from wattbus.export.report_files import read_document
from wattbus.export.signing import SigningKey, signing_key
from wattbus.home import Home
from wattbus.store.energy_queries import newest_records
from wattbus.store.queries import energy_intervals_of, energy_records, production_name

_FILE = re.compile(r"boamps-[A-Za-z0-9._-]+\.json")
#: Reports that a page offers are scored on so many of the newest records: a score needs no more.
_SCORED_RECORDS = 1_000
#: The idle reading of a report comes from the first ten seconds with one.
_CALIBRATION_INTERVALS = 1_000
_MOST_FILES = 200


@dataclass(frozen=True)
class WrittenReport:
    """A report that lies on disk, and how full it is."""

    path: Path
    stage: str
    model: str
    filled: int
    applicable: int


@dataclass
class Written:
    """The reports that were written, and how many records were left out for which reason."""

    reports: list[WrittenReport] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class PossibleReport:
    """A report that could be written now, and what it would hold."""

    item: str
    stage: str
    model: str
    revision: str
    scope: str
    tier: str
    begun_us: int
    attempts: int
    score: Score


@dataclass(frozen=True)
class Possible:
    """The reports that could be written, and how many records would be left out for which reason.

    ``cut``: only the newest records were looked at; an export looks at all.
    """

    reports: list[PossibleReport]
    skipped: dict[str, int]
    cut: bool


@dataclass(frozen=True)
class ReportFile:
    """A report in the folder of exports; ``fault`` says why it is none that can be shared."""

    name: str
    size_bytes: int
    written_us: int
    report_id: str
    stage: str
    model: str
    quality: str
    status: str
    corrects: str  # the id of the report that it corrects
    fault: str


def write_boamps(
    engine: Engine, home: Home, folder: Path, *, country: str | None = None, since_us: int = 0
) -> Written:
    """Write every report that the settled records since a time allow, and say what was left out and why."""
    grouping = group_records(energy_records(engine, since_us=since_us))
    written = Written(skipped=Counter(reason for _, reason in grouping.skipped))
    for group, report in _built(engine, home, grouping, country, since_us, signing_key(home)):
        if isinstance(report, Refused):
            written.skipped[str(report)] += len(group.records)
            continue
        written.reports.append(
            WrittenReport(
                write_report(report, folder),
                group.facts.stage,
                _model_of(group),
                report.score.filled,
                report.score.applicable,
            )
        )
    return written


def possible_boamps(engine: Engine, home: Home, *, country: str | None = None, since_us: int = 0) -> Possible:
    """Say which reports :func:`write_boamps` would write and how full they are; nothing is written."""
    records: Sequence[EnergyRecord] = newest_records(engine, since_us=since_us, limit=_SCORED_RECORDS)
    grouping = group_records(records)
    skipped = Counter(reason for _, reason in grouping.skipped)
    reports = []
    signer = signing_key(home, make=False)
    for group, report in _built(engine, home, grouping, country, since_us, signer):
        if isinstance(report, Refused):
            skipped[str(report)] += len(group.records)
            continue
        first = group.records[0]
        reports.append(
            PossibleReport(
                first.item, group.facts.stage, _model_of(group), first.revision or "", str(first.scope),
                str(first.tier), first.started_at_us, len(group.records), report.score,
            )
        )  # fmt: skip
    return Possible(reports[::-1], dict(skipped), len(records) == _SCORED_RECORDS)


def report_files(folder: Path) -> list[ReportFile]:
    """Return the reports in a folder of exports, the newest first, each checked."""
    files = [file for file in folder.iterdir() if _FILE.fullmatch(file.name)] if folder.is_dir() else []
    times = sorted(
        ((file.stat().st_mtime_ns // 1000, file) for file in files if file.is_file()), reverse=True
    )
    return [_report_file(file, written_us) for written_us, file in times[:_MOST_FILES]]


def read_report(folder: Path, name: str) -> dict[str, Any]:
    """Return a report by the name of its file: one of those that are there, and no path."""
    there = {file.name: file for file in folder.iterdir() if file.is_file()} if folder.is_dir() else {}
    names = [known for known in there if _FILE.fullmatch(known)]
    if name not in names:
        raise UnknownName("report", name, names, "Export the reports first.")
    return read_document(there[name])


def _report_file(file: Path, written_us: int) -> ReportFile:
    try:
        document = read_report(file.parent, file.name)
    except Refused as error:
        return ReportFile(file.name, file.stat().st_size, written_us, "", "", "", "", "", "", str(error))
    task, header = document["task"], document["header"]
    algorithm = (task.get("algorithms") or [{}])[0]
    model = str(algorithm.get("foundationModelName") or algorithm.get("algorithmName", ""))
    return ReportFile(
        file.name, file.stat().st_size, written_us, str(header.get("reportId", "")), str(task.get("taskStage", "")),
        model, str(document.get("quality", "")), status_of(document),
        str(document.get(CORRECTS, {}).get("reportId", "")), "",
    )  # fmt: skip


def _built(
    engine: Engine,
    home: Home,
    grouping: Grouping,
    country: str | None,
    since_us: int,
    signer: SigningKey | None,
) -> Iterator[tuple[RecordGroup, BoampsReport | Refused]]:
    """Build the report of each group, or say why it cannot be."""
    intervals = energy_intervals_of(engine, since_us=since_us, limit=_CALIBRATION_INTERVALS)
    machine, organisation = read_machine(), read_organisation(home)
    name = production_name(engine)
    for group in grouping.groups:
        tracker = tracker_from(group.records, intervals, country=country)
        behind = machine_behind(group.facts.foundation_model_uri, group.facts.parameters)
        remote = behind if group.records[0].scope is Scope.REMOTE else None
        source = ReportInput(
            group.records, group.facts, machine, tracker, organisation, name, remote=remote, signer=signer
        )
        try:
            yield group, build_report(source)
        except Refused as error:
            yield group, error


def _model_of(group: RecordGroup) -> str:
    return group.records[0].model or group.facts.foundation_model or ""
