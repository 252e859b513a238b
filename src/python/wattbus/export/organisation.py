"""What an organisation says of itself once, so that no report ever asks for it: all optional, never blocking.

Read from ``organisation.toml`` (or ``.json``) in the home folder, from the file that ``WATTBUS_ORGANISATION``
names, or from that variable itself when it holds a JSON object.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from wattbus.errors import BadRequest, BadSettings, Refused, unknown_name_sentence
from wattbus.export.boamps_model import Accuracy, Confidentiality, InfraType, PowerSource, PowerSupplier
from wattbus.home import Home, make_owner_folder, write_durably

VARIABLE = "WATTBUS_ORGANISATION"
FILE_NAMES = ("organisation.toml", "organisation.json")
SIZE_LIMIT_BYTES = 65_536

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Organisation(BaseModel):
    """Who publishes, where the machines stand, what powers them; a field left out stays out of reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Words | None = None
    division: Words | None = None
    project: Words | None = None  # the production's name unless given
    licence: Words | None = None
    confidentiality: Confidentiality | None = None  # internal unless given
    public_key: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=5000)] | None
    ) = None
    data_owner: Words | None = None
    estimated_accuracy: Accuracy | None = None
    infrastructure: InfraType | None = None
    cloud_provider: Words | None = None
    cloud_instance: Words | None = None
    country: Words | None = None
    country_code: CountryCode | None = None  # ISO 3166 alpha-3, as a power meter wants it
    location: Words | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    power_supplier: PowerSupplier | None = None
    power_source: PowerSource | None = None
    carbon_intensity_g_per_kwh: Annotated[float, Field(ge=0, le=5000)] | None = None
    wattmeter_maker: Words | None = None

    @model_validator(mode="before")
    @classmethod
    def _say_the_nearest_name(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(unknown_name_sentence("field", key, cls.model_fields))
        return data


#: Of each field of the organisation: what it is for.
HINTS = {
    "name": "who publishes the reports",
    "division": "the part of the organisation",
    "project": "the production's name unless given",
    "licence": "of the reports, such as CC BY 4.0",
    "confidentiality": "internal unless given",
    "public_key": "to check a signed report with",
    "data_owner": "of private data; the name unless given",
    "estimated_accuracy": "your judgement, where none is measured",
    "infrastructure": "where the machine stands",
    "cloud_provider": "in a cloud that does not say so itself",
    "cloud_instance": "the kind of machine there",
    "country": "without it a report has no environment",
    "country_code": "three capitals, such as FRA",
    "location": "town or region",
    "latitude": "degrees, such as 48.85",
    "longitude": "degrees, such as 2.35",
    "power_supplier": "who supplies the power",
    "power_source": "what the power is made of",
    "carbon_intensity_g_per_kwh": "only for a contract of your own",
    "wattmeter_maker": "only with a wattmeter",
}


def choices_of(name: str) -> list[str]:
    """Return the words that a field may hold, where it is a choice of some."""
    for part in get_args(Organisation.model_fields[name].annotation):
        words = [word for word in get_args(part) if isinstance(word, str)]
        if words:
            return words
    return []


def with_answer(organisation: Organisation, name: str, text: str) -> Organisation:
    """Return the organisation with one more answer; raises BadRequest, with a sentence, for one that cannot be."""
    try:
        return Organisation.model_validate({**organisation.model_dump(), name: text})
    except ValidationError as error:
        raise BadRequest(_sentence(error)) from None


def read_organisation(home: Home | None = None, environment: Mapping[str, str] | None = None) -> Organisation:
    """Return the organisation as configured, an empty one when nothing is. Raises BadSettings."""
    variables = os.environ if environment is None else environment
    value = variables.get(VARIABLE, "").strip()
    if value.startswith("{"):
        return _parse(value, f"the variable {VARIABLE}", is_toml=False)
    if value:
        return _read_file(Path(value))
    folder = (home or Home.find()).root
    for name in FILE_NAMES:
        if (folder / name).exists():
            return _read_file(folder / name)
    return Organisation()


def organisation_file(home: Home, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that the organisation is read from, there or not; None: a variable holds it."""
    variables = os.environ if environment is None else environment
    value = variables.get(VARIABLE, "").strip()
    if value:
        return None if value.startswith("{") else Path(value)
    there = (home.root / name for name in FILE_NAMES)
    return next((file for file in there if file.exists()), home.root / FILE_NAMES[0])


def write_organisation(
    home: Home, organisation: Organisation, environment: Mapping[str, str] | None = None
) -> Path:
    """Put the organisation into ``organisation.toml`` of the home, 0600, whole or not at all.

    Raises Refused where another place is read instead of that file.
    """
    path, read = home.root / FILE_NAMES[0], organisation_file(home, environment)
    if read != path:
        place = f"the variable {VARIABLE}" if read is None else str(read)
        raise Refused(f"the organisation is read from {place}, and not from {path}: change it there.")
    text = "".join(
        f"{name} = {_toml(value)}\n" for name, value in organisation.model_dump(exclude_none=True).items()
    )
    if _parse(text, "the organisation as it would be written", is_toml=True) != organisation:
        raise Refused("the organisation cannot be written as TOML: leave unusual characters out.")
    make_owner_folder(home.root)
    write_durably(path, text.encode())
    return path


def _toml(value: str | float) -> str:
    if not isinstance(value, str):
        return repr(value)
    # A JSON string is a TOML string, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_file(path: Path) -> Organisation:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise BadSettings(
            f"the organisation file {path} cannot be read ({error.strerror}): correct {VARIABLE}, "
            "or remove it to export without an organisation."
        ) from error
    if mode & 0o002:
        raise BadSettings(
            f"the organisation file {path} can be written by every account: run chmod o-w {path}."
        )
    if len(data) > SIZE_LIMIT_BYTES:
        raise BadSettings(
            f"the organisation file {path} is over {SIZE_LIMIT_BYTES} bytes: it holds a few lines only."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings(f"the organisation file {path} is not UTF-8 text: save it as UTF-8.") from error
    return _parse(text, f"the organisation file {path}", is_toml=path.suffix.lower() != ".json")


def _parse(text: str, where: str, *, is_toml: bool) -> Organisation:
    try:
        data = tomllib.loads(text) if is_toml else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if is_toml else "JSON"
        raise BadSettings(f"{where} is not {kind} ({error}): correct it, or remove it.") from error
    try:
        return Organisation.model_validate(data)
    except ValidationError as error:
        raise BadSettings(f"{where}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    parts = []
    for part in error.errors(include_url=False):
        field = ".".join(str(step) for step in part["loc"])
        message = part["msg"].removeprefix("Value error, ")
        parts.append(f"{field} = {part['input']!r}: {message}" if field else message)
    return "; ".join(parts)
