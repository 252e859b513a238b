"""Which item serves which model: found by the item's name, the model's name, or its name on the hub."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wattbus.errors import BadRequest, UnknownName, WattbusError
from wattbus.ml.pipeline_tasks import find_task
from wattbus.operations.ml import MLOperation
from wattbus.runtime.forms import FREE_TEXT, free_lines
from wattbus.runtime.production import ItemConfig, ProductionConfig

_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class ServedModel:
    """A model, the item that serves it, and its task; ``options`` are the settings that go to the pipeline."""

    item: str
    name: str
    task: str
    hub_name: str
    options: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that a request may call it by."""
        return tuple(name for name in (self.item, self.name, self.hub_name) if name)


def served_models(production: ProductionConfig) -> list[ServedModel]:
    """Return the models that the items of a production serve, in its order."""
    found = (_served(item) for item in production.items.values())
    return [one for one in found if one is not None]


def find_model(production: ProductionConfig, name: str, tasks: Collection[str] = ()) -> ServedModel:
    """Return the model called ``name``; ``tasks`` are those that will do, none: every one.

    Raises UnknownName with the names there are, BadRequest for a model of another task.
    """
    known = served_models(production)
    fitting = [one for one in known if not tasks or one.task in tasks]
    for field in ("item", "name", "hub_name"):
        for one in fitting:
            if getattr(one, field) == name:
                return one
    for one in known:
        if name in one.names:
            raise BadRequest(f"{name!r} serves {one.task}, and this takes {' or '.join(sorted(tasks))}.")
    raise UnknownName("model", name, dict.fromkeys(word for one in fitting for word in one.names))


def task_of(production: ProductionConfig, item: str) -> str | None:
    """Return the task that an item serves; None for an item that serves no model."""
    config = production.items.get(item)
    served = _served(config) if config is not None else None
    return None if served is None else served.task


def _served(item: ItemConfig) -> ServedModel | None:
    if not issubclass(item.component, MLOperation):
        return None
    lines = free_lines(item.host_settings.get(FREE_TEXT))

    def setting(name: str) -> str:
        declared = str(item.host_settings.get(name) or "")
        return declared or lines.get(name) or str(getattr(item.component, name, "") or "")

    try:
        task = find_task(setting("task")).name
    except WattbusError:
        return None
    url = setting("model_url")
    hub_name = url.removeprefix(_HUB).strip("/") if url.startswith(_HUB) else ""
    return ServedModel(
        item.name, setting("name"), task, hub_name, frozenset((*lines, *item.host_settings))
    )  # fmt: skip
