"""How the items of a running production stand: their states, pools and queues, and what was changed on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wattbus.runtime import definition
from wattbus.runtime.item_fields import redacted
from wattbus.runtime.production import ItemConfig, ProductionConfig
from wattbus.runtime.worker import Pool
from wattbus.secrets import Vault

NEEDS_IRIS = "Needs IRIS"
DISABLED = "Disabled"
_NO_SECRETS = Vault(None)  # masks what has the shape of a token


@dataclass(frozen=True)
class ItemStatus:
    """How an item stands."""

    name: str
    kind: str
    component: str
    state: str  # Starting, Running, Stopping, Stopped, Error, Disabled, Needs IRIS
    pool_size: int
    queued: int
    error: str | None = None
    changed: tuple[str, ...] = ()  # what was changed on the running production and is not as settings.py says


def of(
    base: ProductionConfig, now: ProductionConfig, pools: Mapping[str, Pool], queued: Mapping[str, int]
) -> list[ItemStatus]:
    """Return how each item stands, in the order of the production; ``base`` is the production as settings.py has it."""
    rows = [
        ItemStatus(
            item.name,
            item.kind,
            f"{item.component.__module__}.{item.component.__name__}",
            _state(item, pools.get(item.name)),
            item.pool_size,
            queued.get(item.name, 0),
            pools[item.name].host.error if item.name in pools else None,
            tuple(_differences(item, base.items.get(item.name))),
        )
        for item in now.items.values()
    ]
    return rows + [
        ItemStatus(item.name, "", item.class_name, NEEDS_IRIS, 0, queued.get(item.name, 0), item.sentence)
        for item in now.skipped.values()
    ]


def _state(item: ItemConfig, pool: Pool | None) -> str:
    state = "Stopped" if pool is None else pool.state
    return DISABLED if state == "Stopped" and not item.enabled else state


def _differences(item: ItemConfig, base: ItemConfig | None) -> list[str]:
    """Say what settings.py does not say."""
    if base is None:
        return []
    said = []
    if item.pool_size != base.pool_size:
        said.append(f"pool size {item.pool_size} (changed; settings.py says {base.pool_size})")
    if item.enabled != base.enabled:
        said.append(f"{_on(item.enabled)} (changed; settings.py says {_on(base.enabled)})")
    for now, before in (
        (item.host_settings, base.host_settings),
        (item.adapter_settings, base.adapter_settings),
    ):
        said += [
            _difference(name, now, before) for name in {**now, **before} if now.get(name) != before.get(name)
        ]
    return said


def _difference(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    is_now = _shown(name, now[name]) if name in now else "taken away"
    return f"{name} {is_now} (changed; settings.py says {_shown(name, before[name]) if name in before else 'nothing'})"


def _shown(name: str, value: Any) -> str:
    return redacted(f"Host.{name}", definition.text(value), _NO_SECRETS.redact)


def _on(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"
