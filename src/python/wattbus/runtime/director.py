"""The director: starts, stops and asks the production of one home, in this process or in the one that runs it.

It has every method of ``iop.runtime.protocol.DirectorProtocol``, so ``prod.with_director(wattbus.Director(...))`` gives
an ``iop.Production`` its ``start()``, ``status()``, ``test()``, ``plan()`` and ``apply()`` without IRIS.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import iop
from iop.messages.dispatch import dispatch_deserializer
from iop.messages.serialization import MessageClassImportError

from wattbus import words
from wattbus.clock import SYSTEM
from wattbus.errors import AlreadyRunning, BadRequest, NotRunning
from wattbus.home import Home
from wattbus.runtime import control, definition, iris, iris_directors
from wattbus.runtime.answers import Answers
from wattbus.runtime.deployment import NOT_DEFINED, Deployment, Productions
from wattbus.runtime.iris import Envelope
from wattbus.runtime.overrides import Binding
from wattbus.runtime.production import ProductionConfig
from wattbus.runtime.running import RunningProduction
from wattbus.runtime.settings_files import SettingsFiles
from wattbus.runtime.types import object_of, to_envelope
from wattbus.store import instances, queries

P = ParamSpec("P")
T = TypeVar("T")

#: The name under which the control socket answers a director in another process.
CALL = "director"
#: What Ens.Director of IRIS gives a production to come to rest.
STOP_SECONDS = 10.0
#: The stock iop program waits 30 s for an answer; a sentence must come before it gives up.
TEST_SECONDS = 28.0
_LOOK_AGAIN_SECONDS = 1.0
_routed: set[str] = set()


def _where_it_runs(
    method: Callable[Concatenate[Director, P], T],
) -> Callable[Concatenate[Director, P], T]:
    """Let the process that runs the production do it, where that is another one."""
    name = method.__name__
    _routed.add(name)

    @functools.wraps(method)
    def routed(self: Director, /, *arguments: P.args, **values: P.kwargs) -> T:
        if not self.is_elsewhere():
            return method(self, *arguments, **values)
        answer: T = control.call(self.home, CALL, method=name, arguments=arguments, values=values)
        return answer

    return routed


class Director:
    """What iop calls a director, for the production of one home."""

    def __init__(
        self,
        home: Home,
        productions: Productions,
        make: Callable[[ProductionConfig], RunningProduction],
        store_url: str | None = None,
    ) -> None:
        self.home = home
        self.deployment = Deployment(home, store_url, productions)
        self._make = make
        #: The production that this director has started, or None.
        self.running: RunningProduction | None = None
        self._turn = threading.RLock()
        self._answers = Answers(self)
        iris.stand_in()

    @classmethod
    def of(cls, running: RunningProduction) -> Director:
        """Return a director for a production that somebody else has started and will stop."""

        def make(_production: ProductionConfig) -> RunningProduction:
            raise BadRequest(
                "this production lives in a `with wattbus.run()` block: leave it, then enter it again."
            )

        director = Director(running.home, SettingsFiles(running.home, None, [running.life.base]), make)
        director._runs(running)
        return director

    def _runs(self, running: RunningProduction) -> None:
        self.running, self.deployment.engine = running, running.store.engine
        iris_directors.begin_directing(self._answers)

    def ended(self) -> None:
        """Answer no more for a production that has ended."""
        iris_directors.end_directing(self._answers)
        self.running = self.deployment.engine = None
        # iop keeps services by name for ever; the next production makes its own.
        iop.Director._bs.clear()

    def is_elsewhere(self) -> bool:
        """Tell whether another process directs the home."""
        return self.running is None and control.server_of(self.home) is not None

    def answer(self, request: dict[str, Any]) -> Any:
        """Answer a director in another process, which asks through the control socket."""
        if request["method"] not in _routed:
            raise BadRequest(f"a director cannot be asked for {request['method']!r} from outside.")
        return getattr(self, request["method"])(*request["arguments"], **request["values"])

    def current(self) -> RunningProduction:
        """Return the production that runs in this process, or say that none does."""
        if self.running is None:
            raise NotRunning(f"no production runs on {self.home.root}: start one, then ask again.")
        return self.running

    def close(self, grace_seconds: float | None = None) -> str:
        """Stop what runs here and return the state it ended in."""
        with self._turn:
            return self.last_state() if self.running is None else self._stop(grace_seconds)

    def last_state(self) -> str:
        """Return how the production stands that does not run in this process."""
        with self.deployment.reading() as engine:
            if engine is None:
                return "Stopped"
            shared = engine.dialect.name != "sqlite"
            found = instances.last_run(engine, self.home, shared=shared, now_us=SYSTEM.now_us())
        return found.state if found is not None else "Stopped"

    @property
    def namespace(self) -> str:
        """Return iop's default namespace: a home has one, whatever it is called."""
        return "USER"

    # -- which production ---------------------------------------------------------------------------------------

    @_where_it_runs
    def get_default_production(self) -> str:
        """Return the production that is started where none is named."""
        return self.deployment.default()

    @_where_it_runs
    def set_default_production(self, production_name: str = "") -> None:
        """Make a production the default one; an empty name takes the choice back."""
        with self._turn:
            self.deployment.set_default(production_name)

    @_where_it_runs
    def list_productions(self) -> dict[str, Any]:
        """Return each production by name, in the words of IRIS."""
        default = self.deployment.default()
        with self.deployment.reading() as engine:
            runs = {} if engine is None else queries.last_runs(engine)
        listed, running = {}, self.running
        for name in dict.fromkeys([*self.deployment.names(), *runs]):
            run = runs.get(name)
            here = running if running and running.production.name == name else None
            listed[name] = {
                "Status": here.state if here else "Stopped" if run else "",
                "LastStartTime": words.utc_time(run.started_us) if run else "",
                "LastStopTime": words.utc_time(run.stopped_us) if run and run.stopped_us else "",
                "AutoStart": name == default,
            }
        return listed

    @_where_it_runs
    def status_production(self) -> dict[str, Any]:
        """Return the production that runs, or would, its state, and whether it needs an update."""
        running = self.running
        if running is None:
            return {"Production": self.deployment.default(), "Status": "stopped", "NeedsUpdate": False}
        reason = running.needs_update() or self._stored_changes(running)
        status: dict[str, Any] = {
            "Production": running.production.name,
            "Status": running.state.lower(),
            "NeedsUpdate": bool(reason),
        }
        return status | ({"UpdateMessage": reason} if reason else {})

    def _stored_changes(self, running: RunningProduction) -> str | None:
        deployed = self.deployment.definition(running.production.name)
        if deployed == definition.flat(running.production.definition):
            return None
        return "settings were changed that the production does not run by yet: an update takes them over."

    # -- life ---------------------------------------------------------------------------------------------------

    @_where_it_runs
    def start_production(self, production_name: str | None = None) -> None:
        """Start a production, by default the default one."""
        with self._turn:
            if self.running is not None:
                raise AlreadyRunning(
                    f"{self.running.production.name} is {self.running.state} already, and a home runs one production "
                    "at a time: stop it, then start again."
                )
            self.deployment.productions.read_again()
            name = production_name or self.deployment.default()
            if name == NOT_DEFINED:
                raise BadRequest("no production is named and there is no default one: name one.")
            running = self._make(self.deployment.config(name))
            try:
                running.start()
            except BaseException:
                running.store.close("Troubled")
                raise
            self._runs(running)

    def start_production_with_log(self, production_name: str | None = None) -> None:
        """Start a production and print its event log until Ctrl-C, which stops it."""
        self.start_production(production_name)
        try:
            self.log_production()
        finally:
            self.stop_production()

    @_where_it_runs
    def stop_production(self) -> None:
        """Let what is in hand end and keep the rest queued."""
        with self._turn:
            self.current()
            self._stop(STOP_SECONDS)

    @_where_it_runs
    def shutdown_production(self) -> None:
        """Stop without waiting: what is in hand is taken back at the next start."""
        with self._turn:
            self.current()
            self._stop(0.0)

    def _stop(self, grace_seconds: float | None = None) -> str:
        running = self.current()
        state = running.stop() if grace_seconds is None else running.stop(grace_seconds=grace_seconds)
        self.ended()
        return state

    @_where_it_runs
    def restart_production(self) -> None:
        """Stop the production and start it again, as settings.py and the stored changes now say."""
        with self._turn:
            name = self.current().production.name
            self.deployment.productions.read_again()
            self.deployment.config(name)  # what could not be started again is not stopped
            self._stop(STOP_SECONDS)
            self.start_production(name)

    def update_production(self) -> None:
        """Let the items that have changed start anew; the others go on."""
        self.update()

    @_where_it_runs
    def update(self) -> list[str]:
        """Do as :meth:`update_production` and return the names of the items that have changed."""
        with self._turn:
            running = self.current()
            self.deployment.productions.read_again()
            return running.update(self.deployment.config(running.production.name))

    @_where_it_runs
    def start_component(self, component_name: str) -> None:
        """Enable an item: for good, as EnableConfigItem of IRIS does."""
        self._enable(component_name, True)

    @_where_it_runs
    def stop_component(self, component_name: str) -> None:
        """Disable an item, for good; its messages stay queued."""
        self._enable(component_name, False)

    def _enable(self, item: str, on: bool) -> None:
        with self._turn:
            self.current().enable(item, on)

    @_where_it_runs
    def restart_component(self, component_name: str) -> None:
        """Make the components of an item anew."""
        with self._turn:
            self.current().production.item(component_name)
            self.current().restart_item(component_name)

    # -- event log ----------------------------------------------------------------------------------------------

    def log_production_top(self, top: int = 10) -> None:
        """Print the newest lines of the event log, the newest last."""
        for line in self.log_lines(top):
            _print_line(line)

    def log_production(self) -> None:
        """Print the event log as it is written, until Ctrl-C."""
        pause, last_id = threading.Event(), 0
        lines = self.log_lines()
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                for line in lines:
                    _print_line(line)
                    last_id = line["id"]
                pause.wait(_LOOK_AGAIN_SECONDS)
                lines = self.log_lines(since_id=last_id)

    @_where_it_runs
    def log_lines(self, top: int = 10, since_id: int | None = None) -> list[dict[str, Any]]:
        """Return lines of the event log under iop's names, oldest first: the newest, or all after an id."""
        if self.running is not None:
            self.running.store.flush()
        with self.deployment.reading() as engine:
            if engine is None:
                return []
            newest = since_id is None
            lines = (
                queries.list_events(engine, limit=top)
                if newest
                else queries.events_after(engine, since_id or 0)
            )
        return [
            {
                "id": line.id,
                "config_name": line.item,
                "job": line.job,
                "message_id": line.message_id or "",
                "session_id": line.session_id or "",
                "source_class": line.source_class or "",
                "source_method": line.source_method or "",
                "text": line.text,
                "time_logged": words.utc_time(line.time_us),
                "type": line.type,
            }
            for line in lines
        ]

    # -- testing service ------------------------------------------------------------------------------------------

    def test_component(
        self,
        target: str | None,
        message: Any = None,
        classname: str | None = None,
        body: str | dict[str, Any] | None = None,
        restart: bool = True,  # as in iop's local director: only a remote one restarts the item first
    ) -> Any:
        """Send a message to an item and return the typed response; as iop's dict where its class is not known here."""
        if message is not None and classname is None and message != "":
            envelope = to_envelope(message)
            assert envelope is not None
            classname, body = envelope.classname, envelope.json
        answer = self.exchange(target, classname, body)
        try:
            return dispatch_deserializer(self.body_of(answer))
        except MessageClassImportError:
            return answer

    def body_of(self, answer: dict[str, Any]) -> Any:
        """Return the body of an answer of :meth:`exchange`, as a component would get it."""
        return object_of(Envelope(answer["classname"], answer["body"])) if answer else None

    @_where_it_runs
    def exchange(
        self, target: str | None, classname: str | None, body: str | dict[str, Any] | None
    ) -> dict[str, Any]:
        """Send a message that is named by its type and return the response in iop's form; {} for none."""
        if not target:
            raise BadRequest("no item is named: say which one the message is for.")
        running = self.current()
        name = (classname or "Ens.Request").removeprefix("iris.")
        message = running.message(name, body if body not in (None, "") else "{}")
        _, response = running.exchange(target, message, timeout_seconds=TEST_SECONDS, door="Testing")
        if response is None:
            return {}
        answer = to_envelope(response)
        assert answer is not None
        return {"classname": answer.classname, "body": answer.json, "truncated": False}

    # -- export and plans -----------------------------------------------------------------------------------------

    @_where_it_runs
    def export_production(self, production_name: str) -> dict[str, Any]:
        """Return a production as it is deployed, in iop's form."""
        return definition.nested(self.deployment.definition(production_name))

    @_where_it_runs
    def export_production_connections(self, production_name: str) -> dict[str, Any]:
        """Return which item sends to which."""
        return self.deployment.connections(production_name)

    @_where_it_runs
    def export_production_queue_info(self, production_name: str) -> dict[str, Any]:
        """Return how many messages wait for each item."""
        return self.deployment.queues(production_name)

    @_where_it_runs
    def apply_production_plan(self, plan: dict[str, Any], allow_destructive: bool = False) -> dict[str, Any]:
        """Store the changes of a plan; the production runs by them from its next update, which iop asks for."""
        with self._turn:
            return self.deployment.apply(plan, allow_destructive)

    @_where_it_runs
    def deploy_definition(self, production_name: str, production: dict[str, Any]) -> None:
        """Put a whole definition in the place of what is deployed; iop's rollback does it with a backup."""
        with self._turn:
            self.deployment.deploy(production_name, definition.flat(production))

    @_where_it_runs
    def list_bindings(self, unused_only: bool = False) -> list[dict[str, Any]]:
        """Return the classes that were bound from outside."""
        return self.deployment.bindings(unused_only)

    @_where_it_runs
    def unbind_component(self, iris_classname: str) -> None:
        """Forget a bound class that no item uses."""
        with self._turn:
            self.deployment.unbind(iris_classname)

    @_where_it_runs
    def bind_component(self, iris_classname: str, module: str, classname: str, folder: str) -> None:
        """Make a Python class known under its name on IRIS."""
        with self._turn:
            self.deployment.bind(Binding(iris_classname, module, classname, folder))

    # -- settings files -------------------------------------------------------------------------------------------

    def setup(self, path: str | None = None) -> None:
        """Say that there is nothing to set up: on IRIS this loads the ObjectScript of iop."""
        sys.stdout.write("Nothing to set up: wattbus does the part of iop's ObjectScript in Python.\n")

    def migrate(self, path: str, strict_production_validation: bool = False) -> None:
        """Take the productions of a settings file, once they validate; the one that runs is updated."""
        from iop.migration.utils import explain_migration

        plan = explain_migration(
            path, namespace=self.namespace, strict_production_validation=strict_production_validation
        )
        sys.stdout.write(f"{plan}\n")
        self.use_settings(str(Path(path).absolute()))

    @_where_it_runs
    def use_settings(self, path: str) -> None:
        """Read this settings file before all others from now on."""
        with self._turn:
            self.deployment.productions.use(Path(path))
            self._take_up(Path(path))

    @_where_it_runs
    def upload(
        self, package: str, settings_file: str, texts: dict[str, str], strict: bool = False
    ) -> dict[str, str]:
        """Take an uploaded settings file and the files beside it, once its productions can be read."""
        with self._turn:
            file = self.deployment.productions.upload(package, settings_file, texts, strict)
            self._take_up(file)
        return {"status": "migrated", "settings": str(file)}

    def _take_up(self, file: Path) -> None:
        forgotten = self.deployment.forget_changes(file)
        if self.running is not None and self.running.production.name in self.deployment.names():
            for name in forgotten:
                self.running.bus.log("Info", f"{file} takes the place of what was changed on {name}", "")
            self.running.update(self.deployment.config(self.running.production.name))


def _print_line(line: dict[str, Any]) -> None:
    names = (
        "time_logged",
        "type",
        "config_name",
        "job",
        "message_id",
        "session_id",
        "source_class",
        "source_method",
    )
    sys.stdout.write(words.clean(" ".join(str(line[name]) for name in (*names, "text"))) + "\n")
