"""The energy of a remote text generation, estimated by EcoLogits' published token formula.

Method: EcoLogits, "Environmental Impacts of LLM Inference",
https://ecologits.ai/latest/methodology/llm_inference/ (GenAI Impact, regressions over ML.ENERGY
measurements on H100 servers). The batch size of the provider is unknown to the caller and moves the figure
most: 64 gives the estimate, 256 the low bound, 1 the high bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from wattbus.energy.record import RemoteFacts

BATCH_TYPICAL, BATCH_LARGEST, BATCH_SMALLEST = 64, 256, 1
BITS_OF_A_WEIGHT = 16
# EcoLogits' figure for hyperscale data centres; with it 300 tokens of a 7B model are 89 J, of a 70B model
# 663 J.
DATA_CENTRE_PUE = 1.12
SERVER_WATTS = 1200.0  # without its GPUs
SERVER_GPUS = 8
GPU_GIGABYTES = 80
GPU_NAME = "NVIDIA H100 80GB"  # what the measurements behind the formula were made on
MEMORY_OVERHEAD = 1.2
METHOD = "EcoLogits token formula, batch 1 to 256, 16 bit, PUE 1.12"

_WH = 3600.0
_BILLIONS = re.compile(r"(?<![\w.])(\d{1,4}(?:\.\d{1,2})?)\s?[bB](?![a-zA-Z])")
#: Who runs the machines behind a host, where the host's name says it.
_PROVIDERS = {"huggingface.co": "Hugging Face", "openai.com": "OpenAI", "mistral.ai": "Mistral AI"}
_TASKS = ("text-generation", "text2text-generation", "summarization", "translation", "conversational")


@dataclass(frozen=True, slots=True)
class RemoteEstimate:
    """What a remote side is thought to have used; None with ``reason`` when it cannot be estimated."""

    energy_joules: float | None = None
    low_joules: float | None = None
    high_joules: float | None = None
    reason: str | None = None
    method: str | None = None


def estimate_remote(
    task: str | None,
    *,
    parameters: float | None = None,
    active_parameters: float | None = None,
    output_tokens: int | None = None,
    latency_seconds: float | None = None,
) -> RemoteEstimate:
    """Estimate one remote call, or say in words why it cannot be estimated.

    ``parameters`` is a plain count (7e9, not 7); ``active_parameters`` is given for mixtures of experts.
    """
    if task is None:
        return RemoteEstimate(
            reason="the task of the remote model is unknown, and only text generation is estimable"
        )
    if not task.startswith(_TASKS):
        return RemoteEstimate(
            reason=f"no published formula estimates a remote {task}: only text generation has one, by token"
        )
    if parameters is None or not (math.isfinite(parameters) and parameters > 0):
        return RemoteEstimate(reason="the number of parameters of the remote model is not known")
    if output_tokens is None:
        return RemoteEstimate(reason="the number of tokens that the remote model generated is not known")
    if output_tokens <= 0:
        return RemoteEstimate(reason=f"the remote model generated {output_tokens} tokens")
    active = active_parameters or parameters
    joules = [
        text_generation_joules(
            output_tokens, active, parameters, batch=batch, latency_seconds=latency_seconds
        )
        for batch in (BATCH_TYPICAL, BATCH_LARGEST, BATCH_SMALLEST)
    ]
    return RemoteEstimate(joules[0], min(joules), max(joules), method=METHOD)


def text_generation_joules(
    output_tokens: int,
    active_parameters: float,
    total_parameters: float,
    *,
    batch: int = BATCH_TYPICAL,
    latency_seconds: float | None = None,
) -> float:
    """Return the joules of generating ``output_tokens``; parameters are plain counts.

    >>> round(text_generation_joules(300, 7e9, 7e9))
    89
    >>> round(text_generation_joules(300, 70e9, 70e9))
    663
    """
    active = active_parameters / 1e9
    gpu_wh = output_tokens * (1.1665e-6 * math.exp(-1.1206e-2 * batch) * active + 4.0529e-5)
    seconds = output_tokens * (6.785e-4 * active + 3.119e-4 * batch + 1.9474e-2)
    if latency_seconds is not None:
        seconds = min(seconds, latency_seconds)
    gpus = assumed_gpus(total_parameters)
    server_wh = seconds / 3600 * SERVER_WATTS * gpus / SERVER_GPUS / batch
    return DATA_CENTRE_PUE * (server_wh + gpus * gpu_wh) * _WH


def assumed_gpus(parameters: float) -> int:
    """Return the GPUs that the formula takes for a model of so many parameters.

    >>> assumed_gpus(7e9), assumed_gpus(70e9)
    (1, 4)
    """
    gigabytes = MEMORY_OVERHEAD * parameters / 1e9 * BITS_OF_A_WEIGHT / 8
    return 1 << math.ceil(math.log2(math.ceil(gigabytes / GPU_GIGABYTES)))


def parameters_of_name(model: str) -> float | None:
    """Return the parameters that a model's name tells, as ``Llama-3.1-8B`` does.

    >>> parameters_of_name("meta-llama/Llama-3.1-8B-Instruct"), parameters_of_name("gpt-4o")
    (8000000000.0, None)
    """
    found = _BILLIONS.search(model.rpartition("/")[2].replace("-", " ").replace("_", " "))
    return float(found.group(1)) * 1e9 if found else None


def machine_behind(address: str | None, parameters: float | None) -> RemoteFacts:
    """Return what the estimate takes the machine behind a service to be; the service is the host that was called."""
    host = urlsplit(address or "").hostname
    provider = next((name for end, name in _PROVIDERS.items() if f".{host}".endswith(f".{end}")), None)
    if not parameters:
        return RemoteFacts(provider, host)
    return RemoteFacts(provider, host, assumed_gpus(parameters), GPU_NAME, GPU_GIGABYTES * 1024**3)


def added_up(estimates: Sequence[RemoteEstimate]) -> RemoteEstimate:
    """Return the estimate of several calls together; one that cannot be estimated leaves all unknown."""
    unknown = next((one for one in estimates if one.energy_joules is None), None)
    if unknown is not None or not estimates:
        return unknown or RemoteEstimate(reason="there was no remote call")
    return RemoteEstimate(
        sum(one.energy_joules or 0.0 for one in estimates),
        sum(one.low_joules or 0.0 for one in estimates),
        sum(one.high_joules or 0.0 for one in estimates),
        method=estimates[0].method,
    )
