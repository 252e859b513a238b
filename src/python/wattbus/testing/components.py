"""The component of a double: a real iop component of the item's kind that hands every message to its double."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any, Protocol

import iop
from iop.messages.decorators import input_deserializer, output_serializer
from iop.messages.dispatch import create_dispatch

from wattbus.runtime.production import ItemConfig, ProductionConfig
from wattbus.runtime.types import MessageTypes

_BASES: dict[str, type] = {
    "service": iop.BusinessService,
    "process": iop.BusinessProcess,
    "operation": iop.BusinessOperation,
}
#: Settings of the host that stay with a double: how its failures are tried again, and whom they alert.
KEPT_SETTINGS = (
    "AlertGroups", "AlertOnError", "AlertRetryGracePeriod", "FailureTimeout", "InactivityTimeout", "QueueCountAlert",
    "QueueLimit", "QueueWaitAlert", "ReplyCodeActions", "Retry", "RetryInterval",
)  # fmt: skip
_FALLBACKS = ("on_message", "on_request")


class Answers(Protocol):
    """What takes a message in the item's stead."""

    def answer(self, message: Any) -> Any: ...


def with_stand_ins(production: ProductionConfig, stand_ins: Mapping[str, Answers]) -> ProductionConfig:
    """Return the production with other components for some of its items; a name that it does not have is added.

    What only IRIS can run is added as well. The message types stay those of the real components.
    """
    types = MessageTypes.of(production)
    known = tuple(cls for name in types.names() if (cls := types.registered(name)) is not None)
    items = dict(production.items)
    for name, by in stand_ins.items():
        items[name] = doubled(items[name], by) if name in items else added(name, by)
    skipped = {name: item for name, item in production.skipped.items() if name not in stand_ins}
    return replace(
        production, items=items, skipped=skipped, message_types=(*production.message_types, *known)
    )


def doubled(item: ItemConfig, by: Answers) -> ItemConfig:
    """Return the item with a component that hands its messages to ``by``."""
    kept = {name: value for name in KEPT_SETTINGS if (value := _host_setting(item, name)) is not None}
    return replace(
        item,
        component=component(item.name, item.kind, by, handled(item.component)),
        enabled=True,
        pool_size=max(1, item.pool_size),
        host_settings=kept,
        adapter=None,
        adapter_class_name="",
        adapter_settings={},
        schedule="",
    )


def added(name: str, by: Answers) -> ItemConfig:
    """Return an operation that the production does not have."""
    return ItemConfig(name, "operation", component(name, "operation", by, None))


def component(name: str, kind: str, by: Answers, takes: tuple[str, ...] | None) -> type:
    """Make the class; ``takes`` are the names of the message types that the item handles, None: all."""

    def take(_self: Any, request: Any) -> Any:
        return by.answer(request)

    members: dict[str, Any] = {"__module__": __name__, "__doc__": f"Stands for {name!r}."}
    if takes is not None:
        members["DISPATCH"] = [(type_name, "_take") for type_name in takes]
        members["_take"] = take
    else:
        members["on_message"] = take
    if kind == "operation":
        members["_dispatch_on_message"] = input_deserializer(output_serializer(take))
    elif kind == "process":
        # Two arguments: iop hands a process its host as well.
        members["_dispatch_on_request"] = input_deserializer(
            output_serializer(lambda _self, _host, request: by.answer(request))
        )
    else:
        members["on_process_input"] = lambda _self, _input=None: None
    return type(f"DoubleOf{''.join(filter(str.isalnum, name))}", (_BASES[kind],), members)


def handled(real: type | None) -> tuple[str, ...] | None:
    """Return the names of the message types that a component handles; None: whatever comes, or not known.

    Read from its functions alone: no instance is made and no property is asked.
    """
    if real is None or not issubclass(real, iop.BusinessOperation | iop.BusinessProcess):
        return None
    ours = [cls for cls in reversed(real.__mro__) if not cls.__module__.startswith(("iop.", "builtins"))]
    members = {
        name: value
        for cls in ours
        for name, value in vars(cls).items()
        if (isinstance(value, FunctionType) and not name.startswith("__")) or name == "DISPATCH"
    }
    if any(name in members for name in _FALLBACKS):
        return None
    base = iop.BusinessOperation if issubclass(real, iop.BusinessOperation) else iop.BusinessProcess
    probe: Any = object.__new__(type("Probe", (base,), members))
    create_dispatch(probe)
    return tuple(key for key, _ in probe.DISPATCH)


def _host_setting(item: ItemConfig, name: str) -> Any:
    given = item.host_settings.get(name)
    return given if given not in (None, "") else getattr(item.component, name, None)
