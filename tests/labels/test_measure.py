"""Measurements: a cached model, an item through the bus, an endpoint that answers, fails, is slow or is none."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from iop import Production

import tinymodels
import wattbus
from components import Echo, Text
from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.feed import FakeFeed, NullFeed
from wattbus.energy.record import Tier
from wattbus.errors import BadRequest, Refused, RequestFailed
from wattbus.home import Home
from wattbus.labels.endpoint import Endpoint
from wattbus.labels.measure import measure_cached, measure_endpoint, measure_item, measure_model
from wattbus.labels.metering import Plan
from wattbus.ml.models import ModelStore
from wattbus.ml.pipelines import load
from wattbus.transport import Transport

SHORT = Plan(repeats=3, count=4, warm_up=1, quiet_seconds=0.0)


def test_a_cached_model_is_measured_in_repeats_after_a_warm_up(tmp_path: Path) -> None:
    predictor = load(tinymodels.build("text-classification", tmp_path / "m"), "text-classification", {})
    plan = Plan(repeats=3, count=20, warm_up=2, quiet_seconds=0.0)

    found = measure_model(
        predictor, {"inputs": "Two cats sleep."}, model="tiny", revision="v1", plan=plan,
        feed=FakeFeed(cpu_watts=50.0, idle_watts=1.0), carbon=CarbonIntensity(50.0, "FRA", 2024, "a test"),
    )  # fmt: skip

    figures = found.figures
    assert (figures.model, figures.requests, len(found.repeats), found.warm_up) == ("tiny", 60, 3, 2)
    assert figures.energy_joules is not None and figures.energy_joules > 0
    assert figures.energy_joules == pytest.approx(sum(one.energy_joules or 0 for one in found.repeats))
    assert figures.carbon_grams == pytest.approx(figures.energy_joules / 3.6e6 * 50)
    assert (figures.country, figures.tier, figures.batch_size) == ("FRA", Tier.MODELLED, 1)
    assert figures.cpu_seconds is not None and figures.duration_seconds is not None
    assert ("repeats", "3 of 20 after a warm-up of 2") in found.lines
    assert found.seconds["median"] <= found.seconds["95 %"] <= found.seconds["99 %"]
    json.dumps(found.to_content(), allow_nan=False)


def test_a_batch_counts_every_inference_in_it(tmp_path: Path) -> None:
    predictor = load(
        tinymodels.build("text-classification", tmp_path / "m"), "text-classification", {"batch_size": "5"}
    )

    found = measure_model(
        predictor,
        {"inputs": "Two cats sleep."},
        model="tiny",
        revision=None,
        plan=SHORT,
        feed=FakeFeed(),
        batch=5,
    )

    assert (found.figures.requests, found.figures.batch_size) == (3 * 4 * 5, 5)
    assert dict(found.lines)["inputs of a call"].startswith("5 of the example, ")


def test_a_meter_that_reads_nothing_leaves_the_energy_unknown_and_not_zero(tmp_path: Path) -> None:
    predictor = load(tinymodels.build("text-classification", tmp_path / "m"), "text-classification", {})

    found = measure_model(
        predictor, {"inputs": "x"}, model="tiny", revision=None, plan=SHORT, feed=NullFeed("a test")
    )

    assert (found.figures.energy_joules, found.figures.tier) == (None, Tier.NONE)
    assert found.figures.duration_seconds is not None


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(repeats=2), "2 repeats were asked for: give 3 to 100"),
        (Plan(repeats=1000), "1000 repeats"),
        (Plan(count=-1), "-1 inferences in a repeat"),
        (Plan(warm_up=0), "0 inferences of warm-up"),
    ],
)
def test_a_plan_that_says_nothing_of_the_spread_is_refused(plan: Plan, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        plan.checked()

    assert said in str(refused.value)


def test_a_running_item_is_measured_through_the_bus(tmp_path: Path) -> None:
    production = Production("Measured")
    production.operation("Echo", Echo)

    with wattbus.run(production, home=tmp_path / "home", feed=FakeFeed(cpu_watts=50.0)) as bus:
        found = measure_item(bus.production, "Echo", Text("hello"), SHORT)
        with pytest.raises(BadRequest, match="Ecko"):
            measure_item(bus.production, "Ecko", Text("hello"), SHORT)

    assert (found.figures.requests, len(found.repeats), found.warm_up) == (12, 3, 1)
    assert found.figures.duration_seconds is not None
    assert "through the bus" in found.figures.origin
    assert "as the ledger meters every message" in found.what


# -- endpoints -----------------------------------------------------------------------------------------------------

Answering = Callable[[int], tuple[int, str, bytes]]


@pytest.fixture
def served() -> Iterator[Callable[[Answering], Endpoint]]:
    """Serve what a function makes of the number of the request, and return where."""
    servers: list[ThreadingHTTPServer] = []

    def serve(answering: Answering) -> Endpoint:
        count = iter(range(1, 100_000))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                status, kind, content = answering(next(count))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                with contextlib.suppress(BrokenPipeError):  # who gave up waiting has hung up
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Endpoint(
            f"http://127.0.0.1:{server.server_port}/predict?key=secret", {"inputs": "x"}, timeout_seconds=10
        )

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def allowed(endpoint: Endpoint) -> Transport:
    return Transport(frozenset({endpoint.host}))


def good(_: int) -> tuple[int, str, bytes]:
    return 200, "application/json", b'[{"label": "good", "score": 0.9}]'


def test_an_endpoint_is_measured_by_its_response_time_and_its_energy_stays_unknown(
    served: Callable[[Answering], Endpoint],
) -> None:
    endpoint = served(good)

    found = measure_endpoint(allowed(endpoint), endpoint, SHORT, FakeFeed(), task="text-classification")

    assert (found.figures.requests, found.figures.energy_joules, found.figures.tier) == (12, None, Tier.NONE)
    assert found.figures.duration_seconds is not None and found.figures.duration_seconds > 0
    lines = dict(found.lines)
    assert "no published formula" in lines["energy of the remote side"]
    assert "cannot be read from here" in found.what
    assert "secret" not in json.dumps(found.to_content()) + found.figures.origin


def test_the_energy_of_generated_text_is_estimated_by_the_token(
    served: Callable[[Answering], Endpoint],
) -> None:
    told = json.dumps({"choices": [], "usage": {"completion_tokens": 100}}).encode()
    endpoint = served(lambda _: (200, "application/json", told))

    found = measure_endpoint(
        allowed(endpoint), endpoint, SHORT, FakeFeed(), task="text-generation", parameters=7_000_000_000
    )

    figures = found.figures
    assert (figures.tokens, figures.tier) == (1200, Tier.ESTIMATED_REMOTE)
    assert figures.energy_joules and figures.low_joules and figures.high_joules
    assert figures.low_joules < figures.energy_joules < figures.high_joules
    assert "EcoLogits" in dict(found.lines)["energy of the remote side"]


@pytest.mark.parametrize(
    ("answering", "said"),
    [
        (lambda _: (503, "text/plain", b"busy"), "answered 503"),
        (lambda _: (401, "application/json", b'{"error": "no key"}'), "answered 401 (no key)"),
        (lambda _: (200, "text/html", b"<html>Welcome</html>"), "answered with a web page"),
        (lambda _: (200, "text/plain", b"  <!DOCTYPE html><p>"), "answered with a web page"),
        (
            lambda _: (200, "application/json", b"{"),
            "says that it answers with JSON, and that cannot be read",
        ),
        (lambda _: (200, "application/json", b'{"error": "loading"}'), "answered with an error: loading"),
        (lambda _: (200, "application/json", b""), "with nothing"),
        (lambda n: good(n) if n < 4 else (500, "text/plain", b""), "ended after 2 answers"),
    ],
)
def test_an_endpoint_that_gives_no_result_is_a_sentence(
    served: Callable[[Answering], Endpoint], answering: Answering, said: str
) -> None:
    endpoint = served(answering)

    with pytest.raises(RequestFailed) as failed:
        measure_endpoint(allowed(endpoint), endpoint, SHORT, FakeFeed())

    assert said in str(failed.value)
    assert "secret" not in str(failed.value)


def test_an_endpoint_that_is_slow_or_down_is_a_sentence(served: Callable[[Answering], Endpoint]) -> None:
    held = threading.Event()

    def slow(number: int) -> tuple[int, str, bytes]:
        held.wait(30)
        return good(number)

    endpoint = served(slow)
    hasty = Endpoint(endpoint.url, endpoint.body, timeout_seconds=0.2)
    try:
        with pytest.raises(RequestFailed, match="too slow"):
            measure_endpoint(allowed(hasty), hasty, SHORT, FakeFeed())
    finally:
        held.set()
    gone = Endpoint("http://127.0.0.1:9/predict", {"inputs": "x"})
    with pytest.raises(RequestFailed, match="did not answer"):
        measure_endpoint(Transport(frozenset({gone.host})), gone, SHORT, FakeFeed())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "file:///etc/passwd", "http://169.254.169.254/latest"]
)
def test_an_address_inside_is_not_asked(url: str) -> None:
    with pytest.raises(Refused):
        measure_endpoint(Transport(), Endpoint(url, {}), SHORT, FakeFeed())


def test_a_version_of_the_model_store_is_loaded_verified_and_measured(home: Home) -> None:
    models = ModelStore(home.models)

    def build(folder: Path) -> None:
        tinymodels.build("text-classification", folder)

    made = models.stage("tiny", build, source="a test")
    models.publish("tiny", made.id)

    found = measure_cached(
        models, models.current("tiny"), "text-classification", {"inputs": "Two cats sleep."}, plan=SHORT,
        feed=FakeFeed(), batch=2,
    )  # fmt: skip

    assert (found.figures.model, found.figures.task, found.figures.requests) == (
        "tiny",
        "text-classification",
        24,
    )
    assert found.figures.size_bytes == models.current("tiny").size_bytes
    with pytest.raises(BadRequest, match="the batch is 0"):
        measure_cached(
            models, made, "text-classification", {"inputs": "x"}, plan=SHORT, feed=FakeFeed(), batch=0
        )
