"""The pages of labels: grade and keep, edit profiles, measure, compare; through the door, in pages and in JSON."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from doors import OpenDoor, open_door
from iop import Production

from components import Echo
from waiting import until
from wattbus.energy.feed import FakeFeed
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.record import Tier
from wattbus.imports.stored_runs import save_run

EVALUATE = "/energy/labels/evaluate/gaissa-inference"
PROFILES = "/energy/labels/profiles"


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[OpenDoor]:
    production = Production("Labels.Test")
    production.operation("Echo", Echo)
    feed = FakeFeed(cpu_watts=50.0)
    with open_door(tmp_path / "home", production, feed=feed, energy=False, allow_hosts="127.0.0.1:9") as door:
        yield door


def grade(door: OpenDoor, profile: str = "gaissa-inference", **body: Any) -> Any:
    return door("POST", f"/api/v1/energy/labels/evaluate/{profile}", body)


# -- grading -------------------------------------------------------------------------------------------------------


def test_typed_values_are_graded_kept_and_shown_with_what_is_missing(ask: OpenDoor) -> None:
    done = ask.form(EVALUATE, {"model": "m", "metric.flops": "2e9", "metric.performance_score": "0.95"})

    assert (done.status, done.headers["location"]) == (
        303,
        "/energy/labels/evaluations/m%20gaissa-inference?version=1",
    )
    view = ask("GET", "/api/v1" + done.headers["location"]).said
    grades = {one["metric"]: one["letter"] for one in view["kept"]["evaluation"]["grades"]}
    assert (grades["flops"], grades["performance_score"], grades["power_draw"]) == ("C", "B", None)
    assert (view["face"]["letter"], view["face"]["tier"]) == ("B", "none")
    assert "typed in, not measured here" in view["face"]["coverage"]
    text = ask.page(done.headers["location"]).said
    assert "made of 2 of 6 metrics" in text.lower()
    assert "power_draw" in text
    assert "m gaissa-inference" in ask.page("/energy/labels").said


def test_a_second_evaluation_under_a_name_leaves_the_first_as_it_was(ask: OpenDoor) -> None:
    first = grade(ask, model="m", values={"flops": 1e7}).said
    second = grade(ask, model="m", values={"flops": 1e12}).said

    assert (first["version"], second["version"]) == (1, 2)
    view = ask("GET", "/api/v1/energy/labels/evaluations/m%20gaissa-inference?version=1").said
    assert (view["face"]["letter"], [one["version"] for one in view["versions"]]) == ("A", [2, 1])


def test_a_later_version_of_a_profile_does_not_change_what_was_graded(ask: OpenDoor) -> None:
    save(ask, "ours", bounds="A 0 1\nB 1 2\nC 2 3\nD 3 4\nE 4 -")
    grade(ask, "ours", model="m", values={"grams": 0.5})
    save(ask, "ours", bounds="A 0 0.1\nB 0.1 0.2\nC 0.2 0.3\nD 0.3 0.4\nE 0.4 -")

    view = ask("GET", "/api/v1/energy/labels/evaluations/m%20ours").said

    assert (view["face"]["letter"], view["face"]["profile"]) == ("A", "ours@1")
    assert ask.page("/energy/labels/profiles/ours?version=1").status == 200
    assert grade(ask, "ours", model="m", values={"grams": 0.5}).said["evaluation"]["letter"] == "E"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "no value was given: type at least one metric"),
        ({"values": {"flops": "nan"}}, 400, "flops is not a number"),
        ({"values": {"flops": "0"}}, 400, "flops is 0, and the values of this metric lie above 0"),
        ({"values": {"flops": "-5"}}, 400, "flops is -5"),
        ({"values": {"flop": "1"}}, 404, "flops"),
        ({"values": {"performance_score": "95"}}, 400, "check the unit"),
        ({"message": 999}, 400, "message 999 has no record of energy"),
        ({"message": 0}, 400, "message"),
        ({"run": "nobody"}, 404, "nobody"),
        ({"values": {"flops": [1]}}, 400, "values"),
        ({"valeus": {}}, 400, "valeus"),
    ],
)
def test_what_cannot_be_graded_is_a_sentence_for_programs(
    ask: OpenDoor, body: dict[str, Any], status: int, said: str
) -> None:
    answer = grade(ask, **body)

    assert answer.status == status
    assert said in answer.said["detail"]


def test_a_form_that_is_wrong_keeps_what_was_typed(ask: OpenDoor) -> None:
    answer = ask.form(EVALUATE, {"model": "mine", "metric.flops": "a lot", "metric.file_size": "268"})

    assert answer.status == 422
    assert "flops is &#39;a lot&#39;" in answer.said
    assert 'value="mine"' in answer.said and 'value="a lot"' in answer.said and 'value="268"' in answer.said


def test_an_unknown_profile_or_evaluation_is_a_sentence(ask: OpenDoor) -> None:
    for path in (f"{EVALUATE}x", f"{PROFILES}/nothing", "/energy/labels/evaluations/nothing"):
        answer = ask("GET", "/api/v1" + path)

        assert answer.status == 404, path
    assert ask("GET", f"/api/v1{PROFILES}/default?version=7").status == 404
    assert ask.page("/energy/labels/evaluations/a%00b?version=99999999999999999999").status in (400, 404)


def test_a_kept_run_and_a_message_of_ours_are_graded(ask: OpenDoor) -> None:
    run = RunFigures(
        "an import", Stage.INFERENCE, Source.IMPORTED, "emissions.csv", model="m", task="text-classification",
        energy_joules=7200.0, low_joules=6480.0, high_joules=7920.0, tier=Tier.MEASURED, requests=1000,
    )  # fmt: skip
    save_run(ask.director.current().store.engine, run)
    sent = ask(
        "POST", "/api/v1/messages", {"item": "Echo", "type": "components.Text", "body": {"text": "x"}}
    ).said

    imported = grade(ask, "default", run="an import").said["evaluation"]
    running = ask.director.current()
    running.ledger.settle()
    running.store.flush()
    own = grade(ask, message=sent["message_id"]).said["evaluation"]
    wrong = grade(ask, "gaissa-training", message=sent["message_id"])

    assert (imported["headline"]["value"], imported["letter"]) == (2.0, "D")
    assert own["figures"]["source"] == "ledger"
    assert (wrong.status, "this is about its inference" in wrong.said["detail"]) == (400, True)


# -- profiles ------------------------------------------------------------------------------------------------------

GRAMS = {"m0.id": "grams", "m0.name": "Grams", "m0.unit": "g", "m0.direction": "lower", "m0.weight": "1"}


def save(door: OpenDoor, name: str, *, bounds: str, **fields: str) -> Any:
    sent = {
        "name": name,
        "classes": "ABCDE",
        "rule": "compound",
        **GRAMS,
        "m0.intervals": bounds,
        "m1.id": "",
        **fields,
    }
    return door.form(f"{PROFILES}/gaissa-inference", sent)


def test_a_profile_is_edited_in_a_form_under_a_name_of_its_own(ask: OpenDoor) -> None:
    done = save(ask, "ours", bounds="A 0 1\nB 1 2\nC 2 3\nD 3 4\nE 4 -")

    assert (done.status, done.headers["location"]) == (303, f"{PROFILES}/ours")
    view = ask("GET", f"/api/v1{PROFILES}/ours").said
    assert view["kept"]["profile"]["metrics"][0]["intervals"][4] == {
        "letter": "E",
        "lower": 4.0,
        "upper": None,
    }
    assert view["form"]["metrics"][0]["intervals"] == "A 0 1\nB 1 2\nC 2 3\nD 3 4\nE 4 -"
    assert "ours" in ask.page(PROFILES).said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"m0.intervals": "A 0 1\nB 0.5 2\nC 2 3\nD 3 4\nE 4 -"},
            "A and B of grams overlap between 0.5 and 1",
        ),
        (
            {"m0.intervals": "A 0 1\nB 1.5 2\nC 2 3\nD 3 4\nE 4 -"},
            "A and B of grams leave a gap between 1 and 1.5",
        ),
        ({"m0.intervals": "A 0 one"}, "row 1 of the intervals of grams has the bound &#39;one&#39;"),
        ({"m0.weight": "heavy"}, "the weight of grams is &#39;heavy&#39;"),
        ({"m0.weight": "nan"}, "the weight of grams is not a number"),
        ({"name": "gaissa-inference"}, "comes with wattbus and stays as it is"),
        ({"name": "a b"}, "name is &#39;a b&#39;"),
        ({"stage": "never"}, "stage is &#39;never&#39;"),
    ],
)
def test_a_profile_that_is_wrong_is_refused_and_what_was_typed_is_kept(
    ask: OpenDoor, fields: dict[str, str], said: str
) -> None:
    bounds = fields.pop("m0.intervals", "A 0 1\nB 1 2\nC 2 3\nD 3 4\nE 4 -")
    name = fields.pop("name", "ours")

    answer = save(ask, name, bounds=bounds, **{"m0.text": "what I typed", **fields})

    assert answer.status == 422
    assert said in answer.said
    assert "what I typed" in answer.said and bounds in answer.said


def test_programs_save_a_profile_as_json_and_an_operator_may_not(ask: OpenDoor) -> None:
    built = ask("GET", f"/api/v1{PROFILES}/gaissa-training").said["kept"]["profile"]
    body = {
        "name": "copied",
        "stage": built["stage"],
        "classes": built["classes"],
        "metrics": built["metrics"],
    }

    refused = ask.as_role("operator")("POST", f"/api/v1{PROFILES}/copied", body)
    done = ask("POST", f"/api/v1{PROFILES}/copied", body)

    assert refused.status == 403
    assert (done.status, done.said["version"]) == (200, 1)
    assert done.said["profile"]["metrics"] == built["metrics"]


# -- measuring -----------------------------------------------------------------------------------------------------


def test_one_click_measures_a_running_item_grades_it_and_keeps_how_it_was_done(ask: OpenDoor) -> None:
    body = {
        "item": "Echo",
        "type": "components.Text",
        "body": {"text": "x"},
        "count": 2,
        "repeats": 3,
        "warm_up": 1,
    }

    done = ask("POST", "/api/v1/energy/labels/measure/item", body)

    assert done.status == 200, done.said
    until(lambda: ask("GET", "/api/v1/energy/labels").said["evaluations"], "the result is kept")
    view = ask("GET", "/api/v1/energy/labels").said["evaluations"][0]
    assert view["evaluation"]["figures"]["requests"] == 6
    assert view["evaluation"]["measurement"]["warm_up"] == 1
    assert len(view["evaluation"]["measurement"]["repeats"]) == 3
    text = ask.page(f"/energy/labels/evaluations/{quote(view['name'])}").said
    assert "3 of 2 after a warm-up of 1" in text
    assert "what was measured" in text


@pytest.mark.parametrize(
    ("what", "body", "said"),
    [
        ("item", {"item": "Ecko"}, "Echo"),
        ("item", {"item": "Echo", "type": "components.Text", "repeats": 1}, "1 repeats were asked for"),
        ("item", {"item": "Echo", "type": "components.Text", "body": "{"}, "the example is no JSON"),
        ("item", {"item": "Echo", "type": "components.Text"}, "there is no ready example for Text"),
        ("model", {"model": "nothing", "task": "fill-mask"}, "nothing"),
        ("endpoint", {}, "no address was given"),
        ("endpoint", {"url": "http://127.0.0.1/x"}, "this machine or its network"),
        ("endpoint", {"url": "http://127.0.0.1:9/x"}, "did not answer"),
        ("endpoint", {"url": "http://127.0.0.1:9/x", "timeout_seconds": 1e9}, "the time-out is 1e+09 s"),
        ("endpoint", {"url": "http://127.0.0.1:9/x", "profile": "gaissa-training"}, "this is about an inference"),
        ("planet", {}, "item"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_a_sentence(
    ask: OpenDoor, what: str, body: dict[str, Any], said: str
) -> None:
    answer = ask("POST", f"/api/v1/energy/labels/measure/{what}", body)

    assert 400 <= answer.status < 505 and answer.status != 500, answer.said
    assert said in answer.said["detail"]


def test_a_measure_form_that_is_wrong_keeps_what_was_typed_but_not_the_key(ask: OpenDoor) -> None:
    answer = ask.form(
        "/energy/labels/measure/endpoint",
        {
            "url": "http://127.0.0.1:1/x",
            "api_key": "hidden-key",
            "body": '{"inputs": "mine"}',
            "repeats": "4",
        },
    )

    assert answer.status == 422
    assert "http://127.0.0.1:1/x" in answer.said and "mine" in answer.said
    assert "hidden-key" not in answer.said


def test_an_endpoint_is_measured_and_its_label_says_what_was_measured(tmp_path: Path) -> None:
    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    production = Production("Labels.Test")
    production.operation("Echo", Echo)
    try:
        with open_door(tmp_path / "home", production, energy=False, allow_hosts=host) as door:
            body = {
                "url": f"http://{host}/x",
                "count": 2,
                "repeats": 3,
                "warm_up": 1,
                "profile": "gaissa-inference",
            }
            started = door("POST", "/api/v1/energy/labels/measure/endpoint", body)
            assert started.status == 200, started.said
            until(lambda: door("GET", "/api/v1/energy/labels").said["evaluations"], "the result is kept")
            (kept,) = door("GET", "/api/v1/energy/labels").said["evaluations"]
            page = door.page(f"/energy/labels/evaluations/{quote(kept['name'])}").said
    finally:
        server.shutdown()
        server.server_close()

    figures = kept["evaluation"]["figures"]
    assert (figures["source"], figures["energy_joules"], figures["requests"]) == ("endpoint", None, 6)
    assert "the response time as our side sees it" in page


# -- comparing -----------------------------------------------------------------------------------------------------


def test_models_are_compared_on_a_chart_and_in_a_table(ask: OpenDoor) -> None:
    engine = ask.director.current().store.engine
    for name, joules, accuracy in (("frugal", 3600.0, 0.8), ("good", 7200.0, 0.9), ("beaten", 7200.0, 0.7)):
        run = RunFigures(
            name, Stage.INFERENCE, Source.LEDGER, "a test", model=name, task="text-classification",
            energy_joules=joules, low_joules=joules * 0.9, high_joules=joules * 1.1, tier=Tier.MEASURED, requests=1000,
            accuracy=accuracy, hardware="a machine",
        )  # fmt: skip
        save_run(engine, run)
        assert grade(ask, "default", run=name).status == 200
    grade(ask, model="typed", values={"flops": 1e9})

    view = ask("GET", "/api/v1/energy/labels/compare").said["comparison"]
    text = ask.page("/energy/labels/compare").said

    (group,) = view["groups"]
    assert [(one["name"], one["front"]) for one in group["points"]] == [
        ("frugal default", True), ("good default", True), ("beaten default", False),
    ]  # fmt: skip
    assert [one["name"] for one in view["unplaced"]] == ["typed gaissa-inference"]
    assert "pareto-chart" in text and "not comparable" in text and "★ on the front" in text


# -- files ---------------------------------------------------------------------------------------------------------

EMISSIONS = b"""timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code
2026-01-02T03:04:05,p,r1,10.0,0.012,0.5,FRA
2026-01-03T03:04:05,p,r2,10.0,0.5,0.5,FRA
"""


def upload(door: OpenDoor, content: bytes, **fields: str) -> Any:
    parts = [
        f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="emissions.csv"\r\n\r\n'
    body = b"".join([*parts, head, content, b"\r\n--x--\r\n"])
    path = "/energy/labels/evaluate/gaissa-training/file"
    return door("POST", path, body, accept="text/html", content_type="multipart/form-data; boundary=x")


def test_a_file_is_graded_by_form_and_by_call_with_one_run_chosen(ask: OpenDoor) -> None:
    done = upload(ask, EMISSIONS, which="r1", model="m")
    called = ask(
        "POST", "/api/v1/energy/labels/evaluate/gaissa-training/file?which=r2&model=m", EMISSIONS,
        content_type="text/csv",
    )  # fmt: skip

    assert (done.status, done.headers["location"]) == (
        303,
        "/energy/labels/evaluations/m%20gaissa-training?version=1",
    )
    first = ask("GET", "/api/v1" + done.headers["location"]).said["kept"]["evaluation"]
    grades = {one["metric"]: (one["value"], one["letter"]) for one in first["grades"]}
    assert grades["co2_eq_emissions"] == (pytest.approx(12.0), "C")
    assert called.status == 200
    assert called.said["evaluation"]["figures"]["carbon_grams"] == pytest.approx(500.0)


@pytest.mark.parametrize(
    ("content", "fields", "said"),
    [
        (EMISSIONS, {}, "choose one by its run id or its row"),
        (EMISSIONS, {"which": "r9"}, "r9"),
        (b"", {}, "the file is empty"),
        (b"a,b\n1,2\n", {}, "no known form"),
        (EMISSIONS, {"which": "r1", "requests": "-1"}, "requests"),
        (EMISSIONS.replace(b"0.012", b"-3"), {"which": "r1"}, ""),
    ],
)
def test_a_file_that_cannot_be_graded_is_a_sentence_on_the_form(
    ask: OpenDoor, content: bytes, fields: dict[str, str], said: str
) -> None:
    answer = upload(ask, content, model="kept model", **fields)

    assert answer.status == 422
    assert said in answer.said
    assert 'value="kept model"' in answer.said
