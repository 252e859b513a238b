"""Settings of an item as attributes of its component, in the order that IRIS applies them.

First the free text ``%settings`` (``key=value`` a line, always strings, unknown keys accepted), then the declared
settings where they are not empty; so a declared default beats a ``%settings`` line of the same name. That is what
IRIS does (``IOP.Common``, SetPropertyValues); here it is also a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import iop

from wattbus.errors import BadSettings, nearest
from wattbus.runtime.forms import FREE_TEXT, free_lines
from wattbus.runtime.production import ItemConfig, truth

T = TypeVar("T", bool, int, float, str)

#: Settings that belong to the host and not to the Python class.
HOST_SETTINGS = frozenset(
    {
        FREE_TEXT, "%classpaths", "%classname", "%module", "%enable", "%timeout", "%port", "%traceback", "%Venv",
        "AlertGroups", "AlertOnError", "AlertRetryGracePeriod", "ArchiveIO", "CallInterval", "FailureTimeout",
        "InactivityTimeout", "QueueCountAlert", "QueueWaitAlert", "ReplyCodeActions", "Retry", "RetryInterval",
        "Schedule", "SendSuperSession", "StayConnected", "ThrottleDelay",
        "BatchSize", "BatchWaitMs", "Isolated", "KeepaliveInterval", "MemoryLimit", "QueueLimit", "TimeLimit",
    }
)  # fmt: skip


def host_setting(item: ItemConfig, name: str, default: T) -> T:
    """Return a setting of the host as the type of ``default``: of the item, or of its class, or the default."""
    value = item.host_settings.get(name)
    if value in (None, ""):
        value = getattr(item.component, name, None)
        if isinstance(value, iop.Setting):
            value = value.default if value.has_default else None
    if value in (None, ""):
        return default
    where = f"setting {name!r} of item {item.name!r}"
    try:
        if isinstance(default, bool):
            return truth(value, where)
        if isinstance(default, int | float):
            return type(default)(str(value).strip())
    except ValueError:
        raise BadSettings(f"{where} is {value!r}: a number is needed.") from None
    return str(value)


def apply(component: Any, item: ItemConfig, warn: Callable[[str], None]) -> None:
    """Set the attributes of ``component`` from the settings of ``item``."""
    _apply(component, item.host_settings, f"item {item.name!r}", warn)


def apply_to_adapter(adapter: Any, item: ItemConfig, warn: Callable[[str], None]) -> None:
    """Set the attributes of the adapter of ``item`` from the settings whose target is the adapter."""
    _apply(adapter, item.adapter_settings, f"the adapter of item {item.name!r}", warn)


def _apply(component: Any, given_settings: dict[str, Any], where: str, warn: Callable[[str], None]) -> None:
    declared = {row[0]: row for row in type(component)._get_properties()}
    free = free_lines(given_settings.get(FREE_TEXT))
    for name, text in free.items():
        _set(component, name, text, where)
    for name, row in declared.items():
        given = given_settings.get(name)
        value = row[2] if given in (None, "") else given
        if value in (None, ""):
            continue
        if name in free and str(value) != free[name]:
            warn(
                f"setting {name!r}: the declared value {value!r} beats the %settings line {free[name]!r}, as on IRIS; "
                "give it as a setting of its own."
            )
        _set(component, name, _coerced(value, str(row[1]), f"setting {name!r} of {where}"), where)
    for name in given_settings:
        if name not in declared and name not in HOST_SETTINGS and not name.startswith("%"):
            close = nearest(name, declared)
            hint = f": did you mean {close!r}?" if close else "; put free keys in %settings."
            warn(
                f"setting {name!r} is not declared by {type(component).__name__} and is ignored, as on IRIS{hint}"
            )


def _set(component: Any, name: str, value: Any, where: str) -> None:
    try:
        setattr(component, name, value)
    except AttributeError as error:
        raise BadSettings(f"setting {name!r} of {where} cannot be set: {error}.") from error


def _coerced(value: Any, data_type: str, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        if data_type == "Integer":
            return int(value)
        if data_type == "Numeric":
            return float(value)
    except ValueError:
        raise BadSettings(f"{where} is {value!r}: a number is needed.") from None
    return truth(value, where) if data_type == "Boolean" else value
