"""The handlers of a component class, looked at: which messages reach them, and whether they can answer."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import iop
from iop.messages.dispatch import get_handler_info
from pydantic import BaseModel

_MESSAGE_METHODS = ("on_message", "on_request")
#: What authors call the parameter of a handler.
_MESSAGE_PARAMETERS = frozenset({"request", "message", "msg", "req"})
#: Results that no message body can carry.
_NO_MESSAGES = (str, bytes, bytearray, int, float, complex, bool, list, dict, tuple, set, frozenset)
_ARRAY_PACKAGES = frozenset({"numpy", "pandas", "torch", "PIL", "polars", "pyarrow"})

Remark = tuple[str, str]  # level and text


def handler_findings(component: type, kind: str) -> list[Remark]:
    """Return what is wrong with the handlers of a component."""
    found = list(_about_init(component))
    if kind == "service":
        return found + list(_about_polling(component))
    methods = dict(_methods(component))
    handled: dict[str, list[str]] = {}
    for name, function in methods.items():
        key = getattr(function, "__iop_handler_message__", None) or _typed_key(component, name)
        if key is not None:
            handled.setdefault(key, []).append(name)
    for key, names in handled.items():
        if len(names) > 1:
            found.append(
                (
                    "warning",
                    f"{' and '.join(names)} both take {key}: only one is called, a @handler before the others and then "
                    "the last by name. Keep one.",
                )
            )
    takes_all = [name for name in _MESSAGE_METHODS if name in methods]
    listed = {name for names in handled.values() for name in names} | {
        name for _, name in vars(component).get("DISPATCH", ())
    }
    for name, function in methods.items():
        found += _about_annotation(component, name, function, name in listed, bool(listed or takes_all))
        if name in listed or name in takes_all:
            found += _about_result(name, function)
    if not listed and not takes_all:
        found.append(
            (
                "warning",
                f"{component.__name__} has no handler: every message to it is ignored. Write `def on_message(self, "
                "request)`, or a method with one parameter that is annotated with a message class.",
            )
        )
    return list(dict.fromkeys(found))


def _methods(component: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the public methods that the user wrote."""
    for name in dir(component):
        value = inspect.getattr_static(component, name)
        is_public_method = not name.startswith("_") and isinstance(value, FunctionType)
        if is_public_method and value.__module__.partition(".")[0] != "iop":
            yield name, value


def _typed_key(component: type, name: str) -> str | None:
    info = get_handler_info(object.__new__(component), name)
    return info[0] if info is not None else None


def _about_init(component: type) -> Iterator[Remark]:
    for cls in component.__mro__:
        if "__init__" in vars(cls) and cls is not object:
            yield (
                "warning",
                f"{cls.__name__} has an __init__, which is never called: move what it does to on_init, and give "
                "settings as class attributes.",
            )
            return


def _about_polling(component: type) -> Iterator[Remark]:
    if issubclass(component, iop.PollingBusinessService):
        own = {
            name for cls in component.__mro__ if not cls.__module__.startswith("iop") for name in vars(cls)
        }
        if not own & {"on_poll", "on_process_input"}:
            yield (
                "warning",
                f"{component.__name__} has no on_poll: nothing is done at each interval. Write it.",
            )


# -- what is taken -------------------------------------------------------------------------------------------------


def _about_annotation(
    component: type, name: str, function: FunctionType, is_handler: bool, has_handlers: bool
) -> Iterator[Remark]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if len(parameters) != 1 or parameters[0].annotation is inspect.Parameter.empty:
        return
    written = parameters[0].annotation
    meant = _resolved(component, function, written)
    shown = written if isinstance(written, str) else getattr(written, "__name__", str(written))
    if isinstance(meant, type) and _is_message(meant):
        yield from _about_message(name, meant)
        key = f"{meant.__module__}.{meant.__name__}"
        is_typed = (
            isinstance(written, str) and is_handler and not hasattr(function, "__iop_handler_message__")
        )
        if is_typed and _typed_key(component, name) != key:
            yield (
                "error",
                f"{name} is annotated with {shown!r} as text, so it waits for messages of that very name and {key} "
                "never reaches it: import the class itself, or take `from __future__ import annotations` out.",
            )
        return
    if is_handler and name not in _MESSAGE_METHODS:
        return
    if name not in _MESSAGE_METHODS and parameters[0].name not in _MESSAGE_PARAMETERS and has_handlers:
        return  # a helper with one argument
    if meant in (Any, object) or _is_native(meant):
        return
    level = "warning" if has_handlers else "error"
    why = "which is not known there" if meant is None and isinstance(written, str) else "which is no message"
    yield (
        level,
        f"{name} is annotated with {shown}, {why}: no message is handed to it for that. Annotate it with one message "
        "class, a Message that is a @dataclass or a PydanticMessage; no Optional, no union.",
    )


def _about_message(name: str, cls: type) -> Iterator[Remark]:
    if issubclass(cls, BaseModel):
        if dataclasses.is_dataclass(cls):
            yield (
                "error",
                f"{name} takes {cls.__name__}, a PydanticMessage with @dataclass: take the @dataclass out.",
            )
    elif issubclass(cls, iop.Message) and not dataclasses.is_dataclass(cls):
        yield (
            "error",
            f"{name} takes {cls.__name__}, a Message without @dataclass: decorate the class with @dataclass.",
        )


def _is_message(cls: type) -> bool:
    return issubclass(cls, iop.Message | iop.PersistentMessage | iop.PickleMessage | BaseModel)


def _is_native(meant: Any) -> bool:
    """Tell whether an annotation names a class of IRIS."""
    return str(getattr(meant, "__module__", "")).partition(".")[0] == "iris" or isinstance(meant, str)


def _resolved(component: type, function: FunctionType, annotation: Any) -> Any:
    """Return what an annotation names: None where nothing is of that name, a text where it is a class of IRIS."""
    if not isinstance(annotation, str):
        return annotation
    text = annotation.strip().strip("'\"")
    first, *rest = text.split(".")
    if not all(part.isidentifier() for part in (first, *rest)):
        return typing.Union  # Optional[X], X | None: known, and no one class
    scope = {**function.__globals__, **vars(component)}
    if first not in scope:
        builtin = getattr(__import__("builtins"), first, None)
        return builtin if not rest else (text if first == "iris" else None)
    value = scope[first]
    for part in rest:
        if first == "iris":
            return text
        value = getattr(value, part, None)
    return value


# -- what is answered ----------------------------------------------------------------------------------------------


def _about_result(name: str, function: FunctionType) -> Iterator[Remark]:
    annotation = function.__annotations__.get("return")
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(function).get("return")
        except Exception:  # noqa: BLE001 - a user's annotation may be anything
            return
    if annotation is None or _can_be_sent(annotation):
        return
    shown = getattr(annotation, "__name__", str(annotation))
    yield (
        "error",
        f"{name} returns {shown}, which is no message: return a message whose field holds it, None, or an empty "
        "string.",
    )


def _can_be_sent(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        return any(_can_be_sent(part) for part in typing.get_args(annotation) if part is not type(None))
    if not isinstance(origin, type) or issubclass(origin, collections.abc.Generator):
        return True
    if origin.__module__.partition(".")[0] in _ARRAY_PACKAGES:
        return False
    return not issubclass(origin, _NO_MESSAGES) or issubclass(origin, _SENDABLE)


_SENDABLE = (iop.Message, iop.PydanticMessage)
