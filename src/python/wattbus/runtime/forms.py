"""The forms in which a production is written, read into one: ``iop.Production`` objects and classes, and dictionaries.

A dictionary has the keys of a production that IRIS exports: ``{"Name": {"@Name", "ActorPoolSize", "Setting", "Item":
[{"@Name", "@ClassName", "@PoolSize", "Setting": [{"@Target", "@Name", "#text"}]}]}}``; ``Item`` and ``Setting`` may
be a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import iop

from wattbus.errors import BadSettings

FREE_TEXT = "%settings"
_ITEM_KEYS = frozenset(
    {
        "@Name", "@ClassName", "@Category", "@PoolSize", "@Enabled", "@Foreground", "@Comment", "@LogTraceEvents",
        "@Schedule", "@AdapterClassName", "@Adapter", "@Kind", "@DisplayName", "Setting",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """One item as it is written; its values are not looked at yet."""

    name: str
    class_name: str
    component: type | None = None
    described: Mapping[str, Any] | None = None  # {"path", "module", "class"} in place of a class
    adapter: type | None = None
    adapter_class_name: str = ""
    pool_size: Any = 1
    enabled: Any = True
    category: str = ""
    comment: str = ""
    foreground: Any = False
    log_trace_events: Any = False
    schedule: str = ""
    host_settings: dict[str, Any] = field(default_factory=dict)
    adapter_settings: dict[str, Any] = field(default_factory=dict)
    other_settings: tuple[Mapping[str, Any], ...] = ()
    unknown_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProductionDraft:
    """One production as it is written."""

    name: str
    items: tuple[Draft, ...]
    definition: dict[str, Any]
    title: str = ""  # its "@Name", where that differs
    description: str = ""
    actor_pool_size: Any = 2
    testing_enabled: bool = False
    log_general_trace_events: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    persistent: dict[str, type] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()  # level and sentence


def as_draft(entry: Any, where: str = "") -> ProductionDraft:
    """Read an entry of ``PRODUCTIONS``; ``where`` begins the sentence of an error."""
    if isinstance(entry, type) and issubclass(entry, iop.Production):
        try:
            entry = entry()
        except (TypeError, ValueError) as error:
            raise BadSettings(f"{where}production {entry.__name__}: {error}.") from error
    if isinstance(entry, iop.Production):
        return _of_object(entry)
    if isinstance(entry, Mapping) and entry:
        return _of_dictionary(entry, where)
    raise BadSettings(
        f"{where}PRODUCTIONS holds {'an empty ' if entry == {} else 'a '}{type(entry).__name__}: it is a list of "
        'iop.Production objects or classes, or of dictionaries {name: {"Item": [...]}}.'
    )


# -- objects -------------------------------------------------------------------------------------------------------


def _of_object(production: iop.Production) -> ProductionDraft:
    settings = {
        "ShutdownTimeout": production.shutdown_timeout,
        "UpdateTimeout": production.update_timeout,
        "AlertNotificationManager": production.alert_notification_manager,
        "AlertNotificationOperation": production.alert_notification_operation,
        "AlertNotificationRecipients": production.alert_notification_recipients,
        "AlertActionWindow": production.alert_action_window,
    }
    return ProductionDraft(
        production.name,
        tuple(_of_component(ref) for ref in production.items),
        production.to_dict(),
        description=str(production.description),
        actor_pool_size=production.actor_pool_size,
        testing_enabled=_is_on(production.testing_enabled),
        log_general_trace_events=_is_on(production.log_general_trace_events),
        settings={name: value for name, value in settings.items() if value not in (None, "")},
        persistent={row.iris_classname: row.message_class for row in production.message_registrations()},
    )


def _of_component(ref: Any) -> Draft:
    return Draft(
        ref.name,
        str(ref.class_name),
        component=ref.component_class,
        adapter=ref.adapter_class,
        adapter_class_name=ref.adapter_class_name or "",
        pool_size=ref.pool_size,
        enabled=ref.enabled,
        category=str(ref.category or ""),
        comment=str(ref.comment or ""),
        foreground=ref.foreground,
        log_trace_events=ref.log_trace_events,
        schedule=str(ref.schedule or ""),
        host_settings=_settings(ref.host_settings),
        adapter_settings=_settings(ref.adapter_settings),
        other_settings=tuple(ref.other_settings),
    )


# -- dictionaries --------------------------------------------------------------------------------------------------


def _of_dictionary(entry: Mapping[str, Any], where: str) -> ProductionDraft:
    key, body = next(iter(entry.items()))
    if not isinstance(body, Mapping):
        raise BadSettings(
            f'{where}production {key!r} is a {type(body).__name__}: write {{{str(key)!r}: {{"Item": [...]}}}}.'
        )
    title = str(body.get("@Name") or "")
    # "Production" is what `iop --export` writes in place of the name.
    name = title or str(key) if key == "Production" else str(key)
    remarks = []
    if title and title != name:
        remarks.append(
            (
                "warning",
                f"{where}production {name!r} has the @Name {title!r}: IRIS refuses that, write {name!r} twice.",
            )
        )
    if len(entry) > 1:
        others = ", ".join(map(repr, list(entry)[1:]))
        remarks.append(
            ("warning", f"{where}{others} stand in the dictionary of {name!r} and are ignored, as on IRIS: give each "
             "production a dictionary of its own in PRODUCTIONS.")
        )  # fmt: skip
    rows = [_item(row, f"{where}production {name!r}") for row in _rows(body.get("Item"))]
    settings = {str(row.get("@Name")): row.get("#text", "") for row in _rows(body.get("Setting"))}
    return ProductionDraft(
        name,
        tuple(rows),
        _definition(name, body, rows),
        title=title,
        description=str(body.get("Description") or ""),
        actor_pool_size=body.get("ActorPoolSize") or 2,
        testing_enabled=_is_on(body.get("@TestingEnabled")),
        log_general_trace_events=_is_on(body.get("@LogGeneralTraceEvents")),
        settings=settings,
        remarks=tuple(remarks),
    )


def _item(row: Any, where: str) -> Draft:
    if not isinstance(row, Mapping):
        raise BadSettings(
            f'{where} has an item that is a {type(row).__name__}: write {{"@Name", "@ClassName"}}.'
        )
    reference = row.get("@ClassName")
    name = str(
        row.get("@Name") or (reference if isinstance(reference, str) else getattr(reference, "__name__", ""))
    )
    if not name:
        raise BadSettings(f'{where} has an item without a name: give it "@Name".')
    host: dict[str, Any] = {}
    adapter: dict[str, Any] = {}
    other = []
    for setting in _rows(row.get("Setting")):
        if not isinstance(setting, Mapping) or not setting.get("@Name"):
            raise BadSettings(
                f'{where}: item {name!r} has the setting {setting!r}: write {{"@Target", "@Name", "#text"}}.'
            )
        target = str(setting.get("@Target") or "Host")
        place = {"Host": host, "Adapter": adapter}.get(target)
        if place is None:
            other.append(setting)
        else:
            place[str(setting["@Name"])] = setting.get("#text", "")
    adapter_class = row.get("@AdapterClassName") or row.get("@Adapter") or ""
    return Draft(
        name,
        # iop registers a class that stands here under the name of its item.
        name if isinstance(reference, type | Mapping) else str(reference or ""),
        component=reference if isinstance(reference, type) else None,
        described=reference if isinstance(reference, Mapping) else None,
        adapter=adapter_class if isinstance(adapter_class, type) else None,
        adapter_class_name=adapter_class if isinstance(adapter_class, str) else "",
        pool_size=_given(row, "@PoolSize", 1),
        enabled=_given(row, "@Enabled", True),
        category=str(row.get("@Category") or ""),
        comment=str(row.get("@Comment") or ""),
        foreground=_given(row, "@Foreground", False),
        log_trace_events=_given(row, "@LogTraceEvents", False),
        schedule=str(row.get("@Schedule") or ""),
        host_settings=_settings(host),
        adapter_settings=_settings(adapter),
        other_settings=tuple(other),
        unknown_keys=tuple(str(key) for key in row if key not in _ITEM_KEYS),
    )


def _given(row: Mapping[str, Any], key: str, default: Any) -> Any:
    value = row.get(key)
    return default if value is None or value == "" else value


def _definition(name: str, body: Mapping[str, Any], items: Iterable[Draft]) -> dict[str, Any]:
    """Return iop's dictionary of the production, with class names where classes stood."""
    rest = {key: value for key, value in body.items() if key != "Item"}
    return {
        name: {
            **rest,
            "@Name": name,
            "Item": [_item_definition(item, row) for item, row in _pairs(items, body)],
        }
    }


def _pairs(items: Iterable[Draft], body: Mapping[str, Any]) -> Iterable[tuple[Draft, Mapping[str, Any]]]:
    return zip(items, _rows(body.get("Item")), strict=True)


def _item_definition(item: Draft, row: Mapping[str, Any]) -> dict[str, Any]:
    settings = [
        {"@Target": target, "@Name": name, "#text": text_of(value)}
        for target, values in (("Host", item.host_settings), ("Adapter", item.adapter_settings))
        for name, value in values.items()
    ]
    kept = {key: value for key, value in row.items() if key not in ("Setting", "@ClassName", "@Name")}
    whole = {"@Name": item.name, **kept, "@ClassName": item.class_name}
    return (
        {**whole, "Setting": [*settings, *map(dict, item.other_settings)]}
        if settings or item.other_settings
        else whole
    )


# -- values --------------------------------------------------------------------------------------------------------


def _settings(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return settings by name; ``%settings`` written as a dictionary becomes its lines."""
    named = {str(getattr(name, "name", "") or name): value for name, value in values.items()}
    free = named.get(FREE_TEXT)
    if isinstance(free, Mapping):
        named[FREE_TEXT] = "\n".join(f"{name}={text_of(value)}" for name, value in free.items())
    elif isinstance(free, list | tuple):
        named[FREE_TEXT] = "\n".join(map(str, free))
    return named


def free_lines(text: Any) -> dict[str, str]:
    """Read the lines of ``%settings``; a line without ``=`` names an attribute that becomes empty, as on IRIS.

    >>> free_lines("task=ner\\r\\nurl=https://host/a?b=c")
    {'task': 'ner', 'url': 'https://host/a?b=c'}
    """
    pairs = (line.partition("=") for line in str(text or "").replace("\r", "").split("\n") if line.strip())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def text_of(value: Any) -> str:
    """Return a value as IRIS writes it in a setting."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_on(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes", "on")


def _rows(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else [value]
