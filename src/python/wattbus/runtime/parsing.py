"""What a door brings becomes a typed message: each field is looked at, and what does not fit is a sentence."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pydantic import BaseModel, ValidationError

from wattbus.errors import BadRequest, Refused, unknown_name_sentence
from wattbus.runtime import iris_pickle, persistent
from wattbus.runtime.iris import Envelope, IrisObject
from wattbus.runtime.iris_messages import MessageBody
from wattbus.runtime.types import is_message_type, once_a_class, type_name, write_envelope

#: A body of more than this many characters is refused before it is parsed.
LARGEST_BODY = 256 * 1024 * 1024
_NO_PICKLE_FROM_OUTSIDE = (
    "{} is a pickle message: none is accepted from outside, since loading one runs what its sender wants."
)


def from_outside(message: Any) -> Envelope:
    """Return the body of a message that a door brings; refuse what none may bring."""
    cls = type(message)
    if _is_pickled(cls):
        raise Refused(_NO_PICKLE_FROM_OUTSIDE.format(cls.__name__))
    if not _is_message(cls):
        raise BadRequest(f"a {cls.__name__} is no message: build one, such as MLRequest(inputs='text').")
    return write_envelope(message)


@once_a_class
def _is_pickled(cls: type) -> bool:
    return iris_pickle.is_pickle_class(cls) or issubclass(cls, iris_pickle.PickleEnvelope)


@once_a_class
def _is_message(cls: type) -> bool:
    return issubclass(cls, BaseModel | IrisObject) or is_message_type(cls)


def parse(cls: type, body: Any) -> Any:
    """Build a message of type ``cls`` from a JSON text or from the object it stands for."""
    fields = _fields_of(body)
    if iris_pickle.is_pickle_class(cls):
        raise Refused(_NO_PICKLE_FROM_OUTSIDE.format(cls.__name__))
    if issubclass(cls, IrisObject):
        return _parse_native(cls, fields)
    if persistent.is_message_class(cls):
        return persistent.parse_model(cls, fields)
    if issubclass(cls, BaseModel):
        _refuse_unknown(cls.__name__, fields, _pydantic_fields(cls))
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise BadRequest(validation_sentence(cls.__name__, error)) from None
    return _parse_dataclass(cls, fields)


def _parse_native(cls: type[IrisObject], fields: dict[str, Any]) -> Any:
    if issubclass(cls, MessageBody):
        _refuse_unknown(cls.CLASSNAME, fields, list(cls.PROPERTIES))
    return cls.from_fields(fields)


def _fields_of(body: Any) -> dict[str, Any]:
    if isinstance(body, str | bytes):
        if len(body) > LARGEST_BODY:
            raise BadRequest(f"the body has {len(body):,} characters: at most {LARGEST_BODY:,} are accepted.")
        try:
            body = json.loads(body or "{}", parse_constant=_no_constant)
        except RecursionError:
            raise BadRequest("the body is nested too deeply: send a flatter JSON object.") from None
        except ValueError as error:
            raise BadRequest(
                f'the body is not JSON ({error}): send an object such as {{"inputs": "text"}}.'
            ) from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BadRequest(f"the body is a {type(body).__name__}: a JSON object of fields is needed.")
    return body


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _pydantic_fields(cls: type[BaseModel]) -> list[str] | None:
    return None if cls.model_config.get("extra") == "allow" else list(cls.model_fields)


def _refuse_unknown(type_name_: str, fields: dict[str, Any], known: list[str] | None) -> None:
    if known is None:
        return
    for name in fields:
        if name not in known:
            raise BadRequest(f"{type_name_}: {unknown_name_sentence('field', name, known)}")


def validation_sentence(type_name_: str, error: ValidationError) -> str:
    """Say in one sentence what a model did not take, and where."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    shown = "" if first["type"] == "missing" else f" (it is {str(first.get('input'))[:80]!r})"
    return f"{type_name_}: field {where!r}: {first['msg'].removeprefix('Value error, ')}{shown}."


def _parse_dataclass(cls: type, fields: dict[str, Any]) -> Any:
    from iop.messages.serialization import dataclass_from_dict

    if not dataclasses.is_dataclass(cls):
        raise BadRequest(f"{type_name(cls)} is no dataclass: decorate the message class with @dataclass.")
    declared = [field.name for field in dataclasses.fields(cls)]
    # A message without fields takes any key: that is how free keywords travel in the seed.
    _refuse_unknown(cls.__name__, fields, declared or None)
    for field in dataclasses.fields(cls):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in fields:
            raise BadRequest(f"{cls.__name__}: field {field.name!r} is missing.")
    return dataclass_from_dict(cls, fields)
