"""Text generation within bounds: sampling that a seed repeats, lengths that fit the model and the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wattbus.errors import BadRequest

DEFAULT_NEW_TOKENS = 256  # what the transformers pipeline writes when nobody says
MAX_WORK_TOKENS = 262_144  # texts x sequences (or beams) x tokens of one request


def settle_sampling(options: Mapping[str, Any], texts: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return generation options that go together, without the seed, and notes on what was set.

    Several sequences need sampling or as many beams; greedy search has one answer only. Raises BadRequest
    for options that contradict each other or ask for more than MAX_WORK_TOKENS.
    """
    settled = {name: value for name, value in options.items() if name != "seed"}
    notes: tuple[str, ...] = ()
    sequences, beams = settled.get("num_return_sequences", 1), settled.get("num_beams", 1)
    if "max_length" in settled and "max_new_tokens" in settled:
        raise BadRequest("give 'max_length' (with the prompt) or 'max_new_tokens' (without), not both.")
    if sequences > 1 and beams == 1:
        if settled.get("do_sample") is False:
            raise BadRequest(
                f"num_return_sequences={sequences} with do_sample=false needs num_beams={sequences}: "
                "greedy search finds one sequence."
            )
        settled["do_sample"] = True
        if "seed" not in options:
            notes = (f"num_return_sequences={sequences}: do_sample was set; 'seed' repeats an answer.",)
    if sequences > beams > 1 and not settled.get("do_sample"):
        raise BadRequest(f"num_return_sequences={sequences} must not exceed num_beams={beams}.")
    tokens = settled.get("max_new_tokens") or settled.get("max_length") or DEFAULT_NEW_TOKENS
    work = texts * max(sequences, beams) * tokens
    if work > MAX_WORK_TOKENS:
        raise BadRequest(
            f"{texts} texts x {max(sequences, beams)} sequences x {tokens} tokens is too much for one "
            f"request (at most {MAX_WORK_TOKENS} tokens): send several."
        )
    return settled, notes


def fit_length(
    prompt_tokens: int, context_tokens: int | None, parameters: Mapping[str, Any], defaults: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the parameters of ``generate`` so that prompt and answer fit the model's context, and notes.

    ``defaults`` is the model's GenerationConfig. Raises BadRequest when not even the prompt fits.
    """
    longest = parameters.get("max_length")
    if longest is not None and longest <= prompt_tokens:
        raise BadRequest(
            f"max_length={longest} counts the prompt too, which has {prompt_tokens} tokens: "
            "give more, or use 'max_new_tokens'."
        )
    if context_tokens is None:
        return dict(parameters), ()
    room = context_tokens - prompt_tokens
    if room < 1:
        raise BadRequest(
            f"the prompt has {prompt_tokens} tokens, and the model reads {context_tokens} in all: shorten it."
        )
    wanted = parameters.get("max_new_tokens") or (longest - prompt_tokens if longest else None)
    asked = wanted is not None
    if wanted is None:
        total = getattr(defaults, "max_length", None)
        wanted = getattr(defaults, "max_new_tokens", None) or (total - prompt_tokens if total else None)
    if (wanted or DEFAULT_NEW_TOKENS) <= room:
        return dict(parameters), ()
    fitted = {name: value for name, value in parameters.items() if name != "max_length"}
    fitted["max_new_tokens"] = room
    fitted |= {name: room for name in ("min_new_tokens",) if fitted.get(name, 0) > room}
    fitted |= {name: context_tokens for name in ("min_length",) if fitted.get(name, 0) > context_tokens}
    note = f"the model's context is {context_tokens} tokens: at most {room} new ones were written."
    return fitted, ((note,) if asked else ())


def count_written(sequences: Any, prompt_tokens: int, ends: int | list[int] | None) -> int:
    """Count the new tokens of ``sequences`` (any shape x length) up to their end token: the rest pads."""
    import torch

    new = sequences[..., prompt_tokens:].flatten(end_dim=-2)
    if ends is None or not new.numel():
        return int(new.numel())
    ended = torch.isin(new, torch.as_tensor(ends))
    after = (ended.cumsum(dim=-1) - ended.long()) > 0
    return int((~after).sum())


@contextmanager
def repeatable_draws(seed: int | None, device: str) -> Iterator[None]:
    """Draw the tokens of this thread from a generator of its own, so that ``seed`` repeats them.

    torch.manual_seed would set the generator that all threads share; a function mode is the thread's own.
    """
    if seed is None:
        yield
        return
    import torch
    from torch.overrides import TorchFunctionMode

    generator = torch.Generator(device=device).manual_seed(seed)

    class OwnDraws(TorchFunctionMode):  # type: ignore[misc, unused-ignore]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            more = dict(kwargs or {})
            if func is torch.multinomial:
                more["generator"] = generator
            return func(*args, **more)

    with OwnDraws():
        yield
