"""Private sessions between a duplex service and a duplex process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from iop import DuplexProcess, DuplexService, Production

from components import Echo, Text
from waiting import wait_for
from wattbus import testing
from wattbus.doctor import examine
from wattbus.home import Home
from wattbus.store.tables import Status


class Line(DuplexService):
    """Sends each word that it is given as a document, and hangs up after the last."""

    heard: ClassVar[list[Any]] = []
    DuplexTargetConfigName = "Talk"

    def on_private_session_started(self, source_config_name: str, self_generated: int) -> None:
        Line.heard.append(("started", source_config_name, self_generated))

    def on_private_session_stopped(self, source_config_name: str, self_generated: int, message: Any) -> None:
        Line.heard.append(("stopped", source_config_name, self_generated))

    def on_message(self, request: Text) -> Text:
        for word in request.text.split():
            self.send_document_to_process(Text(word))
        self.iris_handle.StopPrivateSession(Text("bye"))
        return Text("said")


class Talk(DuplexProcess):
    heard: ClassVar[list[Any]] = []

    def on_private_session_started(self, source_config_name: str, self_generated: int) -> None:
        Talk.heard.append(("started", source_config_name))

    def on_document(self, source_config_name: str, request: Text) -> None:
        answer = self.send_request_sync("Echo", request)
        Talk.heard.append((source_config_name, answer.text))

    def on_private_session_stopped(self, source_config_name: str, self_generated: int, message: Any) -> None:
        Talk.heard.append(("stopped", message.text))


def test_documents_go_to_the_process_in_order_between_the_start_and_the_end_of_a_session(
    tmp_path: Path,
) -> None:
    Line.heard.clear()
    Talk.heard.clear()
    prod = Production("Test.Duplex")
    prod.service("Line", Line)
    prod.process("Talk", Talk)
    prod.operation("Echo", Echo)

    with testing.production(prod, tmp_path) as bus:
        answer = bus.request("Line", Text("one two three"))
        wait_for(
            bus, lambda rows: all(row.status == Status.COMPLETED for row in rows) and len(Talk.heard) == 5
        )

    assert answer.text == "said"
    assert Line.heard == [("started", "Line", 1), ("stopped", "Line", 1)]
    assert Talk.heard == [
        ("started", "Line"), ("Line", "one"), ("Line", "two"), ("Line", "three"), ("stopped", "bye"),
    ]  # fmt: skip
    assert examine(Home(tmp_path)).ok
