"""What a director answers to iop's own functions, which ask IRIS for ``IOP.Director``, ``Ens.Director``, ``IOP.Utils``.

So ``iop.runtime.director.start_production()`` and ``iop.Director.create_python_business_service()`` work in a process
that runs a production, and the local commands of the ``iop`` program work on a home.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wattbus.config import read_config
from wattbus.errors import NeedsIris, NotRunning
from wattbus.home import Home
from wattbus.runtime import control
from wattbus.runtime.host import Host
from wattbus.runtime.iris_streams import Stream
from wattbus.runtime.live import LiveService
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.settings_files import SettingsFiles, named_settings
from wattbus.runtime.types import to_envelope

if TYPE_CHECKING:
    from wattbus.runtime.director import Director
    from wattbus.runtime.running import RunningProduction

_OK = 1


class Answers:
    """Registered with :func:`wattbus.runtime.iris_directors.begin_directing`."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._methods: dict[str, Callable[..., Any]] = {
            "IOP.Director.dispatchCreateBusinessService": self._create_service,
            "IOP.Director.dispatchListProductions": director.list_productions,
            "IOP.Director.StatusProduction": director.status_production,
            "Ens.Director.CreateBusinessService": self._create_service_at,
            "Ens.Director.StartProduction": self._start,
            "Ens.Director.StopProduction": self._stop,
            "Ens.Director.RestartProduction": director.restart_production,
            "Ens.Director.UpdateProduction": lambda *_waits: director.update_production(),
            "Ens.Director.EnableConfigItem": self._enable,
            "Ens.Director.IsProductionRunning": self._is_running,
            "Ens.Director.GetActiveProductionName": self._active,
            "IOP.Utils.ExportProduction": self._export,
            "IOP.Utils.ExportProductionConnections": director.export_production_connections,
            "IOP.Utils.ExportProductionQueueInfo": director.export_production_queue_info,
            "IOP.Utils.ApplyProductionPlan": self._apply,
            "IOP.Utils.CreateProductionFromJSON": self._deploy,
            "IOP.Utils.dispatchRegisterComponent": self._register,
            "IOP.Utils.DeleteComponentProxy": director.unbind_component,
            "IOP.Utils.ListComponentProxies": lambda unused=0: director.list_bindings(bool(unused)),
            "IOP.Utils.dispatchTestComponent": self._test,
        }

    def answer(self, class_name: str, method: str, arguments: tuple[Any, ...]) -> Any:
        """Call what stands for a class method of IRIS; one without a result returns the status OK."""
        known = self._methods.get(f"{class_name}.{method}")
        if known is None:
            raise NeedsIris(f"{class_name}.{method}() lives in InterSystems IRIS and has no stand-in here.")
        answer = known(*arguments)
        return _OK if answer is None else answer

    def default_production(self) -> str:
        """Return the production that is started where none is named."""
        return self._director.get_default_production()

    def set_default_production(self, name: str) -> None:
        """Make a production the default one."""
        self._director.set_default_production(name)

    # -- services -------------------------------------------------------------------------------------------------

    def _create_service(self, name: str) -> LiveService:
        if self._director.running is not None:
            return LiveService(_Here(self._director, name))
        from wattbus.runtime.remote import remote_service

        given = read_config().url
        if given is not None:
            return remote_service(name, given)
        home = self._director.home
        url = control.call(home, "status")["url"]
        if url is None:
            raise NotRunning(
                f"the production of {self._director.home.root} runs in another process that opens no HTTP door, and a "
                "service is reached through it: start it without --no-http."
            )
        return remote_service(name, url, home)

    def _create_service_at(self, name: str, service: Any) -> None:
        service.value = self._create_service(name)

    # -- life -----------------------------------------------------------------------------------------------------

    def _start(self, name: str = "") -> None:
        self._director.start_production(name or None)

    def _stop(self, _seconds: float = 10, force: int = 0) -> None:
        self._director.shutdown_production() if int(force) else self._director.stop_production()

    def _enable(self, item: str, enable: int = 1, _update: int = 1) -> None:
        self._director.start_component(item) if int(enable) else self._director.stop_component(item)

    def _is_running(self) -> int:
        return int(self._director.status_production()["Status"] == "running")

    def _active(self) -> str:
        status = self._director.status_production()
        return str(status["Production"]) if status["Status"] == "running" else ""

    # -- definitions ----------------------------------------------------------------------------------------------

    def _export(self, name: str) -> Stream:
        from iop.migration.io import dict_to_xml

        ((_, body),) = self._director.export_production(name).items()
        return Stream(dict_to_xml({"Production": body}))

    def _apply(self, _name: str, plan: str, allow_destructive: int = 0) -> dict[str, Any]:
        return self._director.apply_production_plan(json.loads(plan), bool(allow_destructive))

    def _deploy(self, name: str, text: str) -> None:
        self._director.deploy_definition(name, json.loads(text))

    def _register(
        self, module: str, classname: str, folder: str = "", _path: str = "", _overwrite: int = 0,
        iris_class: str = "", *_python: str,
    ) -> None:  # fmt: skip
        self._director.bind_component(iris_class or f"User.{classname}", module, classname, folder)

    def _test(self, target: str, message: Any) -> Any:
        envelope = to_envelope(message)
        answer = self._director.exchange(
            target, envelope.classname if envelope else None, envelope.json if envelope else None
        )
        return self._director.body_of(answer)


def elsewhere() -> Answers | None:
    """Return what answers where this process runs no production: one in another process, if there is one."""
    from wattbus.runtime.director import Director

    config = read_config()
    home = Home.find(config.home)
    if config.url is None and control.server_of(home) is None:
        return None

    def make(production: ProductionConfig) -> RunningProduction:
        raise NotRunning(f"this process cannot run {production.name}: start it with `wattbus start`.")

    return Answers(Director(home, SettingsFiles(home, named_settings(config)), make, config.store_url))


class _Here:
    """The host of a service of the production that a director runs now."""

    def __init__(self, director: Director, name: str) -> None:
        self._director, self._name = director, name
        self._host: Host | None = None

    def __call__(self) -> Host:
        running = self._director.current()
        if self._host is None or self._host.bus is not running.bus:
            self._host = Host(running.production.item(self._name), running.bus, running.ledger)
        return self._host
