"""The number format that a model's weights are loaded in."""

from __future__ import annotations

BF16_BYTES = 20_000_000  # of weights: below, the casts cost more than the products save


def has_bf16(device: str) -> bool:
    """Tell whether a processor (cpu or cuda) has circuits for bf16: without them it is slower than fp32."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def choose_dtype(
    task: str, asked: str, kept: str, weights_bytes: int, *, native_bf16: bool
) -> tuple[str, tuple[str, ...]]:
    """Return torch's name of the format to load in on a CPU, or auto (as the files have it), and notes.

    ``asked`` is the setting ``dtype``, ``kept`` the format of the files. Writing text means reading all weights for
    each token: half the bytes are half the time, where the processor has bf16.
    """
    writes, found = task == "text-generation", kept if asked == "auto" else asked
    if writes and found == "bfloat16" and not native_bf16:
        return "float32", ("this processor has no bf16 arithmetic: the weights were loaded as fp32.",)
    if asked != "auto":
        return asked, ()
    if writes and native_bf16 and kept in ("float32", "float16") and weights_bytes >= BF16_BYTES:
        short = {"float32": "fp32", "float16": "fp16"}[kept]
        return "bfloat16", (
            f"the weights are {short}, loaded as bf16; the setting dtype=float32 keeps them whole.",
        )
    if kept == "float16":
        return "float32", ("the weights are fp16, which a CPU is slow at: loaded as fp32.",)
    return "auto", ()
