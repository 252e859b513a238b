"""The production in the portal: started, looked at, and its items changed, by clicks and by calls."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from doors import open_door
from iop import BusinessOperation, Production
from pages import page, told

from components import Echo, Text, echo_production
from waiting import until
from wattbus.errors import AlreadyRunning
from wattbus.web.background import Background

SETTINGS = "/items/Echo/settings"


class Picky(BusinessOperation):
    """Cannot start with a setting that is wrong in a way that only it knows."""

    folder: str = "here"

    def on_init(self) -> None:
        if self.folder == "nowhere":
            raise ValueError("there is no folder nowhere")

    def take(self, request: Text) -> Text:
        return Text(self.folder)


def test_the_page_shows_the_items_and_what_they_send_to(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        shown = page(ask.page("/production"))
        said = ask("GET", "/api/v1/production").said

    boxes = {box.attributes["href"]: box.text for box in shown.all("a", class_="box")}
    lines = [line.one("title").text for line in shown.all("path", class_="line")]
    assert list(boxes) == ["/items/Echo", "/items/Relay"]
    assert "pool 1" in boxes["/items/Echo"]
    assert lines == ["Relay sends to Echo (Output)"]
    assert [item["name"] for item in said["items"]] == ["Echo", "Relay"]
    assert said["connections"] == [{"source": "Relay", "target": "Echo", "setting": "Output"}]


def test_the_green_button_starts_a_production_and_stop_stops_it(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        before = page(ask.page("/production"))
        started = ask.form("/production/start")
        during = page(ask.page("/production"))
        again = ask("POST", "/api/v1/production/start", {})
        stopped = ask.form("/production/stop")
        after = ask("GET", "/api/v1/production").said["state"]

    assert _off(before) == {"Stop", "Restart", "Update", "Recover"}
    assert "It does not run: start it first." in before.text
    assert before.one("button", class_="good").text == "Start"
    assert (started.status, told(started)) == (303, "Test.Production is Running.")
    assert _off(during) == {"Start"}
    assert again.status == 409 and "is Running already" in again.said["detail"]
    assert (told(stopped), after) == ("Test.Production is Stopped.", "Stopped")


def test_one_of_several_productions_is_chosen(tmp_path: Path) -> None:
    other = Production("Other.Production")
    other.operation("Other", Echo)
    with open_door(tmp_path, echo_production(), other, start=False) as ask:
        choices = [one.text for one in page(ask.page("/production")).one("select").all("option")]
        wrong = ask("POST", "/api/v1/production/start", {"production": "Othr.Production"})
        ask.form("/production/start", {"production": "Other.Production"})
        until(lambda: ask("GET", "/api/v1/production").said["name"] == "Other.Production", "it has started")
        running = ask("GET", "/api/v1/production").said

    assert choices == ["Test.Production", "Other.Production"]
    assert wrong.status == 404 and "did you mean 'Other.Production'?" in wrong.said["detail"]
    assert (running["name"], [item["name"] for item in running["items"]]) == ("Other.Production", ["Other"])


def test_what_takes_long_goes_on_while_the_page_says_what_it_is() -> None:
    work, go = Background(), threading.Event()

    ended = work.do("Starting", lambda: go.wait(20), patience_seconds=0.01)
    doing = work.doing
    with pytest.raises(AlreadyRunning, match="it is starting now"):
        work.do("Stopping", lambda: None)
    go.set()
    until(lambda: not work.doing, "the work ends")

    assert (ended, doing, work.failure) == (False, "Starting", "")


def test_a_start_that_fails_after_the_page_was_answered_is_told_on_the_next_one() -> None:
    work, go = Background(), threading.Event()

    def fail() -> None:
        go.wait(20)
        raise ValueError("the port is taken")

    work.do("Starting", fail, patience_seconds=0.01)
    go.set()
    until(lambda: not work.doing, "the work ends")

    assert work.failure == "the port is taken"


def test_a_setting_is_changed_in_its_form_and_undone_in_its_history(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(prefix="a")) as ask:
        form = _settings_form(ask)
        sent = form | {"set:prefix": ["b"], "set:PoolSize": ["2"]}
        changed = ask.form(SETTINGS, sent)
        answer = ask.director.current().request("Echo", Text("x"))
        shown = page(ask.page("/items/Echo"))
        history = ask("GET", "/api/v1/items/Echo/settings").said["history"]
        prefix = next(row for row in history if row["setting"] == "prefix")
        undone = ask.form(f"/items/Echo/undo/{prefix['id']}")
        back = ask.director.current().request("Echo", Text("x"))

    assert form["set:prefix"] == ["a"]
    assert told(changed).startswith("Echo: PoolSize, prefix changed")
    assert (answer.text, back.text) == ("bx", "ax")
    assert "settings.py says a." in shown.text
    assert (prefix["before"], prefix["after"], prefix["changed_by"]) == (None, "b", "the test")
    assert told(undone).startswith("Echo: prefix changed")


def test_a_form_that_is_sent_as_it_was_shown_changes_nothing(tmp_path: Path) -> None:
    settings = {"prefix": "a", "%settings": "token_of_hub=very-secret-value\nx=1", "AlertOnError": "1"}
    with open_door(tmp_path, echo_production(**settings)) as ask:
        for name in ("Echo", "Relay"):
            form = page(ask.page(f"/items/{name}")).one("form", action=f"/items/{name}/settings").fields()
            sent = ask.form(f"/items/{name}/settings", form)
            assert "nothing was changed" in told(sent)


def test_a_secret_is_not_shown_and_stays_when_another_line_is_changed(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(**{"%settings": "hub_token=very-secret-value\nx=1"})) as ask:
        shown = ask.page("/items/Echo")
        form = _settings_form(ask)
        text = form["set:%settings"][0]
        ask.form(SETTINGS, form | {"set:%settings": [text.replace("x=1", "x=2")]})
        kept = ask.director.current().production.items["Echo"].host_settings["%settings"]
        history = ask("GET", "/api/v1/items/Echo/settings")

    assert "very-secret" not in str(shown.said) + str(history.said)
    assert text == "hub_token=***alue\nx=1"
    assert kept == "hub_token=very-secret-value\nx=2"


def test_an_emptied_field_is_the_default_and_reset_goes_back_to_settings_py(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(prefix="a")) as ask:
        ask.form(SETTINGS, _settings_form(ask) | {"set:prefix": [""]})
        empty = ask.director.current().request("Echo", Text("x"))
        ask.form("/items/Echo/reset")
        back = ask.director.current().request("Echo", Text("x"))

    assert (empty.text, back.text) == ("x", "ax")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"factor": "many"}, "setting 'factor' of item 'Echo' is 'many': a whole number is needed."),
        ({"prefx": "a"}, "unknown setting of Echo 'prefx': did you mean 'prefix'?"),
        ({"PoolSize": 100_000}, "give 0 to 512 workers"),
        ({"PoolSize": -1}, "give 0 to 512 workers"),
        ({"Enabled": "perhaps"}, "use true or false"),
        ({"RetryInterval": "nan"}, "a number is needed"),
        ({"RetryInterval": "-5"}, "it cannot be negative"),
        ({"ReplyCodeActions": "E=Q"}, "'Q' is no action"),
        ({"Schedule": "cron: * *"}, "cron has five fields"),
        ({"prefix": "a\x00b"}, "control character"),
        ({"prefix": "good", "factor": "bad"}, "a whole number is needed"),
    ],
)
def test_what_a_setting_cannot_be_is_refused_before_anything_is_stored(
    tmp_path: Path, settings: dict[str, object], sentence: str
) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        before = ask("GET", "/api/v1/items/Echo/settings").said["fields"]
        refused = ask("POST", f"/api/v1{SETTINGS}", {"settings": settings})
        after = ask("GET", "/api/v1/items/Echo/settings").said

    assert refused.status in (400, 404, 422)
    assert sentence in refused.said["detail"]
    assert (after["fields"], after["history"]) == (before, [])


def test_a_target_must_be_an_item_that_takes_messages(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        unknown = ask("POST", "/api/v1/items/Relay/settings", {"settings": {"Output": "Ecko"}})
        choices = page(ask.page("/items/Relay")).one("select", name="set:Output")

    assert (
        "setting 'Output' of item 'Relay': unknown item 'Ecko': did you mean 'Echo'?"
        in unknown.said["detail"]
    )
    assert [option.text for option in choices.all("option")] == ["default (none)", "Echo"]


def test_an_item_that_cannot_start_with_a_change_gets_its_old_settings_back(tmp_path: Path) -> None:
    production = Production("Test.Production")
    production.operation("Picky", Picky)
    with open_door(tmp_path, production) as ask:
        assert ask.director.current().wait_ready(20)
        refused = ask("POST", "/api/v1/items/Picky/settings", {"settings": {"folder": "nowhere"}})
        answer = ask.director.current().request("Picky", Text("x"))
        history = ask("GET", "/api/v1/items/Picky/settings").said["history"]

    assert refused.status == 422
    assert "Picky cannot start with folder changed, so the change was taken back" in refused.said["detail"]
    assert "there is no folder nowhere" in refused.said["detail"]
    assert answer.text == "here"
    assert [row["after"] for row in history] == [None, "nowhere"]


def test_an_undo_waits_for_the_newer_change_to_be_undone(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        for value in ("a", "b"):
            ask("POST", f"/api/v1{SETTINGS}", {"settings": {"prefix": value}})
        newest, first = ask("GET", "/api/v1/items/Echo/settings").said["history"]
        refused = ask("POST", f"/api/v1/items/Echo/undo/{first['id']}")
        unknown = ask("POST", "/api/v1/items/Echo/undo/999")
        undone = ask("POST", f"/api/v1/items/Echo/undo/{newest['id']}")

    assert (
        refused.status == 400
        and "was changed again since: undo the newer change first" in refused.said["detail"]
    )
    assert unknown.status == 404
    assert undone.status == 200
    assert (newest["can_undo"], first["can_undo"]) == (True, False)


def test_an_item_is_added_set_up_used_and_removed(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        classes = ask("GET", "/api/v1/production").said["classes"]
        echo = next(name for name in classes if name.endswith("Echo"))
        added = ask.form("/items", {"name": "My.Own.Echo", "class_name": echo})
        disabled = ask("GET", "/api/v1/items/My.Own.Echo").said["head"]["item"]
        ask("POST", "/api/v1/items/My.Own.Echo/settings", {"settings": {"prefix": "my ", "Enabled": True}})
        answer = ask.director.current().request("My.Own.Echo", Text("x"))
        removed = ask.form("/items/My.Own.Echo/remove")
        gone = ask("GET", "/api/v1/items/My.Own.Echo")
        kept = ask("POST", "/api/v1/items/Echo/remove")

    assert added.headers["location"] == "/items/My.Own.Echo"
    assert (disabled["state"], disabled["added"]) == ("Disabled", True)
    assert answer.text == "my x"
    assert removed.headers["location"] == "/production"
    assert gone.status == 404
    assert "item 'Echo' stands in settings.py" in kept.said["detail"]


@pytest.mark.parametrize(
    ("name", "class_name", "sentence"),
    [
        ("Echo", "Python.components.Echo", "already has an item 'Echo'"),
        ("a,b", "Python.components.Echo", "cannot be the name of an item"),
        ("x" * 200, "Python.components.Echo", "cannot be the name of an item"),
        ("New", "os.system", "unknown class 'os.system'"),
    ],
)
def test_an_item_that_cannot_be_added_is_refused_in_a_sentence(
    tmp_path: Path, name: str, class_name: str, sentence: str
) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        refused = ask("POST", "/api/v1/items", {"name": name, "class_name": class_name})
        items = ask("GET", "/api/v1/items").said["items"]

    assert sentence in refused.said["detail"]
    assert [item["name"] for item in items] == ["Echo", "Relay"]


def test_the_buttons_of_an_item_stop_start_and_resize_it(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        assert ask.director.current().wait_ready(20)
        states = [
            ask("POST", f"/api/v1/items/Echo/{act}").said["state"]
            for act in ("stop", "start", "disable", "enable")
        ]
        resized = ask.form("/items/Echo/pool", {"size": "3"})
        wrong = ask("POST", "/api/v1/items/Echo/pool", {"size": 9999})
        unknown = ask("POST", "/api/v1/items/Ecko/stop")
        item = ask("GET", "/api/v1/items/Echo").said["head"]["item"]
        by = [row["changed_by"] for row in ask("GET", "/api/v1/items/Echo").said["history"]]

    assert states[0] == "Stopped" and states[2] == "Disabled"
    assert {states[1], states[3]} <= {"Starting", "Running"}
    assert told(resized).startswith("Echo has a pool of 3")
    assert wrong.status == 400
    assert unknown.status == 404 and "did you mean 'Echo'?" in unknown.said["detail"]
    assert item["pool_size"] == 3
    assert set(by) == {"the test"}


def test_a_viewer_looks_an_operator_starts_and_only_an_admin_changes_settings(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        viewer, operator = ask.as_role("viewer"), ask.as_role("operator")
        looked = page(viewer.page("/production"))
        tried = [
            viewer("POST", "/api/v1/items/Echo/restart").status,
            viewer("POST", "/api/v1/production/stop").status,
            operator("POST", f"/api/v1{SETTINGS}", {"settings": {"prefix": "b"}}).status,
            operator("POST", "/api/v1/items", {"name": "A", "class_name": "B"}).status,
        ]
        done = operator("POST", "/api/v1/items/Echo/restart").status
        fields = (
            page(operator.page("/items/Echo")).one("form", action=SETTINGS).all("input", name="set:prefix")
        )

    assert looked.all("form", action="/production/stop") == []
    assert tried == [403, 403, 403, 403]
    assert done == 200
    assert "disabled" in fields[0].attributes


def test_every_tab_of_an_item_is_there_also_while_nothing_runs(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        ask.director.current().request("Echo", Text("x"))
        tabs = [
            one.attributes["href"] for one in page(ask.page("/items/Echo")).one("ul", class_="tabs").all("a")
        ]
        running = {tab: (ask.page(tab).status, ask("GET", f"/api/v1{tab}").status) for tab in tabs}
        messages = ask("GET", "/api/v1/items/Echo/messages").said["messages"]
        log = page(ask.page("/items/Echo/log")).text
        ask.form("/production/stop")
        stopped = {tab: ask.page(tab).status for tab in tabs}
        refused = ask.form(SETTINGS, {"shown": ["prefix"], "set:prefix": "b"})

    assert len(tabs) == 7
    assert set(running.values()) == {(200, 200)} and set(stopped.values()) == {200}
    assert {message["status"] for message in messages} == {"Completed"}
    assert "echoing x" in log
    assert "start" in told(refused)


def test_an_item_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answer, shown = ask("GET", "/api/v1/items/Ecko/queue"), ask.page("/items/Ecko")

    assert answer.status == shown.status == 404
    assert "did you mean 'Echo'?" in answer.said["detail"] and "did you mean" in page(shown).text


def test_hostile_names_and_settings_are_only_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'></svg>"
    production = Production("Test.Production")
    production.operation(evil, Echo, settings={"prefix": evil})
    with open_door(tmp_path, production) as ask:
        link = page(ask.page("/production")).all("a", class_="box")[0].attributes["href"]
        pages = [
            ask.page("/production"),
            ask.page("/"),
            ask.page(link),
            ask.page(f"{link}/queue"),
            ask.page("/items"),
        ]

    for one in pages:
        assert one.status == 200
        assert all("alert" not in script.text for script in page(one).all("script"))
        assert not [
            name for element in page(one).all("svg") for name in element.attributes if name == "style"
        ]
    assert page(pages[2]).one("h1").text.startswith(evil)


def test_what_needs_iris_is_shown_with_its_sentence(tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text(
        "from iop import BusinessOperation\nclass Own(BusinessOperation):\n    pass\n"
        'PRODUCTIONS = [{"Iris.Production": {"Item": [{"@Name": "Own", "@ClassName": Own}, '
        '{"@Name": "Ftp", "@ClassName": "EnsLib.FTP.PassthroughOperation"}]}}]'
    )
    with open_door(tmp_path / "home", settings=settings) as ask:
        shown = page(ask.page("/production"))
        item = ask("GET", "/api/v1/items/Ftp/settings").said
        changed = ask("POST", "/api/v1/items/Ftp/settings", {"settings": {"PoolSize": 2}})

    assert "Need IRIS" in shown.text
    assert item["head"]["item"]["state"] == "Needs IRIS"
    assert item["head"]["item"]["error"] in shown.text
    assert changed.status in (400, 403)


def test_a_production_that_cannot_be_read_says_why_and_has_a_page(tmp_path: Path) -> None:
    settings = tmp_path / "settings.py"
    settings.write_text("PRODUCTIONS = [")
    with open_door(tmp_path / "home", settings=settings, start=False) as ask:
        shown, home = ask.page("/production"), ask.page("/")

    assert (shown.status, home.status) == (200, 200)
    assert "settings.py" in page(shown).one("p", role="alert").text


def _off(shown: object) -> set[str]:
    levers = shown.one("div", class_="levers")  # type: ignore[attr-defined]
    return {button.text for button in levers.all("button") if "disabled" in button.attributes}


def _settings_form(ask: object) -> dict[str, list[str]]:
    return page(ask.page("/items/Echo")).one("form", action=SETTINGS).fields()  # type: ignore[attr-defined]
