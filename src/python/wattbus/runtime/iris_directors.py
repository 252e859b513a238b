"""Directors: who answers for the IRIS classes that direct a production, while one runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from wattbus.errors import NeedsIris, NotRunning

#: The classes whose methods a director answers.
DIRECTED = ("Ens.Director", "IOP.Director", "IOP.Utils")
#: The global that names the default production.
CONFIGURATION = "^Ens.Configuration"


class Directors(Protocol):
    """What answers for a production: registered by :func:`begin_directing` when it starts.

    ``answer("IOP.Director", "dispatchCreateBusinessService", ("Chat",))`` returns an object whose ``GetClass()`` is the
    live Python service; a method that it does not know raises ``NeedsIris``.
    """

    def answer(self, class_name: str, method: str, arguments: tuple[Any, ...]) -> Any: ...

    def default_production(self) -> str: ...

    def set_default_production(self, name: str) -> None: ...


_directors: list[Directors] = []


def begin_directing(directors: Directors) -> None:
    """Let ``directors`` answer from now on; the last that began is asked."""
    _directors.append(directors)


def end_directing(directors: Directors) -> None:
    """Ask ``directors`` no more."""
    if directors in _directors:
        _directors.remove(directors)


def directing(asked: str) -> Directors:
    """Return who answers now; ``asked`` says in the error what was wanted."""
    if not _directors:
        from wattbus.runtime.answers import elsewhere

        found = elsewhere()
        if found is not None:
            return found
        raise NotRunning(
            f"{asked} needs a running production and this process runs none: start one with `wattbus start` and set "
            "WATTBUS_URL, or run it here with wattbus.run()."
        )
    return _directors[-1]


class DirectedClass:
    """A class such as ``IOP.Director``: each method of it is answered by the directors of the moment."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise NeedsIris(f"{self._name} has no objects: call its class methods.")
        name = self._name
        return lambda *arguments: directing(f"{name}.{method}()").answer(name, method, arguments)


class Configuration:
    """``^Ens.Configuration`` as far as iop reads it: ``["csp", "LastProduction"]`` is the production that runs."""

    def __getitem__(self, subscripts: Any) -> str:
        if tuple(subscripts) != ("csp", "LastProduction"):
            raise NeedsIris(f"the global {CONFIGURATION}{tuple(subscripts)!r} lives in InterSystems IRIS.")
        return directing(f"the global {CONFIGURATION}").default_production()

    def __setitem__(self, subscripts: Any, value: Any) -> None:
        if tuple(subscripts) != ("csp", "LastProduction"):
            raise NeedsIris(f"the global {CONFIGURATION}{tuple(subscripts)!r} lives in InterSystems IRIS.")
        directing(f"the global {CONFIGURATION}").set_default_production(str(value))
