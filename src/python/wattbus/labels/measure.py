"""Measurements on demand: of a cached model, of a running item, of a deployed endpoint; each says what it measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Engine

from wattbus import words
from wattbus.energy.advice import machine_in_words
from wattbus.energy.carbon import CarbonIntensity
from wattbus.energy.feed import PowerFeed
from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.energy.hardware import read_machine
from wattbus.energy.record import Tier
from wattbus.energy.remote import RemoteEstimate, estimate_remote
from wattbus.errors import BadRequest, RequestFailed
from wattbus.labels.endpoint import Endpoint, EndpointAnswer, ask
from wattbus.labels.metering import MOST_IN_A_REPEAT, Metered, Plan, metered, percentile
from wattbus.labels.own_runs import completed, figures_of_messages, figures_of_records
from wattbus.transport import Transport

if TYPE_CHECKING:
    from wattbus.ml.engine import EnginePredictor
    from wattbus.ml.models import ModelStore
    from wattbus.ml.pipelines import Predictor
    from wattbus.ml.prediction import Prediction
    from wattbus.ml.versions import ModelVersion

LARGEST_BATCH = 1_024
_ITEM_SECONDS = 120.0
_SHARES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}


@dataclass(frozen=True)
class Measurement:
    """What came of it: the whole, each repeat, and how it was done, in words and in numbers."""

    figures: RunFigures
    repeats: tuple[RunFigures, ...]
    what: str  # what was measured, and what was not
    lines: tuple[tuple[str, str], ...]
    seconds: dict[str, float]  # of one inference: mean, median, 95 %, 99 %
    warm_up: int
    count: int  # inferences in a repeat

    def to_content(self) -> dict[str, Any]:
        """Return how it was done as JSON values; the figures of the whole are the evaluation's."""
        content = asdict(replace(self, repeats=()))
        content.pop("figures")
        return {**content, "repeats": [one.to_content() for one in self.repeats]}


class AskedProduction(Protocol):
    """What a measurement of an item needs of a running production."""

    @property
    def ledger(self) -> Any: ...

    @property
    def store(self) -> Any: ...

    def exchange(
        self, item: str, message: Any, *, timeout_seconds: float = -1, door: str = "Python"
    ) -> tuple[int, Any]: ...


def measure_cached(
    models: ModelStore,
    version: ModelVersion,
    task: str,
    inputs: Any,
    *,
    plan: Plan,
    feed: PowerFeed,
    carbon: CarbonIntensity | None = None,
    batch: int = 1,
) -> Measurement:
    """Load a version of a cached model as an item would, and measure it."""
    from wattbus.ml import pipelines

    if not isinstance(inputs, dict):
        raise BadRequest('the example of a model is an object with its inputs, such as {"inputs": "a text"}.')
    _batched(inputs, batch)  # before the model is loaded for nothing
    options = {} if batch == 1 else {"batch_size": str(batch)}
    predictor = pipelines.load(models.open_verified(version.name, version.id).path, task, options)
    return measure_model(
        predictor, inputs, model=version.name, revision=version.revision or version.id, plan=plan.checked(), feed=feed,
        carbon=carbon, batch=batch, models=models,
    )  # fmt: skip


def measure_model(
    predictor: Predictor | EnginePredictor,
    inputs: dict[str, Any],
    *,
    model: str,
    revision: str | None,
    plan: Plan,
    feed: PowerFeed,
    carbon: CarbonIntensity | None = None,
    batch: int = 1,
    models: ModelStore | None = None,
) -> Measurement:
    """Measure a loaded model directly, without the bus: the example, ``batch`` times in one call, over and over."""
    sent = _batched(inputs, batch)
    answers: list[Prediction] = []

    def work() -> None:
        answers[:] = [predictor.predict(sent)]

    found = metered(work, plan, feed, carbon)
    facts, answer = predictor.facts(), answers[0]
    tokens = None if answer.output_tokens is None else answer.output_tokens * found.count
    repeats = tuple(
        replace(
            figures_of_records([record], f"repeat {number}"),
            model=model, revision=revision, task=facts.task, stage=Stage.INFERENCE, requests=found.count * batch,
            tokens=tokens, parameters=facts.parameters, precision=facts.precision, batch_size=batch,
        )
        for number, record in enumerate(found.records, start=1)
    )  # fmt: skip
    whole = completed(_whole(repeats, f"{model} measured directly"), models)
    lengths = (
        f"{answer.input_tokens} tokens" if answer.input_tokens is not None else words.size(answer.input_bytes)
    )
    wrote = f", {answer.output_tokens} tokens out" if answer.output_tokens is not None else ""
    each = [one / batch for one in found.seconds]
    return _measurement(
        whole, repeats, found, plan, each,
        "the model alone, in this process, without the bus; idle and other processes are not in it",
        (("inputs of a call", f"{batch} of the example, {lengths} together{wrote}"), ("device", facts.device)),
    )  # fmt: skip


def measure_item(
    running: AskedProduction, item: str, message: Any, plan: Plan, models: ModelStore | None = None
) -> Measurement:
    """Measure a running item: the example request through the bus, one at a time, over and over."""
    plan = plan.checked()

    def once() -> tuple[int, float]:
        begun = time.perf_counter()
        number, _ = running.exchange(item, message, timeout_seconds=_ITEM_SECONDS, door="Measurement")
        return number, time.perf_counter() - begun

    warm = [once() for _ in range(plan.warm_up)]
    fastest = max(min(seconds for _, seconds in warm), 1e-6)
    count = plan.count or max(1, min(MOST_IN_A_REPEAT, round(plan.repeat_seconds / fastest)))
    asked = [[once() for _ in range(count)] for _ in range(plan.repeats)]
    running.ledger.settle()
    running.store.flush()
    engine: Engine = running.store.engine
    repeats = tuple(
        replace(
            figures_of_messages(engine, [number for number, _ in one], models),
            name=f"repeat {place}",
            batch_size=1,
        )
        for place, one in enumerate(asked, start=1)
    )
    if repeats[0].stage is not Stage.INFERENCE:
        raise BadRequest(f"{item} trains when it is asked like this: choose a request that is an inference.")
    whole = completed(_whole(repeats, f"item {item} measured through the bus"), models)
    seconds = [one for repeat in asked for _, one in repeat]
    return _measurement(
        whole, repeats, Metered([], count, seconds), plan, seconds,
        "the item's attempts, as the ledger meters every message; the time is that of the whole way over the bus",
        (("inputs of a call", "the example request, one at a time"),),
    )  # fmt: skip


def measure_endpoint(
    transport: Transport,
    endpoint: Endpoint,
    plan: Plan,
    feed: PowerFeed,
    *,
    model: str | None = None,
    task: str | None = None,
    parameters: int | None = None,
) -> Measurement:
    """Measure a deployed endpoint from outside: its response time; its energy only by formula, where there is one."""
    answers: list[EndpointAnswer] = []

    def work() -> None:
        try:
            answers.append(ask(transport, endpoint))
        except RequestFailed as error:
            raise RequestFailed(
                f"the measurement ended after {words.counted(len(answers), 'answer')}: {error}"
            ) from error

    plan = plan.checked()
    ask(transport, endpoint)  # what cannot be asked is told at once, before the meter starts
    found = metered(work, plan, feed)
    used = answers[-found.total :]
    repeats = tuple(
        _of_answers(used[start : start + found.count], f"repeat {number}", endpoint, model, task, parameters)
        for number, start in enumerate(range(0, found.total, found.count), start=1)
    )
    estimate = _estimate(used, task, parameters)
    whole = _of_answers(used, f"{endpoint.host} asked from here", endpoint, model, task, parameters)
    ours = [one.energy_joules for one in found.records]
    client = sum(one or 0.0 for one in ours) if ours and None not in ours else None
    tier = found.records[0].tier.value if found.records else Tier.NONE.value
    energy = (
        "not estimable: " + (estimate.reason or "")
        if estimate.energy_joules is None
        else str(estimate.method)
    )
    return _measurement(
        whole, repeats, found, plan, [one.seconds for one in used],
        "the response time as our side sees it, network included; what the other machine used cannot be read from here",
        (
            ("energy of the remote side", energy),
            ("energy of our side", words.joules(None if client is None else client / found.total, tier) + " a request"),
            ("answers", f"{words.size(sum(one.bytes for one in used) // len(used))} on average"),
        ),
    )  # fmt: skip


def _batched(inputs: dict[str, Any], batch: int) -> dict[str, Any]:
    if not 1 <= batch <= LARGEST_BATCH:
        raise BadRequest(f"the batch is {batch}: give 1 to {LARGEST_BATCH:,} inferences in one call.")
    if batch == 1:
        return inputs
    name = next((one for one, value in inputs.items() if isinstance(value, str)), None)
    if name is None:
        raise BadRequest(
            "a batch needs an example with a text, such as inputs: give one, or measure with a batch of 1."
        )
    return {**inputs, name: [inputs[name]] * batch}


def _whole(repeats: Sequence[RunFigures], name: str) -> RunFigures:
    """Add the repeats up; unknown where one of them is, or where their tiers differ."""
    same = len({one.tier for one in repeats}) == 1
    sums: dict[str, Any] = {
        field: _sum([getattr(one, field) for one in repeats])
        if same or field not in ("energy_joules", "low_joules", "high_joules", "carbon_grams")
        else None
        for field in (
            "energy_joules", "low_joules", "high_joules", "carbon_grams", "duration_seconds", "cpu_seconds",
            "requests", "tokens",
        )
    }  # fmt: skip
    return replace(
        repeats[0], name=name, origin=f"{name}, {words.counted(len(repeats), 'repeat')}",
        tier=repeats[0].tier if same else Tier.NONE, **sums,
    )  # fmt: skip


def _of_answers(
    answers: Sequence[EndpointAnswer],
    name: str,
    endpoint: Endpoint,
    model: str | None,
    task: str | None,
    parameters: int | None,
) -> RunFigures:
    estimate = _estimate(answers, task, parameters)
    return RunFigures(
        name=name,
        stage=Stage.INFERENCE,
        source=Source.ENDPOINT,
        origin=f"the endpoint at {endpoint.host}, asked {words.counted(len(answers), 'time')}",
        model=model,
        task=task,
        measured_at_us=int(time.time() * 1e6),
        energy_joules=estimate.energy_joules,
        low_joules=estimate.low_joules,
        high_joules=estimate.high_joules,
        tier=Tier.NONE if estimate.energy_joules is None else Tier.ESTIMATED_REMOTE,
        method=estimate.method,
        duration_seconds=sum(one.seconds for one in answers),
        requests=len(answers),
        tokens=_sum([one.tokens for one in answers]),
        parameters=parameters,
        batch_size=1,
    )


def _estimate(answers: Sequence[EndpointAnswer], task: str | None, parameters: int | None) -> RemoteEstimate:
    """Add up the estimates of the answers; one that cannot be estimated leaves the whole unknown."""
    each = [
        estimate_remote(task, parameters=parameters, output_tokens=one.tokens, latency_seconds=one.seconds)
        for one in answers
    ]
    unknown = next((one for one in each if one.energy_joules is None), None)
    if unknown is not None:
        return unknown
    low, joules, high = (
        _sum([getattr(one, name) for one in each]) for name in ("low_joules", "energy_joules", "high_joules")
    )
    return RemoteEstimate(joules, low, high, method=each[0].method)


def _measurement(
    whole: RunFigures,
    repeats: Sequence[RunFigures],
    found: Metered,
    plan: Plan,
    each: list[float],
    what: str,
    lines: tuple[tuple[str, str], ...],
) -> Measurement:
    seconds = {
        "mean": sum(each) / len(each),
        **{name: percentile(each, share) for name, share in _SHARES.items()},
    }
    times = ", ".join(f"{name} {words.seconds(value)}" for name, value in seconds.items())
    return Measurement(
        whole if whole.hardware or whole.source is Source.ENDPOINT
        else replace(whole, hardware=machine_in_words(read_machine())),
        tuple(repeats), what,
        (
            ("what was measured", what),
            ("repeats", f"{len(repeats)} of {found.count:,} after a warm-up of {plan.warm_up:,}"),
            ("time of one inference", times),
            *lines,
        ),
        seconds, plan.warm_up, found.count,
    )  # fmt: skip


def _sum(values: Sequence[Any]) -> Any:
    return None if not values or None in values else sum(values)
