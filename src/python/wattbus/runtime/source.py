"""The source of a component, read without running it: what it sends, to whom, and whether it waits for the answer."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any

import iop

from wattbus.runtime.forms import FREE_TEXT, free_lines

_WAITS = {
    "send_request_sync": True,
    "send_multi_request_sync": True,
    "send_request_async_ng": True,
    "send_generator_request": True,
    "send_request_async": False,
}
#: The time-out's place among the arguments.
_TIMEOUT_AT = {
    "send_multi_request_sync": 1,
    "send_request_sync": 2,
    "send_request_async_ng": 2,
    "send_generator_request": 2,
}


@dataclass(frozen=True)
class Send:
    """One place in a component that sends: to an item by its name, or to the one that an attribute names."""

    target: str  # "" where an attribute names it
    attribute: str  # "" where the name stands there
    waits: bool  # for the answer, and for ever
    method: str
    line: int


def sends(component: type) -> list[Send]:
    """Return what the methods of a component send, as far as its source shows it."""
    found: list[Send] = []
    for cls in component.__mro__:
        node = class_node(cls)
        if node is not None:
            found += [send for method in _methods(node) for send in _sends_of(method)]
    return list(dict.fromkeys(found))


def targets(send: Send, component: type, values: Mapping[str, str]) -> list[str]:
    """Return the items that a send goes to; ``values`` are the settings that the item gives."""
    if send.target:
        return [send.target]
    if values.get(send.attribute):
        return _names(values[send.attribute])
    default = getattr(component, send.attribute, None)
    default = getattr(default, "default", default)  # a target() or a setting()
    default = getattr(default, "name", default)  # a component as the default of target()
    if isinstance(default, str) and default:
        return _names(default)
    return list(dict.fromkeys(name for text in _assigned(component, send.attribute) for name in _names(text)))


def settings_of(component: type, host_settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that an item gives its component: those of ``%settings``, and over them its own."""
    free = free_lines(host_settings.get(FREE_TEXT))
    own = {
        name: str(value)
        for name, value in host_settings.items()
        if name != FREE_TEXT and value not in (None, "")
    }
    defaults = {
        name: str(getattr(value.default, "name", value.default))
        for cls in reversed(component.__mro__)
        for name, value in vars(cls).items()
        if isinstance(value, iop.TargetSetting) and value.default
    }
    return {**defaults, **free, **own}


def class_node(cls: type) -> ast.ClassDef | None:
    """Return the definition of a class in its source, or None where that is not at hand or not the user's."""
    if cls.__module__.partition(".")[0] in ("builtins", "iop", "wattbus"):
        return None
    functions = [value for value in map(_function, vars(cls).values()) if value is not None]
    own = [
        function
        for function in functions
        if function.__qualname__ == f"{cls.__qualname__}.{function.__name__}"
    ]
    if not own:
        return None
    file, first = own[0].__code__.co_filename, own[0].__code__.co_firstlineno
    linecache.checkcache(file)
    tree = _parsed("".join(linecache.getlines(file)))
    if tree is None:
        return None
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ClassDef)
            and node.name == cls.__name__
            and node.lineno <= first <= (node.end_lineno or 0)
        ):
            return node
    return None


def _function(value: Any) -> FunctionType | None:
    value = inspect.unwrap(value.__func__ if isinstance(value, staticmethod | classmethod) else value)
    return value if isinstance(value, FunctionType) else None


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except SyntaxError:  # edited since it was imported
        return None


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child


def _sends_of(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Send]:
    local: dict[str, ast.expr] = {}
    for node in ast.walk(method):
        if isinstance(node, ast.Assign):
            local.update({name.id: node.value for name in node.targets if isinstance(name, ast.Name)})
    for node in ast.walk(method):
        if (
            not isinstance(node, ast.Call)
            or not isinstance(node.func, ast.Attribute)
            or node.func.attr not in _WAITS
        ):
            continue
        name = node.func.attr
        waits = _WAITS[name] and not _has_timeout(node, name)
        for place in _places(node, name):
            target, attribute = _named(place, local)
            if target or attribute:
                yield Send(target, attribute, waits, method.name, node.lineno)


def _places(call: ast.Call, name: str) -> Iterator[ast.expr]:
    """Yield the expressions that name the targets of a call."""
    given = {word.arg: word.value for word in call.keywords}
    first = call.args[0] if call.args else given.get("target", given.get("target_request"))
    if first is None:
        return
    if name != "send_multi_request_sync":
        yield first
        return
    pairs = first.elts if isinstance(first, ast.List | ast.Tuple) else [getattr(first, "elt", None)]
    for pair in pairs:
        if isinstance(pair, ast.Tuple) and pair.elts:
            yield pair.elts[0]


def _has_timeout(call: ast.Call, name: str) -> bool:
    place = _TIMEOUT_AT[name] if name in _TIMEOUT_AT else len(call.args)
    given = {word.arg: word.value for word in call.keywords}
    value = call.args[place] if len(call.args) > place else given.get("timeout")
    return value is not None and ast.unparse(value) != "-1"


def _named(place: ast.expr, local: Mapping[str, ast.expr], depth: int = 3) -> tuple[str, str]:
    """Return the item that an expression names, or the attribute of ``self`` that does."""
    if isinstance(place, ast.Constant) and isinstance(place.value, str):
        return place.value, ""
    if isinstance(place, ast.Attribute) and isinstance(place.value, ast.Name) and place.value.id == "self":
        return "", place.attr
    if isinstance(place, ast.Name) and place.id in local and depth:
        return _named(local[place.id], local, depth - 1)
    return "", ""


def _assigned(component: type, attribute: str) -> Iterator[str]:
    """Yield the texts that methods of the component give to an attribute of ``self``."""
    for cls in component.__mro__:
        node = class_node(cls)
        for child in ast.walk(node) if node is not None else ():
            if isinstance(child, ast.Assign) and isinstance(child.value, ast.Constant):
                named = [ast.unparse(place) for place in child.targets]
                if f"self.{attribute}" in named and isinstance(child.value.value, str) and child.value.value:
                    yield child.value.value


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
