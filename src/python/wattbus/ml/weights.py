"""The header of a safetensors file, checked before any library maps it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from wattbus.errors import Refused

LARGEST_HEADER_BYTES = 25_000_000  # the format allows 100 MB; the largest real ones are about 1 MB
_BITS = {  # of one element, by the format's name of its type
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive, as PyTorch writes its pickles"),
    (b"\x80", "a pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"<", "a web page"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)


def check_safetensors(path: Path) -> None:
    """Refuse a file whose header is not that of safetensors, or whose tensors do not tile the rest of the file."""
    with path.open("rb") as file:
        start = file.read(24)
        for magic, what in _OTHER_FORMATS:
            # A length of 0x80 or "<" in the first byte is possible in a real file: its header begins with a brace.
            if start.startswith(magic) and start[8:9] != b"{":
                raise Refused(
                    f"{path.name} is {what}, not safetensors: use a model with weights as safetensors."
                )
        size = path.stat().st_size
        length = int.from_bytes(start[:8], "little")
        if size < 10 or start[8:9] != b"{":
            raise Refused(f"{path.name} is no safetensors file: fetch the model again, or choose another.")
        if length > min(LARGEST_HEADER_BYTES, size - 8):
            raise Refused(
                f"{path.name} says that its header has {length:,} bytes, of {size:,} in all: it is damaged or hostile."
            )
        file.seek(8)
        header = file.read(length)
    try:
        tensors = json.loads(header, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"the header of {path.name} cannot be read ({error}): it is damaged or hostile."
        ) from None
    _check_tiles(
        path.name, {key: value for key, value in tensors.items() if key != "__metadata__"}, size - 8 - length
    )


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _check_tiles(name: str, tensors: dict[str, Any], data_bytes: int) -> None:
    spans = sorted(_span(name, key, entry) for key, entry in tensors.items())
    end = 0
    for begin, stop in spans:
        if begin != end:
            raise Refused(
                f"tensors in {name} overlap or leave holes at byte {min(begin, end):,}: it is damaged or hostile."
            )
        end = stop
    if end != data_bytes:
        raise Refused(
            f"{name} holds {data_bytes:,} bytes of tensors where its header says {end:,}: it was cut or changed."
        )


def _span(name: str, key: str, entry: Any) -> tuple[int, int]:
    try:
        bits, shape, (begin, stop) = _BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        sound = all(type(one) is int and one >= 0 for one in (*shape, begin, stop))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or (stop - begin) * 8 != math.prod(shape) * bits:
        raise Refused(
            f"the tensor {key[:80]!r} in {name} has no sound type, shape and place: it is damaged or hostile."
        )
    return begin, stop
