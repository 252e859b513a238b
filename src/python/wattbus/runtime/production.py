"""A production as it is read from ``settings.py``: its items, their classes and settings."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import iop

from wattbus.errors import BadSettings, UnknownName

KINDS = ("service", "process", "operation")


@dataclass(frozen=True)
class ItemConfig:
    """One item of a production."""

    name: str
    kind: str  # service, process, operation
    component: type
    pool_size: int = 1
    enabled: bool = True
    category: str = ""
    comment: str = ""
    host_settings: dict[str, Any] = field(default_factory=dict)
    adapter_settings: dict[str, Any] = field(default_factory=dict)
    log_trace_events: bool = False

    @property
    def business_type(self) -> str:
        """Return the word of IRIS: BusinessService, BusinessProcess, BusinessOperation."""
        return f"Business{self.kind.capitalize()}"


@dataclass(frozen=True)
class ProductionConfig:
    """A production: a name and its items by name."""

    name: str
    items: dict[str, ItemConfig]
    source: str = ""

    def item(self, name: str) -> ItemConfig:
        """Return an item; an unknown name is refused with the nearest right one."""
        if name not in self.items:
            raise UnknownName("item", name, self.items)
        return self.items[name]


def load(settings_file: Path, name: str | None = None) -> ProductionConfig:
    """Read the production called ``name``, by default the first, from a ``settings.py``."""
    module = _import_settings(settings_file.absolute())
    productions = getattr(module, "PRODUCTIONS", None)
    if not isinstance(productions, list) or not productions:
        raise BadSettings(f"{settings_file} exports no PRODUCTIONS: end it with `PRODUCTIONS = [prod]`.")
    configs = {config.name: config for config in (_read(entry, settings_file) for entry in productions)}
    if name is None:
        return next(iter(configs.values()))
    if name not in configs:
        raise UnknownName("production", name, configs)
    return configs[name]


def from_production(production: iop.Production, source: str = "") -> ProductionConfig:
    """Read an ``iop.Production`` object."""
    items: dict[str, ItemConfig] = {}
    for ref in production._items:
        where = f"item {ref.name!r} of production {production.name!r}"
        component = ref.component_class
        if component is None:
            raise BadSettings(
                f"{where} names the class {ref.class_name!r}, which lives in IRIS: "
                "this release runs items whose class is Python."
            )
        items[ref.name] = ItemConfig(
            name=ref.name,
            kind=_kind(component, where),
            component=component,
            pool_size=_whole_number(ref.pool_size, f"PoolSize of {where}"),
            enabled=truth(ref.enabled, f"Enabled of {where}"),
            category=ref.category,
            comment=ref.comment,
            host_settings=dict(ref.host_settings),
            adapter_settings=dict(ref.adapter_settings),
            log_trace_events=truth(ref.log_trace_events, f"LogTraceEvents of {where}"),
        )
    return ProductionConfig(production.name, items, source)


def truth(value: Any, where: str) -> bool:
    """Read a boolean as IRIS writes it: true, 1, yes, on, or their opposites."""
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", ""):
        return False
    raise BadSettings(f"{where} is {value!r}: use true or false.")


def _read(entry: Any, settings_file: Path) -> ProductionConfig:
    if isinstance(entry, type) and issubclass(entry, iop.Production):
        entry = entry()
    if isinstance(entry, iop.Production):
        return from_production(entry, str(settings_file))
    raise BadSettings(
        f"{settings_file}: PRODUCTIONS holds a {type(entry).__name__}; this release reads iop.Production objects, "
        "`prod = Production(...)` and `PRODUCTIONS = [prod]`. Productions written as dictionaries come next."
    )


def _import_settings(file: Path) -> ModuleType:
    if not file.is_file():
        raise BadSettings(
            f"there is no {file}: name the settings file with --settings, or make one that exports PRODUCTIONS."
        )
    # Modules beside settings.py are imported flat, as IRIS does it: `from bo import MyOperation`.
    folder = str(file.parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        sys.modules.pop(file.stem, None)
        raise BadSettings(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _kind(component: type, where: str) -> str:
    for kind, base in zip(
        KINDS, (iop.BusinessService, iop.BusinessProcess, iop.BusinessOperation), strict=True
    ):
        if issubclass(component, base):
            return kind
    raise BadSettings(
        f"{where}: {component.__module__}.{component.__name__} is no BusinessService, BusinessProcess or "
        "BusinessOperation."
    )


def _whole_number(value: Any, where: str) -> int:
    try:
        return max(0, int(str(value).strip() or 1))
    except ValueError:
        raise BadSettings(f"{where} is {value!r}: a whole number is needed.") from None
