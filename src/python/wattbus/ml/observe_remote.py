"""What an observed window asks of models elsewhere, through the clients of openai and huggingface_hub."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wattbus.energy.record import TaskFacts
from wattbus.energy.remote import (
    RemoteEstimate,
    added_up,
    estimate_remote,
    machine_behind,
    parameters_of_name,
)
from wattbus.ml.observe import RemoteCalls, Sighting, Tell
from wattbus.ml.observe_data import Tally
from wattbus.ml.observe_patches import Patches

HUB_CLIENT = "huggingface_hub.inference._client"
HUB_ADDRESS = "https://router.huggingface.co"
CHARACTERS_A_TOKEN = 4
GENERATION = "text-generation"
#: Module, class and method of each client, and the task that the method stands for.
METHODS = (
    ("openai.resources.chat.completions.completions", "Completions", "create", GENERATION),
    ("openai.resources.completions", "Completions", "create", GENERATION),
    ("openai.resources.embeddings", "Embeddings", "create", "feature-extraction"),
    (HUB_CLIENT, "InferenceClient", "chat_completion", GENERATION),
    (HUB_CLIENT, "InferenceClient", "text_generation", GENERATION),
    (HUB_CLIENT, "InferenceClient", "feature_extraction", "feature-extraction"),
    (HUB_CLIENT, "InferenceClient", "text_classification", "text-classification"),
    (HUB_CLIENT, "InferenceClient", "token_classification", "token-classification"),
    (HUB_CLIENT, "InferenceClient", "fill_mask", "fill-mask"),
    (HUB_CLIENT, "InferenceClient", "zero_shot_classification", "zero-shot-classification"),
    (HUB_CLIENT, "InferenceClient", "image_classification", "image-classification"),
    (HUB_CLIENT, "InferenceClient", "object_detection", "object-detection"),
    (HUB_CLIENT, "InferenceClient", "automatic_speech_recognition", "automatic-speech-recognition"),
)


@dataclass
class Asked:
    """One model behind one service, and what was asked of it."""

    task: str
    address: str
    requests: int = 0
    seconds: float = 0.0
    inputs: Tally = field(default_factory=Tally)
    outputs: Tally = field(default_factory=Tally)
    estimates: list[RemoteEstimate] = field(default_factory=list)


class RemoteNotes:
    """What one observation has seen of calls to services."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], Asked] = {}

    def called(self, task: str, owner: Any, args: Any, named: Any, answer: Any, seconds: float) -> None:
        """Note one call; of a stream only that it was one, since its tokens come later."""
        model, address = _model_and_address(owner, named, answer)
        asked = self._asked.setdefault((model, address), Asked(task, address))
        asked.requests += 1
        asked.seconds += seconds
        sent, received = _tokens(answer)
        asked.inputs.add(
            "token" if sent is not None else "text", sent or 1, None, (1, sent) if sent else None
        )
        asked.outputs.add(
            "token" if received is not None else "object",
            received or 1,
            None,
            (1, received) if received else None,
        )
        asked.estimates.append(
            estimate_remote(
                task,
                parameters=parameters_of_name(model),
                output_tokens=received,
                latency_seconds=seconds,
            )
        )

    def sightings(self) -> list[Sighting]:
        return [_sighting(model, asked) for (model, _), asked in self._asked.items()]


class RemoteWatch:
    """Looks into the calls of clients that wait for their answer."""

    name = "remote"

    def __init__(self) -> None:
        self._depth = _Depth()

    def wants(self, module: str) -> bool:
        return any(module == known for known, _, _, _ in METHODS)

    def notes(self, on_gpu: Callable[[], object]) -> RemoteNotes:
        return RemoteNotes()

    def install(self, patches: Patches, tell: Tell) -> None:
        for module, kind, method, task in METHODS:
            owner = getattr(sys.modules.get(module), kind, None)
            if hasattr(owner, method):
                patches.wrap(owner, method, self._noting(task, tell))

    def _noting(self, task: str, tell: Tell) -> Callable[..., Any]:
        depth = self._depth

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(owner: Any, *args: Any, **named: Any) -> Any:
                if depth.value:
                    return original(owner, *args, **named)
                depth.value, began = 1, time.perf_counter()
                try:
                    answer = original(owner, *args, **named)
                finally:
                    depth.value = 0
                seconds = time.perf_counter() - began
                tell("remote", lambda notes: notes.called(task, owner, args, named, answer, seconds))
                return answer

            return run

        return make


class _Depth(threading.local):
    value = 0


def _sighting(model: str, asked: Asked) -> Sighting:
    parameters = parameters_of_name(model)
    generates = asked.task == GENERATION
    facts = TaskFacts(
        "inference",
        family=asked.task,
        requests=asked.requests,
        algorithm_type="llm" if generates else "neural network",
        foundation_model=model or None,
        foundation_model_uri=asked.address,
        parameters=None if parameters is None else int(parameters),
        data=(asked.inputs.facts("input"), asked.outputs.facts("output")),
    )
    calls = RemoteCalls(added_up(asked.estimates), machine_behind(asked.address, parameters))
    return Sighting(facts, asked.seconds, model or None, remote=calls)


def _model_and_address(owner: Any, named: Any, answer: Any) -> tuple[str, str]:
    client = getattr(owner, "_client", None)
    if client is not None:  # openai
        return str(named.get("model", "")), str(client.base_url)
    model = str(named.get("model") or owner.model or getattr(answer, "model", None) or "")
    if not model.startswith(("http://", "https://")):
        return model, HUB_ADDRESS
    return str(getattr(answer, "model", None) or model.rstrip("/").rpartition("/models/")[2]), model


def _tokens(answer: Any) -> tuple[int | None, int | None]:
    """Return the tokens of prompt and answer, as the service counts them; of plain text by its length."""
    usage = getattr(answer, "usage", None)
    if usage is not None:
        return getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if isinstance(answer, str):
        return None, max(1, len(answer) // CHARACTERS_A_TOKEN)
    return None, None
