"""Runs out of BoAmps reports: of the format's present form (1.1, and 0.1 as its own example calls it), and of 2024's.

The present form gives energy in kWh. In that of 2024 each measure names its unit, the data set may stand beside the
task, and the number of requests stands in the data set; a unit of FLOPS is no energy. Fields that wattbus does not read
are not judged here: `wattbus export boamps` validates what it writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wattbus import words
from wattbus.energy.carbon import country_code
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.imports.imported import (
    JOULES_PER_KWH,
    BadFigure,
    FileRun,
    Imported,
    finite,
    moment_us,
    not_negative,
)

KIND = "BoAmps report"
#: The units of the form of 2024, in joules; it has units of FLOPS as well.
JOULES = {
    "mWh": 3.6, "Wh": 3600.0, "kWh": JOULES_PER_KWH, "MWh": 3.6e9, "GWh": 3.6e12, "kJoule": 1e3, "MJoule": 1e6,
    "GJoule": 1e9, "TJoule": 1e12, "PJoule": 1e15, "BTU": 1055.06,
}  # fmt: skip
#: A load formula and a constant are models; what other words mean is not known here.
_MODELLED = ("constant", "cpu_load", "cpu load", "load")


def is_boamps(document: Any) -> bool:
    """Tell whether a JSON document is a report: a task, and what was measured."""
    return isinstance(document, dict) and "task" in document and "measures" in document


def read_boamps(documents: list[Any], file: str) -> Imported:
    """Return each measure of each report as a run; what is wrong is skipped, by its field."""
    found = Imported(file, KIND)
    number = 0
    for place, document in enumerate(documents):
        prefix = f"report {place + 1}, " if len(documents) > 1 else ""
        if not is_boamps(document):
            found.skip(f"{prefix}the report", "has no task and no measures")
            continue
        measures = document["measures"]
        if not isinstance(measures, list) or not measures:
            found.skip(f"{prefix}measures", "is no list with at least one measure")
            continue
        for index, measure in enumerate(measures):
            number += 1
            where = f"{prefix}measures[{index}]"
            try:
                found.runs.append(_run(_Report(document), measure, index, len(measures), number, file))
            except BadFigure as error:
                found.skip(where, str(error))
    return found


class _Report:
    """A report whose parts may be missing, null or something else than they should be."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.notes: list[str] = []

    def part(self, *path: str) -> dict[str, Any]:
        """Return an object of the report; an empty one where there is none."""
        found: Any = self._document
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def parts(self, found: Any) -> list[dict[str, Any]]:
        """Return the objects of a list."""
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def text(self, part: Mapping[str, Any], name: str) -> str | None:
        """Return a text, None where there is none."""
        value = part.get(name)
        return words.clean(value, 200).strip() or None if isinstance(value, str) else None

    def amount(self, part: Mapping[str, Any], name: str) -> float | None:
        """Return a number that is not negative; another one is noted and left out."""
        try:
            return _amount(part, name)
        except BadFigure as error:
            self.notes.append(f"{error}; it is left out")
            return None


def _amount(part: Mapping[str, Any], name: str) -> float | None:
    value = part.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFigure(f"{name} is {words.clean(str(value), 40)!r}, and that is no number")
    try:
        return not_negative(finite(float(value)))
    except (BadFigure, OverflowError) as error:
        raise BadFigure(f"{name}: {error}") from None


def _run(report: _Report, measure: Any, index: int, of: int, number: int, file: str) -> FileRun:
    if not isinstance(measure, dict):
        raise BadFigure("is no object")
    joules = _joules(measure)
    if joules == 0:
        report.notes.append(
            "powerConsumption is 0, as the file says: a meter that read nothing writes that too"
        )
    task, header, environment = report.part("task"), report.part("header"), report.part("environment")
    stage = _stage(report.text(task, "taskStage"))
    algorithm = next(iter(report.parts(task.get("algorithms"))), {})
    model = report.text(algorithm, "foundationModelName") or report.text(algorithm, "algorithmName")
    intensity = report.amount(environment, "powerSourceCarbonIntensity")
    report_id = report.text(header, "reportId")
    family = report.text(task, "taskFamily")
    title = model or report.text(report.part("header", "publisher"), "projectName") or family or "BoAmps"
    called = f"report {report_id or file}" + (f", measure {index + 1} of {of}" if of > 1 else "")
    parameters = report.amount(algorithm, "parametersNumber")
    figures = RunFigures(
        name=f"{title}, {called}"[:200],
        stage=stage,
        source=Source.IMPORTED,
        origin=f"{file}, {called}",
        model=model,
        task=family,
        measured_at_us=_moment(report, measure),
        energy_joules=joules,
        low_joules=_times(report.amount(measure, "x-wattbus-lowKwh"), JOULES_PER_KWH),
        high_joules=_times(report.amount(measure, "x-wattbus-highKwh"), JOULES_PER_KWH),
        tier=_tier(measure),
        method=_method(report, measure),
        carbon_grams=_times(intensity, joules / JOULES_PER_KWH),
        carbon_intensity_g_per_kwh=intensity,
        country=country_code(report.text(environment, "country") or ""),
        duration_seconds=report.amount(measure, "measurementDuration"),
        cpu_seconds=report.amount(measure, "x-wattbus-cpuSeconds"),
        requests=_whole(_requests(report, task)),
        tokens=_whole(_output_tokens(report, task)),
        parameters=_whole(_times(parameters, 1e9)),
        accuracy=_share(report, task),
        hardware=_hardware(report),
        precision=report.text(algorithm, "quantization"),
    )
    return FileRun(number, report_id, figures, tuple(report.notes))


def _joules(measure: Mapping[str, Any]) -> float:
    amount = _amount(measure, "powerConsumption")
    if amount is None:
        raise BadFigure("powerConsumption is missing, and without it there is no energy")
    unit = measure.get("unit")
    if unit is None:
        return amount * JOULES_PER_KWH
    if not isinstance(unit, str) or unit not in JOULES:
        raise BadFigure(f"unit is {words.clean(str(unit), 40)!r}, and that is no unit of energy")
    return amount * JOULES[unit]


def _stage(text: str | None) -> Stage:
    shown = (text or "").casefold()
    if "inference" in shown:
        return Stage.INFERENCE
    if "train" in shown or "tun" in shown:
        return Stage.TRAINING
    raise BadFigure(f"task.taskStage is {text!r}, and that is neither a training nor an inference")


def _moment(report: _Report, measure: Mapping[str, Any]) -> int | None:
    text = report.text(measure, "measurementDateTime")
    if text is None:
        return None
    try:
        return moment_us(text)
    except BadFigure as error:
        report.notes.append(f"measurementDateTime is left out: {error}")
        return None


def _tier(measure: Mapping[str, Any]) -> Tier:
    """Return the tier that our own export gives; of others only what is plainly a model."""
    ours = measure.get("x-wattbus-tier")
    if ours in list(Tier):
        return Tier(ours)
    mode = measure.get("cpuTrackingMode")
    return Tier.MODELLED_GENERIC if isinstance(mode, str) and mode.casefold() in _MODELLED else Tier.NONE


def _method(report: _Report, measure: Mapping[str, Any]) -> str | None:
    tool = " ".join(
        part for part in (report.text(measure, name) for name in ("measurementMethod", "version")) if part
    )
    modes = [
        f"{kind} {mode}"
        for kind, mode in (
            ("cpu", report.text(measure, "cpuTrackingMode")),
            ("gpu", report.text(measure, "gpuTrackingMode")),
        )
        if mode
    ]
    return ", ".join([*([tool] if tool else []), *modes]) or None


def _datasets(report: _Report, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from report.parts(task.get("dataset"))
    yield from report.parts(report._document.get("datasets"))


def _requests(report: _Report, task: Mapping[str, Any]) -> float | None:
    told = report.amount(task, "nbRequest")
    if told:  # "0 or empty if you're not measuring the inference stage"
        return told
    old = [
        report.amount(properties, "nbRequest")
        for dataset in _datasets(report, task)
        for properties in report.parts(dataset.get("inferenceProperties"))
    ]
    known = [one for one in old if one]
    return sum(known) if known else None


def _output_tokens(report: _Report, task: Mapping[str, Any]) -> float | None:
    known = [
        amount
        for dataset in _datasets(report, task)
        if dataset.get("dataUsage") == "output" and dataset.get("dataType") == "token"
        if (amount := report.amount(dataset, "dataQuantity")) is not None
    ]
    return sum(known) if known else None


def _share(report: _Report, task: Mapping[str, Any]) -> float | None:
    accuracy = report.amount(task, "measuredAccuracy")
    if accuracy is not None and accuracy > 1:
        report.notes.append(f"measuredAccuracy is {accuracy:g}, and a share is at most 1; it is left out")
        return None
    return accuracy


def _times(amount: float | None, factor: float) -> float | None:
    return None if amount is None else amount * factor


def _whole(amount: float | None) -> int | None:
    return None if amount is None else round(amount)


def _hardware(report: _Report) -> str | None:
    names = [
        report.text(part, "componentName")
        or report.text(part, "series")
        or report.text(part, "componentType")
        for part in report.parts(report.part("infrastructure").get("components"))
    ]
    return ", ".join(name for name in names if name)[:200] or None
