"""Changing the settings of an item while it runs: checked first, stored with who did it, and taken back where it fails.

Items can be added and removed the same way, of classes that the production knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wattbus import words
from wattbus.errors import BadRequest, BadSettings, UnknownName
from wattbus.runtime import definition, item_fields, overrides
from wattbus.runtime.check import settings_findings
from wattbus.runtime.definition import Flat
from wattbus.runtime.item_fields import SettingField
from wattbus.runtime.production import ItemConfig
from wattbus.runtime.running import RunningProduction
from wattbus.store import item_settings

#: How long an item may take to start before the change counts as made; a model that loads goes on.
START_SECONDS = 10.0
_NOT_SETTINGS = frozenset({"@Name", "@ClassName", "@Foreground"})
_LONGEST_NAME = 128


@dataclass(frozen=True)
class Changed:
    """What a change did."""

    item: str
    settings: tuple[str, ...]
    state: str
    sentence: str


@dataclass(frozen=True)
class PastChange:
    """A change of the past; a value of None is what settings.py says, an empty one is the default of the class."""

    id: int
    setting: str
    before: str | None
    after: str | None
    changed_us: int
    changed_by: str
    can_undo: bool  # nothing has changed it since


def fields(running: RunningProduction, item: str) -> list[SettingField]:
    """Return the settings of an item with their types, defaults and values."""
    return item_fields.fields_of(running.production, running.declared, item, running.place.vault.redact)


def change(running: RunningProduction, item: str, given: Mapping[str, object], by: str) -> Changed:
    """Change settings of an item; only it begins anew. A value of None is what settings.py says.

    An item that runs and cannot start with the change gets its old settings back, and the error says why.
    """
    wanted = item_fields.checked(running.production, item, given, running.place.vault.redact)
    base = definition.flat(running.declared.definition)

    def edit(values: Flat) -> None:
        for key, value in wanted.items():
            _put(values, (item, key), base.get((item, key), "") if value is None else value)

    return _apply(running, item, edit, by)


def undo(running: RunningProduction, item: str, change_id: int, by: str) -> Changed:
    """Put a setting back to what it was before one change, if nothing has changed it since."""
    engine, production = running.store.engine, running.declared.name
    found = item_settings.history(engine, production, item, change_id=change_id)
    if not found:
        known = [str(row.id) for row in item_settings.history(engine, production, item)]
        raise UnknownName(f"change of {item}", change_id, known)
    ((_, name, before, after),) = [(row.item, row.name, row.before, row.after) for row in found]
    setting = item_fields.label(name)
    if name in _NOT_SETTINGS:
        raise BadRequest(f"{setting!r} of {item!r} is no setting: add the item anew, or remove it.")
    if item_settings.read(engine, production).get((item, name)) != after:
        raise BadRequest(f"{setting!r} of {item!r} was changed again since: undo the newer change first.")
    base = definition.flat(running.declared.definition)
    value = base.get((item, name), "") if before is None else json.loads(before)

    return _apply(running, item, lambda values: _put(values, (item, name), value or ""), by)


def history(running: RunningProduction, item: str, limit: int = 50) -> list[PastChange]:
    """Return what was changed on an item, the newest first; secrets are masked."""
    running.production.item(item)
    engine, production = running.store.engine, running.declared.name
    now = item_settings.read(engine, production)
    seen: set[str] = set()
    told = []
    for row in item_settings.history(engine, production, item, limit=limit):
        if row.name in _NOT_SETTINGS:
            continue
        newest = row.name not in seen
        seen.add(row.name)
        told.append(
            PastChange(
                row.id, item_fields.label(row.name), _said(running, row.name, row.before),
                _said(running, row.name, row.after), row.changed_us, row.changed_by,
                newest and now.get((item, row.name)) == row.after,
            )
        )  # fmt: skip
    return told


def reset(running: RunningProduction, item: str, by: str) -> Changed:
    """Let settings.py count again for all settings of an item."""
    touched = running.reset(item, by)
    return _told(
        running, item, ("everything that was changed",) if touched else (), "goes back to settings.py"
    )


# -- items -----------------------------------------------------------------------------------------------------------


def known_classes(running: RunningProduction) -> list[str]:
    """Return the classes that an item can be added of, as settings.py names them."""
    return sorted({item.class_name for item in running.declared.items.values() if item.class_name})


def was_added(running: RunningProduction, item: str) -> bool:
    """Tell whether an item was added here and is not in settings.py."""
    return item in running.production.items and item not in running.declared.items


def add_item(
    running: RunningProduction, name: str, class_name: str, by: str, *, enabled: bool = False
) -> None:
    """Add an item of a class that the production knows; disabled, so that it can be set up first."""
    name = name.strip()
    if (
        not name
        or len(name) > _LONGEST_NAME
        or not name.isprintable()
        or any(char in name for char in ",|/:")
    ):
        raise BadRequest(
            f"{words.clean(name, 60)!r} cannot be the name of an item: use 1 to {_LONGEST_NAME} characters without "
            "comma, slash, colon and bar, such as Python.MyOperation."
        )
    if class_name not in known_classes(running):
        raise UnknownName("class", class_name, known_classes(running), "Other classes come with settings.py.")
    after = {"class_name": class_name, "pool_size": 1, "enabled": enabled}
    running.rewrite(
        lambda values: definition.apply(values, {"op_type": "add_item", "item": name, "after": after}), by
    )


def remove_item(running: RunningProduction, name: str, by: str) -> None:
    """Remove an item that was added here; what is queued for it stays."""
    running.production.item(name)
    if not was_added(running, name):
        raise BadRequest(f"item {name!r} stands in settings.py: disable it, or take it out there.")
    running.rewrite(lambda values: definition.apply(values, {"op_type": "delete_item", "item": name}), by)


# -- steps -----------------------------------------------------------------------------------------------------------


def _put(values: Flat, key: definition.Key, value: str) -> None:
    """Set a value; an empty one is none, so that the default of the class counts."""
    if (values.get(key) or "") == value:
        return
    if value:
        values[key] = value
    else:
        values.pop(key, None)


def _apply(running: RunningProduction, item: str, edit: Callable[[Flat], None], by: str) -> Changed:
    before: Flat = {}
    names: list[str] = []
    was = _state(running, item)

    def checked_edit(values: Flat) -> None:
        before.update(values)
        edit(values)
        keys = {key for key in {**before, **values} if before.get(key) != values.get(key)}
        names.extend(sorted(item_fields.label(name) for _, name in keys))
        if keys:
            _check(running, item, values)

    running.rewrite(checked_edit, by)
    if names and not _starts(running, item) and was == "Running":
        _take_back(running, item, before, names, by)
    return _told(running, item, tuple(names), "changed")


def _check(running: RunningProduction, item: str, values: Flat) -> None:
    """Try the new settings on a component that never starts."""
    bound = overrides.bindings(running.store.engine)
    candidate: ItemConfig = overrides.configured(running.declared, values, bound).items[item]
    wrong = [found.sentence for found in settings_findings(candidate) if found.level == "error"]
    if wrong:
        raise BadSettings(f"{wrong[0]} Nothing was changed.")


def _starts(running: RunningProduction, item: str) -> bool:
    """Wait a moment for an item, and tell whether it could start, or still may."""
    pool = running.life.pools.get(item)
    return pool is None or not pool.wait_ready(START_SECONDS) or pool.state != "Error"


def _take_back(running: RunningProduction, item: str, before: Flat, names: list[str], by: str) -> None:
    why = running.life.pools[item].host.error

    def back(values: Flat) -> None:
        values.clear()
        values.update(before)

    running.rewrite(back, f"{by}, taken back")
    raise BadSettings(
        f"{item} cannot start with {', '.join(names)} changed, so the change was taken back: {why}"
    )


def _told(running: RunningProduction, item: str, names: tuple[str, ...], what: str) -> Changed:
    found = next((one for one in running.items() if one.name == item), None)
    state = found.state if found is not None else "removed"
    if not names:
        return Changed(item, (), state, f"{item}: nothing is different, so nothing was changed.")
    why = f": {found.error}" if found is not None and found.error and state == "Error" else "."
    return Changed(item, names, state, f"{item}: {', '.join(names)} {what}; it is {state}{why}")


def _state(running: RunningProduction, item: str) -> str:
    return next((one.state for one in running.items() if one.name == item), "")


def _said(running: RunningProduction, key: str, stored: str | None) -> str | None:
    return (
        None if stored is None else item_fields.redacted(key, json.loads(stored), running.place.vault.redact)
    )
