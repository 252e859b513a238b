"""The first page: whether all is well, what failed, what waits, what ran, what to do next."""

from __future__ import annotations

from pathlib import Path

from doors import open_door
from iop import BusinessOperation, Production
from pages import page

from components import Gate, Text, echo_production
from waiting import until
from wattbus.errors import RequestFailed
from wattbus.store.queries import list_messages


class Broken(BusinessOperation):
    def on_init(self) -> None:
        raise ValueError("there is no folder")


def test_a_new_production_is_well_and_says_what_to_do_next(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        assert ask.director.current().wait_ready(20)
        shown = page(ask.page("/"))
        said = ask("GET", "/api/v1/home").said

    assert "All is well" in shown.text and "2 of 2 items run." in shown.text
    assert {"/test", "/models"} <= {link.attributes["href"] for link in shown.one("main").all("a")}
    assert "the energy is not known" in shown.text
    assert (said["healthy"], said["errors"], said["dead"], said["oldest"]) == (True, [], [], None)


def test_what_failed_stands_first_with_links(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        running = ask.director.current()
        running.request("Echo", Text("fine"))
        try:
            running.request("Echo", Text("boom"))
        except RequestFailed:
            running.store.flush()
        said = ask("GET", "/api/v1/home").said
        shown = page(ask.page("/"))

    links = [link.attributes["href"] for link in shown.one("main").all("a")]
    assert said["dead"][0] | {"newest_id": 0} == {
        "item": "Echo", "count": 1, "newest_id": 0, "error": "ValueError: the text is boom",
    }  # fmt: skip
    assert "the text is boom" in said["errors"][0]["text"]
    assert any(link.startswith("/messages?filter=status%3DError") and "Echo" in link for link in links)
    assert (said["ran"]["sessions"], said["ran"]["errors"], said["ran"]["at_least"]) == (2, 1, False)
    assert "No message has been sent yet" not in shown.text


def test_an_item_in_error_makes_it_ill_and_says_why(tmp_path: Path) -> None:
    production = Production("Test.Production")
    production.operation("Broken", Broken)
    with open_door(tmp_path, production) as ask:
        until(lambda: ask("GET", "/api/v1/home").said["ill"] != [], "the item is in error")
        shown = page(ask.page("/"))
        healthy = ask("GET", "/api/v1/home").said["healthy"]

    assert healthy is False
    assert "Something needs you" in shown.text and "there is no folder" in shown.text


def test_the_oldest_waiting_message_is_named_with_its_age(tmp_path: Path) -> None:
    production = Production("Test.Production")
    production.operation("Gate", Gate)
    Gate.opened.clear()
    Gate.entered.clear()
    with open_door(tmp_path, production) as ask:
        running = ask.director.current()
        sent = [running.submit("Gate", Text(str(number))) for number in range(3)]
        assert Gate.entered.wait(20)
        said = ask("GET", "/api/v1/home").said["oldest"]
        Gate.opened.set()
        until(
            lambda: all(row.status == "Completed" for row in list_messages(running.store.engine)),
            "the gate lets all through",
        )
        after = ask("GET", "/api/v1/home").said["oldest"]

    assert (said["message_id"], said["item"]) == (sent[1], "Gate")
    assert said["age_seconds"] >= 0
    assert after is None


def test_nothing_runs_and_the_page_leads_to_the_start(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        shown = page(ask.page("/"))

    assert "The production is Stopped" in shown.text
    assert shown.one("a", class_="good").attributes["href"] == "/production"
