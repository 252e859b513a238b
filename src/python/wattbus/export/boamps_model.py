"""The BoAmps 1.1.0 report as pydantic models: what wattbus accepts as a valid report.

BoAmps data model, Boavizta, CC BY 4.0, https://github.com/Boavizta/BoAmps. Stricter than the official schemas
on purpose: dates have their format, numbers are finite, and a key outside the format starts with ``x-``, so
that a misspelt field is an error and not an extra.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from wattbus.errors import unknown_name_sentence

FORMAT_VERSION = "1.1.0"
FORMAT_URI = "https://github.com/Boavizta/BoAmps/tree/main/model"
ATTRIBUTION = "BoAmps data model, Boavizta, CC BY 4.0, https://github.com/Boavizta/BoAmps"
EXTRA_PREFIX = "x-"

FORMAT_NAMES = (
    "3gp 3gpp 3gpp2 8svx aa aac aax act afdesign afphoto ai aiff alac amr amv ape arrow asf au avi "
    "avif awb bmp bpg cd5 cda cdr cgm clip cpt csv deep dirac divx drawingml drw dss dvf ecw eps "
    "fits flac flif flv flvf4v gem gerber gif gle gsm heif hp-gl html hvif ico iklax ilbm img ivs "
    "jpeg json kra lottie m4a m4b m4p m4v mathml matroska mdp mmf movpkg mp3 mpc mpeg1 mpeg2 mpeg4 "
    "msv mxf naplps netpbm nmf nrrd nsv odg ods ogg opus pam parquet pbm pcx pdf pdn pgf pgm pgml "
    "pict plbm png pnm postscript ppm psd psp pstricks qcc quicktime ra raw realmedia regis rf64 roq "
    "sai sgi sid sql sln svg svi swf text tga tiff tinyvg tta vicar vivoactive vml vob voc vox wav "
    "webm webp wma wmf wmv wv xaml xar xcf xisf xls xlsx xml xps yaml other"
)
DATA_FORMATS = frozenset(FORMAT_NAMES.split())


def _known_format(value: str) -> str:
    if value not in DATA_FORMATS:
        raise ValueError("is not one of the file formats of BoAmps; write 'other'")
    return value


Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Moment = Annotated[
    str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d$")
]
FileFormat = Annotated[str, AfterValidator(_known_format)]
DataType = Literal[
    "tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"
]
InfraType = Literal["publicCloud", "privateCloud", "onPremise", "other"]
Confidentiality = Literal["public", "internal", "confidential", "secret"]
Accuracy = Literal["veryPoor", "poor", "average", "good", "veryGood"]
PowerSupplier = Literal["public", "private", "internal", "other"]
PowerSource = Literal["solar", "wind", "nuclear", "hydroelectric", "gas", "coal", "other"]
ReportStatus = Literal["draft", "final", "corrective", "other"]


class Part(BaseModel):
    """One object of a report; an absent field is absent from the document, never null."""

    # Built when the first report is: not when a page is opened that could show one.
    model_config = ConfigDict(strict=True, frozen=True, extra="allow", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _no_null_and_no_typo(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for key, value in data.items():
            if str(key).startswith(EXTRA_PREFIX):
                continue
            if key not in cls.model_fields:
                hint = f"A key of your own starts with {EXTRA_PREFIX!r}."
                raise ValueError(unknown_name_sentence("field", key, cls.model_fields, hint))
            if value is None:
                raise ValueError(f"{key} is null: leave the field out instead")
        return data


class Publisher(Part):
    name: str | None = None
    division: str | None = None
    projectName: str | None = None
    confidentialityLevel: Confidentiality
    publicKey: str | None = None


class Header(Part):
    licensing: str | None = None
    formatVersion: str | None = None
    formatVersionSpecificationUri: str | None = None
    reportId: str | None = None
    reportDatetime: Moment
    reportStatus: ReportStatus | None = None
    publisher: Publisher | None = None


class Algorithm(Part):
    trainingType: str | None = None
    algorithmType: str | None = None
    algorithmName: str | None = None
    algorithmUri: str | None = None
    foundationModelName: str | None = None
    foundationModelUri: str | None = None
    parametersNumber: Number | None = None
    framework: str | None = None
    frameworkVersion: str | None = None
    classPath: str | None = None
    layersNumber: Number | None = None
    epochsNumber: Number | None = None
    optimizer: str | None = None
    quantization: str | None = None


class Dataset(Part):
    dataUsage: Literal["input", "output"]
    dataType: DataType
    dataFormat: FileFormat | None = None
    dataSize: Number | None = None
    dataQuantity: Number | None = None
    shape: str | None = None
    source: Literal["public", "private", "other"] | None = None
    sourceUri: str | None = None
    owner: str | None = None


class Task(Part):
    taskStage: str
    taskFamily: str
    nbRequest: Number | None = None
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    dataset: Annotated[list[Dataset], Field(min_length=1)]
    measuredAccuracy: Share | None = None
    estimatedAccuracy: Accuracy | None = None
    taskDescription: str | None = None


class Measure(Part):
    measurementMethod: str
    manufacturer: str | None = None
    version: str | None = None
    cpuTrackingMode: str | None = None
    gpuTrackingMode: str | None = None
    averageUtilizationCpu: Share | None = None
    averageUtilizationGpu: Share | None = None
    powerCalibrationMeasurement: Number | None = None
    durationCalibrationMeasurement: Number | None = None
    powerConsumption: Number
    measurementDuration: Number | None = None
    measurementDateTime: Moment | None = None


class System(Part):
    os: str
    distribution: str | None = None
    distributionVersion: str | None = None


class Software(Part):
    language: str
    version: str | None = None


class Component(Part):
    componentName: str | None = None
    componentType: str
    nbComponent: int
    memorySize: Number | None = None
    manufacturer: str | None = None
    family: str | None = None
    series: str | None = None
    share: Share | None = None


class Infrastructure(Part):
    infraType: InfraType
    cloudProvider: str | None = None
    cloudInstance: str | None = None
    cloudService: str | None = None
    components: Annotated[list[Component], Field(min_length=1)]


class Environment(Part):
    country: str
    latitude: Number | None = None
    longitude: Number | None = None
    location: str | None = None
    powerSupplierType: PowerSupplier | None = None
    powerSource: PowerSource | None = None
    powerSourceCarbonIntensity: Number | None = None


class Report(Part):
    header: Header | None = None
    task: Task
    measures: Annotated[list[Measure], Field(min_length=1)]
    system: System | None = None
    software: Software | None = None
    infrastructure: Infrastructure
    environment: Environment | None = None
    quality: Literal["high", "medium", "low"] | None = None


def validate(document: object) -> list[str]:
    """Return one sentence for each thing wrong with a report; an empty list means valid."""
    try:
        Report.model_validate(document)
    except ValidationError as error:
        return [
            _sentence(part["loc"], part["msg"])
            for part in error.errors(include_url=False, include_input=False)
        ]
    return []


def _sentence(location: tuple[str | int, ...], message: str) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return f"{path.lstrip('.') or 'the report'}: {message.removeprefix('Value error, ')}"


def leaf_paths() -> tuple[str, ...]:
    """Return the paths of all leaf fields, a list marked once as ``[]``: 77 of them."""
    return tuple(_leaves(Report, ""))


def _leaves(part: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in part.model_fields.items():
        inner = _inner_model(field.annotation)
        if inner is None:
            yield prefix + name
            continue
        model, many = inner
        yield from _leaves(model, f"{prefix}{name}{'[]' if many else ''}.")


def _inner_model(annotation: Any, many: bool = False) -> tuple[type[BaseModel], bool] | None:
    """Return the model inside an annotation and whether it stands in a list; None for a leaf."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, many
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union, list):
        for inner in typing.get_args(annotation):
            if found := _inner_model(inner, many or origin is list):
                return found
    return None
