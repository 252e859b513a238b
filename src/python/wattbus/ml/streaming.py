"""Text that comes token by token: the loop of ``generate``, one step a call, in the thread that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from wattbus.errors import BadRequest
from wattbus.ml.pipeline_tasks import Call
from wattbus.ml.prediction import Prediction

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for a character that is not whole yet
_ONE = ("num_return_sequences", "num_beams")


def answers_whole(task: str) -> str:
    """Return why a task cannot be streamed."""
    return f"{task} gives its answer whole, text-generation alone streams: ask without a stream."


def settle_stream(call: Call) -> None:
    """Check that a call can be answered token by token; BadRequest says why not."""
    if len(call.inputs) != 1:
        raise BadRequest(
            f"a stream goes on with one text, and this has {len(call.inputs)}: send one at a time."
        )
    for name in _ONE:
        if call.options.get(name, 1) > 1:
            raise BadRequest(
                f"a stream writes one text as it is drawn, and {name!r} is {call.options[name]}: set it to 1, or ask "
                "without a stream."
            )


class Decoding:
    """One sequence as ``GenerationMixin._sample`` writes it (transformers 5.23), a token a step.

    ``generate`` prepares it: lengths, cache, logits processors and stopping criteria are its own.
    """

    def __init__(
        self,
        model: Any,
        input_ids: Any,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        seed: int | None,
        model_kwargs: dict[str, Any],
    ) -> None:
        import torch

        self.ids = input_ids  # 1 x tokens, the prompt's first
        self.ended = False
        self._model, self._inputs = model, model_kwargs
        self._processors, self._criteria, self._config = (
            logits_processor,
            stopping_criteria,
            generation_config,
        )
        self._draws = (
            None if seed is None else torch.Generator(device=input_ids.device.type).manual_seed(seed)
        )
        self._prompt_read = False

    def step(self) -> int:
        """Write the next token and return its number."""
        import torch

        with torch.inference_mode():
            outputs = self._outputs()
            self._inputs = self._model._update_model_kwargs_for_generation(
                outputs, self._inputs, is_encoder_decoder=False
            )
            logits = outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=self.ids.device)
            token = self._draw(self._processors(self.ids, logits))
            self.ids = torch.cat([self.ids, token[:, None]], dim=-1)
            self.ended = bool(self._criteria(self.ids, None).all())
        return int(token)

    def _outputs(self) -> Any:
        """Run the model: on the prompt first, then on the last token, for the cache has the rest."""
        if not self._prompt_read:
            self._prompt_read = True
            return self._model._prefill(self.ids, self._config, self._inputs)
        only_last = 1 if self._inputs["use_cache"] else None
        inputs = self._model.prepare_inputs_for_generation(
            self.ids, next_sequence_length=only_last, **self._inputs
        )
        return self._model(**inputs, return_dict=True)

    def _draw(self, scores: Any) -> Any:
        import torch

        if not self._config.do_sample:
            return torch.argmax(scores, dim=-1)
        shares = torch.nn.functional.softmax(scores, dim=-1)
        return torch.multinomial(shares, num_samples=1, generator=self._draws).squeeze(1)


class TextStream:
    """A text on its way: what each token adds to it, and at the end the answer as a call without a stream gives it.

    A token that ends no character adds nothing. Each is written when it is asked for, in the thread that asks.
    """

    def __init__(
        self,
        pipeline: Any,
        forward: Callable[..., Any],
        call: Call,
        options: Mapping[str, Any],
        answer: Callable[[Any, int], Prediction],
    ) -> None:
        from transformers.pipelines.text_generation import Chat

        options = dict(options)
        stops = options.pop("stop_sequence", None)
        # As Pipeline.__call__ does it.
        reading, writing, telling = pipeline._sanitize_parameters(**options)
        first = call.inputs[0]
        inputs = pipeline.preprocess(
            Chat(first) if isinstance(first, list) else first, **{**pipeline._preprocess_params, **reading}
        )
        self._decodings: list[Decoding] = []
        self._outputs = forward(
            inputs,
            **{**pipeline._forward_params, **writing},
            **_stopping_at(stops, pipeline.tokenizer),
            custom_generate=self._prepared_by_generate(call.options.get("seed")),
        )
        self._decoding = self._decodings.pop()
        self._prompt_tokens = self._decoding.ids.shape[-1]
        self._pipeline, self._telling = pipeline, {**pipeline._postprocess_params, **telling}
        self._answer, self._held = answer, ExitStack()
        self.input_tokens: int | None = None
        self._settled = Settled(self._cleans())

    def keep(self, held: ExitStack, input_tokens: int | None) -> None:
        """Hold what has to be given back when the stream is closed."""
        self._held, self.input_tokens = held, input_tokens

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._decoding.ended:
            raise StopIteration
        self._decoding.step()
        return self._settled.more(self._text(), ended=self._decoding.ended)

    def prediction(self) -> Prediction:
        """Return the whole answer, once the last token is written."""
        sequence = self._decoding.ids.cpu()
        self._outputs["generated_sequence"] = sequence[:, None]  # texts x sequences x tokens
        raw = self._pipeline.postprocess(self._outputs, **self._telling)
        return self._answer(raw, sequence.shape[-1] - self._prompt_tokens)

    def close(self) -> None:
        """Let go of what the stream holds: the cache, and the tokenizer that it borrowed."""
        self._decoding.ended = True
        self._held.close()

    def _prepared_by_generate(self, seed: int | None) -> Callable[..., Any]:
        """Return a decoding method that keeps what ``generate`` has prepared, and writes nothing."""

        def keep(
            model: Any,
            input_ids: Any,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: Any,
            **model_kwargs: Any,
        ) -> Any:
            if generation_config.get_generation_mode() not in ("greedy_search", "sample"):
                raise BadRequest(
                    "the model's own settings ask for several beams, which cannot be streamed: set 'num_beams' to 1, "
                    "or ask without a stream."
                )
            self._decodings.append(
                Decoding(
                    model,
                    input_ids,
                    logits_processor,
                    stopping_criteria,
                    generation_config,
                    seed,
                    model_kwargs,
                )
            )
            return input_ids

        return keep

    def _text(self) -> str:
        tokenizer = self._pipeline.tokenizer
        text: str = tokenizer.decode(
            self._decoding.ids[0, self._prompt_tokens :].tolist(),
            skip_special_tokens=not getattr(tokenizer, "response_template", None),
            clean_up_tokenization_spaces=self._telling.get("clean_up_tokenization_spaces"),
        )
        return text

    def _cleans(self) -> bool:
        asked = self._telling.get("clean_up_tokenization_spaces")
        usual = getattr(self._pipeline.tokenizer, "clean_up_tokenization_spaces", False)
        return bool(usual if asked is None else asked)


class Settled:
    """What of a growing text no further token changes, told once.

    >>> settled = Settled(cleans=False)
    >>> [settled.more(text) for text in ("A", "A\\ufffd", "A\\u20ac")]
    ['A', '', '€']
    """

    def __init__(self, cleans: bool) -> None:
        self._cleans, self._told = cleans, ""

    def more(self, text: str, *, ended: bool = False) -> str:
        """Return what is new in ``text``, the whole of it so far; all that is left where it has ended."""
        settled = text if ended else self._of(text)
        if not settled.startswith(self._told):  # bytes that a later one makes whole again
            return ""
        new, self._told = settled[len(self._told) :], settled
        return new

    def _of(self, text: str) -> str:
        whole = text.rstrip(_BROKEN)
        # Cleaning up takes the space before a comma, or in "do n't": the last word waits for the next.
        return whole[: max(whole.rfind(" "), 0)] if self._cleans else whole


def _stopping_at(words: list[str] | None, tokenizer: Any) -> dict[str, Any]:
    """Return the criterion that ``generate`` would make of the words; it loses their tokenizer for a method of ours."""
    if not words:
        return {}
    from transformers import StoppingCriteriaList, StopStringCriteria

    return {"stopping_criteria": StoppingCriteriaList([StopStringCriteria(tokenizer, words)])}
