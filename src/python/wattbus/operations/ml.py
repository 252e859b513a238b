"""MLOperation: any transformers pipeline as a production item."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from iop import BusinessOperation

from wattbus import words
from wattbus.energy.attempt_window import current_window
from wattbus.energy.record import TaskFacts
from wattbus.errors import BadRequest, BadSettings, WattbusError
from wattbus.home import make_owner_folder, write_durably
from wattbus.messages import MLRequest, MLResponse, MLToken
from wattbus.operations.inference_facts import data_of_answer, facts_of_answer, facts_of_hit, facts_of_model
from wattbus.operations.metered import Metered
from wattbus.operations.place import check_trained_for, model_store, page_of, transport
from wattbus.operations.streaming import Streaming
from wattbus.runtime import context

if TYPE_CHECKING:
    from wattbus.ml.engine import EnginePredictor
    from wattbus.ml.models import ModelVersion
    from wattbus.ml.pipelines import Predictor
    from wattbus.ml.prediction import Prediction
    from wattbus.ml.resident import Resident
    from wattbus.ml.result_cache import ResultCache
    from wattbus.ml.streaming import TextStream

#: Attributes of a component that are not settings for the pipeline.
_NOT_FOR_THE_PIPELINE = {
    "iris_handle", "DISPATCH", "Adapter", "adapter", "name", "model_url", "task", "path", "result_cache",
    "idle_unload_seconds",
}  # fmt: skip
#: What an answer says that no model has worked for.
FROM_THE_CACHE = "from the cache of answers"
_LOOK_SECONDS = 0.1


class _Miss(NamedTuple):
    """A request that the model has to answer; ``key`` is where to keep the answer, None: nowhere."""

    key: str | None


class MLOperation(Metered, Streaming, BusinessOperation):
    """Answers an MLRequest with the published version of its model, a generator request token by token.

    The model is fetched once, into the model store, and loaded once for all threads of the pool. ``result_cache`` is
    how many answers are kept for requests that come again, 0 for none; after ``idle_unload_seconds`` without a request
    the model leaves memory until the next one, 0 for never. Every setting that is not one of these nor ``name``,
    ``model_url``, ``task`` or ``path`` goes to the pipeline, through a typed allow-list.
    """

    name: str = ""
    model_url: str = ""
    task: str = ""
    path: str = ""
    result_cache: int | None = None
    idle_unload_seconds: float | None = None

    def on_init(self) -> None:
        """Fetch the model if it is not here, and load it; requests wait in the queue meanwhile.

        That goes on in a thread of its own: an item that is stopped meanwhile need not wait for it.
        """
        self._check_settings()
        self._models = model_store(self.path)
        self._prepared = _in_background(self._prepare)
        leaving = context.leaving()
        while not leaving.is_set():
            with contextlib.suppress(TimeoutError):
                return self._prepared.result(_LOOK_SECONDS)

    def predict(self, request: MLRequest) -> MLResponse:
        """Answer with the version that is published now, and name it."""
        version = self._current()
        fields = request.inputs_by_name()
        found = self._found(version, fields)
        if isinstance(found, WattbusError):
            raise found
        if isinstance(found, MLResponse):
            self._describe(version, facts_of_hit(self._family))
            return found
        with self._resident(version).borrowed(self._keep_seconds) as predictor:
            prediction = predictor.predict(fields)
            facts = facts_of_answer(
                version.name, page_of(self._models, version), predictor.facts(), prediction
            )
        self._describe(version, facts)
        return self._response(version, prediction, "", found.key)

    def on_batch(self, requests: Sequence[MLRequest]) -> list[MLResponse | WattbusError]:
        """Answer several messages with one version: their texts are sorted by length; a bad one fails alone."""
        version = self._current()
        fields = [request.inputs_by_name() for request in requests]
        began = time.perf_counter()
        answers: list[Any] = [self._found(version, one) for one in fields]
        looked_seconds = (time.perf_counter() - began) / len(requests)
        missed = [place for place, one in enumerate(answers) if isinstance(one, _Miss)]
        facts: list[TaskFacts | None] = [
            facts_of_hit(self._family) if isinstance(one, MLResponse) else None for one in answers
        ]
        seconds = [looked_seconds] * len(requests)
        if missed:
            with self._resident(version).borrowed(self._keep_seconds) as predictor:
                predictions = predictor.predict_all([fields[place] for place in missed])
                model, page = predictor.facts(), page_of(self._models, version)
            spent_seconds = time.perf_counter() - began - sum(seconds)
            for place, prediction in zip(missed, predictions, strict=True):
                seconds[place] += spent_seconds / len(missed)
                if isinstance(prediction, WattbusError):
                    answers[place] = prediction
                    continue
                facts[place] = facts_of_answer(version.name, page, model, prediction)
                answers[place] = self._response(version, prediction, f"{place + 1}-", answers[place].key)
        self._describe(version)
        current_window().describe_each(facts)
        current_window().weigh(seconds)
        return answers

    def _stream(self, request: Any) -> Iterator[MLToken | MLResponse]:
        """Open the stream of a text: a token each, then the whole; what cannot be streamed is refused here."""
        if not isinstance(request, MLRequest):
            raise BadRequest(f"a stream is asked for with an MLRequest, not with a {type(request).__name__}.")
        version = self._current()
        with contextlib.ExitStack() as held:
            predictor = held.enter_context(self._resident(version).borrowed(self._keep_seconds))
            stream = held.enter_context(contextlib.closing(predictor.stream(request.inputs_by_name())))
            facts = facts_of_model(version.name, page_of(self._models, version), predictor.facts())
            self._describe(version, facts)
            return self._tokens(version, stream, dataclasses.replace(facts, requests=0), held.pop_all())

    def _tokens(
        self, version: ModelVersion, stream: TextStream, facts: TaskFacts, held: contextlib.ExitStack
    ) -> Iterator[MLToken | MLResponse]:
        """Write a token each time one is asked for; each has a record of its own, counted to the one request."""
        with held:
            for text in stream:
                self._describe(version, facts)
                yield MLToken(text=text)
            prediction = stream.prediction()
            self._describe(version, dataclasses.replace(facts, data=data_of_answer(prediction)))
            yield self._response(version, prediction, "", None)

    # -- what it answers with -----------------------------------------------------------------------------------

    def _current(self) -> ModelVersion:
        self._prepared.result()  # an item that was told to stop may have begun before
        return self._models.current(self.name)

    def _describe(self, version: ModelVersion, facts: TaskFacts | None = None) -> None:
        current_window().describe(
            kind=self._task_name, model=self.name, revision=version.revision or version.id, facts=facts
        )

    def _response(
        self, version: ModelVersion, prediction: Prediction, place: str, key: str | None
    ) -> MLResponse:
        response = MLResponse(
            output=prediction.output,
            model=self.name,
            version=version.id,
            task=self._task_name,
            pictures=_stored(prediction, place),
            notes=list(prediction.notes),
            input_tokens=prediction.input_tokens,
            output_tokens=prediction.output_tokens,
        )
        if key is not None:
            self._cache().put(key, response.model_dump_json())
        return response

    # -- answers that are kept ----------------------------------------------------------------------------------

    def _found(self, version: ModelVersion, fields: Mapping[str, Any]) -> MLResponse | WattbusError | _Miss:
        """Return the answer that is kept for a request, what is wrong with it, or where to keep its answer."""
        if not self._most_kept:
            return _Miss(None)
        from wattbus.ml.result_cache import key_of

        try:
            key = key_of(version.id, self.task, self._options(), fields)
        except WattbusError as error:
            return error
        found = None if key is None else self._cache().get(key)
        if found is None:
            return _Miss(key)
        kept = MLResponse.model_validate_json(found)
        return kept.model_copy(update={"notes": [*kept.notes, FROM_THE_CACHE]})

    def _cache(self) -> ResultCache:
        from wattbus.ml.result_cache import ResultCache

        size = self._most_kept
        return context.place().resources.get(
            ("result cache", self.name, self.task, size), lambda: ResultCache(size)
        )

    # -- the model ----------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        from wattbus.ml.pipeline_tasks import find_task

        if not self.name or not self.task:
            raise BadSettings(
                "MLOperation needs the settings name and task, such as name=gpt2 and task=text-generation."
            )
        self._most_kept = int(_at_least_0("result_cache", self.result_cache))
        self._keep_seconds = _at_least_0("idle_unload_seconds", self.idle_unload_seconds)
        served = find_task(self.task)
        self._task_name, self._family = served.name, served.family
        if self._most_kept:
            from wattbus.ml.result_cache import check_cached

            check_cached(self.task)

    def _prepare(self) -> None:
        """Fetch the model if it is not here, and load the version that is published."""
        got = self._models.ensure(self.name, model_url=self.model_url or None, progress=self.log_info)
        if got.already_cached:
            self.log_info(f"model {self.name}: already cached, 0 bytes fetched")
        else:
            self.log_info(
                f"model {self.name}: cached as {got.version.id}, {got.bytes_fetched:,} bytes fetched"
            )
        with self._resident(self._models.current(self.name)).borrowed(self._keep_seconds):
            pass

    def _resident(self, version: ModelVersion) -> Resident[Predictor | EnginePredictor]:
        from wattbus.ml.resident import Resident

        here = context.place()
        key = ("predictor", self.name, version.id, self.task, tuple(sorted(self._options().items())))
        return here.resources.get(
            key,
            lambda: Resident(lambda: self._load(version), here.clock, here.stopping, self._teller(version)),
        )

    def _teller(self, version: ModelVersion) -> Callable[[float], None]:
        """Return what tells that the model has left memory, from the thread that watches it."""
        now, text = context.current(), f"model {self.name} {version.id} is unloaded after"

        def tell(seconds: float) -> None:
            if now is not None:
                said = f"{text} {words.seconds(seconds)} idle; the next request loads it again"
                now.logs.log("Info", said, now.item, None, None, type(self).__name__, None)

        return tell

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


def _in_background(work: Callable[[], None]) -> Future[None]:
    """Do ``work`` in a thread of its own, for the item that this thread works for; inside IRIS at once."""
    done: Future[None] = Future()
    now = context.current()

    def run() -> None:
        context.enter(now)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - who waits for it is told
            done.set_exception(error)
        else:
            done.set_result(None)

    if now is None:
        run()
    else:
        name = f"{threading.current_thread().name}#load"
        threading.Thread(target=run, name=name, daemon=True).start()
    return done


def _at_least_0(name: str, value: Any) -> float:
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise BadSettings(f"{name} is {value!r}: a number from 0 on is needed, 0 for none.")
    return number


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
