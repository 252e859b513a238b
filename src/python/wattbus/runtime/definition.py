"""The definition of a production as iop writes it, as flat text values, so that two can be compared and laid over.

iop's dictionary of a production is nested as its XML is; here each value has a key of item and name: ``("Echo",
"@PoolSize")``, ``("Echo", "Host.prefix")``, and ``("", "Description")`` for the production itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from wattbus.errors import BadRequest, UnknownName

#: An item (the production itself is "") and the name of a value.
Key = tuple[str, str]
Flat = dict[Key, str]

NAME = "@Name"
_PRODUCTION_SETTING = "Setting."
_FIELDS = {
    "class_name": "@ClassName",
    "category": "@Category",
    "pool_size": "@PoolSize",
    "enabled": "@Enabled",
    "foreground": "@Foreground",
    "comment": "@Comment",
    "log_trace_events": "@LogTraceEvents",
    "schedule": "@Schedule",
}
_PRODUCTION_FIELDS = {
    "testing_enabled": "@TestingEnabled",
    "log_general_trace_events": "@LogGeneralTraceEvents",
    "description": "Description",
    "actor_pool_size": "ActorPoolSize",
    "shutdown_timeout": "Setting.ShutdownTimeout",
    "update_timeout": "Setting.UpdateTimeout",
    "alert_notification_manager": "Setting.AlertNotificationManager",
    "alert_notification_operation": "Setting.AlertNotificationOperation",
    "alert_notification_recipients": "Setting.AlertNotificationRecipients",
    "alert_action_window": "Setting.AlertActionWindow",
}


def flat(definition: Mapping[str, Any]) -> Flat:
    """Flatten iop's dictionary of one production, ``{name: {...}}`` or ``{"Production": {...}}``."""
    ((name, body),) = definition.items()
    values: Flat = {("", NAME): str(body.get(NAME) or name)}
    for key, value in body.items():
        if key == "Setting":
            values |= {("", _PRODUCTION_SETTING + row[NAME]): text(row.get("#text")) for row in _rows(value)}
        elif key not in (NAME, "Item"):
            values["", key] = text(value)
    for item in _rows(body.get("Item")):
        values |= _flat_item(item)
    return values


def _flat_item(item: Mapping[str, Any]) -> Flat:
    name = str(item[NAME])
    values: Flat = {(name, NAME): name}
    values |= {(name, key): text(value) for key, value in item.items() if key not in (NAME, "Setting")}
    for row in _rows(item.get("Setting")):
        values[name, f"{row.get('@Target') or 'Host'}.{row[NAME]}"] = text(row.get("#text"))
    return values


def nested(values: Mapping[Key, str]) -> dict[str, Any]:
    """Return flat values as iop's dictionary of a production."""
    name = values["", NAME]
    body: dict[str, Any] = {NAME: name}
    settings = [
        {NAME: key.removeprefix(_PRODUCTION_SETTING), "#text": value}
        for (item, key), value in values.items()
        if item == "" and key.startswith(_PRODUCTION_SETTING)
    ]
    for (item, key), value in values.items():
        if item == "" and not key.startswith(_PRODUCTION_SETTING):
            body[key] = value
    if settings:
        body["Setting"] = settings
    items = [_nested_item(values, item) for item, key in values if item and key == NAME]
    if items:
        body["Item"] = items
    return {name: body}


def _nested_item(values: Mapping[Key, str], item: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    settings = []
    for (owner, key), value in values.items():
        if owner != item:
            continue
        if key.startswith("@"):
            body[key] = value
        else:
            target, _, name = key.partition(".")
            settings.append({"@Target": target, NAME: name, "#text": value})
    if settings:
        body["Setting"] = settings
    return body


def items(values: Mapping[Key, str]) -> list[str]:
    """Return the names of the items, in their order."""
    return [item for item, key in values if item and key == NAME]


def settings_of(values: Mapping[Key, str], item: str, target: str) -> dict[str, str]:
    """Return the settings of an item that belong to ``Host`` or ``Adapter``."""
    start = f"{target}."
    return {
        key.removeprefix(start): value
        for (owner, key), value in values.items()
        if owner == item and key.startswith(start)
    }


# -- what lies over a definition -----------------------------------------------------------------------------------


def changes(base: Mapping[Key, str], wanted: Mapping[Key, str]) -> dict[Key, str]:
    """Return what makes ``wanted`` of ``base``, each value as JSON; null takes a value away."""
    made = {key: json.dumps(value) for key, value in wanted.items() if base.get(key) != value}
    return made | {key: json.dumps(None) for key in base if key not in wanted}


def overlaid(base: Mapping[Key, str], stored: Mapping[Key, str]) -> Flat:
    """Return ``base`` with stored changes over it; an item that lost its name is gone."""
    values = dict(base)
    for key, written in stored.items():
        value = json.loads(written)
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    there = {"", *items(values)}
    return {key: value for key, value in values.items() if key[0] in there}


def apply(values: Flat, operation: Mapping[str, Any]) -> None:
    """Carry out one operation of a change plan of iop, as ApplyProductionPlan of ``IOP.Utils`` does."""
    kind, item, after = (
        str(operation.get("op_type")),
        str(operation.get("item") or ""),
        operation.get("after"),
    )
    if kind == "add_item":
        _add_item(values, item, after)
    elif kind == "delete_item":
        for key in [key for key in values if key[0] == item and item]:
            del values[key]
    elif kind in ("set_item_field", "replace_item_class"):
        values[_known(values, item), _named(_FIELDS, operation.get("field"))] = text(after)
    elif kind == "set_production_field":
        values["", _named(_PRODUCTION_FIELDS, operation.get("field"))] = text(after)
    elif kind == "set_setting" and operation.get("target") == "Other":
        _replace_other(values, _known(values, item), after)
    elif kind in ("set_setting", "set_route_setting"):
        values[_known(values, item), f"{operation.get('target')}.{operation.get('setting')}"] = text(after)
    elif kind in ("remove_setting", "remove_route"):
        # Gone already, perhaps with its whole item: what the plan wants is the case.
        values.pop((item, f"{operation.get('target')}.{operation.get('setting')}"), None)
    else:
        raise BadRequest(f"the plan has an operation {kind!r}, which is not known: make the plan again.")


def _add_item(values: Flat, item: str, after: Any) -> None:
    if not item or not isinstance(after, Mapping):
        raise BadRequest("the plan adds an item without a name or without its fields: make the plan again.")
    if (item, NAME) in values:
        raise BadRequest(f"the production already has an item {item!r}.")
    values[item, NAME] = item
    for field, key in _FIELDS.items():
        values[item, key] = text(after.get(field))
    for target, field in (("Host", "host_settings"), ("Adapter", "adapter_settings")):
        for name, value in (after.get(field) or {}).items():
            values[item, f"{target}.{name}"] = text(value)
    _replace_other(values, item, after.get("other_settings"))


def _replace_other(values: Flat, item: str, rows: Any) -> None:
    for key in [
        key for key in values if key[0] == item and not key[1].startswith(("@", "Host.", "Adapter."))
    ]:
        del values[key]
    for row in _rows(rows):
        values[item, f"{row.get('@Target') or 'Host'}.{row[NAME]}"] = text(row.get("#text"))


def _known(values: Flat, item: str) -> str:
    if (item, NAME) not in values:
        raise UnknownName("item", item, items(values))
    return item


def _named(fields: Mapping[str, str], field: Any) -> str:
    if field not in fields:
        raise UnknownName("field of the plan", field, fields)
    return fields[field]


def _rows(value: Any) -> Iterable[Mapping[str, Any]]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, list) else (value,)


def text(value: Any) -> str:
    """Return a value as iop writes it in a definition."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # The targets of a route, several of them: IRIS writes them with commas.
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
