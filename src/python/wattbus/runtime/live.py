"""A live service: the component of a service, called from outside by a web page, a script or another thread.

``iop.Director.create_python_business_service(name)`` gives its component. Each call of a method from outside is a call
like one of a poll: what it sends is one session, durable before the call goes on, and its log lines are the item's.
Several threads may call at once, as on IRIS several jobs would.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import ContextVar, copy_context
from typing import Any

from wattbus.errors import BadRequest, NotRunning
from wattbus.runtime.handle import Handle
from wattbus.runtime.host import Host
from wattbus.runtime.production import ItemConfig

# The handle of each live service that is being called in this thread or task, by the identity of the service.
_in_call: ContextVar[Mapping[int, Any]] = ContextVar("wattbus_live_calls", default={})  # noqa: B039 - never changed


class LiveService:
    """What ``dispatchCreateBusinessService`` returns, and the handle of the component behind it.

    The component asks one handle from several threads, so this one passes each question on to that of the call.
    """

    def __init__(self, host_now: Callable[[], Host]) -> None:
        # Asked for each call: the production may have been started anew since the last one.
        self._host_now = host_now
        host = host_now()
        _check(host.item)
        self._component, _ = host.make()
        self._component.iris_handle = self
        for name, method in _methods(self._component):
            # On the instance, so that its class stays what it is; `self.method()` in a call comes here as well.
            vars(self._component)[name] = self._called(method)

    def GetClass(self) -> Any:
        """Return the Python component."""
        return self._component

    def GetModule(self) -> str:
        """Return the module of the component's class."""
        return type(self._component).__module__

    def GetClassname(self) -> str:
        """Return the name of the component's class."""
        return type(self._component).__name__

    def dispatchProcessInput(self, message_input: Any = None) -> Any:
        """Hand an input to the service."""
        return self._component._dispatch_on_process_input(message_input)

    ProcessInput = dispatchProcessInput

    #: IRIS keeps the session of a service until it is told otherwise; here each call has its own anyway.
    _SessionId = ""

    def ForceSessionId(self) -> int:
        """Begin a new session, as every call does."""
        return 1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_component", "_host_now"):
            raise AttributeError(name)  # not made yet, or copied
        with self._call():
            # Outside of any call, as for a method taken from the class, each question is a call of its own.
            return getattr(_in_call.get()[id(self)], name)

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        calls = _in_call.get()
        if id(self) in calls:
            yield
            return
        host = self._host_now()
        handle = Handle(host, self._component)
        handle.begin(None)
        token = _in_call.set({**calls, id(self): handle})
        try:
            with host.at_work():
                yield
        finally:
            _in_call.reset(token)
            handle.finish()

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(method):

            @functools.wraps(method)
            async def awaited(*arguments: Any, **values: Any) -> Any:
                with self._call():
                    return await method(*arguments, **values)

            return awaited
        if inspect.isgeneratorfunction(method):

            @functools.wraps(method)
            def generated(*arguments: Any, **values: Any) -> Generator[Any, None, Any]:
                return (yield from self._values(method(*arguments, **values)))

            return generated

        @functools.wraps(method)
        def called(*arguments: Any, **values: Any) -> Any:
            with self._call():
                return method(*arguments, **values)

        return called

    def _values(self, generator: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        """Run a generator in a context of its own: its call lasts from the first value to the last."""
        context = copy_context()
        call = self._call()
        context.run(call.__enter__)
        try:
            while True:
                try:
                    value = context.run(next, generator)
                except StopIteration as end:
                    return end.value
                yield value
        finally:
            generator.close()
            context.run(call.__exit__, None, None, None)


def _check(item: ItemConfig) -> None:
    if item.kind != "service":
        raise BadRequest(
            f"item {item.name!r} is a {item.kind}, and only a service is called from outside: call a service that "
            "sends to it."
        )
    if not item.enabled:
        raise NotRunning(f"the service {item.name!r} is disabled: enable it, then call it.")


def _methods(component: Any) -> list[tuple[str, Callable[..., Any]]]:
    """Return the methods that somebody may call: the public ones, and iop's entry for an input."""
    names = [name for name in dir(type(component)) if not name.startswith("_")]
    found = []
    for name in [*names, "_dispatch_on_process_input"]:
        if inspect.isfunction(inspect.getattr_static(type(component), name, None)):
            found.append((name, getattr(component, name)))
    return found
