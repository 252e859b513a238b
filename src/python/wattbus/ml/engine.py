"""An optimised version as a predictor: the answers of the pipelines, without PyTorch and without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from wattbus.errors import BadRequest, BadSettings, ModelError, WattbusError
from wattbus.ml import annotate
from wattbus.ml.engine_answers import ANSWERS, Answering
from wattbus.ml.engine_files import EngineCard, read_card
from wattbus.ml.pipeline_options import LOADING, parse_settings
from wattbus.ml.pipeline_tasks import Call, Feed, Task, find_task, read_call
from wattbus.ml.prediction import ModelFacts, Prediction
from wattbus.ml.results import make_picture
from wattbus.ml.runner import Runner, open_runner
from wattbus.ml.streaming import answers_whole

if TYPE_CHECKING:
    from wattbus.ml.images import ImageSource, OpenedImage


@dataclass(frozen=True)
class _Read:
    """A request as it goes to the engine: what each of its inputs became, and the pictures it named."""

    call: Call
    inputs: tuple[Any, ...]
    opened: tuple[OpenedImage, ...]


def load_engine(
    folder: Path,
    task: str,
    options: Mapping[str, str],
    *,
    images: ImageSource | None = None,
    cache: Path | None = None,
) -> EnginePredictor:
    """Load the optimised version in ``folder`` for ``task``; ``options`` are the item's settings.

    Raises UnknownName (the task), BadSettings (an option), ModelError or ModelCorrupt (the files).
    """
    served = find_task(task)
    settings = parse_settings(options, served.calling)
    card = read_card(folder)
    if card.task != served.name:
        raise ModelError(
            f"the version {folder.name!r} was optimised for {card.task}, and the item asks for {served.name}: publish "
            "the version that it was made from, or set the task back."
        )
    labels = _labels(folder)
    _check_settings(settings, labels)
    runner = open_runner(folder, card, cache)
    defaults = {name: value for name, value in settings.items() if name not in LOADING}
    return EnginePredictor(
        served, card, ANSWERS[served.name](folder, card, runner, labels), runner, defaults, images
    )


class EnginePredictor:
    """One loaded graph that any number of threads may share."""

    def __init__(
        self,
        task: Task,
        card: EngineCard,
        answering: Answering,
        runner: Runner,
        defaults: Mapping[str, Any],
        images: ImageSource | None,
    ) -> None:
        self.task = task
        self.card = card
        self.head_untrained = card.head_untrained
        self.notes: tuple[str, ...] = (
            (
                f"the model has no trained head for {task.name}: its answers are arbitrary until it is fine-tuned.",
            )
            if card.head_untrained
            else ()
        )
        self._answering = answering
        self._runner = runner
        self._defaults = dict(defaults)
        self._images = images

    def predict(self, inputs: Mapping[str, Any]) -> Prediction:
        """Answer one request; raises UnknownName, Refused or BadRequest for what the task cannot take."""
        answer = self.predict_all([inputs])[0]
        if isinstance(answer, WattbusError):
            raise answer
        return answer

    def stream(self, _inputs: Mapping[str, Any]) -> NoReturn:
        """Refuse: no task that an engine runs writes text."""
        raise BadRequest(answers_whole(self.task.name))

    def predict_all(self, requests: Sequence[Mapping[str, Any]]) -> list[Prediction | WattbusError]:
        """Answer several requests, what they hold sorted by length and run together; a bad one fails alone."""
        answers: list[Any] = [self._read(one) for one in requests]
        good = [place for place, one in enumerate(answers) if isinstance(one, _Read)]
        inputs = [each for place in good for each in answers[place].inputs]
        outputs = iter(self._answering.run(inputs) if inputs else ())
        for place in good:
            read: _Read = answers[place]
            answers[place] = self._answer(read, [next(outputs) for _ in read.inputs])
        return answers

    def facts(self) -> ModelFacts:
        """Say what kind of model this is, from its card."""
        return ModelFacts(
            task=self.task.name,
            family=self.task.family,
            model_type=self.card.model_type,
            architecture=self.card.architecture,
            class_path=self.card.class_path,
            framework=self.card.engine,
            framework_version=self._runner.version,
            parameters=self.card.parameters,
            layers=self.card.layers,
            precision=self.card.precision.removesuffix("-weights"),
            foundation_model=self.card.foundation_model,
            device="cpu",
            head_untrained=self.head_untrained,
        )

    def _read(self, inputs: Mapping[str, Any]) -> _Read | WattbusError:
        try:
            call = read_call(self.task, inputs, self._defaults)
            opened = self._open(call)
            given = [one.image for one in opened] if opened else call.inputs
            return _Read(call, tuple(self._answering.read(one, call.options) for one in given), opened)
        except WattbusError as error:
            return error

    def _answer(self, read: _Read, outputs: list[Any]) -> Prediction | WattbusError:
        try:
            return self._prediction(read, outputs)
        except WattbusError as error:
            return error

    def _prediction(self, read: _Read, outputs: list[Any]) -> Prediction:
        call = read.call
        each = [
            self._answering.answer(one, out, call.options)
            for one, out in zip(read.inputs, outputs, strict=True)
        ]
        output = self._answering.shaped(each, call)
        shown = annotate.annotated(self.task.name, [one.image for one in read.opened], each)
        counted = [self._answering.tokens(one) for one in read.inputs]
        notes = self.notes + self._answering.notes(read.inputs)
        notes += tuple(note for image in read.opened for note in image.notes)
        return Prediction(
            output=output,
            pictures=tuple(make_picture(image, "annotated") for image in shown),
            notes=tuple(dict.fromkeys(notes)),
            input_kind=self.task.feed.value,
            input_items=len(call.inputs),
            input_bytes=sum(image.bytes for image in read.opened)
            or sum(len(str(one).encode()) for one in call.inputs),
            input_tokens=None if None in counted else sum(counted),  # type: ignore[arg-type]
            output_items=len(output) if isinstance(output, list) else 1,
            output_tokens=None,
        )

    def _open(self, call: Call) -> tuple[OpenedImage, ...]:
        if self.task.feed is not Feed.IMAGE:
            return ()
        if self._images is None:
            raise BadRequest(
                f"{self.task.name} reads images, and this predictor was loaded without a source."
            )
        return tuple(self._images.open(address) for address in call.inputs)


def _labels(folder: Path) -> dict[int, str]:
    """Return the names of the classes, as ``config.json`` has them."""
    told = json.loads((folder / "config.json").read_bytes())
    named = told.get("id2label")
    if isinstance(named, dict) and named:
        return {int(number): str(label) for number, label in named.items()}
    return {number: f"LABEL_{number}" for number in range(int(told.get("num_labels") or 2))}


def _check_settings(settings: Mapping[str, Any], labels: Mapping[int, str]) -> None:
    if settings.get("device", "cpu") != "cpu":
        raise BadSettings(
            f"an optimised version runs on the processor, and the setting device is {settings['device']!r}: leave it "
            "out, or publish the version that it was made from."
        )
    if settings.get("num_labels", len(labels)) != len(labels):
        raise BadSettings(
            f"num_labels is {settings['num_labels']} and the optimised version has {len(labels)} labels: leave it out."
        )
