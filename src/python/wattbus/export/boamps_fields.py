"""The 77 fields of a BoAmps report: where wattbus takes each from, and what to do when it stays empty."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """How a value came into a report."""

    READ = "read"  # from the machine, or from the object that did the work
    MEASURED = "measured"  # by a meter, or counted
    ATTRIBUTED = "attributed"  # a meter's reading, shared out
    MODELLED = "modelled"  # from load and a nominal power
    ESTIMATED = "estimated"  # from a published formula
    DERIVED = "derived"  # computed from other values
    DECLARED = "declared"  # said once by the organisation, or in the settings
    DEFAULT = "default"  # nobody said; correct it if it is wrong


@dataclass(frozen=True)
class FieldSource:
    """One leaf field; ``source`` is the usual one, a report states its own where it differs."""

    path: str
    origin: Origin
    source: str
    remedy: str


def _organisation(path: str, key: str, what: str) -> FieldSource:
    return FieldSource(path, Origin.DECLARED, what, f"set {key} in organisation.toml, once for all reports")


def _read(path: str, source: str, remedy: str) -> FieldSource:
    return FieldSource(path, Origin.READ, source, remedy)


_REPORT_BUG = "always filled; tell the authors of wattbus if it is not"
_OPERATION = "let the operation state it in its TaskFacts"
_DATA = "let the operation state it in its DataFacts"
_METER = "start the production with its power meter"
_SYSTEM = "unreadable on this system; nothing to do"
_A, _D, _M, _C = "task.algorithms[].", "task.dataset[].", "measures[].", "infrastructure.components[]."

FIELDS: tuple[FieldSource, ...] = (
    _organisation("header.licensing", "licence", "the organisation's licence for its reports"),
    FieldSource(
        "header.formatVersion", Origin.READ, "the version of the format that wattbus writes", _REPORT_BUG
    ),
    FieldSource(
        "header.formatVersionSpecificationUri", Origin.READ, "the address of that format", _REPORT_BUG
    ),
    FieldSource("header.reportId", Origin.DERIVED, "a uuid4 made for the report", _REPORT_BUG),
    FieldSource("header.reportDatetime", Origin.READ, "the clock at export, UTC", _REPORT_BUG),
    FieldSource(
        "header.reportStatus", Origin.DECLARED, "draft until the export is asked for as final", _REPORT_BUG
    ),
    _organisation("header.publisher.name", "name", "the organisation's name"),
    _organisation("header.publisher.division", "division", "the organisation's division"),
    FieldSource(
        "header.publisher.projectName",
        Origin.READ,
        "the production's name, or the organisation's project",
        "name the production, or set project in organisation.toml",
    ),
    FieldSource(
        "header.publisher.confidentialityLevel",
        Origin.DEFAULT,
        "internal, unless the organisation says otherwise",
        "set confidentiality in organisation.toml",
    ),
    _read(
        "header.publisher.publicKey",
        "the signing key of the home, or the organisation's public key",
        _REPORT_BUG,
    ),
    _read("task.taskStage", "the kind of operation", _OPERATION),
    _read("task.taskFamily", "the pipeline's task, or the kind of training", _OPERATION),
    FieldSource("task.nbRequest", Origin.MEASURED, "the requests counted in the ledger", _OPERATION),
    _read(_A + "trainingType", "the recipe of the training", _OPERATION),
    _read(_A + "algorithmType", "the class of the model object", _OPERATION),
    _read(_A + "algorithmName", "the architecture in the model's configuration", _OPERATION),
    _read(
        _A + "algorithmUri",
        "the pinned public address of the weights that ran",
        "no public address: nothing to do",
    ),
    _read(_A + "foundationModelName", "the name of the pretrained model in the model store", _OPERATION),
    _read(
        _A + "foundationModelUri",
        "the public page of the pretrained model",
        "no public address: nothing to do",
    ),
    _read(_A + "parametersNumber", "the parameters counted in the model, in billions", _OPERATION),
    _read(_A + "framework", "the library that ran the model", _OPERATION),
    _read(_A + "frameworkVersion", "that library's version", _OPERATION),
    _read(_A + "classPath", "the class of the model object", _OPERATION),
    _read(_A + "layersNumber", "the hidden layers in the model's configuration", _OPERATION),
    FieldSource(_A + "epochsNumber", Origin.MEASURED, "the epochs that the trainer completed", _OPERATION),
    _read(_A + "optimizer", "the trainer's arguments", _OPERATION),
    _read(_A + "quantization", "the type of the model's weights", _OPERATION),
    _read(_D + "dataUsage", "what went into the task and what came out", _DATA),
    _read(_D + "dataType", "the kind of data of the pipeline's task", _DATA),
    _read(_D + "dataFormat", "how the data came: a message's JSON, a picture's format, an SQL table", _DATA),
    FieldSource(
        _D + "dataSize", Origin.MEASURED, "the bytes counted, in GB; a mean per request for inference", _DATA
    ),
    FieldSource(
        _D + "dataQuantity", Origin.MEASURED, "the items counted; a mean per request for inference", _DATA
    ),
    FieldSource(_D + "shape", Origin.MEASURED, "the shape of the data, (rows, columns)", _DATA),
    _read(_D + "source", "private for messages and own tables, public for a public data set", _DATA),
    _read(_D + "sourceUri", "the data set's address or the table's name, without account or folder", _DATA),
    FieldSource(
        _D + "owner",
        Origin.DECLARED,
        "the owner that the operation names, or the organisation for its private data",
        "set name or data_owner in organisation.toml, once for all reports",
    ),
    FieldSource(
        "task.measuredAccuracy",
        Origin.MEASURED,
        "the evaluation of this model version",
        "evaluate the model once",
    ),
    _organisation("task.estimatedAccuracy", "estimated_accuracy", "the organisation's judgement"),
    FieldSource(
        "task.taskDescription",
        Origin.DERIVED,
        "a sentence made of the fields above; no message text",
        _OPERATION,
    ),
    _read(_M + "measurementMethod", "the ledger's power meter", _METER),
    _organisation(_M + "manufacturer", "wattmeter_maker", "the maker of the wattmeter"),
    _read(_M + "version", "the meter's version", _METER),
    _read(_M + "cpuTrackingMode", "how the meter reads the CPU", _METER),
    _read(_M + "gpuTrackingMode", "how the meter reads the GPU; none on a machine without one", _METER),
    FieldSource(
        _M + "averageUtilizationCpu", Origin.MEASURED, "the machine's mean load, else the task's own", _METER
    ),
    FieldSource(
        _M + "averageUtilizationGpu", Origin.MEASURED, "the GPUs' mean load, else the task's own", _METER
    ),
    FieldSource(
        _M + "powerCalibrationMeasurement",
        Origin.DERIVED,
        "the ledger's idle bucket: what the machine uses at rest, in kWh",
        "let the production run for a few seconds",
    ),
    FieldSource(
        _M + "durationCalibrationMeasurement",
        Origin.DERIVED,
        "the seconds over which that was reckoned",
        "let the production run for a few seconds",
    ),
    FieldSource(
        _M + "powerConsumption", Origin.MODELLED, "the attempts' energy in the ledger, in kWh", _REPORT_BUG
    ),
    FieldSource(_M + "measurementDuration", Origin.MEASURED, "the seconds in which an attempt ran", _METER),
    FieldSource(
        _M + "measurementDateTime", Origin.MEASURED, "the begin of the first attempt, UTC", _REPORT_BUG
    ),
    _read("system.os", "the platform", _SYSTEM),
    _read("system.distribution", "the operating system's release file", _SYSTEM),
    _read("system.distributionVersion", "the operating system's release file", _SYSTEM),
    _read("software.language", "the interpreter", _REPORT_BUG),
    _read("software.version", "the interpreter", _REPORT_BUG),
    FieldSource(
        "infrastructure.infraType",
        Origin.DERIVED,
        "public cloud when the firmware names one, on premise when there is no hypervisor",
        "set infrastructure in organisation.toml",
    ),
    _read(
        "infrastructure.cloudProvider", "the machine's firmware", "set cloud_provider in organisation.toml"
    ),
    _read(
        "infrastructure.cloudInstance", "the machine's firmware", "set cloud_instance in organisation.toml"
    ),
    _read("infrastructure.cloudService", "the service that was called", _OPERATION),
    _read(_C + "componentName", "the processor's own name", _SYSTEM),
    _read(_C + "componentType", "cpu, gpu or ram", _REPORT_BUG),
    _read(_C + "nbComponent", "the chips counted, not their cores", _REPORT_BUG),
    _read(_C + "memorySize", "the memory in GiB, of one component", _SYSTEM),
    _read(_C + "manufacturer", "the processor's own name", _SYSTEM),
    _read(_C + "family", "the processor's own name", _SYSTEM),
    _read(_C + "series", "the processor's own name, or its signature where the name hides it", _SYSTEM),
    FieldSource(
        _C + "share", Origin.DERIVED, "the attempts' processor seconds over those there were", _METER
    ),
    _organisation("environment.country", "country", "the country of the machine"),
    _organisation("environment.latitude", "latitude (and country)", "the organisation's place"),
    _organisation("environment.longitude", "longitude (and country)", "the organisation's place"),
    _organisation(
        "environment.location", "location (and country)", "the organisation's place, or the cloud's region"
    ),
    _organisation("environment.powerSupplierType", "power_supplier (and country)", "who supplies the power"),
    _organisation("environment.powerSource", "power_source (and country)", "what the power is made of"),
    FieldSource(
        "environment.powerSourceCarbonIntensity",
        Origin.DECLARED,
        "the intensity that the ledger reckoned with, or the organisation's own contract",
        "set country in organisation.toml, and carbon_intensity_g_per_kwh for a contract of your own",
    ),
    FieldSource("quality", Origin.DERIVED, "the tier of the energy figure", _REPORT_BUG),
)


def field_table() -> str:
    """Return the table of all fields in Markdown, as ``docs/boamps.md`` shows it."""
    lines = ["| field | origin | from | when empty |", "|---|---|---|---|"]
    lines += [f"| `{field.path}` | {field.origin} | {field.source} | {field.remedy} |" for field in FIELDS]
    return "\n".join(lines) + "\n"
