"""Services: called each CallInterval, by their adapter, or by a door."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from iop import (
    BusinessOperation,
    BusinessService,
    InboundAdapter,
    OutboundAdapter,
    PollingBusinessService,
    Production,
    target,
)

from components import Echo, Text
from waiting import until, wait_for
from wattbus import testing
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import Status


class Polls(PollingBusinessService):
    Output = target()

    def on_init(self) -> None:
        self.count = 0

    def on_poll(self) -> None:
        self.count += 1
        self.send_request_async(self.Output, Text(f"one of {self.count}"))
        self.send_request_async(self.Output, Text(f"two of {self.count}"))


def polls_production(service: type = Polls, **settings: object) -> Production:
    prod = Production("Test.Services")
    echo = prod.operation("Echo", Echo)
    polls = prod.service("Polls", service, settings=settings)
    polls.connect(service.Output, echo)
    return prod


def test_a_polling_service_is_called_at_its_call_interval_each_time_in_one_session(tmp_path: Path) -> None:
    clock = testing.FakeClock()

    with testing.production(polls_production(CallInterval=60), tmp_path, clock=clock) as bus:
        wait_for(
            bus, lambda rows: _requests(rows) == 2 and all(row.status == Status.COMPLETED for row in rows)
        )
        clock.wait_for_sleeper("Polls#poll")
        clock.advance(59)
        clock.advance(2)
        wait_for(bus, lambda rows: _requests(rows) == 4)
        rows = [row for row in reversed(list_messages(bus.production.store.engine)) if row.type == "Request"]

    assert [row.session_id for row in rows] == [rows[0].id, rows[0].id, rows[2].id, rows[2].id]
    assert {row.source_item for row in rows} == {"Polls"}


def _requests(rows: list[Any]) -> int:
    return sum(row.type == "Request" for row in rows)


class Drains(Polls):
    """Asks to be called again at once while there is something to read."""

    def on_poll(self) -> None:
        super().on_poll()
        self._wait_for_next_call_interval = self.count >= 3


def test_a_service_that_has_more_to_read_is_called_again_at_once(tmp_path: Path) -> None:
    with testing.production(polls_production(Drains, CallInterval=3600), tmp_path) as bus:
        wait_for(bus, lambda rows: _requests(rows) == 6)


class Broken(Polls):
    calls: ClassVar[int] = 0

    def on_poll(self) -> None:
        Broken.calls += 1
        raise OSError("the source is away")


def test_a_source_that_stays_broken_is_one_line_of_the_event_log_and_is_tried_again(tmp_path: Path) -> None:
    clock = testing.FakeClock()
    Broken.calls = 0

    with testing.production(polls_production(Broken, CallInterval=10), tmp_path, clock=clock) as bus:
        for calls in (1, 2, 3):
            until(lambda: Broken.calls >= calls, f"call {calls}")  # noqa: B023
            clock.wait_for_sleeper("Polls#poll")
            clock.advance(11)
        bus.production.store.flush()
        errors = [line for line in list_events(bus.production.store.engine, limit=50) if line.type == "Error"]

    assert len(errors) == 1
    assert "the source is away" in errors[0].text


class Quiet(BusinessService):
    Output = target()
    called: ClassVar[list[Any]] = []

    def on_process_input(self, message_input: Any) -> Any:
        Quiet.called.append(message_input)
        return self.send_request_sync(self.Output, message_input)


def test_a_service_without_an_adapter_is_called_by_a_door_only(tmp_path: Path) -> None:
    Quiet.called.clear()

    with testing.production(polls_production(Quiet), tmp_path) as bus:
        answer = bus.request("Polls", Text("x"))

    assert answer.text == "x"
    assert len(Quiet.called) == 1


class Bell(InboundAdapter):
    tone: str = "ding"

    def on_task(self) -> None:
        self.BusinessHost.ProcessInput(Text(self.tone))


class Listens(BusinessService):
    Output = target()

    @staticmethod
    def get_adapter_type() -> str:
        return "Python.Bell"

    def on_process_input(self, message_input: Any) -> None:
        self.send_request_async(self.Output, message_input)


class Wire(OutboundAdapter):
    prefix: str = ""
    kept: ClassVar[list[str]] = []

    def put(self, text: str) -> str:
        return self.prefix + text

    def on_keepalive(self) -> None:
        Wire.kept.append(self.prefix)


class Sends(BusinessOperation):
    @staticmethod
    def get_adapter_type() -> str:
        return "Python.Wire"

    def send(self, request: Text) -> Text:
        return Text(self.adapter.put(request.text))


def test_adapters_written_in_python_are_called_and_set(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_services as here\n"
        "CLASSES = {f'Python.{cls.__name__}': cls for cls in (here.Bell, here.Wire, here.Listens, here.Sends)}\n"
        "PRODUCTIONS = [{'Test.Adapters': {'@Name': 'Test.Adapters', 'Item': [\n"
        "  {'@Name': 'Listens', '@ClassName': 'Python.Listens', 'Setting': [\n"
        "     {'@Target': 'Host', '@Name': 'Output', '#text': 'Sends'},\n"
        "     {'@Target': 'Host', '@Name': 'CallInterval', '#text': '3600'},\n"
        "     {'@Target': 'Adapter', '@Name': 'tone', '#text': 'dong'}]},\n"
        "  {'@Name': 'Sends', '@ClassName': 'Python.Sends', 'Setting': [\n"
        "     {'@Target': 'Host', '@Name': 'KeepaliveInterval', '#text': '20'},\n"
        "     {'@Target': 'Adapter', '@Name': 'prefix', '#text': '> '}]}]}}]\n"
    )
    clock = testing.FakeClock()

    with testing.production(tmp_path / "settings.py", tmp_path / "home", clock=clock) as bus:
        wait_for(bus, lambda rows: any(row.status == Status.COMPLETED for row in rows))
        request = bus.production.store.header(1)
        assert request is not None
        text = bus.production.store.body(request.body_id)
        answer = bus.request("Sends", Text("x"))
        clock.advance(21)
        until(lambda: len(sys_wire(bus).kept) >= 1, "on_keepalive was called")

    assert text == '{"text":"dong","times":1}'
    assert answer.text == "> x"


def sys_wire(bus: Any) -> Any:
    return bus.production.production.items["Sends"].adapter
