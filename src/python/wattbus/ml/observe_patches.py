"""Looking into other libraries for a while: methods that are wrapped and put back, modules that are awaited."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MISSING = object()


class Patches:
    """Methods of foreign classes that are wrapped, and how to put them back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any, Any]] = []
        self._wrapped: set[tuple[int, str]] = set()
        self._removals: list[Callable[[], object]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
        """Put ``make(original)`` in the place of ``owner.name``; a second time changes nothing."""
        if (id(owner), name) in self._wrapped:  # the owner is kept in the list below, so its id stays its own
            return
        self._wrapped.add((id(owner), name))
        original = getattr(owner, name)
        wrapper = functools.wraps(original)(make(original))
        self._undo.append((owner, name, vars(owner).get(name, _MISSING), wrapper))
        setattr(owner, name, wrapper)

    def later(self, remove: Callable[[], object]) -> None:
        """Call ``remove`` when all is put back, as for a hook that a library offers itself."""
        self._removals.append(remove)

    def undo(self) -> None:
        """Put everything back; what somebody else has wrapped since is theirs, and ours in it only passes on."""
        for remove in reversed(self._removals):
            remove()
        for owner, name, kept, wrapper in reversed(self._undo):
            if vars(owner).get(name) is not wrapper:
                continue
            if kept is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, kept)
        self._undo.clear()
        self._wrapped.clear()
        self._removals.clear()


class Arrivals(MetaPathFinder):
    """Tells when a module that is looked for has been imported; it imports nothing itself."""

    def __init__(self, wanted: Callable[[str], bool], arrived: Callable[[str], object]) -> None:
        self._wanted = wanted
        self._arrived = arrived
        self._busy = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find the module, and have its loader tell when it has run."""
        if not self._wanted(fullname) or getattr(self._busy, "name", None) == fullname:
            return None
        self._busy.name = fullname
        try:
            others = (finder for finder in sys.meta_path if finder is not self)
            found = (finder.find_spec(fullname, path, target) for finder in others)
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._busy.name = None
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader, self._arrived)
        return spec


class _Telling(Loader):
    """A loader that gives its place to the real one, runs it, and tells."""

    def __init__(self, loader: Loader, arrived: Callable[[str], object]) -> None:
        self._loader = loader
        self._arrived = arrived

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._arrived(module.__name__)


def is_imported(name: str) -> bool:
    """Return whether the user's code has imported a module, to its end."""
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)
