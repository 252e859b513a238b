"""Measure on demand: a running item, a cached model or a deployed endpoint; it goes on while the page is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wattbus.door import power_feed
from wattbus.energy.carbon import carbon_intensity
from wattbus.energy.figures import Stage
from wattbus.errors import BadRequest
from wattbus.labels.builtin import DEFAULT
from wattbus.labels.endpoint import Endpoint
from wattbus.labels.evaluate import evaluate, with_measurement
from wattbus.labels.history import KeptEvaluation, save_evaluation
from wattbus.labels.measure import Measurement, measure_cached, measure_endpoint, measure_item
from wattbus.labels.metering import Plan
from wattbus.labels.profiles import KeptProfile, get_profile, list_profiles
from wattbus.ml.pipeline_tasks import TASKS
from wattbus.operations.serving import served_models, task_of
from wattbus.runtime import type_facts
from wattbus.runtime.examples import examples_of
from wattbus.runtime.parsing import parse
from wattbus.runtime.running import RunningProduction
from wattbus.transport import Transport
from wattbus.web.background import Background
from wattbus.web.desk import Desk
from wattbus.web.guard import Who
from wattbus.web.twin import Twins

What = Literal["item", "model", "endpoint"]
_LONGEST = 200_000


class MeasureBody(BaseModel):
    """What is measured, and how often. ``body`` is the example as JSON; empty: a ready one of the type or the task."""

    model_config = ConfigDict(extra="forbid")

    item: str = Field(default="", max_length=200)
    type: str = Field(
        default="", max_length=500, description="of the message; empty: the first that the item handles"
    )
    model: str = Field(default="", max_length=200)
    version: str = Field(default="", max_length=100)
    task: str = Field(default="", max_length=100)
    url: str = Field(default="", max_length=4096)
    api_key: str = Field(default="", max_length=4096, description="sent to the endpoint, and kept nowhere")
    parameters: int | None = Field(
        default=None, ge=1, le=10**15, description="of the model behind the endpoint"
    )
    timeout_seconds: float = 30.0
    body: str | dict[str, Any] = Field(default="", description="the example request, as JSON")
    repeats: int = 5
    count: int = Field(default=0, description="inferences in a repeat; 0: as many as fill two seconds")
    warm_up: int = 3
    batch: int = Field(default=1, description="inferences in one call of a cached model")
    profile: str = Field(default=DEFAULT, max_length=80)
    name: str = Field(default="", max_length=200, description="under which the result is kept")

    @property
    def plan(self) -> Plan:
        return Plan(self.repeats, self.count, self.warm_up).checked()

    def example(self, ready: Callable[[], Any]) -> Any:
        """Return the example request: what was given, or a ready one."""
        if isinstance(self.body, dict):
            return self.body
        if not self.body.strip():
            return ready()
        if len(self.body) > _LONGEST:
            raise BadRequest(f"the example is longer than {_LONGEST:,} characters: give a shorter one.")
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise BadRequest(
                'the example is no JSON: write it as in {"inputs": "This was a really bad experience"}.'
            ) from None


@dataclass(frozen=True)
class MeasureView:
    """What can be measured, what is being measured now, and how the last one ended."""

    doing: str
    failure: str
    last: str  # the address of the newest result of this process
    items: list[str]
    models: list[str]
    tasks: list[str]
    profiles: list[KeptProfile]
    what: str = "item"
    typed: Mapping[str, Any] = field(default_factory=dict)
    wrong: str = ""


@dataclass(frozen=True)
class Started:
    """What became of a measurement by now: its result, or that it goes on."""

    sentence: str
    address: str
    result: KeptEvaluation | None = None


def add(twins: Twins, desk: Desk) -> None:
    """Open the page."""
    work, results = Background(), list[KeptEvaluation]()

    def page(item: str = "", model: str = "", what: What = "item") -> MeasureView:
        """Show what can be measured, and what is being measured now."""
        view = _view(desk, work, results)
        return replace(view, what="model" if model else what, typed={"item": item, "model": model})

    def again(wrong: str, typed: Mapping[str, Any], what: What) -> MeasureView:
        kept = {name: value for name, value in typed.items() if name != "api_key"}
        return replace(_view(desk, work, results), what=what, typed=kept, wrong=wrong)

    def start(what: What, body: MeasureBody, who: Who) -> Started:
        """Measure a running item, a cached model or a deployed endpoint, grade the result and keep it."""
        with desk.reading() as engine:
            profile = get_profile(engine, body.profile)
        if profile.profile.stage is Stage.TRAINING:
            raise BadRequest(
                f"{body.profile} grades trainings, and this is about an inference: choose another."
            )
        measuring = _MEASURES[what](desk, body)
        before = len(results)

        def measure() -> None:
            found = measuring()
            graded = with_measurement(evaluate(profile, found.figures, found.repeats), found.to_content())
            with desk.writing() as store:
                results.append(save_evaluation(store, graded, who.name, body.name))

        if work.do(f"Measuring {_subject(what, body)}", measure) and len(results) > before:
            return Started("Measured, graded and kept.", results[-1].address, results[-1])
        return Started("It is being measured; this page tells when that is done.", "/energy/labels/measure")

    twins.view("/energy/labels/measure", "label_measure.html", page, tag="labels")
    twins.action(
        "/energy/labels/measure/{what}",
        start,
        tag="labels",
        then=lambda done: str(done.address),
        said=lambda done: str(done.sentence),
        again=("label_measure.html", again),
    )


def _view(desk: Desk, work: Background, results: list[KeptEvaluation]) -> MeasureView:
    running = desk.running
    items = [] if running is None else [one.name for one in running.items() if one.kind == "operation"]
    with desk.reading() as engine:
        profiles = list_profiles(engine)
    return MeasureView(
        work.doing,
        work.failure,
        results[-1].address if results else "",
        items,
        desk.models().names(),
        sorted(TASKS),
        [one for one in profiles if one.profile.stage in (None, "inference")],
    )


def _subject(what: What, body: MeasureBody) -> str:
    return {"item": body.item, "model": body.model, "endpoint": "an endpoint"}[what]


def _item(desk: Desk, body: MeasureBody) -> Callable[[], Measurement]:
    running, plan = desk.current(), body.plan
    name = running.production.item(body.item).name
    message = _message(running, name, body)
    return lambda: measure_item(running, name, message, plan, desk.models())


def _message(running: RunningProduction, item: str, body: MeasureBody) -> Any:
    """Build the example request; without a body it is the first ready one of the type."""
    if body.type:
        cls = type_facts.meant(running, item, body.type)
    else:
        known = type_facts.handled(running, item)
        if not known:
            raise BadRequest(f"{item} takes every message type: say in type which one it is asked with.")
        cls = known[0]

    def ready() -> Any:
        found = type_facts.facts_of(
            running, type_facts.named(cls).name, task_of(running.production, item)
        ).examples
        if not found:
            raise BadRequest(
                f"there is no ready example for {cls.__name__}: give the request in body, as JSON."
            )
        return dict(found[0].body)

    return parse(cls, body.example(ready))


def _model(desk: Desk, body: MeasureBody) -> Callable[[], Measurement]:
    models, plan = desk.models(), body.plan
    production = desk.production()
    served = [] if production is None else served_models(production)
    task = body.task or next((one.task for one in served if one.name == body.model), "")
    version = models.get(body.model, body.version) if body.version else models.current(body.model)
    if not task:
        raise BadRequest(f"no item serves {body.model}, so its task is not known: choose one.")
    inputs = body.example(lambda: _ready_inputs(task))
    config = desk.config
    carbon = carbon_intensity(g_per_kwh=config.carbon_g_per_kwh, country=config.country)
    return lambda: measure_cached(
        models, version, task, inputs, plan=plan, feed=power_feed(config), carbon=carbon, batch=body.batch
    )


def _ready_inputs(task: str) -> Any:
    found = [one for one in examples_of("MLRequest", task) if task in one.tasks]
    if not found:
        raise BadRequest(f"there is no ready example for {task}: give the inputs in body, as JSON.")
    return dict(found[0].body)


def _endpoint(desk: Desk, body: MeasureBody) -> Callable[[], Measurement]:
    plan, config = body.plan, desk.config
    if not body.url:
        raise BadRequest(
            "no address was given: write that of the endpoint, such as https://example.org/predict."
        )
    endpoint = Endpoint(
        body.url.strip(),
        body.example(lambda: {"inputs": "This was a really bad experience"}),
        body.api_key.strip(),
        body.timeout_seconds,
    )
    return lambda: measure_endpoint(
        Transport(config.allow_hosts), endpoint, plan, power_feed(config),
        model=body.model or None, task=body.task or None, parameters=body.parameters,
    )  # fmt: skip


_MEASURES: dict[str, Callable[[Desk, MeasureBody], Callable[[], Measurement]]] = {
    "item": _item,
    "model": _model,
    "endpoint": _endpoint,
}
