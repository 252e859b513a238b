"""HFOperation: the call, its answer, and two rows of energy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import fakehub
from wattbus import testing
from wattbus.energy.record import EnergyRecord, EnergyStatus, Scope, Tier
from wattbus.errors import RequestFailed
from wattbus.operations import HFOperation
from wattbus.store.queries import energy_records

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def hub() -> Iterator[fakehub.FakeHub]:
    with fakehub.FakeHub() as hub:
        yield hub


def asked(hub: fakehub.FakeHub, home: Path, model: str) -> tuple[Any, list[EnergyRecord]]:
    prod = Production("Test.HF")
    prod.operation("HF", HFOperation, settings={"api_hosts": hub.address, "retry_seconds": "5"})
    with testing.production(prod, home, allow_hosts=frozenset({hub.address})) as bus:
        body = {
            "api_url": f"{hub.endpoint}/hf-inference/models/{model}",
            "payload": "x",
            "api_key": "hf_Secret1234567890",
        }
        answer = bus.request("HF", bus.message("HFRequest", body), timeout_seconds=30)
        return answer, energy_records(bus.production.store.engine)


def test_a_call_has_a_row_for_our_side_and_one_for_the_remote_side(
    hub: fakehub.FakeHub, tmp_path: Path
) -> None:
    text = json.dumps([{"generated_text": "word " * 300}]).encode()
    hub.serve_inference("org/model-7b", lambda _: (200, JSON, text))

    _, records = asked(hub, tmp_path, "org/model-7b")

    ours, remote = sorted(records, key=lambda record: record.scope)
    assert (ours.scope, remote.scope) == (Scope.CLIENT, Scope.REMOTE)
    assert remote.tier is Tier.ESTIMATED_REMOTE
    assert remote.energy_joules is not None
    assert remote.low_joules is not None
    assert remote.low_joules < remote.energy_joules < (remote.high_joules or 0)
    assert ours.energy_joules is None


def test_what_cannot_be_estimated_is_unknown_with_its_reason_and_never_zero(
    hub: fakehub.FakeHub, tmp_path: Path
) -> None:
    hub.serve_inference("org/embedder", lambda _: (200, JSON, b"[[0.1, 0.2]]"))

    answer, records = asked(hub, tmp_path, "org/embedder")

    remote = next(record for record in records if record.scope is Scope.REMOTE)
    assert (remote.energy_joules, remote.status) == (None, EnergyStatus.NOT_MEASURED)
    assert remote.reason
    assert any("not estimable" in note for note in answer.notes)


def test_a_busy_api_is_asked_again_and_the_key_goes_with_each_try(
    hub: fakehub.FakeHub, tmp_path: Path
) -> None:
    answers = [(429, {"Retry-After": "0"}, b"{}"), (503, {"Retry-After": "0"}, b"{}"), (200, JSON, b'"done"')]
    hub.serve_inference("org/busy", lambda _: answers.pop(0))

    answer, _ = asked(hub, tmp_path, "org/busy")

    assert answer.output == "done"
    assert [request.headers["authorization"] for request in hub.requests] == [
        "Bearer hf_Secret1234567890"
    ] * 3


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error": "Invalid token"}', "401.*Invalid token.*valid api_key"),
        (404, b"<html>", "404.*model's name"),
        (500, b"oops", "500.*try again"),
        (200, b"<html>no json</html>", "no JSON"),
    ],
)
def test_an_answer_that_is_no_answer_is_told_in_a_sentence(
    hub: fakehub.FakeHub, tmp_path: Path, status: int, body: bytes, said: str
) -> None:
    hub.serve_inference("org/model", lambda _: (status, {}, body))

    with pytest.raises(RequestFailed, match=said):
        asked(hub, tmp_path, "org/model")
