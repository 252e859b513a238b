"""Any transformers pipeline as a predictor: local files only, typed at the door, JSON-safe in its answers."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, WattbusError
from wattbus.ml import annotate, generation, model_files
from wattbus.ml.engine import EnginePredictor, load_engine
from wattbus.ml.engine_files import is_optimised
from wattbus.ml.images import ImageSource, OpenedImage
from wattbus.ml.pipeline_batches import BATCHED, TextAnswer, answers_together, goes_together, prediction_of
from wattbus.ml.pipeline_options import LOADING, parse_settings
from wattbus.ml.pipeline_tasks import Call, Feed, Task, find_task, read_call
from wattbus.ml.pooling import Pooling
from wattbus.ml.prediction import ModelFacts, Prediction
from wattbus.ml.results import make_picture, make_plain
from wattbus.ml.streaming import TextStream, answers_whole, settle_stream
from wattbus.ml.threads import COMPUTE

PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "int8": "int8"}


def load(
    folder: Path,
    task: str,
    options: Mapping[str, str],
    *,
    images: ImageSource | None = None,
    cache: Path | None = None,
) -> Predictor | EnginePredictor:
    """Load the model in ``folder`` for ``task``; ``options`` are the item's settings beyond name and address.

    An optimised version is run by its engine, which keeps compiled code in ``cache``; PyTorch is not imported for it.
    Reads local files and safetensors only, runs no code of the model's. Raises UnknownName (the task),
    BadSettings (an option), ModelError or ModelCorrupt (the files).
    """
    if is_optimised(Path(folder)):
        return load_engine(Path(folder), task, options, images=images, cache=cache)
    served = find_task(task)
    settings = parse_settings(options, served.calling)
    loaded = model_files.load_parts(Path(folder), served.name, settings)
    defaults = {name: value for name, value in settings.items() if name not in LOADING}
    return Predictor(served, loaded, defaults, settings.get("batch_size"), images)


class Predictor:
    """One loaded pipeline that any number of threads may share; each call works on a tokenizer of its own."""

    def __init__(
        self,
        task: Task,
        loaded: model_files.LoadedModel,
        defaults: Mapping[str, Any],
        batch_size: int | None,
        images: ImageSource | None,
    ) -> None:
        self.task = task
        self.head_untrained = bool(loaded.untrained)
        self.notes = loaded.notes
        self._pipeline = loaded.pipeline
        self._defaults = dict(defaults)
        self._batch_size = batch_size
        self._images = images
        self._context_tokens = loaded.context_tokens
        self._foundation_model = loaded.foundation_model
        self._pooling = loaded.pooling
        self._readers = _Readers(loaded.pipeline)

    def predict(self, inputs: Mapping[str, Any]) -> Prediction:
        """Answer one request, whose fields are the pipeline's inputs and call options.

        Raises UnknownName, Refused or BadRequest with a sentence for what the task cannot take.
        """
        call = read_call(self.task, inputs, self._defaults)
        options = dict(call.options)
        notes: tuple[str, ...] = ()
        if self.task.name == "text-generation":
            options, notes = generation.settle_sampling(options, len(call.inputs))
        pooling = Pooling.of(options, self._pooling)
        opened = self._open_images(call)
        with self._readers.borrow() as readers:
            watch = _Watch(self._pipeline, readers, self._context_tokens, pooling)
            call = self._as_text(call, watch.pipeline)
            self._check_texts(call, watch.pipeline)
            with generation.repeatable_draws(call.options.get("seed"), self._pipeline.device.type):
                raw = self._run(watch, call, options, opened)
            if pooling is not None:
                raw = pooling.vectors(raw, call.listed)
            notes += watch.notes + _cut_note(call, watch.pipeline.tokenizer, watch.longest_tokens)
        return self._prediction(call, raw, opened, watch, (*self.notes, *notes))

    def stream(self, inputs: Mapping[str, Any]) -> TextStream:
        """Answer one request token by token; who does not read the stream to its end closes it.

        Raises what :meth:`predict` raises, and BadRequest for what cannot be streamed.
        """
        if self.task.name != "text-generation":
            raise BadRequest(answers_whole(self.task.name))
        call = read_call(self.task, inputs, self._defaults)
        settle_stream(call)
        options, settled = generation.settle_sampling(call.options, len(call.inputs))
        with ExitStack() as held:
            readers = held.enter_context(self._readers.borrow())
            watch = _Watch(self._pipeline, readers, self._context_tokens)
            call = self._as_text(call, watch.pipeline)
            self._check_texts(call, watch.pipeline)

            def whole(raw: Any, tokens: int) -> Prediction:
                watch.output_tokens = tokens
                cut = _cut_note(call, watch.pipeline.tokenizer, watch.longest_tokens)
                notes = (*self.notes, *settled, *watch.notes, *cut)
                return self._prediction(call, [raw] if call.listed else raw, (), watch, notes)

            more = {**_fixed_options(self.task, options), **options}
            with _in_words(self.task):
                stream = TextStream(watch.pipeline, watch.forward, call, more, whole)
            stream.keep(held.pop_all(), watch.input_tokens)
            return stream

    def predict_all(self, requests: Sequence[Mapping[str, Any]]) -> list[Prediction | WattbusError]:
        """Answer several requests, short texts of like length together where that pays; a bad one fails alone."""
        together = self._answer_together(requests) if len(requests) > 1 else {}
        return [
            together[place] if place in together else self._predict_or_error(inputs)
            for place, inputs in enumerate(requests)
        ]

    def _predict_or_error(self, inputs: Mapping[str, Any]) -> Prediction | WattbusError:
        try:
            return self.predict(inputs)
        except WattbusError as error:
            return error

    def _answer_together(self, requests: Sequence[Mapping[str, Any]]) -> dict[int, Prediction]:
        """Return the answers, by their places, to the requests that can share a call of the model."""
        calls: dict[int, Call] = {}
        if self.task.name not in BATCHED or not self._pads():
            return {}
        for place, inputs in enumerate(requests):
            with suppress(WattbusError):  # told when it is answered alone
                call = read_call(self.task, inputs, self._defaults)
                self._check_texts(call, self._pipeline)
                if goes_together(self.task, call):
                    calls[place] = call
        answered = answers_together(calls, self._answer_texts)
        return {
            place: prediction_of(
                self.task, calls[place], each,
                (*self.notes, *_cut_note(calls[place], self._pipeline.tokenizer, max(one.tokens for one in each))),
            )
            for place, each in answered.items()
        }  # fmt: skip

    def _pads(self) -> bool:
        """Tell whether padding leaves answers as they are, to the fifth digit: not in half precision."""
        import torch

        tokenizer = self._pipeline.tokenizer
        right = tokenizer.pad_token_id is not None and tokenizer.padding_side == "right"
        return right and self._pipeline.model.dtype == torch.float32

    def _answer_texts(self, texts: Sequence[str], options: Mapping[str, Any]) -> list[TextAnswer]:
        """Answer two texts or more in one call of the model."""
        left = dict(options)
        pooling = Pooling.of(left, self._pooling)
        call = Call(tuple(texts), True, options)
        with self._readers.borrow() as readers:
            watch = _Watch(self._pipeline, readers, self._context_tokens, pooling)
            raw = self._run(watch, call, {**left, "batch_size": len(texts)}, ())
        if pooling is not None:
            raw = pooling.vectors(raw, True)
        elif self.task.name == "feature-extraction":
            raw = [[one[0][:length]] for one, length in zip(raw, watch.row_tokens, strict=True)]
        return [TextAnswer(one, tokens) for one, tokens in zip(raw, watch.row_tokens, strict=True)]

    def facts(self) -> ModelFacts:
        """Read what kind of model this is from its objects."""
        import transformers

        model = self._pipeline.model
        config = getattr(model.config, "text_config", model.config)
        precision = str(model.dtype).removeprefix("torch.")
        return ModelFacts(
            task=self.task.name,
            family=self.task.family,
            model_type=getattr(model.config, "model_type", None),
            architecture=type(model).__name__,
            class_path=f"{type(model).__module__}.{type(model).__qualname__}",
            framework="transformers",
            framework_version=str(transformers.__version__),
            parameters=int(model.num_parameters()),
            layers=getattr(config, "num_hidden_layers", None),
            precision=PRECISIONS.get(precision, precision),
            foundation_model=self._foundation_model,
            device=str(self._pipeline.device),
            head_untrained=self.head_untrained,
        )

    def _open_images(self, call: Call) -> tuple[tuple[OpenedImage, ...], ...]:
        """Open the images of each input: one, or two for a task that compares them."""
        if self.task.feed is not Feed.IMAGE:
            return ()
        if self._images is None:
            raise BadRequest(
                f"{self.task.name} reads images, and this predictor was loaded without a source."
            )
        source = self._images
        each = [one if isinstance(one, tuple) else (one,) for one in call.inputs]
        return tuple(tuple(source.open(address) for address in addresses) for addresses in each)

    def _as_text(self, call: Call, pipeline: Any) -> Call:
        """Return a chat of one turn as the text to go on with, where the model has no template for chats."""
        first = call.inputs[0]
        if self.task.name != "text-generation" or not isinstance(first, list):
            return call
        if len(first) != 1 or first[0]["role"] != "user" or pipeline.tokenizer.chat_template:
            return call
        return Call((first[0]["content"],), False, call.options)

    def _check_texts(self, call: Call, pipeline: Any) -> None:
        if self.task.name == "fill-mask":
            mask = str(pipeline.tokenizer.mask_token)
            if not all(mask in one for one in call.inputs):
                raise BadRequest(f"the text has no {mask}, the place to fill: 'George lived in {mask}.'")
        chat = self.task.name == "text-generation" and isinstance(call.inputs[0], list)
        if chat and not pipeline.tokenizer.chat_template:
            raise BadRequest(
                "this model takes a text, not a chat: it has no chat template. Send one message of the user alone."
            )

    def _run(
        self, watch: _Watch, call: Call, options: dict[str, Any], opened: tuple[tuple[OpenedImage, ...], ...]
    ) -> Any:
        """Call the pipeline with what the task always asks for."""
        inputs = _model_inputs(self.task, call, opened, watch.pipeline)
        named = _named_inputs(self.task, options, opened, call)
        more = {**_fixed_options(self.task, options), **options}
        if call.listed and len(call.inputs) > 1 and self._batch_size:
            more.setdefault("batch_size", self._batch_size)
        with _in_words(self.task):
            if named is not None:
                return watch.pipeline(**named, **more)
            return watch.pipeline(inputs, **more)

    def _prediction(
        self,
        call: Call,
        raw: Any,
        opened: tuple[tuple[OpenedImage, ...], ...],
        watch: _Watch,
        notes: tuple[str, ...],
    ) -> Prediction:
        shown = annotate.annotated(
            self.task.name, [one[0].image for one in opened], raw if call.listed else [raw]
        )
        pictures = tuple(make_picture(image, "annotated") for image in shown)
        plain = make_plain(raw)
        files = [image for one in opened for image in one]
        notes += tuple(note for image in files for note in image.notes)
        return Prediction(
            output=plain.value,
            pictures=pictures + plain.pictures,
            notes=tuple(dict.fromkeys(notes + plain.notes)),
            input_kind=self.task.feed.value,
            input_items=len(files) or len(call.inputs),
            input_bytes=sum(image.bytes for image in files) or _bytes(call),
            input_tokens=watch.input_tokens,
            output_items=len(plain.value) if isinstance(plain.value, list) else 1,
            output_tokens=watch.output_tokens,
        )


class _Readers:
    """Tokenizers and processors for calls that run at once.

    transformers sets truncation and padding on a fast tokenizer, then encodes, with no lock between
    (``set_truncation_and_padding``): two threads on one could cut each other's texts. Each call borrows a copy;
    there are as many as calls ever ran at once.
    """

    def __init__(self, pipeline: Any) -> None:
        self._original = {"tokenizer": pipeline.tokenizer, "processor": pipeline.processor}
        self._free: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[dict[str, Any]]:
        with self._lock:
            readers = self._free.pop() if self._free else copy.deepcopy(self._original)
        try:
            yield readers
        finally:
            with self._lock:
                self._free.append(readers)


class _Watch:
    """One call's pipeline: the shared model, borrowed readers, and counts of the tokens that pass."""

    def __init__(
        self,
        pipeline: Any,
        readers: Mapping[str, Any],
        context_tokens: int | None,
        pooling: Pooling | None = None,
    ) -> None:
        self.pipeline = copy.copy(pipeline)
        self.pipeline.tokenizer, self.pipeline.processor = readers["tokenizer"], readers["processor"]
        self._forward, self._context_tokens = pipeline.forward, context_tokens
        self.pipeline.forward = self.forward
        self._pool = pooling
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.longest_tokens = 0
        self.row_tokens: list[int] = []
        self.notes: tuple[str, ...] = ()

    def forward(self, model_inputs: Any, **parameters: Any) -> Any:
        """Count, fit the length of generated text, and run the model."""
        import torch

        ids = model_inputs.get("input_ids") if hasattr(model_inputs, "get") else None
        rows, tokens = (ids.shape[0], ids.shape[-1]) if ids is not None else (0, 0)
        if rows:
            mask = model_inputs.get("attention_mask")
            read = int(mask.sum()) if mask is not None else rows * tokens
            self.input_tokens = (self.input_tokens or 0) + read
            self.row_tokens += mask.sum(dim=-1).tolist() if mask is not None else [tokens] * rows
            self.longest_tokens = max(self.longest_tokens, tokens)
        if self.pipeline.task == "text-generation":
            defaults = self.pipeline.model.generation_config
            parameters, notes = generation.fit_length(tokens, self._context_tokens, parameters, defaults)
            self.notes += notes
        with self._turn(), torch.inference_mode(self.pipeline.task == "text-generation"):
            outputs = self._forward(model_inputs, **parameters)
        if self._pool is not None:
            return self._pool.pooled(model_inputs, outputs)
        written = outputs.get("generated_sequence") if hasattr(outputs, "get") else None
        if written is not None:
            ends = self.pipeline.model.generation_config.eos_token_id
            new = generation.count_written(written, max(tokens, 1), ends)
            self.output_tokens = (self.output_tokens or 0) + new
        return outputs

    def _turn(self) -> AbstractContextManager[None]:
        """Return a turn with the cores, for work that takes them for a moment."""
        alone = self.pipeline.device.type != "cpu" or self.pipeline.model.can_generate()
        return nullcontext() if alone else COMPUTE.taken()


@contextmanager
def _in_words(task: Task) -> Iterator[None]:
    """Let what a pipeline refuses in words (ValueError) be a BadRequest."""
    from transformers.pipelines.base import PipelineException

    try:
        yield
    except (PipelineException, ValueError) as error:
        raise BadRequest(f"{task.name} cannot answer: {_first_line(error)}") from error


def _model_inputs(task: Task, call: Call, opened: tuple[tuple[OpenedImage, ...], ...], pipeline: Any) -> Any:
    if task.feed is Feed.IMAGE:
        pictures = [tuple(image.image for image in one) for one in opened]
        each = pictures if task.pairs else [one[0] for one in pictures]
    elif task.feed is Feed.AUDIO:
        each = [_sound(task, one, pipeline) for one in call.inputs]
    else:
        each = list(call.inputs)
    return each if call.listed else each[0]


def _named_inputs(
    task: Task, options: dict[str, Any], opened: tuple[tuple[OpenedImage, ...], ...], call: Call
) -> dict[str, Any] | None:
    """Return the inputs by name for the pipelines that take more than one; their fields leave ``options``."""
    pictures = [one[0].image for one in opened]
    first = pictures if call.listed else pictures[:1] and pictures[0]
    if task.name == "document-question-answering":
        return {"image": pictures[0], "question": options.pop("question")}
    if task.name in {"zero-shot-object-detection", "zero-shot-image-classification"}:
        return {"image": first, "candidate_labels": options.pop("candidate_labels")}
    if task.name == "image-text-to-text":
        return {"images": pictures, "text": options.pop("text")}
    return None


def _fixed_options(task: Task, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what wattbus always asks for: texts longer than the model reads are cut; generation keeps its cache."""
    if task.name == "text-generation":
        return {"use_cache": True}  # some models' files switch it off, left over from their training
    if task.name in {"text-classification", "feature-extraction"}:
        return {"truncation": True}
    if task.name == "fill-mask":
        return {"tokenizer_kwargs": {"truncation": True}}
    return {}


def _sound(task: Task, sound: Mapping[str, Any], pipeline: Any) -> Any:
    import numpy

    samples = numpy.asarray(sound["raw"], dtype=numpy.float32)
    rate = pipeline.feature_extractor.sampling_rate
    if sound["sampling_rate"] not in {None, rate}:
        raise BadRequest(
            f"the sound has {sound['sampling_rate']} samples a second, and the model reads {rate}."
        )
    if task.name == "zero-shot-audio-classification":
        return samples
    return {"raw": samples, "sampling_rate": rate}


def _cut_note(call: Call, tokenizer: Any, longest_tokens: int) -> tuple[str, ...]:
    """Say so when a text was longer than the model reads; it read ``longest_tokens`` of the longest."""
    limit = getattr(tokenizer, "model_max_length", None)
    if limit is None or longest_tokens < limit or not all(isinstance(one, str) for one in call.inputs):
        return ()
    longest = max(len(ids) for ids in tokenizer(list(call.inputs), truncation=False)["input_ids"])
    if longest <= limit:
        return ()
    return (f"the text has {longest} tokens and the model reads {limit}: the rest was left out.",)


def _bytes(call: Call) -> int:
    return sum(len(str(one).encode("utf-8")) for one in call.inputs)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
