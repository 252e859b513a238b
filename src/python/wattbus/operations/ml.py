"""MLOperation: any transformers pipeline as a production item."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iop import BusinessOperation

from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.errors import BadRequest, BadSettings, WattbusError
from wattbus.home import make_owner_folder, write_durably
from wattbus.messages import MLRequest, MLResponse
from wattbus.operations.metered import Metered
from wattbus.operations.place import check_trained_for, model_store, page_of, transport
from wattbus.runtime import context

if TYPE_CHECKING:
    from wattbus.ml.engine import EnginePredictor
    from wattbus.ml.models import ModelVersion
    from wattbus.ml.pipelines import Predictor
    from wattbus.ml.prediction import ModelFacts, Prediction

#: Attributes of a component that are not settings for the pipeline.
_NOT_FOR_THE_PIPELINE = {"iris_handle", "DISPATCH", "Adapter", "adapter", "name", "model_url", "task", "path"}


class MLOperation(Metered, BusinessOperation):
    """Answers an MLRequest with the published version of its model.

    The model is fetched once, into the model store, and loaded once for all threads of the pool. Every setting
    that is not ``name``, ``model_url``, ``task`` or ``path`` goes to the pipeline, through a typed allow-list.
    """

    name: str = ""
    model_url: str = ""
    task: str = ""
    path: str = ""

    def on_init(self) -> None:
        """Fetch the model if it is not here, and load it; requests wait in the queue meanwhile."""
        if not self.name or not self.task:
            raise BadSettings(
                "MLOperation needs the settings name and task, such as name=gpt2 and task=text-generation."
            )
        self._models = model_store(self.path)
        got = self._models.ensure(self.name, model_url=self.model_url or None, progress=self.log_info)
        if got.already_cached:
            self.log_info(f"model {self.name}: already cached, 0 bytes fetched")
        else:
            self.log_info(
                f"model {self.name}: cached as {got.version.id}, {got.bytes_fetched:,} bytes fetched"
            )
        self._predictor(self._models.current(self.name))

    def predict(self, request: MLRequest) -> MLResponse:
        """Answer with the version that is published now, and name it."""
        version = self._models.current(self.name)
        predictor = self._predictor(version)
        prediction = predictor.predict(request.inputs_by_name())
        current_window().describe(
            kind=predictor.task.name,
            model=self.name,
            revision=version.revision or version.id,
            facts=_task_facts(version.name, page_of(self._models, version), predictor.facts(), prediction),
        )
        return self._response(version, predictor, prediction, "")

    def on_batch(self, requests: Sequence[MLRequest]) -> list[MLResponse | WattbusError]:
        """Answer several messages with one version: an engine sorts their texts by length; a bad one fails alone."""
        version = self._models.current(self.name)
        predictor = self._predictor(version)
        predictions = _predicted(predictor, [request.inputs_by_name() for request in requests])
        page, facts = page_of(self._models, version), predictor.facts()
        window = current_window()
        window.describe(kind=predictor.task.name, model=self.name, revision=version.revision or version.id)
        window.describe_each(
            [
                None if isinstance(one, WattbusError) else _task_facts(version.name, page, facts, one)
                for one in predictions
            ]
        )
        return [
            one if isinstance(one, WattbusError) else self._response(version, predictor, one, f"{place}-")
            for place, one in enumerate(predictions, start=1)
        ]

    def _response(
        self,
        version: ModelVersion,
        predictor: Predictor | EnginePredictor,
        prediction: Prediction,
        place: str,
    ) -> MLResponse:
        return MLResponse(
            output=prediction.output,
            model=self.name,
            version=version.id,
            task=predictor.task.name,
            pictures=_stored(prediction, place),
            notes=list(prediction.notes),
            input_tokens=prediction.input_tokens,
            output_tokens=prediction.output_tokens,
        )

    def _predictor(self, version: ModelVersion) -> Predictor | EnginePredictor:
        key = ("predictor", self.name, version.id, self.task, tuple(sorted(self._options().items())))
        return context.place().resources.get(key, lambda: self._load(version))

    def _load(self, version: ModelVersion) -> Predictor | EnginePredictor:
        from wattbus.ml import pipelines
        from wattbus.ml.images import ImageSource

        check_trained_for(self._models, version, self.task)
        images = ImageSource(context.place().home.uploads, _fetch_picture)
        checked = self._models.open_verified(self.name, version.id)
        compiled = make_owner_folder(make_owner_folder(context.place().home.compiled) / self.name)
        for folder in compiled.iterdir():
            if folder.name not in self._models.ids(self.name):
                shutil.rmtree(folder, ignore_errors=True)  # of a version that was removed
        predictor = pipelines.load(
            checked.path, self.task, self._options(), images=images, cache=compiled / version.id
        )
        self.log_info(f"model {self.name} {version.id} is loaded for {predictor.task.name}")
        return predictor

    def _options(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in _NOT_FOR_THE_PIPELINE
        }


def _fetch_picture(url: str) -> bytes:
    answer = transport().fetch(url)
    if answer.status != 200:
        raise BadRequest(f"the picture {url!r} cannot be fetched: the server answered {answer.status}.")
    return answer.content


def _predicted(
    predictor: Predictor | EnginePredictor, requests: list[dict[str, Any]]
) -> list[Prediction | WattbusError]:
    """Answer several requests; a pipeline does so one after the other."""
    from wattbus.ml.engine import EnginePredictor

    if isinstance(predictor, EnginePredictor):
        return predictor.predict_all(requests)
    answers: list[Prediction | WattbusError] = []
    for inputs in requests:
        try:
            answers.append(predictor.predict(inputs))
        except WattbusError as error:
            answers.append(error)
    return answers


def _stored(prediction: Prediction, place: str) -> list[str]:
    """Keep the pictures of an answer in the pictures folder and return their names; ``place`` is that in a batch."""
    folder = context.place().home.pictures
    now = context.current()
    prefix = f"{now.message_id}-{now.attempt}" if now is not None else "picture"
    names = []
    for number, picture in enumerate(prediction.pictures, start=1):
        name = f"{prefix}-{place}{number}.png"
        write_durably(folder / name, picture.png)
        names.append(name)
    return names


def _task_facts(name: str, page: str | None, model: ModelFacts, prediction: Prediction) -> TaskFacts:
    inputs = DataFacts(
        usage="input",
        kind=prediction.input_kind,
        items=prediction.input_tokens or prediction.input_items,
        bytes=prediction.input_bytes,
        shape=f"(1, {prediction.input_tokens or prediction.input_items})",
        format="json",
        source="private",
    )
    if prediction.input_tokens is not None:
        inputs = dataclasses.replace(inputs, kind="token")
    outputs = DataFacts(
        usage="output",
        kind="token" if prediction.output_tokens is not None else "object",
        items=prediction.output_tokens or prediction.output_items,
        bytes=len(json.dumps(prediction.output)),
        shape=f"(1, {prediction.output_tokens or prediction.output_items})",
        format="json",
        source="private",
    )
    return TaskFacts(
        stage="inference",
        family=model.family,
        requests=1,
        algorithm_type="llm" if model.task == "text-generation" else "neural network",
        algorithm_name=model.architecture,
        algorithm_uri=page,
        foundation_model=model.foundation_model or name,
        foundation_model_uri=page,
        parameters=model.parameters,
        framework=model.framework,
        framework_version=model.framework_version,
        class_path=model.class_path,
        layers=model.layers,
        precision=model.precision,
        data=(inputs, outputs),
    )
