"""The alerts: what was told, what has not cleared, the limits, and who gets them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from doors import OpenDoor, open_door
from iop import BusinessOperation, Production

from components import Echo, Text
from waiting import until
from wattbus.errors import RequestFailed
from wattbus.messages import AlertRequest


class Mailer(BusinessOperation):
    def mail(self, request: AlertRequest) -> None:
        self.log_info("mailed")


def watched(**settings: object) -> Production:
    prod = Production("Test.Watched")
    prod.operation("Echo", Echo, settings=settings)
    return prod


def fail(ask: OpenDoor) -> None:
    with contextlib.suppress(RequestFailed):
        ask.director.current().request("Echo", Text("boom"))
    until(lambda: ask("GET", "/api/v1/alerts").said["told"]["lines"] != [], "the alert is told")


def test_an_alert_tells_its_item_its_reason_and_its_message(tmp_path: Path) -> None:
    with open_door(tmp_path, watched(AlertOnError=1)) as ask:
        fail(ask)

        said = ask("GET", "/api/v1/alerts").said
        page = ask.page("/alerts")

    (line,) = said["told"]["lines"]
    (open_,) = said["alerting"]["open"]
    assert (line["item"], line["text"]) == ("Echo", "ValueError: the text is boom")
    assert (open_["item"], open_["kind"], open_["count"]) == ("Echo", "AlertOnError", 1)
    assert f'href="/messages/{line["message_id"]}"' in page.said


def test_the_limits_of_each_item_stand_there_with_the_one_that_is_exceeded(tmp_path: Path) -> None:
    with open_door(tmp_path, watched(QueueCountAlert=1, QueueWaitAlert=30, AlertGroups="night")) as ask:
        running = ask.director.current()
        running.stop_item("Echo")
        running.submit("Echo", Text("x"))
        until(
            lambda: ask("GET", "/api/v1/alerts").said["alerting"]["limits"][0]["exceeded"] != [],
            "it is exceeded",
        )

        (limits,) = ask("GET", "/api/v1/alerts").said["alerting"]["limits"]

    assert (limits["queue_count"], limits["queue_wait_seconds"], limits["on_error"]) == (1, 30.0, False)
    assert limits["destination"] == "night"
    assert limits["exceeded"] == ["QueueCountAlert"]


def test_the_page_says_who_gets_the_alerts(tmp_path: Path) -> None:
    told = watched()
    told.operation("Ens.Alert", Mailer)
    with open_door(tmp_path / "told", told) as ask:
        with_taker = ask("GET", "/api/v1/alerts").said["alerting"]
    with open_door(tmp_path / "untold", watched()) as ask:
        without, page = ask("GET", "/api/v1/alerts").said["alerting"], ask.page("/alerts")

    assert with_taker["taker"] == "Ens.Alert"
    assert with_taker["taker_component"].endswith("Mailer")
    assert without["taker"] is None
    assert "Nobody" in page.said
    assert "No alert was told yet" in page.said


def test_what_was_told_stays_in_sight_when_the_production_is_stopped(tmp_path: Path) -> None:
    with open_door(tmp_path, watched(AlertOnError=1)) as ask:
        fail(ask)
        ask.director.stop_production()

        said = ask("GET", "/api/v1/alerts").said
        page = ask.page("/alerts")
        wrong = ask("GET", "/api/v1/alerts?before=soon")

    assert said["alerting"] is None
    assert len(said["told"]["lines"]) == 1
    assert "nothing is watched now" in page.said
    assert wrong.status == 400
