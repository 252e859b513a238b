"""Alerts: each condition is told once, in the event log and to Ens.Alert, until it has cleared."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from iop import BusinessOperation, PollingBusinessService, Production, target
from sqlalchemy import text as sql

from components import Echo, Text
from waiting import until
from wattbus import testing
from wattbus.errors import BadSettings, RequestFailed
from wattbus.messages import AlertRequest
from wattbus.runtime.alerts import TICK_SECONDS
from wattbus.runtime.conditions import GONE_SECONDS, MOST_ERRORS
from wattbus.store.queries import EventLine, list_events, list_messages
from wattbus.store.waiting import Waiting, waiting, waiting_query
from wattbus.testing.production import ProductionUnderTest


class Slow(BusinessOperation):
    """Holds every message until the test lets it go."""

    gate: ClassVar[threading.Semaphore]

    def work(self, request: Text) -> None:
        assert Slow.gate.acquire(timeout=30)


class Listener(BusinessOperation):
    """Takes alerts as Python messages."""

    heard: ClassVar[list[AlertRequest]] = []

    def alert(self, request: AlertRequest) -> None:
        Listener.heard.append(request)


class IrisListener(BusinessOperation):
    """Takes alerts as a component written for IRIS does."""

    heard: ClassVar[list[Any]] = []

    def on_message(self, request: Any) -> None:
        IrisListener.heard.append(request)


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    Slow.gate = threading.Semaphore(0)
    Listener.heard.clear()
    IrisListener.heard.clear()


@contextmanager
def watched(prod: Production, home: Path) -> Iterator[ProductionUnderTest]:
    with testing.production(prod, home, clock=testing.FakeClock()) as bus:
        bus.wait_ready()
        try:
            yield bus
        finally:
            Slow.gate.release(1000)


def passes(bus: ProductionUnderTest, seconds: float = TICK_SECONDS) -> None:
    """Let time pass, and see the watch look and tell all it has to tell."""
    clock = bus.clock
    assert isinstance(clock, testing.FakeClock)
    clock.wait_for_sleeper("wattbus-alerts")
    clock.advance(seconds)
    clock.wait_for_sleeper("wattbus-alerts")


def alerts(bus: ProductionUnderTest) -> list[EventLine]:
    bus.production.store.flush()
    return list_events(bus.production.store.engine, type="Alert")


def slow(**settings: object) -> Production:
    prod = Production("Test.Alerts")
    prod.operation("Slow", Slow, settings=settings)
    return prod


def fill(bus: ProductionUnderTest, messages: int) -> None:
    """Queue so many messages behind one that is in hand."""
    for _ in range(messages + 1):
        bus.submit("Slow", Text("x"))
    until(lambda: queued(bus) == messages, "one message in hand")


def queued(bus: ProductionUnderTest) -> int:
    _, found = waiting(bus.production.store.engine, {"Slow": 1000})
    return found["Slow"].queued if found else 0


def test_a_queue_that_reaches_its_limit_is_one_alert_however_long_it_stays(tmp_path: Path) -> None:
    with watched(slow(QueueCountAlert=3), tmp_path) as bus:
        fill(bus, 2)
        passes(bus)
        assert alerts(bus) == []

        bus.submit("Slow", Text("x"))
        for _ in range(30):
            passes(bus)

        (alert,) = alerts(bus)
        (current,) = bus.production.alerts.current_alerts()
    assert (alert.item, alert.text) == (
        "Slow",
        "the queue of 'Slow' has reached 3 messages, its QueueCountAlert",
    )
    assert (current.kind, current.text) == ("QueueCountAlert", alert.text)


def test_a_queue_must_shrink_to_four_fifths_for_a_minute_before_it_alerts_anew(tmp_path: Path) -> None:
    with watched(slow(QueueCountAlert=5), tmp_path) as bus:
        fill(bus, 5)
        passes(bus)
        Slow.gate.release()
        until(lambda: queued(bus) == 4, "one less")
        passes(bus, GONE_SECONDS * 2)
        assert len(bus.production.alerts.current_alerts()) == 1

        Slow.gate.release()
        until(lambda: queued(bus) == 3, "two less")
        passes(bus, GONE_SECONDS)
        passes(bus)
        assert bus.production.alerts.current_alerts() == []
        fill_up = [bus.submit("Slow", Text("x")) for _ in range(2)]
        passes(bus)

        assert len(alerts(bus)) == len(fill_up) == 2


def test_a_message_that_waits_too_long_is_an_alert_whatever_the_time_of_day_does(tmp_path: Path) -> None:
    with watched(slow(QueueWaitAlert=60), tmp_path) as bus:
        fill(bus, 1)
        passes(bus)
        bus.clock.jump(86_400)  # type: ignore[attr-defined]
        passes(bus, 50)
        assert alerts(bus) == []

        bus.clock.jump(-2 * 86_400)  # type: ignore[attr-defined]
        passes(bus, 15)

        (alert,) = alerts(bus)
    assert alert.text == "a message has waited 65 s in the queue of 'Slow', QueueWaitAlert is 60 s"
    assert alert.message_id == 2


def test_a_message_of_the_last_run_counts_from_when_it_came(tmp_path: Path) -> None:
    prod = Production("Test.Alerts")
    prod.operation("Slow", Slow, settings={"QueueWaitAlert": 3600}, pool_size=0)
    with watched(prod, tmp_path) as bus:
        bus.submit("Slow", Text("x"))
        with bus.production.store.engine.begin() as connection:
            connection.execute(sql("UPDATE messages SET time_created_us = time_created_us - 7200000000"))

    with watched(prod, tmp_path) as bus:
        passes(bus)

        (alert,) = alerts(bus)
    assert "has waited 72" in alert.text


def test_an_item_that_does_nothing_is_an_alert_and_one_that_is_stopped_is_none(tmp_path: Path) -> None:
    prod = Production("Test.Alerts")
    prod.operation("Idle", Echo, settings={"InactivityTimeout": 60})
    prod.operation("Stopped", Echo, settings={"InactivityTimeout": 60})
    prod.operation("Busy", Echo, settings={"InactivityTimeout": 60})

    with watched(prod, tmp_path) as bus:
        bus.production.stop_item("Stopped")
        passes(bus, 50)
        bus.request("Busy", Text("x"))
        passes(bus, 15)

        (alert,) = alerts(bus)
        passes(bus, 600)
        assert len([line for line in alerts(bus) if line.item == "Idle"]) == 1
    assert alert.text == "'Idle' has done nothing for 65 s, InactivityTimeout is 60 s"


def test_an_item_with_a_message_in_hand_is_not_inactive(tmp_path: Path) -> None:
    with watched(slow(InactivityTimeout=60), tmp_path) as bus:
        fill(bus, 0)
        until(lambda: bool(bus.production.bus.in_hand), "the message is in hand")
        for _ in range(30):
            passes(bus)

        assert alerts(bus) == []


def failing(listener: type | None = Listener, **settings: object) -> Production:
    prod = Production("Test.Alerts")
    prod.operation("Echo", Echo, settings={"AlertOnError": True, **settings})
    if listener is not None:
        prod.operation("Ens.Alert", listener)
    return prod


def fail(bus: ProductionUnderTest) -> None:
    with pytest.raises(RequestFailed):
        bus.request("Echo", Text("boom"))


def test_an_error_is_told_at_once_with_its_message_and_its_session(tmp_path: Path) -> None:
    with watched(failing(AlertGroups="Admins"), tmp_path) as bus:
        fail(bus)
        until(lambda: bool(Listener.heard), "the alert was sent")
        (alert,) = alerts(bus)
        (failed, *_) = [
            row for row in list_messages(bus.production.store.engine) if row.target_item == "Echo"
        ]

    (heard,) = Listener.heard
    assert (alert.item, alert.text, alert.message_id) == ("Echo", "ValueError: the text is boom", failed.id)
    assert (heard.AlertText, heard.SourceConfigName) == (alert.text, "Echo")
    assert (heard.SessionId, heard.MessageHeaderId) == (str(failed.session_id), str(failed.id))
    assert (heard.AlertDestination, heard.AlertTime) == ("Admins", "2026-01-01 00:00:00.000")


def test_a_component_written_for_iris_gets_its_own_alert_request(tmp_path: Path) -> None:
    with watched(failing(IrisListener), tmp_path) as bus:
        fail(bus)
        until(lambda: bool(IrisListener.heard), "the alert was sent")

    (heard,) = IrisListener.heard
    assert heard._IsA("Ens.AlertRequest")
    assert (heard.AlertText, heard.SourceConfigName) == ("ValueError: the text is boom", "Echo")


def test_the_same_error_again_and_again_is_one_alert_until_it_has_been_gone_for_a_minute(
    tmp_path: Path,
) -> None:
    with watched(failing(), tmp_path) as bus:
        for _ in range(5):
            fail(bus)
            passes(bus, 30)
        (current,) = bus.production.alerts.current_alerts()
        passes(bus, GONE_SECONDS + 1)
        passes(bus)
        fail(bus)
        until(lambda: len(Listener.heard) == 2, "the second alert was sent")

        assert len(alerts(bus)) == 2
    assert current.count == 5


def test_many_different_errors_are_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    class Various(Echo):
        def echo(self, request: Text) -> Text:
            raise ValueError(request.text)

    prod = Production("Test.Alerts")
    prod.operation("Various", Various, settings={"AlertOnError": True})

    with watched(prod, tmp_path) as bus:
        for number in range(MOST_ERRORS + 10):
            bus.submit("Various", Text(str(number)))
        watch = bus.production.alerts
        until(
            lambda: sum(alert.count for alert in watch.current_alerts()) == MOST_ERRORS + 10, "all are told"
        )

        assert len(alerts(bus)) == MOST_ERRORS


def test_a_suspended_message_and_an_item_that_cannot_start_are_alerts(tmp_path: Path) -> None:
    class Broken(Echo):
        def on_init(self) -> None:
            raise RuntimeError("no such disk")

    prod = failing(None, ReplyCodeActions="E=S")
    prod.operation("Broken", Broken, settings={"AlertOnError": True})

    with watched(prod, tmp_path) as bus:
        bus.submit("Echo", Text("boom"))
        until(lambda: len(alerts(bus)) >= 2, "both are told")
        texts = {line.item: line.text for line in alerts(bus)}

    assert "the text is boom" in texts["Echo"]
    assert "item 'Broken' does not run: RuntimeError: no such disk" in texts["Broken"]


def test_a_service_whose_poll_fails_alerts(tmp_path: Path) -> None:
    class Poller(PollingBusinessService):
        Output = target()

        def on_poll(self) -> None:
            raise OSError("no such folder")

    prod = Production("Test.Alerts")
    prod.service("Poller", Poller, settings={"AlertOnError": True})

    with watched(prod, tmp_path) as bus:
        until(lambda: bool(alerts(bus)), "the alert is told")
        texts = [line.text for line in alerts(bus)]

    assert texts == ["OSError: no such folder"]


def test_an_error_without_the_setting_is_no_alert(tmp_path: Path) -> None:
    with watched(failing(AlertOnError=False), tmp_path) as bus:
        fail(bus)
        passes(bus)

        assert alerts(bus) == []


def test_what_a_component_logs_as_an_alert_reaches_ens_alert_too(tmp_path: Path) -> None:
    class Alarming(Echo):
        def echo(self, request: Text) -> Text:
            self.log_alert("the tank is empty")
            return request

    prod = Production("Test.Alerts")
    prod.operation("Alarming", Alarming)
    prod.operation("Ens.Alert", Listener)

    with watched(prod, tmp_path) as bus:
        bus.request("Alarming", Text("x"))
        until(lambda: bool(Listener.heard), "the alert was sent")

        assert len(alerts(bus)) == 1
    assert Listener.heard[0].AlertText == "the tank is empty"


def test_there_is_no_alert_about_alerts(tmp_path: Path) -> None:
    class Down(BusinessOperation):
        """Fails, and sends what fails, whenever it is told something."""

        Mail = target("Mail")

        def alert(self, request: AlertRequest) -> None:
            self.send_request_async("Mail", Text("boom"))
            if "once" in request.AlertText:
                raise RuntimeError("the mail server is down")

    class Mail(Echo):
        def echo(self, request: Text) -> Text:
            raise ConnectionError("no route to the mail server")

    prod = Production("Test.Alerts")
    prod.operation("Echo", Echo, settings={"AlertOnError": True})
    prod.operation("Ens.Alert", Down, settings={"AlertOnError": True, "QueueCountAlert": 1})
    prod.operation("Mail", Mail, settings={"AlertOnError": True})

    with watched(prod, tmp_path) as bus:
        fail(bus)
        until(lambda: any(line.item == "Mail" for line in alerts(bus)), "what failed for the alert is told")
        for _ in range(3):
            passes(bus)
        bus.settle()
        sent = [row for row in list_messages(bus.production.store.engine) if row.target_item == "Ens.Alert"]

        assert len(sent) == 1
        assert [line.item for line in alerts(bus)] == ["Echo", "Mail"]


def test_a_limit_that_is_no_number_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="'QueueCountAlert' of item 'Slow' is 'many': a number is needed"):
        testing.production(slow(QueueCountAlert="many"), tmp_path)

    with testing.production(slow(), tmp_path) as bus:
        assert bus.wait_ready()


def test_the_watch_asks_one_query_that_looks_up_a_few_entries_of_an_index(tmp_path: Path) -> None:
    with testing.production(slow(), tmp_path) as bus:
        engine = bus.production.store.engine
        query = waiting_query({"Slow": 10, "Echo": 20}).compile(
            engine, compile_kwargs={"literal_binds": True}
        )
        with engine.connect() as connection:
            plan = [row[3] for row in connection.execute(sql(f"EXPLAIN QUERY PLAN {query}"))]

    looks = [step for step in plan if "messages" in step]
    assert not any(step.startswith("SCAN") for step in looks), plan
    assert sum("INDEX messages_ready (target_queue=? AND priority=?)" in step for step in looks) == 8, plan


def test_queues_of_postgresql_are_watched_too(tmp_path: Path, postgres_url: str) -> None:
    with testing.production(slow(), tmp_path, store_url=postgres_url) as bus:
        fill(bus, 3)
        newest, found = waiting(bus.production.store.engine, {"Slow": 2, "Echo": 5})
        Slow.gate.release(10)

    assert (newest, found) == (4, {"Slow": Waiting(2, 2)})
