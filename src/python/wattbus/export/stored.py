"""Reports from a store: what has been metered becomes BoAmps files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from wattbus.energy.hardware import read_machine
from wattbus.errors import Refused
from wattbus.export.boamps import ReportInput, build_report, write_report
from wattbus.export.boamps_groups import group_records
from wattbus.export.boamps_tracker import tracker_from
from wattbus.export.organisation import read_organisation
from wattbus.home import Home
from wattbus.store.queries import energy_intervals_of, energy_records, production_name


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


def write_boamps(
    engine: Engine, home: Home, folder: Path, *, country: str | None = None, since_us: int = 0
) -> Written:
    """Write every report that the settled records since a time allow, and say what was left out and why."""
    grouping = group_records(energy_records(engine, since_us=since_us))
    intervals = energy_intervals_of(engine, since_us=since_us)
    machine, organisation = read_machine(), read_organisation(home)
    name = production_name(engine)
    written = Written(skipped=Counter(reason for _, reason in grouping.skipped))
    for group in grouping.groups:
        tracker = tracker_from(group.records, intervals, country=country)
        try:
            report = build_report(
                ReportInput(group.records, group.facts, machine, tracker, organisation, production=name)
            )
        except Refused as error:
            written.skipped[str(error)] += len(group.records)
            continue
        written.reports.append(
            WrittenReport(
                write_report(report, folder),
                group.facts.stage,
                group.records[0].model or group.facts.foundation_model or "",
                report.score.filled,
                report.score.applicable,
            )
        )
    return written
