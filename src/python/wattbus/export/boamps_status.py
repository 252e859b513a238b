"""Draft, final, corrective: a report changes its status, and one that was final is corrected by another one.

BoAmps 1.1 has the status ``corrective`` and no field for what is corrected; that stands in ``x-wattbus-corrects``.
"""

from __future__ import annotations

import copy
import hashlib
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from wattbus.errors import BadRequest, Refused, UnknownName
from wattbus.export.boamps_draft import MOMENT
from wattbus.export.boamps_fields import FIELDS, Origin
from wattbus.export.boamps_model import validate
from wattbus.export.boamps_score import INDEX
from wattbus.export.canonical import canonical_json
from wattbus.export.organisation import Organisation
from wattbus.export.signing import SIGNATURE, SigningKey

FINAL, CORRECTIVE, DRAFT = "final", "corrective", "draft"
CORRECTS, PROVENANCE = "x-wattbus-corrects", "x-wattbus-provenance"
#: Which answer of the organisation fills which field of a report that was written before it was given.
ANSWERS = {
    "header.licensing": "licence",
    "header.publisher.name": "name",
    "header.publisher.division": "division",
    "header.publisher.confidentialityLevel": "confidentiality",
    "task.estimatedAccuracy": "estimated_accuracy",
    "environment.country": "country",
    "environment.location": "location",
    "environment.latitude": "latitude",
    "environment.longitude": "longitude",
    "environment.powerSupplierType": "power_supplier",
    "environment.powerSource": "power_source",
    "environment.powerSourceCarbonIntensity": "carbon_intensity_g_per_kwh",
}
_NUMBER = TypeAdapter(float)


def status_of(document: Mapping[str, Any]) -> str:
    """Return the status that a report states; one without is a draft."""
    return str(document.get("header", {}).get("reportStatus", DRAFT))


def finalised(
    document: dict[str, Any],
    *,
    organisation: Organisation | None = None,
    signer: SigningKey | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return a draft as a final report, with the organisation's answers given since, signed.

    Raises Refused for a report that is no draft, is not valid, or whose energy is unknown.
    """
    if status_of(document) != DRAFT:
        raise Refused(
            f"the report is {status_of(document)} already: correct it with `wattbus boamps correct`."
        )
    made = with_answers(document, organisation or Organisation())
    made["header"]["reportStatus"] = FINAL
    _tell(made, "header.reportStatus", "declared final by `wattbus boamps final`")
    return _checked(made, signer, now)


def corrected(
    document: dict[str, Any],
    changes: Mapping[str, str],
    because: str,
    *,
    signer: SigningKey | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return a corrective report: the final one with other values, under an id of its own, that names what it corrects.

    ``changes`` are fields such as ``environment.country`` with their new values; an empty one takes the field out.
    """
    status = status_of(document)
    if status not in (FINAL, CORRECTIVE):
        raise Refused(
            f"the report is a {status}: only a final one is corrected; export a draft again instead."
        )
    if not changes:
        raise BadRequest("nothing is corrected: give a field with --set, such as environment.country=France.")
    if not because.strip():
        raise BadRequest("a correction says why: give --because.")
    made = copy.deepcopy(document)
    for path, text in changes.items():
        _set(made, path, text)
    made["header"]["reportStatus"] = CORRECTIVE
    made["header"]["reportId"] = str(uuid.uuid4())
    made[CORRECTS] = {
        "reportId": document["header"].get("reportId"),
        "reportDatetime": document["header"]["reportDatetime"],
        "sha256": digest_of(document),
        "because": " ".join(because.split())[:500],
    }
    return _checked(made, signer, now)


def digest_of(document: dict[str, Any]) -> str:
    """Return the SHA-256 of a report's canonical JSON, its signature included."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def with_answers(document: dict[str, Any], organisation: Organisation) -> dict[str, Any]:
    """Fill what a report leaves open, or has by default, with what the organisation says."""
    made = copy.deepcopy(document)
    origins = made.get(PROVENANCE, {})
    for path, name in ANSWERS.items():
        answer = getattr(organisation, name)
        by_default = str(origins.get(path, "")).startswith(Origin.DEFAULT)
        no_place = path.startswith("environment.") and not (organisation.country or "environment" in made)
        if answer is not None and not no_place and (_get(made, path) is None or by_default):
            _put(made, path, answer)
            _tell(made, path, f"{Origin.DECLARED}: the organisation's answer")
    return made


def _checked(document: dict[str, Any], signer: SigningKey | None, now: datetime | None) -> dict[str, Any]:
    document.pop(SIGNATURE, None)
    document["header"]["reportDatetime"] = (now or datetime.now(UTC)).astimezone(UTC).strftime(MOMENT)
    publisher = document["header"].setdefault("publisher", {"confidentialityLevel": "internal"})
    if signer is not None and "publicKey" not in publisher:
        publisher["publicKey"] = signer.public_key
    if faults := validate(document):
        raise Refused(f"the report is not valid, so it is not final: {'; '.join(faults[:5])}")
    for measure in document["measures"]:
        consumed = measure["powerConsumption"]
        if not (math.isfinite(consumed) and consumed > 0):
            raise Refused(
                f"the report says that {consumed} kWh were used: its energy is unknown, so it is not final."
            )
    if signer is not None and publisher["publicKey"] == signer.public_key:
        return signer.sign(document)
    return document


def _set(document: dict[str, Any], path: str, text: str) -> None:
    """Put the text of a user into a field, as the type that the field has."""
    plain = INDEX.sub("[]", path)
    if plain not in {field.path for field in FIELDS}:
        raise UnknownName("field", path, [field.path for field in FIELDS])
    if path in (
        "header.reportId",
        "header.reportStatus",
        "header.reportDatetime",
        "header.publisher.publicKey",
    ):
        raise BadRequest(f"{path} is made by wattbus, and not corrected.")
    if "[]" in path:
        raise BadRequest(f"{path} is a list: say which one, as in {path.replace('[]', '[0]')}.")
    value: str | float | int = text.strip()
    if value and _is_number(plain):
        try:
            number = _NUMBER.validate_python(value)
        except ValidationError:
            raise BadRequest(f"{path} is {text!r}: it takes a number.") from None
        value = int(number) if number.is_integer() else number
    before = _get(document, path)
    _put(document, path, value if value != "" else None)
    _tell(document, path, f"{Origin.DECLARED}: corrected by hand, from {before!r}" if value != "" else None)


def _is_number(path: str) -> bool:
    from wattbus.export import boamps_model

    part: Any = boamps_model.Report
    for step in path.split("."):
        part = part.model_fields[step.removesuffix("[]")].annotation
        part = next((one for one in _parts(part) if hasattr(one, "model_fields")), part)
    return any(one in (int, float) for one in _parts(part))


def _parts(annotation: Any) -> list[Any]:
    inner = [found for part in get_args(annotation) for found in _parts(part)]
    return inner or [annotation]


def _get(document: Any, path: str) -> Any:
    for step in path.split("."):
        name, _, index = step.rstrip("]").partition("[")
        document = document.get(name) if isinstance(document, dict) else None
        if index and isinstance(document, list):
            document = document[int(index)] if int(index) < len(document) else None
    return document


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    """Put a value into its place, the object around it made where missing; None takes it out."""
    *parents, leaf = path.split(".")
    place: Any = document
    for step in parents:
        name, _, index = step.rstrip("]").partition("[")
        if index:
            there = place.get(name, [])
            if int(index) >= len(there):
                raise BadRequest(f"{path}: the report has {len(there)} of {name}, counted from 0.")
            place = there[int(index)]
        else:
            place = place.setdefault(name, {})
    if value is None:
        place.pop(leaf, None)
    else:
        place[leaf] = value


def _tell(document: dict[str, Any], path: str, origin: str | None) -> None:
    origins = document.setdefault(PROVENANCE, {})
    if origin is None:
        origins.pop(path, None)
    else:
        origins[path] = origin
