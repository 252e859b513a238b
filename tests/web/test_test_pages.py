"""The test page: a form for each type, what was typed is kept, and the answer stands beside the request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from iop import BusinessOperation, Production
from sending import Answer, Client, signed_in

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


def send(ask: Client, **fields: str) -> Answer:
    """Send the form and follow to the page that it leads to."""
    sent = ask.form("/test", **{"how": "wait", **fields})
    if sent.status != 303:
        return sent
    return ask(
        "GET",
        sent.headers["location"],
        accept="text/html",
        cookie=sent.headers.get("set-cookie", "").partition(";")[0],
    )


def test_an_item_has_a_form_of_its_type_and_the_answer_stands_beside_it(tmp_path: Path) -> None:
    with signed_in(tmp_path, production()) as ask:
        empty = ask.page("/test?item=Echo&type=Text")
        answered = send(ask, item="Echo", type="Text", **{"field.text": "ab", "field.times": "2"})

    assert 'name="field.text"' in empty.text and 'name="field.times"' in empty.text
    assert answered.status == 200
    assert "abab" in answered.text and "Completed" in answered.text
    assert re.search(r'href="/trace/\d+">Visual trace', answered.text)
    assert 'name="field.times" value="2"' in answered.text


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
        ({"type": "Text", "field.text": "x", "seconds": "-1"}, "the time-out is", 'value="-1"'),
        ({"type": "Text", "text": "{}", "item": "Ecko"}, "did you mean &#39;Echo&#39;?", "Ecko"),
        ({"type": "Grongier.PEX.Message", "text": "{}"}, "It is an envelope", "Grongier.PEX.Message"),
        ({"type": HOSTILE, "text": HOSTILE}, "unknown message type", "&lt;script&gt;"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_what_was_typed_is_kept(
    tmp_path: Path, fields: dict[str, str], sentence: str, kept: str
) -> None:
    with signed_in(tmp_path, production()) as ask:
        page = send(ask, **{"item": "Echo", **fields})

    assert page.status in (404, 422)
    assert sentence in page.text
    assert kept in page.text
    assert HOSTILE not in page.text


def test_free_keywords_are_json_with_the_seeds_examples_and_old_names(tmp_path: Path) -> None:
    with signed_in(tmp_path, production()) as ask:
        page = ask.page("/test?item=Model&type=msg.MLRequest&example=1")
        answered = send(ask, item="Model", type="Grongier.PEX.Message", text='{"inputs": "x"}')

    assert "George Washington lived" in page.text
    assert '<th scope="col">label</th>' in answered.text and "0.75" in answered.text
    assert 'src="/pictures/9-1-1.png"' in answered.text
    assert HOSTILE not in answered.text and "&lt;script&gt;" in answered.text


def test_a_field_that_the_model_does_not_know_is_told_beside_the_kept_request(tmp_path: Path) -> None:
    with signed_in(tmp_path, production()) as ask:
        page = send(ask, item="Model", type="MLRequest", text='{"inptus": "kept text"}')

    assert "did you mean &#39;inputs&#39;?" in page.text
    assert "kept text" in page.text


def test_a_long_request_goes_on_and_the_page_says_so(tmp_path: Path) -> None:
    Gate.opened.clear()
    with signed_in(tmp_path, production()) as ask:
        late = send(ask, item="Gate", type="Text", seconds="0.05", **{"field.text": "slow"})
        background = send(ask, item="Gate", type="Text", how="background", **{"field.text": "later"})
        Gate.opened.set()
        shown = re.search(r'hx-get="(/test\?show=\d+)"', late.text)
        assert shown is not None
        until(lambda: "hx-get" not in ask.page(shown[1]).text, "the answer is there")

    assert "No answer within 0.05 s" in late.text and "goes on" in late.text
    assert "goes on in the background" in background.text


def test_the_last_requests_fill_the_form_again(tmp_path: Path) -> None:
    with signed_in(tmp_path, production()) as ask:
        send(ask, item="Echo", type="Text", **{"field.text": "first"})
        page = ask.page("/test?item=Echo")
        again = re.search(r"/test\?message=\d+", page.text)
        assert again is not None
        filled = ask.page(again[0])
        twin = ask("GET", "/api/v1" + again[0])

    assert ">first</textarea>" in filled.text
    assert twin.said["fields"][0]["value"] == "first"


def test_where_nothing_runs_the_page_leads_to_the_start_button(tmp_path: Path) -> None:
    with signed_in(tmp_path, production(), start=False) as ask:
        page = ask.page("/test")
        sent = ask.form("/test", item="Echo", type="Text", text="{}")

    assert "is stopped: start it" in page.text and 'href="/production">Start' in page.text
    assert sent.status == 422 and "no production runs" in sent.text


def test_a_viewer_sees_the_page_and_cannot_send(tmp_path: Path) -> None:
    with signed_in(tmp_path, production()) as ask:
        viewer = ask.with_role(Role.VIEWER)
        page = viewer.page("/test?item=Echo")
        sent = viewer.form("/test", item="Echo", type="Text", text="{}")

    assert "takes the token of an operator" in page.text
    assert sent.status == 403
