"""The OpenAPI document tells the truth: what it says is tried, and nothing else comes back."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from doors import OpenDoor, open_door
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from components import echo_production

#: What stops the production, or waits long, is tried by tests of its own.
_NOT_TRIED = r"/(start|stop|kill|restart|update|migrate|production|purge|events|stream|metrics|live)(/|$|\?)"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    rules = {"burst": 1_000_000}
    with open_door(tmp_path_factory.mktemp("home"), echo_production(), rules=rules) as door:
        sending = {"item": "Echo", "type": "Text", "body": {"text": "a"}}
        assert door("POST", "/api/v1/messages", sending).status == 200
        yield door


@pytest.fixture(scope="module")
def document(ask: OpenDoor) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", "/openapi.json").said
    return found


def test_every_operation_has_a_tag_a_role_and_says_how_it_fails(document: dict[str, Any]) -> None:
    bare = [
        (method, path)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
        if not one.get("tags") or "x-role" not in one or "default" not in one["responses"]
    ]

    assert bare == []
    assert len(
        {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    ) == sum(len(methods) for methods in document["paths"].values())


def test_the_seeds_bodies_are_examples(document: dict[str, Any]) -> None:
    text = json.dumps(document["components"]["schemas"]["NewMessage"])

    assert "This was a really bad experience" in text or "George Washington lived" in text
    assert "iris.Review" in text


def test_the_page_of_the_api_shows_every_call(ask: OpenDoor, document: dict[str, Any]) -> None:
    page = ask.page("/docs")

    assert page.status == 200
    assert page.said.count('<details class="card operation"') == sum(
        len(methods) for methods in document["paths"].values()
    )
    assert "Idempotency-Key" in page.said or "idempotency-key" in page.said
    assert "<script" not in page.said.replace("<script src=", "")


def test_schemathesis_finds_no_answer_that_is_not_described(ask: OpenDoor, document: dict[str, Any]) -> None:
    """GETs with whatever their parameters allow, and the sending of messages."""
    paths = {
        path: {
            method: {
                **one,
                "parameters": [p for p in one.get("parameters", ()) if p["name"] != "wait_seconds"],
            }
            for method, one in methods.items()
            if method == "get" or path in ("/api/v1/messages", "/v1/embeddings")
        }
        for path, methods in document["paths"].items()
        if not re.search(_NOT_TRIED, path)
    }
    schema = schemathesis.openapi.from_dict({**document, "paths": {p: m for p, m in paths.items() if m}})
    wrong: list[str] = []

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=5,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def call(case: Any) -> None:
            answer = case.call(base_url=ask.url, headers={"Authorization": f"Bearer {ask.token}"})
            for check in (not_a_server_error, status_code_conformance, content_type_conformance):
                try:
                    case.validate_response(answer, checks=[check])
                except Exception as error:
                    wrong.append(f"{case.operation.label}: {answer.status_code} {error}"[:600])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()

    assert wrong == []
