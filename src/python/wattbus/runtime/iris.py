"""Stands in for the ``iris`` module where there is no IRIS: what components ask of it, and a sentence for the rest.

Without it, ``iris.cls`` answers with a mock on which everything seems to succeed. :func:`stand_in` makes a stand-in
of the installed package ``iris``; what that package does without a server in this process (``iris.connect``,
``iris.dbapi``, ``createConnection``, ``IRISList``) stays as it is.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any, NoReturn, cast

from wattbus.errors import NeedsIris, nearest
from wattbus.runtime import (
    iris_collections,
    iris_messages,
    iris_models,
    iris_pickle,
    iris_streams,
    persistent,
)
from wattbus.runtime.iris_directors import CONFIGURATION, DIRECTED, Configuration, DirectedClass
from wattbus.runtime.iris_objects import (
    CallStructure,
    Envelope,
    GeneratorAck,
    GeneratorPoll,
    GeneratorStart,
    GeneratorStop,
    IrisObject,
    Reference,
    full_name,
    known_classes,
    python_name,
)
from wattbus.runtime.iris_sql import Sql
from wattbus.runtime.iris_system import Console, EventLog, Statuses, check_status

__all__ = [
    "CallStructure",
    "Envelope",
    "GeneratorAck",
    "GeneratorPoll",
    "GeneratorStart",
    "GeneratorStop",
    "IrisObject",
    "Reference",
    "StandIn",
    "real_iris_is_here",
    "stand_in",
]

#: What of the installed package answers for a server in its own process, and so only inside IRIS.
_ONLY_INSIDE = frozenset(
    {"cls", "execute", "gref", "getEmbeddedConnection", "ipm", "make_ref", "ref", "ByRef"}
)
#: The modules whose classes have objects; they are found by their IRIS names, see known_classes.
_MODULES = (iris_collections, iris_messages, iris_pickle, iris_streams, persistent)


@functools.cache
def _classes() -> dict[str, Any]:
    """Return every class that has a stand-in, by its IRIS name."""
    return {
        **known_classes(),
        **{name: DirectedClass(name) for name in DIRECTED},
        "Ens.Util.Log": EventLog(),
        "%SYS.System": Console(),
        "%SYSTEM.Status": Statuses(),
        "%Library.Status": Statuses(),
    }


class _Name:
    """A name behind ``iris`` that is no class here: a package of some, or a class that only IRIS has.

    It may be named, in an annotation for instance, since a component with a handler for such a class can have others;
    whatever is done with it is a sentence.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("_") or name[:1].islower():
            raise _needs_iris(self._name)
        return _found(f"{self._name}.{name}")

    def __call__(self, *_arguments: Any) -> NoReturn:
        raise _needs_iris(self._name)

    def __instancecheck__(self, _instance: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{python_name(self._name)}, which needs InterSystems IRIS>"


class StandIn(ModuleType):
    """The module that ``import iris`` finds."""

    def __init__(self) -> None:
        super().__init__("iris", __doc__)
        self.equip()

    def equip(self) -> None:
        """Give the module what ``iris`` has inside IRIS and can have here."""
        self.system, self.sql, self.check_status = _Name("%SYSTEM"), Sql(), check_status
        self.ref = self.make_ref = self.ByRef = Reference

    @staticmethod
    def cls(name: str) -> Any:
        """Return the stand-in for an IRIS class; one that only IRIS has is a sentence, never a mock."""
        found = _classes().get(full_name(str(name)))
        if found is None:
            raise _needs_iris(str(name))
        return found

    @staticmethod
    def gref(name: str) -> Configuration:
        """Return a global: only the one that names the default production is here."""
        if name != CONFIGURATION:
            raise NeedsIris(
                f"the global {name} needs InterSystems IRIS: keep its values in a table, with iris.sql."
            )
        return Configuration()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'iris' has no attribute {name!r}")
        percent = f"%{name[1:]}" if name[:1] == "_" and name[1:2].isupper() else name
        if name[:1].isupper() or percent != name:
            return _found(percent)
        raise NeedsIris(
            f"iris.{name} needs InterSystems IRIS and has no stand-in here: run this component inside IRIS, or "
            "write the part that uses it in Python."
        )


def _found(name: str) -> Any:
    """Return what a dotted name stands for, with the ``%`` of IRIS: a class, else a name."""
    found = _classes().get(name)
    return _Name(name) if found is None else found


def _needs_iris(name: str) -> NeedsIris:
    package = name.rpartition(".")[0]
    close = nearest(name, [known for known in _classes() if known.rpartition(".")[0] == package])
    hint = f": did you mean {close!r}? If not," if close else ":"
    return NeedsIris(
        f"the class {name!r} needs InterSystems IRIS and has no stand-in here{hint} run this component inside IRIS, "
        "or write the part that uses it in Python."
    )


def real_iris_is_here() -> bool:
    """Tell whether this process runs inside a real IRIS, by its runtime state and not by the import."""
    try:
        import iris
    except ImportError:
        return False
    runtime = getattr(iris, "runtime", None)
    return str(getattr(runtime, "state", "")) == "embedded-kernel"


def stand_in() -> None:
    """Let ``import iris`` find the stand-in, in components and in iop; nothing is changed inside a real IRIS.

    The installed module itself becomes the stand-in, so that who has imported it already has it too.
    """
    if real_iris_is_here() or isinstance(sys.modules.get("iris"), StandIn):
        return
    module = sys.modules.get("iris")
    if module is None:
        sys.modules["iris"] = StandIn()
    else:
        for name in (*_ONLY_INSIDE, "__getattr__"):
            vars(module).pop(name, None)
        module.__class__ = StandIn
        cast(StandIn, module).equip()
    iris_models.install()
    iris_pickle.install()
