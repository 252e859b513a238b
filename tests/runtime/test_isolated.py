"""Items in child processes, through the Python door."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from iop import BusinessOperation, Production
from sqlalchemy import select

from components import Echo, Gate, Text
from isolated_components import Counts, Numbers, Reads, Router, Trouble, trouble_production
from waiting import until, wait_for
from wattbus import testing
from wattbus.door import PythonDoor
from wattbus.errors import RequestFailed
from wattbus.store.queries import list_events, list_messages
from wattbus.store.tables import Status, energy


def test_an_isolated_item_runs_in_a_process_of_its_own_with_its_settings(tmp_path: Path) -> None:
    prod = Production("Test.Isolated")
    prod.operation("Echo", Echo, settings={"Isolated": "true", "prefix": ">", "factor": "2"})
    prod.operation("Trouble", Trouble, settings={"Isolated": "true"})

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Echo", Text("x"))
        pids = [bus.request("Trouble", Text("pid")).pid for _ in range(3)]
        lines = _lines(bus, item="Echo", type="Info")

    assert answer == Text(">xx")
    assert len(set(pids)) == 1 and pids[0] != os.getpid()
    assert lines == ["echoing x"]


def test_an_isolated_process_sends_in_every_way_and_its_children_are_of_its_session(tmp_path: Path) -> None:
    with testing.production(_router(), tmp_path) as bus:
        answer = bus.request("Router", Text("one"))
        wait_for(bus, lambda rows: _ended(rows) == 5)
        rows = [row for row in list_messages(bus.production.store.engine) if row.type == "Request"]

    assert answer == Text("oneab")
    assert {row.session_id for row in rows} == {1}
    assert [row.parent_id for row in rows if row.target_item == "Echo"] == [1, 1, 1, 1]


def test_an_isolated_process_keeps_its_attributes_between_two_responses(tmp_path: Path) -> None:
    with testing.production(_router(), tmp_path) as bus:
        answer = bus.request("Router", Text("later"))

    assert answer == Text("a=ab=b")


def test_an_isolated_process_goes_on_in_a_fresh_child_where_its_own_dies_between_two_calls(
    tmp_path: Path,
) -> None:
    Gate.opened.clear()
    prod = Production("Test.Router")
    gate = prod.operation("Gate", Gate)
    router = prod.process("Router", Router, settings={"Isolated": "true"})
    prod.connect(router.Output, gate)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.begin("Router", Text("later"))
        wait_for(bus, lambda rows: any(row.status == Status.DEFERRED for row in rows))
        pid = _pid_told(bus, "asking from", item="Router")
        os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists(), "the child is gone")
        Gate.opened.set()
        response = answer.result(timeout=30)

    assert response == Text("a=ab=b")


def test_children_of_an_isolated_attempt_that_fails_are_never_sent(tmp_path: Path) -> None:
    with testing.production(_router(), tmp_path) as bus:
        with pytest.raises(RequestFailed, match="the text is boom"):
            bus.request("Router", Text("boom"))
        targets = {row.target_item for row in list_messages(bus.production.store.engine)} - {"Door.Python"}

    assert targets == {"Router", "Echo"}


def test_an_error_of_an_isolated_component_keeps_its_kind_and_its_traceback(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        with pytest.raises(RequestFailed) as raised:
            bus.request("Trouble", Text("raise"))
        lines = _lines(bus, item="Trouble", type="Error")

    assert str(raised.value) == "LookupError: no such thing"
    assert 'raise LookupError("no such thing")' in lines[0]


def test_a_body_of_ten_megabytes_goes_there_and_back(tmp_path: Path) -> None:
    prod = Production("Test.Isolated")
    prod.operation("Echo", Echo, settings={"Isolated": "true"})
    body = "0123456789" * 1_000_000

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Echo", Text(body))

    assert answer.text == body


def test_what_a_child_prints_is_in_the_event_log_line_by_line_with_its_message(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        bus.request("Trouble", Text("flood", times=3000))
        bus.request("Trouble", Text("pid"))
        bus.production.store.flush()
        events = list_events(bus.production.store.engine, item="Trouble", limit=5000)
        printed = [event for event in events if event.message_id is not None]

    assert [event.text for event in printed if event.type == "Info"] == [
        *(f"line {number}" for number in range(3000)),
        "not ended",
    ]
    assert [event.text for event in printed if event.type == "Warning"] == ["a word on stderr"]
    assert {event.message_id for event in printed} == {1}


def test_the_cpu_time_of_the_child_is_exact_for_each_attempt(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        burnt = bus.request("Trouble", Text("burn")).seconds
        bus.request("Trouble", Text("pid"))
        bus.production.store.flush()
        with bus.production.store.engine.connect() as connection:
            spent = connection.execute(
                select(energy.c.cpu_seconds).where(energy.c.item == "Trouble").order_by(energy.c.message_id)
            ).scalars()
            first, second = spent.all()

    assert first >= burnt
    assert second < burnt


def test_a_pool_has_a_child_for_each_of_its_threads(tmp_path: Path) -> None:
    prod = Production("Test.Isolated")
    prod.operation("Trouble", Trouble, settings={"Isolated": "true"}, pool_size=2)

    with testing.production(prod, tmp_path) as bus:
        waiting = bus.submit("Trouble", Text("wait"))
        pid = _pid_told(bus, "waiting in")
        other = bus.request("Trouble", Text("pid")).pid
        until(lambda: bus.production.place.cancel(waiting), "the message is in hand")
        wait_for(bus, lambda rows: any(row.id == waiting and row.status == Status.ERROR for row in rows))

    assert pid != other


def test_isolated_items_serve_and_read_streams_several_at_once(tmp_path: Path) -> None:
    with testing.production(_reads(Counts, pool_size=2), tmp_path) as bus:
        answer = bus.request("Reads", Text("", 3))

    assert answer.text == "a0b0 a1b1 a2b2"


def test_an_isolated_component_awaits_several_answers_at_once(tmp_path: Path) -> None:
    with testing.production(_reads(Echo), tmp_path) as bus:
        answer = bus.request("Reads", Text("gather"))

    assert answer.text == "xy"


def test_an_isolated_service_is_polled_by_its_adapter_in_the_child(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(
        "import isolated_components as here\n"
        "from components import Echo\n"
        "CLASSES = {f'Python.{cls.__name__}': cls for cls in (here.Bell, here.Listens, Echo)}\n"
        "PRODUCTIONS = [{'Test.Adapters': {'@Name': 'Test.Adapters', 'Item': [\n"
        "  {'@Name': 'Echo', '@ClassName': 'Python.Echo'},\n"
        "  {'@Name': 'Listens', '@ClassName': 'Python.Listens', 'Setting': [\n"
        "     {'@Target': 'Host', '@Name': 'Output', '#text': 'Echo'},\n"
        "     {'@Target': 'Host', '@Name': 'Isolated', '#text': '1'},\n"
        "     {'@Target': 'Host', '@Name': 'CallInterval', '#text': '3600'},\n"
        "     {'@Target': 'Adapter', '@Name': 'tone', '#text': 'dong'}]}]}}]\n"
    )

    with testing.production(tmp_path / "settings.py", tmp_path / "home", clock=testing.FakeClock()) as bus:
        wait_for(bus, lambda rows: any(row.status == Status.COMPLETED for row in rows))
        (said,) = _lines(bus, item="Echo", type="Info")

    assert re.fullmatch(r"echoing dong \d+", said)
    assert said != f"echoing dong {os.getpid()}"


def test_a_component_that_cannot_start_in_its_child_is_the_item_s_error(tmp_path: Path) -> None:
    with testing.production(trouble_production(greeting="refuse"), tmp_path) as bus:
        bus.wait_ready()
        echo = bus.request("Echo", Text("others go on"))
        status = next(item for item in bus.items() if item.name == "Trouble")

    assert status.state == "Error"
    assert status.error == "RuntimeError: there is no printer"
    assert echo == Text("others go on")


def test_a_child_that_dies_in_on_init_is_the_item_s_error(tmp_path: Path) -> None:
    with testing.production(trouble_production(greeting="crash"), tmp_path) as bus:
        bus.wait_ready()
        status = next(item for item in bus.items() if item.name == "Trouble")

    assert status.state == "Error"
    assert "gone before its component was ready: it ended with exit code 7" in str(status.error)


def test_a_class_that_a_child_cannot_import_is_refused_in_a_sentence(tmp_path: Path) -> None:
    class Inner(BusinessOperation):
        def on_message(self, request: Text) -> Text:
            return request

    prod = Production("Test.Inner")
    prod.operation("Inner", Inner, settings={"Isolated": "true"})

    with testing.production(prod, tmp_path) as bus:
        bus.wait_ready()
        (status,) = bus.items()

    assert "'Inner' is isolated, and a child process cannot import its class" in str(status.error)
    assert "top level of a module" in str(status.error)


def test_an_isolated_item_of_a_settings_file_is_read_from_that_file_again(tmp_path: Path) -> None:
    (tmp_path / "bo.py").write_text(
        "import os\nfrom iop import BusinessOperation\nfrom msg import Asked\n\n\n"
        "class Where(BusinessOperation):\n    def on_message(self, request: Asked) -> Asked:\n"
        "        return Asked(f'{request.text} {os.getpid()}')\n"
    )
    (tmp_path / "msg.py").write_text(
        "from dataclasses import dataclass\nfrom iop import Message\n\n\n@dataclass\nclass Asked(Message):\n"
        "    text: str = ''\n"
    )
    (tmp_path / "settings.py").write_text(
        "from iop import Production\nfrom bo import Where\n\nprod = Production('Test.File')\n"
        "prod.operation('Where', Where, settings={'Isolated': 'true'})\nPRODUCTIONS = [prod]\n"
    )

    with testing.production(tmp_path / "settings.py", tmp_path / "home") as bus:
        answer = bus.request("Where", bus.message("Asked", {"text": "in"}))

    assert re.fullmatch(r"in \d+", answer.text)
    assert answer.text != f"in {os.getpid()}"


def test_the_children_end_with_the_production(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        answer: Numbers = bus.request("Trouble", Text("pid"))

    assert not Path(f"/proc/{answer.pid}").exists()


def test_a_child_imports_torch_only_where_its_component_does(tmp_path: Path) -> None:
    with testing.production(trouble_production(), tmp_path) as bus:
        pid = bus.request("Trouble", Text("pid")).pid
        mapped = Path(f"/proc/{pid}/maps").read_text()

    assert "torch" not in mapped


def _router() -> Production:
    prod = Production("Test.Router")
    echo = prod.operation("Echo", Echo)
    router = prod.process("Router", Router, settings={"Isolated": "true"})
    prod.connect(router.Output, echo)
    return prod


def _reads(output: type[BusinessOperation], pool_size: int = 1) -> Production:
    prod = Production("Test.Streams")
    target = prod.operation("Output", output, settings={"Isolated": "true"}, pool_size=pool_size)
    reads = prod.process("Reads", Reads, settings={"Isolated": "true"})
    prod.connect(reads.Output, target)
    return prod


def _ended(rows: list[object]) -> int:
    return sum(row.status == Status.COMPLETED for row in rows if row.type == "Request")  # type: ignore[attr-defined]


def _lines(bus: PythonDoor, item: str, type: str) -> list[str]:
    bus.production.store.flush()
    return [event.text for event in list_events(bus.production.store.engine, item=item, type=type)]


def _pid_told(bus: PythonDoor, words: str, item: str = "Trouble") -> int:
    told: list[int] = []

    def look() -> bool:
        told.extend(
            int(line.rpartition(" ")[2]) for line in _lines(bus, item, "Info") if line.startswith(words)
        )
        return bool(told)

    until(look, f"the component says {words!r}")
    return told[0]
