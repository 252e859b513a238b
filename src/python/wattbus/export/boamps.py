"""A BoAmps report from the ledger's records: built with its provenance, validated, scored and written.

BoAmps data model, Boavizta, CC BY 4.0, https://github.com/Boavizta/BoAmps.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wattbus.energy.hardware import MachineFacts
from wattbus.energy.record import EnergyRecord, RemoteFacts, Scope, TaskFacts, Tier, TrackerFacts
from wattbus.errors import BadRequest, Refused
from wattbus.export.boamps_draft import MOMENT, Draft, kwh, share, significant, word
from wattbus.export.boamps_fields import Origin
from wattbus.export.boamps_groups import TRAINING_STAGES, Totals, add_up, why_unknown
from wattbus.export.boamps_machine import own_share, put_environment, put_local_machine, put_remote_machine
from wattbus.export.boamps_model import ATTRIBUTION, FORMAT_URI, FORMAT_VERSION
from wattbus.export.boamps_score import Provenance, Score, Situation, score
from wattbus.export.boamps_task import put_task
from wattbus.export.organisation import Organisation
from wattbus.export.report_files import REPORT_ID, bad_id, write_document
from wattbus.export.signing import SigningKey

STATUSES = ("draft", "final", "corrective", "other")
NOT_NEURAL = ("scikit-learn",)

QUALITY = {Tier.MEASURED: "high", Tier.ATTRIBUTED: "medium"}
ORIGINS = {
    Tier.MEASURED: (Origin.MEASURED, "a hardware counter, the task alone"),
    Tier.ATTRIBUTED: (Origin.ATTRIBUTED, "a hardware counter, shared out by processor time"),
    Tier.MODELLED: (Origin.MODELLED, "processor load and the processor's nominal power"),
    Tier.MODELLED_GENERIC: (Origin.MODELLED, "processor load and a nominal power that was assumed"),
    Tier.ESTIMATED_REMOTE: (Origin.ESTIMATED, "a published formula for a remote service"),
}
NO_TIER = (Origin.MODELLED, "a method that states no tier")
NOTES = {
    Tier.MODELLED_GENERIC: "An order of magnitude, comparable on one host only; no quality is below 'low'.",
    Tier.ESTIMATED_REMOTE: "An estimate whose bounds lie far apart; no quality is below 'low'.",
}


@dataclass(frozen=True)
class ReportInput:
    """All that one report is made of; the records are settled, of one scope and one host."""

    records: Sequence[EnergyRecord]
    facts: TaskFacts
    machine: MachineFacts
    tracker: TrackerFacts
    organisation: Organisation = field(default_factory=Organisation)
    production: str | None = None
    script: str | None = None  # outside a production: what the code was started as
    remote: RemoteFacts | None = None  # needed for records of remote scope
    # Without one, or where the organisation names a key of its own, a report is not signed.
    signer: SigningKey | None = None


@dataclass(frozen=True)
class BoampsReport:
    """A BoAmps document, where each of its values came from, and how full it is."""

    document: dict[str, Any]
    provenance: dict[str, Provenance]
    score: Score

    @property
    def report_id(self) -> str:
        return str(self.document["header"]["reportId"])


def build_report(
    source: ReportInput, *, status: str = "draft", now: datetime | None = None, report_id: str | None = None
) -> BoampsReport:
    """Build a report. Raises Refused, with a sentence, when its energy is unknown: an unknown is not 0."""
    records = tuple(source.records)
    _check(records, source, status, report_id)
    totals = add_up(records)
    remote = totals.scope is Scope.REMOTE
    draft = Draft()
    _put_header(draft, source, status, now or datetime.now(UTC), report_id or str(uuid.uuid4()))
    put_task(draft, source.facts, records, source.organisation)
    _put_measure(draft, source, records, totals)
    if remote and source.remote:
        put_remote_machine(draft, source.remote)
    else:
        put_local_machine(draft, source.machine, totals, source.organisation)
        put_environment(draft, source.organisation, source.tracker, source.machine, totals)
    draft.put("quality", QUALITY.get(totals.tier, "low"), None, f"the tier {totals.tier.value}")
    _put_own_keys(draft)
    situation = _situation(source, draft.document, remote)
    document, signer = draft.document, source.signer
    if signer is not None and document["header"]["publisher"].get("publicKey") == signer.public_key:
        document = signer.sign(document)
    return BoampsReport(document, draft.provenance, score(document, situation, draft.provenance))


def write_report(report: BoampsReport, folder: Path) -> Path:
    """Write ``boamps-<report id>.json``, 0600, whole or not at all, and return its path.

    An invalid report is an error and not a file, and a report that was written is never replaced by another.
    """
    return write_document(report.document, folder)


def _check(records: Sequence[EnergyRecord], source: ReportInput, status: str, report_id: str | None) -> None:
    if status not in STATUSES:
        raise BadRequest(f"unknown report status {status!r}. Known: {', '.join(STATUSES)}.")
    if report_id is not None and not REPORT_ID.fullmatch(report_id):
        raise BadRequest(bad_id(report_id))
    if not records:
        raise Refused("there is no energy record to report: send a request first, and let its energy settle.")
    scopes = sorted({record.scope.value for record in records})
    if len(scopes) > 1:
        raise Refused(
            f"records of the scopes {' and '.join(scopes)} are never added up: make a report of each."
        )
    for record in records:
        if reason := why_unknown(record):
            raise Refused(
                f"attempt {record.attempt} of message {record.message_id} ({record.item}) has no energy "
                f"figure ({reason}): an unknown is not 0, so there is no report. "
                "Run it again with the power meter on."
            )
    if records[0].scope is Scope.REMOTE and not (source.remote and source.remote.gpus):
        raise Refused(
            "the machine behind the remote call is unknown, and a report must name a component: "
            "only calls with a remote estimate can be reported; report the client's side instead."
        )


def _put_header(draft: Draft, source: ReportInput, status: str, now: datetime, report_id: str) -> None:
    organisation = source.organisation
    draft.put("header.licensing", organisation.licence)
    draft.put("header.formatVersion", FORMAT_VERSION)
    draft.put("header.formatVersionSpecificationUri", FORMAT_URI)
    draft.put("header.reportId", report_id)
    draft.put("header.reportDatetime", now.astimezone(UTC).strftime(MOMENT))
    draft.put("header.reportStatus", status)
    draft.put("header.publisher.name", organisation.name)
    draft.put("header.publisher.division", organisation.division)
    if organisation.project:
        draft.put(
            "header.publisher.projectName",
            organisation.project,
            Origin.DECLARED,
            "the organisation's project",
        )
    elif source.production is None:
        draft.put("header.publisher.projectName", word(source.script), Origin.READ, "the script's name")
    else:
        draft.put("header.publisher.projectName", word(source.production), None, "the production's name")
    if organisation.confidentiality:
        origin, said = Origin.DECLARED, "the organisation's answer"
    else:
        origin, said = Origin.DEFAULT, "internal until the organisation says otherwise"
    draft.put(
        "header.publisher.confidentialityLevel", organisation.confidentiality or "internal", origin, said
    )
    if organisation.public_key is None and source.signer is not None:
        key = source.signer.public_key
        draft.put("header.publisher.publicKey", key, Origin.READ, "the signing key of this home")
    else:
        draft.put("header.publisher.publicKey", organisation.public_key)


def _put_measure(
    draft: Draft, source: ReportInput, records: tuple[EnergyRecord, ...], totals: Totals
) -> None:
    tracker, here = source.tracker, "measures[0]."
    remote = totals.scope is Scope.REMOTE
    origin, said = ORIGINS.get(totals.tier, NO_TIER)
    methods = sorted({word(record.method) or "" for record in records} - {""})
    if remote:
        published = ", ".join(methods) or "published token formula"
        draft.put(here + "measurementMethod", published, Origin.ESTIMATED, "the remote estimate")
    else:
        draft.put(here + "measurementMethod", word(tracker.method))
        _put_meter(draft, here, source, totals)
    draft.put(here + "powerConsumption", kwh(totals.energy_joules), origin, said)
    draft.put(here + "measurementDuration", significant(totals.busy_seconds))
    begin = datetime.fromtimestamp(totals.started_at_us / 1e6, UTC).strftime(MOMENT)
    draft.put(here + "measurementDateTime", begin)
    for name, value in (
        ("tier", totals.tier.value),
        ("scope", totals.scope.value),
        ("method", ", ".join(methods) or None),
        ("attempts", len(records)),
        ("lowKwh", kwh(totals.low_joules)),
        ("highKwh", kwh(totals.high_joules)),
        ("cpuKwh", kwh(totals.cpu_joules)),
        ("gpuKwh", kwh(totals.gpu_joules)),
        ("ramKwh", kwh(totals.ram_joules)),
        ("cpuSeconds", significant(totals.cpu_seconds)),
        ("gpuSeconds", significant(totals.gpu_seconds)),
        ("carbonGrams", significant(totals.carbon_grams)),
        ("note", NOTES.get(totals.tier)),
    ):
        draft.add_own(here.rstrip("."), name, value)


def _put_meter(draft: Draft, here: str, source: ReportInput, totals: Totals) -> None:
    tracker, machine = source.tracker, source.machine
    if _is_wattmeter(tracker):
        draft.put(here + "manufacturer", word(tracker.maker) or source.organisation.wattmeter_maker)
    draft.put(here + "version", word(tracker.version))
    draft.put(here + "cpuTrackingMode", word(tracker.cpu_mode))
    if machine.gpus == ():
        draft.put(here + "gpuTrackingMode", "none", Origin.DERIVED, "the machine has no GPU to track")
    else:
        draft.put(here + "gpuTrackingMode", word(tracker.gpu_mode))
    gpus = sum(gpu.count for gpu in machine.gpus or ())
    for key, whole, used, units in (
        ("averageUtilizationCpu", tracker.cpu_utilisation, totals.cpu_seconds, machine.cpu.threads),
        ("averageUtilizationGpu", tracker.gpu_utilisation if gpus else None, totals.gpu_seconds, gpus),
    ):
        if whole is not None:
            draft.put(here + key, share(whole), None, "the machine's mean load, by the meter")
        else:
            own = own_share(used, totals.busy_seconds, units)
            draft.put(
                here + key, own, Origin.DERIVED, "the attempts' own processor seconds over those there were"
            )
    if tracker.calibration_joules is not None and tracker.calibration_seconds:
        draft.put(here + "powerCalibrationMeasurement", kwh(tracker.calibration_joules))
        draft.put(here + "durationCalibrationMeasurement", significant(tracker.calibration_seconds))


def _put_own_keys(draft: Draft) -> None:
    draft.add_own("", "generator", f"wattbus {_own_version()}")
    draft.add_own("", "attribution", ATTRIBUTION)
    draft.add_own("", "timezone", "UTC")
    draft.add_own("", "provenance", {path: str(origin) for path, origin in draft.provenance.items()})


def _own_version() -> str:
    try:
        return version("wattbus")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "(not installed)"


def _is_wattmeter(tracker: TrackerFacts) -> bool:
    return tracker.maker is not None or "wattmeter" in tracker.method.casefold()


def _situation(source: ReportInput, document: dict[str, Any], remote: bool) -> Situation:
    inputs = [data for data in source.facts.data if data.source_uri is None]
    return Situation(
        training=source.facts.stage in TRAINING_STAGES,
        remote=remote,
        gpu=bool(source.machine.gpus) or source.machine.gpus is None,
        cloud=remote or document["infrastructure"]["infraType"] in ("publicCloud", "privateCloud"),
        wattmeter=_is_wattmeter(source.tracker),
        neural=source.facts.framework not in NOT_NEURAL,
        model=source.facts.stage in ("inference", *TRAINING_STAGES) or source.facts.class_path is not None,
        private_data=all(data.source == "private" for data in inputs) and source.facts.stage == "inference",
    )
