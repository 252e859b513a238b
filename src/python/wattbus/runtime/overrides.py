"""Overrides: what was changed on a running wattbus, laid over what ``settings.py`` says."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from wattbus.errors import BadSettings
from wattbus.runtime import definition
from wattbus.runtime.definition import Flat
from wattbus.runtime.production import ItemConfig, ProductionConfig, truth
from wattbus.runtime.reading import kind_of
from wattbus.runtime.registrations import Registrations
from wattbus.store import item_settings

#: Under this production name the store keeps what belongs to none: the default production, the bound classes.
NOWHERE = ""
_BINDING = "Binding"


@dataclasses.dataclass(frozen=True)
class Binding:
    """A Python class under the name that it has on IRIS."""

    iris_class: str
    module: str
    classname: str
    folder: str


def overridden(production: ProductionConfig, engine: Engine) -> ProductionConfig:
    """Return the production with the stored changes over it."""
    stored = item_settings.read(engine, production.name)
    if not stored:
        return production
    base = definition.flat(production.definition)
    return configured(production, definition.overlaid(base, stored), bindings(engine))


def configured(base: ProductionConfig, values: Flat, bound: Mapping[str, Binding]) -> ProductionConfig:
    """Return the production that a definition describes; classes are those of ``base`` and the bound ones."""
    before = definition.flat(base.definition)
    items: dict[str, ItemConfig] = {}
    for name in definition.items(values):
        class_name = values.get((name, "@ClassName"), "")
        if name in base.skipped and base.skipped[name].class_name == class_name:
            continue
        known = base.items.get(name)
        if known is None or before.get((name, "@ClassName"), "") != class_name:
            known = _item_of_class(base, name, class_name, bound)
        items[name] = _changed_item(known, name, before, values)
    skipped = {name: item for name, item in base.skipped.items() if (name, definition.NAME) in values}
    return dataclasses.replace(base, items=items, skipped=skipped, definition=definition.nested(values))


def _item_of_class(
    base: ProductionConfig, name: str, class_name: str, bound: Mapping[str, Binding]
) -> ItemConfig:
    """Return an item of a class that another item has, that settings.py knows, or that was bound."""
    where = f"item {name!r}"
    component = next(
        (item.component for item in base.items.values() if item.class_name == class_name), None
    ) or _imported(base, class_name, bound)
    if component is None:
        raise BadSettings(
            f"{where} names the class {class_name!r}, which neither settings.py nor a binding has: declare the item in "
            "settings.py."
        )
    return ItemConfig(name, kind_of(component, where), component, class_name=class_name, project=base.project)


def _changed_item(known: ItemConfig, name: str, before: Flat, values: Flat) -> ItemConfig:
    """Return the item with what differs from its definition before; the rest stays as it was read."""
    where = f"item {name!r}"
    read: dict[str, tuple[str, Callable[[str], Any]]] = {
        "@PoolSize": ("pool_size", lambda text: _whole_number(text, f"PoolSize of {where}")),
        "@Enabled": ("enabled", lambda text: truth(text or "true", f"Enabled of {where}")),
        "@Foreground": ("foreground", lambda text: truth(text, f"Foreground of {where}")),
        "@LogTraceEvents": ("log_trace_events", lambda text: truth(text, f"LogTraceEvents of {where}")),
        "@Category": ("category", str),
        "@Comment": ("comment", str),
        "@Schedule": ("schedule", str),
    }
    changed = {
        field: reader(values.get((name, key), ""))
        for key, (field, reader) in read.items()
        if values.get((name, key), "") != before.get((name, key), "")
    }
    return dataclasses.replace(
        known,
        name=name,
        host_settings=_settings(known.host_settings, definition.settings_of(values, name, "Host")),
        adapter_settings=_settings(known.adapter_settings, definition.settings_of(values, name, "Adapter")),
        **changed,
    )


def _settings(known: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the given settings; one that says the same as before keeps the type that settings.py gave it."""
    return {
        name: known[name] if name in known and definition.text(known[name]) == value else value
        for name, value in given.items()
    }


def _whole_number(text: str, where: str) -> int:
    try:
        return max(0, int(text or "1"))
    except ValueError:
        raise BadSettings(f"{where} is {text!r}: a whole number is needed.") from None


# -- classes that were bound from outside --------------------------------------------------------------------------


def bindings(engine: Engine) -> dict[str, Binding]:
    """Return the bound classes by their name on IRIS."""
    stored = item_settings.read(engine, NOWHERE)
    found = (Binding(**json.loads(value)) for (_, name), value in stored.items() if name == _BINDING)
    return {binding.iris_class: binding for binding in found}


def bind(engine: Engine, binding: Binding) -> None:
    """Make a Python class known, so that an item can be added that settings.py does not have."""
    value = json.dumps(dataclasses.asdict(binding))
    item_settings.put(engine, NOWHERE, binding.iris_class, _BINDING, value)


def unbind(engine: Engine, iris_class: str) -> None:
    """Forget a bound class."""
    item_settings.put(engine, NOWHERE, iris_class, _BINDING, None)


def _imported(base: ProductionConfig, class_name: str, bound: Mapping[str, Binding]) -> type | None:
    """Import the class that has this name on IRIS, from the project or from where it was bound."""
    project = base.project
    binding = bound.get(class_name)
    if project is not None and (
        binding is None or Path(binding.folder).resolve() == project.folder.resolve()
    ):
        classes = vars(project.settings).get("CLASSES")
        return Registrations(project, classes).resolve(class_name)
    if binding is None:
        return None
    file = Path(binding.folder, *binding.module.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(binding.module, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise BadSettings(f"there is no {file}, which {class_name!r} was bound from: bind it again.")
    module = sys.modules[binding.module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[binding.module]
        raise BadSettings(f"{file} cannot be imported: {type(error).__name__}: {error}. Mend it.") from error
    found = getattr(module, binding.classname, None)
    if not isinstance(found, type):
        raise BadSettings(f"{file} has no class {binding.classname!r}, which {class_name!r} was bound to.")
    return found
