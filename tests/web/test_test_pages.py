"""The test page: a form for each type, what was typed is kept, and the answer stands beside the request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doors import Asked, OpenDoor, open_door
from iop import BusinessOperation, Production

from components import Gate, echo_production
from waiting import until
from wattbus.access import Role
from wattbus.messages import MLRequest, MLResponse

HOSTILE = "<script>alert(1)</script>"


class Model(BusinessOperation):
    """Stands in for a model: free keywords in, a table, a text or an error out."""

    def predict(self, request: MLRequest) -> MLResponse:
        asked = request.inputs_by_name()
        if "inptus" in asked:
            raise ValueError("unknown field 'inptus': did you mean 'inputs'?")
        output = asked.get("output", [{"label": HOSTILE, "score": 0.75}])
        return MLResponse(output=output, model="m", version="v1", task="t", pictures=["9-1-1.png"])


def production() -> Production:
    prod = echo_production()
    prod.operation("Model", Model)
    prod.operation("Gate", Gate)
    return prod


def send(ask: OpenDoor, **fields: str) -> Asked:
    """Send the form and follow to the page that it leads to."""
    sent = ask.form("/test", {"how": "wait", **fields})
    if sent.status != 303:
        return sent
    cookie = sent.headers.get("set-cookie", "").partition(";")[0]
    return ask.page(sent.headers["location"], cookie=cookie, authorization=f"Bearer {ask.token}")


def test_an_item_has_a_form_of_its_type_and_the_answer_stands_beside_it(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        empty = ask.page("/test?item=Echo&type=Text")
        answered = send(ask, item="Echo", type="Text", **{"field.text": "ab", "field.times": "2"})

    assert 'name="field.text"' in empty.said and 'name="field.times"' in empty.said
    assert answered.status == 200
    assert "abab" in answered.said and "Completed" in answered.said
    assert re.search(r'href="/trace/\d+">Visual trace', answered.said)
    assert 'name="field.times" value="2"' in answered.said


def test_an_address_fills_the_form_or_says_that_it_cannot(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        filled = ask.page("/test?item=Echo&type=Text&body=%7B%22text%22%3A%22a%3Cb%22%2C%22times%22%3A3%7D")
        wrong = [
            ask.page(f"/test?item=Echo&type=Text&body={body}") for body in ("%7B", "[1]", "3", "[" * 15_000)
        ]

    assert 'name="field.times" value="3"' in filled.said
    assert "a&lt;b" in filled.said
    assert [page.status for page in wrong] == [400] * 4
    assert "is no JSON object" in wrong[0].said


@pytest.mark.parametrize(
    ("fields", "sentence", "kept"),
    [
        (
            {"type": "msg.MLReqest", "text": '{"a": 1}'},
            "did you mean &#39;msg.MLRequest&#39;?",
            "msg.MLReqest",
        ),
        ({"type": "Text", "text": '{"inptus": "x"}'}, "unknown field &#39;inptus&#39;", "inptus"),
        ({"type": "Text", "text": "{oops"}, "the body is not JSON", "{oops"),
        ({"type": "Text", "field.text": "ab", "field.times": "two"}, "a number is needed", 'value="two"'),
        ({"type": "Checked"}, "number", "Checked"),
        ({"type": "Text", "field.txet": "x"}, "did you mean &#39;text&#39;?", "Text"),
        ({"type": "Text", "field.text": "x", "seconds": "-1"}, "the time-out is", 'value="-1"'),
        ({"type": "Text", "text": "{}", "item": "Ecko"}, "did you mean &#39;Echo&#39;?", "Ecko"),
        ({"type": "Grongier.PEX.Message", "text": "{}"}, "It is an envelope", "Grongier.PEX.Message"),
        ({"type": HOSTILE, "text": HOSTILE}, "unknown message type", "&lt;script&gt;"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_what_was_typed_is_kept(
    tmp_path: Path, fields: dict[str, str], sentence: str, kept: str
) -> None:
    with open_door(tmp_path, production()) as ask:
        page = send(ask, **{"item": "Echo", **fields})

    assert page.status in (404, 422)
    assert sentence in page.said
    assert kept in page.said
    assert HOSTILE not in page.said


def test_free_keywords_are_json_with_the_seeds_examples_and_old_names(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        page = ask.page("/test?item=Model&type=msg.MLRequest&example=1")
        answered = send(ask, item="Model", type="Grongier.PEX.Message", text='{"inputs": "x"}')

    assert "George Washington lived" in page.said
    assert '<th scope="col">label</th>' in answered.said and "0.75" in answered.said
    assert 'src="/pictures/9-1-1.png"' in answered.said
    assert HOSTILE not in answered.said and "&lt;script&gt;" in answered.said


def test_a_field_that_the_model_does_not_know_is_told_beside_the_kept_request(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        page = send(ask, item="Model", type="MLRequest", text='{"inptus": "kept text"}')

    assert "did you mean &#39;inputs&#39;?" in page.said
    assert "kept text" in page.said


def test_a_long_request_goes_on_and_the_page_says_so(tmp_path: Path) -> None:
    Gate.opened.clear()
    with open_door(tmp_path, production()) as ask:
        late = send(ask, item="Gate", type="Text", seconds="0.05", **{"field.text": "slow"})
        background = send(ask, item="Gate", type="Text", how="background", **{"field.text": "later"})
        Gate.opened.set()
        shown = re.search(r'hx-get="(/test\?show=\d+)"', late.said)
        assert shown is not None
        until(lambda: "hx-get" not in ask.page(shown[1]).said, "the answer is there")

    assert "No answer within 0.05 s" in late.said and "goes on" in late.said
    assert "goes on in the background" in background.said


def test_the_last_requests_fill_the_form_again(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        send(ask, item="Echo", type="Text", **{"field.text": "first"})
        page = ask.page("/test?item=Echo")
        again = re.search(r"/test\?message=\d+", page.said)
        assert again is not None
        filled = ask.page(again[0])
        twin = ask("GET", "/api/v1" + again[0])

    assert ">first</textarea>" in filled.said
    assert twin.said["fields"][0]["value"] == "first"


def test_where_nothing_runs_the_page_leads_to_the_start_button(tmp_path: Path) -> None:
    with open_door(tmp_path, production(), start=False) as ask:
        page = ask.page("/test")
        sent = ask.form("/test", {"item": "Echo", "type": "Text", "text": "{}"})

    assert "is stopped: start it" in page.said and 'href="/production">Start' in page.said
    assert sent.status == 422 and "no production runs" in sent.said


def test_a_viewer_sees_the_page_and_cannot_send(tmp_path: Path) -> None:
    with open_door(tmp_path, production()) as ask:
        viewer = ask.as_role(Role.VIEWER)
        page = viewer.page("/test?item=Echo&type=Text")
        sent = viewer.form("/test", {"item": "Echo", "type": "Text", "text": "{}"})

    assert "takes the token of an operator" in page.said
    assert sent.status == 403
