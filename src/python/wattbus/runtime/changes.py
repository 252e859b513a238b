"""What differs between two readings of a production: which of its items must begin anew, and which need not.

A settings file that is read again gives the same class objects for modules that did not change (see ``loading``), but
its own classes are made anew each time. Those are the same where their source is, with everything of the file that
they use: so a new pool size of one item does not restart the others that are written beside it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from wattbus.runtime.production import ItemConfig, ProductionConfig


@dataclass(frozen=True)
class Changes:
    """The items of a production by what an update has to do with them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # begin anew
    resized: tuple[str, ...] = ()  # only another pool size: nothing begins anew

    @property
    def names(self) -> list[str]:
        """Return the names of all items that are touched."""
        return [*self.removed, *self.changed, *self.resized, *self.added]


def between(before: ProductionConfig, now: ProductionConfig) -> Changes:
    """Compare two readings of a production."""
    both = [name for name in now.items if name in before.items]
    anew = [name for name in both if not _goes_on(before, now, name)]
    return Changes(
        added=tuple(name for name in now.items if name not in before.items),
        removed=tuple(name for name in before.items if name not in now.items),
        changed=tuple(anew),
        resized=tuple(
            name
            for name in both
            if name not in anew and before.items[name].pool_size != now.items[name].pool_size
        ),
    )


def changed_files(production: ProductionConfig) -> list[Path]:
    """Return the files of a production that do not hold any more what was imported from them."""
    project = production.project
    if project is None:
        return []
    return sorted(
        Path(str(project.modules[name].__file__))
        for name in project.texts
        if name in project.modules and not project.is_unchanged(name)
    )


def _goes_on(before: ProductionConfig, now: ProductionConfig, name: str) -> bool:
    old, new = before.items[name], now.items[name]
    return _values(old) == _values(new) and all(
        _same_class(before, now, one, other)
        for one, other in ((old.component, new.component), (old.adapter, new.adapter))
    )


def _values(item: ItemConfig) -> tuple[object, ...]:
    return (
        item.kind, item.enabled, item.host_settings, item.adapter_settings, item.log_trace_events, item.schedule,
    )  # fmt: skip


def _same_class(before: ProductionConfig, now: ProductionConfig, old: type | None, new: type | None) -> bool:
    if old is new or old is None or new is None:
        return old is new
    if (old.__module__, old.__qualname__) != (new.__module__, new.__qualname__):
        return False
    name = old.__module__
    if before.project is None or now.project is None:
        return False
    texts = before.project.texts.get(name), now.project.texts.get(name)
    modules = before.project.modules.get(name), now.project.modules.get(name)
    if None in texts or None in modules:
        return False
    parts = [_used_by(text or b"", old.__qualname__.partition(".")[0]) for text in texts]
    if parts[0] is None or parts[0] != parts[1]:
        return False
    return all(_same_import(modules[0], modules[1], used) for used in parts[0])


def _same_import(before: ModuleType | None, now: ModuleType | None, name: str) -> bool:
    """Tell whether a name that the source imports still means the same object; others were compared by source."""
    one, other = vars(before).get(name), vars(now).get(name)
    if one is other:
        return True
    owner = getattr(one, "__module__", None)
    # Defined in the file itself, so made anew with it: its source was compared.
    return (
        owner is not None
        and before is not None
        and owner == before.__name__
        and not isinstance(one, ModuleType)
    )


def _used_by(text: bytes, name: str) -> dict[str, str] | None:
    """Return the source of ``name`` and of each name of the file that it uses, directly or not; None: not there."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for bound in _bound_by(statement):
            defined.setdefault(bound, []).append(statement)
    if name not in defined:
        return None
    used: dict[str, str] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in used or each not in defined:
            continue
        used[each] = "\n".join(ast.unparse(statement) for statement in defined[each])
        waiting += [
            node.id
            for statement in defined[each]
            for node in ast.walk(statement)
            if isinstance(node, ast.Name)
        ]
    return used


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Name what a statement of a module defines."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
