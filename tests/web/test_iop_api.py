"""The door of the iop program, as its own service inside IRIS answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from doors import open_door
from iop import Production

from components import Echo, echo_production
from wattbus.store.queries import list_messages

NAME = "Test.Production"
SETTINGS = """
from components import Echo
from iop import Production

prod = Production("Test.Uploaded")
prod.operation("Echo", Echo, settings={"prefix": "uploaded "})
PRODUCTIONS = [prod]
"""


def test_the_production_is_stopped_started_and_restarted_while_the_door_stays_open(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        steps = [
            ask("POST", f"/api/iop/{step}?namespace=USER", body)
            for step, body in [
                ("stop", {}), ("start", {"production": NAME}), ("restart", None), ("update", {}), ("kill", None),
                ("start", None),
            ]
        ]  # fmt: skip
        status = ask("GET", "/api/iop/status?namespace=ANY")

    assert [step.said["status"] for step in steps] == [
        "stopped", "started", "restarted", "updated", "killed", "started",
    ]  # fmt: skip
    assert steps[1].said["production"] == NAME
    assert status.said == {"production": NAME, "status": "running"}


def test_what_cannot_be_done_now_is_an_error_in_words(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        again = ask("POST", "/api/iop/start", {})
        ask("POST", "/api/iop/stop")
        stopped = ask("POST", "/api/iop/stop")
        unknown = ask("POST", "/api/iop/start", {"production": "Test.Prodution"})
        asked = ask("POST", "/api/iop/test", {"target": "Echo", "classname": "Text", "restart": False})

    assert [answer.status for answer in (again, stopped, unknown, asked)] == [409, 409, 404, 409]
    assert "stop it, then start again" in again.said["error"]
    assert "did you mean" in unknown.said["error"]
    assert all(set(answer.said) == {"error"} for answer in (again, stopped, unknown, asked))


def test_a_test_message_is_answered_with_class_and_body(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        answer = ask(
            "POST", "/api/iop/test", {"target": "Echo", "classname": "Text", "body": '{"text": "x"}'}
        )
        as_object = ask(
            "POST",
            "/api/iop/test",
            {"target": "Echo", "classname": "Text", "body": {"text": "y"}, "restart": False},
        )
        wrong = ask("POST", "/api/iop/test", {"target": "Ecoh", "classname": "Text"})
        failing = ask(
            "POST", "/api/iop/test", {"target": "Echo", "classname": "Text", "body": {"text": "boom"}}
        )
        rows = list_messages(ask.director.current().store.engine)

    assert answer.said == {
        "classname": "components.Text",
        "body": '{"text":"x","times":1}',
        "truncated": False,
    }
    assert as_object.said["body"] == '{"text":"y","times":1}'
    assert (wrong.status, failing.status) == (404, 502)
    assert "the text is boom" in failing.said["error"]
    assert {row.source_item for row in rows if row.type == "Request"} == {"Door.Testing"}


def test_restart_makes_the_item_anew_before_the_test_and_false_does_not(tmp_path: Path) -> None:
    class Counting(Echo):
        made = 0

        def on_init(self) -> None:
            Counting.made += 1

    prod = Production(NAME)
    prod.operation("Echo", Counting)
    body = {"target": "Echo", "classname": "Text"}

    with open_door(tmp_path, prod) as ask:
        ask("POST", "/api/iop/test", {**body, "restart": False})
        first = Counting.made
        ask("POST", "/api/iop/test", body)

    assert (first, Counting.made) == (1, 2)


def test_the_log_comes_newest_first_and_after_an_id_oldest_first(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        for text in ("a", "b", "c"):
            ask(
                "POST",
                "/api/iop/test",
                {"target": "Echo", "classname": "Text", "body": {"text": text}, "restart": False},
            )
        newest = ask("GET", "/api/iop/log?top=2").said
        after = ask("GET", f"/api/iop/log?since_id={newest[1]['id']}&namespace=USER").said
        wrong = ask("GET", "/api/iop/log?top=many")

    assert [line["text"] for line in newest] == ["echoing c", "echoing b"]
    assert [line["text"] for line in after] == ["echoing c"]
    assert set(newest[0]) == {
        "id", "time_logged", "type", "config_name", "job", "message_id", "session_id", "source_class",
        "source_method", "text",
    }  # fmt: skip
    assert wrong.status == 400
    assert "top" in wrong.said["error"]


def test_items_are_stopped_started_and_restarted_by_either_name_of_the_field(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        stopped = ask("POST", "/api/iop/component/stop", {"component": "Echo"})
        disabled = ask.director.current().items()[0].state
        started = ask("POST", "/api/iop/component/start", {"item": "Echo"})
        restarted = ask("POST", "/api/iop/component/restart", {"component": "Echo"})
        nameless = ask("POST", "/api/iop/component/stop", {})

    assert disabled == "Disabled"
    assert [stopped.said, started.said, restarted.said] == [
        {"status": status, "component": "Echo"} for status in ("stopped", "started", "restarted")
    ]
    assert nameless.status == 400


def test_exports_answer_for_the_named_or_the_default_production(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        exported = ask("GET", f"/api/iop/export?production={NAME}").said
        connections = ask("GET", "/api/iop/connections").said
        queues = ask("GET", "/api/iop/queues").said
        unknown = ask("GET", "/api/iop/export?production=Nothing")

    assert [item["@Name"] for item in exported[NAME]["Item"]] == ["Echo", "Relay"]
    assert connections["items"][1]["connections"] == [{"target": "Echo", "source_target_setting": "Output"}]
    assert [(row["item"], row["count"], row["exists"]) for row in queues["items"]] == [
        ("Echo", 0, 1),
        ("Relay", 0, 1),
    ]
    assert unknown.status == 404


def test_the_default_production_is_read_and_set(tmp_path: Path) -> None:
    other = Production("Test.Other")
    other.operation("Echo", Echo)

    with open_door(tmp_path, echo_production(), other) as ask:
        before = ask("GET", "/api/iop/default").said
        told = ask("PUT", "/api/iop/default", {"production": "Test.Other"}).said
        listed = ask("GET", "/api/iop/list").said
        refused = ask("PUT", "/api/iop/default", {"production": "Test.Oter"})

    assert before == {"production": NAME}
    assert told == {"production": "Test.Other"}
    assert {name: row["AutoStart"] for name, row in listed.items()} == {NAME: False, "Test.Other": True}
    assert refused.status == 404


def test_bindings_are_listed_and_one_that_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production()) as ask:
        ask.director.bind_component("Python.my.Echo", "my", "Echo", str(tmp_path))
        listed = ask("GET", "/api/iop/bindings?unused=1").said
        removed = ask("DELETE", "/api/iop/binding?class=Python.my.Echo")
        unknown = ask("DELETE", "/api/iop/binding?classname=Python.my.Echo")
        nameless = ask("DELETE", "/api/iop/binding")

    assert [(row["class"], row["used"], row["used_by"]) for row in listed] == [("Python.my.Echo", False, [])]
    assert removed.said == {"status": "unbound", "class": "Python.my.Echo"}
    assert [unknown.status, nameless.status] == [404, 400]


def test_code_is_taken_only_from_who_shows_the_token_of_an_admin(tmp_path: Path) -> None:
    upload = {
        "package": "mine",
        "body": [{"name": "settings.py", "data": SETTINGS}],
        "remote_folder": "/irisdev",
    }

    with open_door(tmp_path / "open", echo_production(), insecure_local=True) as ask:
        refused = ask("PUT", "/api/iop/migrate", upload)
    with open_door(tmp_path / "closed", echo_production(), start=False) as ask:
        by_operator = ask.as_role("operator")("PUT", "/api/iop/migrate", upload)
        taken = ask("PUT", "/api/iop/migrate", upload)
        started = ask("POST", "/api/iop/start", {"production": "Test.Uploaded"})
        answer = ask("POST", "/api/iop/test", {"target": "Echo", "classname": "Text", "body": {"text": "x"}})

    assert [refused.status, by_operator.status] == [403, 403]
    assert "IOP_PASSWORD" in refused.said["error"]
    assert "this takes admin" in by_operator.said["error"]
    assert (taken.status, started.status) == (200, 200)
    assert "uploaded x" in answer.said["body"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/api/iop/nothing", 404, "nothing at"),
        ("GET", "/api/iop/start", 405, "GET is not known"),
        ("PUT", "/api/atelier/v1/USER/doc/IOP.Utils.cls", 404, "nothing to set up"),
        ("GET", "/nothing", 404, "nothing at"),
    ],
)
def test_an_address_that_is_not_there_is_an_error_in_words(
    tmp_path: Path, method: str, path: str, status: int, said: str
) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        answer = ask(method, path)

    assert answer.status == status
    assert said in answer.said["detail" if path == "/nothing" else "error"]


def test_a_body_that_is_no_json_is_an_error_in_words(tmp_path: Path) -> None:
    with open_door(tmp_path, echo_production(), start=False) as ask:
        broken = ask("POST", "/api/iop/test", b"{")
        deep = ask("POST", "/api/iop/test", b"[" * 100_000)
        version = ask("GET", "/api/iop/version")

    assert [broken.status, deep.status] == [400, 413]
    assert version.said["version"] == "1.0.0"
