"""What stands here for an object in a child process: whatever is done with it is done there."""

from __future__ import annotations

import functools
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattbus.runtime.childprocess import ChildProcess
    from wattbus.runtime.isolated import Isolation


def far(isolation: Isolation, cls: type, number: int) -> Any:
    """Return what stands for the child's object ``number`` of class ``cls``."""
    made: Any = object.__new__(type(cls.__name__, (_Far, cls), {"__module__": cls.__module__}))
    object.__setattr__(made, _KEY, (isolation, number))
    return made


def number_of(value: Any) -> int | None:
    """Return the number of the child's object that ``value`` stands for; None for everything else."""
    if isinstance(value, _Far):
        return int(object.__getattribute__(value, _KEY)[1])
    return value.number if isinstance(value, Thing) else None


_KEY = "_wattbus_far"


class _Far:
    """Mixed into a copy of the component's class: everything is done in the child."""

    def __init_subclass__(cls, **_named: Any) -> None:
        """Let iop not warn a second time of what it finds in the class."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            return _Attributes(*object.__getattribute__(self, _KEY))
        if name.startswith("__") and name.endswith("__"):
            return object.__getattribute__(self, name)
        isolation, number = object.__getattribute__(self, _KEY)
        static = getattr(type(self), name, None)
        if callable(static) and not isinstance(static, type):
            return functools.partial(isolation.call, number, name)
        return isolation.get(number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        isolation, number = object.__getattribute__(self, _KEY)
        isolation.set(number, name, value)


class Thing:
    """An object in the child that is no component: a generator, a connection."""

    def __init__(self, isolation: Isolation, process: ChildProcess | None, number: int) -> None:
        self._isolation, self._process, self.number = isolation, process, number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._isolation.get(self.number, name)

    def is_gone(self) -> bool:
        """Tell whether it died with its child."""
        return not self._isolation.holds(self._process)


class _Attributes(MutableMapping[str, Any]):
    """The attributes of a component in the child, as ``vars()`` gives them."""

    def __init__(self, isolation: Isolation, number: int) -> None:
        self._isolation, self._number = isolation, number
        self._values = isolation.attributes(number)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        del self._values[name]
        self._isolation.replace(self._number, self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def update(self, other: Any = (), /, **named: Any) -> None:
        self._values.update(other, **named)
        self._isolation.replace(self._number, self._values)

    def clear(self) -> None:
        self._values.clear()
        self._isolation.replace(self._number, self._values)
