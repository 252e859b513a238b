"""The files of an optimised version: the graph that an engine runs, and a card that says how to run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal
from xml.parsers import expat

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wattbus.errors import ModelCorrupt, Refused

CARD = "engine.json"
GRAPH, CONSTANTS, ONNX = "openvino_model.xml", "openvino_model.bin", "model.onnx"
#: What a version of each engine holds beside its card; nothing else of these kinds is let in, under no other name.
FILES_OF_ENGINE = {"openvino": frozenset({GRAPH, CONSTANTS}), "onnxruntime": frozenset({ONNX})}
LARGEST_CARD_BYTES = 65_536
LARGEST_GRAPH_BYTES = 64 * 1024 * 1024
# The converter may leave a gap before a constant for its alignment.
_LARGEST_GAP_BYTES = 64
# The key by which a tensor of ONNX names a file that holds its numbers.
_FILE_ELSEWHERE = b"location"


class EngineCard(BaseModel):
    """How to run an optimised version, and what the model was; ``engine.json`` of its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    engine: Literal["openvino", "onnxruntime"]
    task: str
    precision: str = Field(
        description="of the weights and the arithmetic: fp32, bf16, fp16, int8-weights, int8"
    )
    arithmetic: Literal["f32", "bf16"] = "f32"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    max_tokens: int | None = Field(
        default=None, description="tokens that the model reads of a text; null: no limit"
    )
    pad_token_id: int = 0
    pad_type_id: int = 0
    pooling: Literal["mean", "cls"] | None = None
    model_type: str | None
    architecture: str
    class_path: str
    parameters: int
    layers: int | None
    foundation_model: str | None
    head_untrained: bool = False
    made_with: dict[str, str] = Field(description="versions of the libraries that made it")


def is_optimised(folder: Path) -> bool:
    """Tell whether the folder of a version holds an optimised model."""
    return (folder / CARD).is_file()


def read_card(folder: Path) -> EngineCard:
    """Read the card of an optimised version; ModelCorrupt when it cannot be used."""
    file = folder / CARD
    try:
        if file.stat().st_size > LARGEST_CARD_BYTES:
            raise ValueError(f"it has {file.stat().st_size:,} bytes")
        return EngineCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelCorrupt(
            f"{CARD} of {folder.name!r} cannot be used ({'.'.join(map(str, first['loc']))}: {first['msg']}): "
            "optimise the model again."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelCorrupt(
            f"{CARD} of {folder.name!r} cannot be read ({error}): optimise the model again."
        ) from None


def engine_files(names: list[str]) -> frozenset[str]:
    """Return the names that only an optimised version may hold, of those in ``names``."""
    return frozenset(names) & frozenset().union(*FILES_OF_ENGINE.values())


def check_engine(folder: Path, names: list[str]) -> None:
    """Refuse the folder of an optimised version whose files are not exactly those of its engine, and sound."""
    try:
        card = read_card(folder)
    except ModelCorrupt as error:
        raise Refused(str(error)) from None
    wanted, held = FILES_OF_ENGINE[card.engine], engine_files(names)
    if held != wanted:
        raise Refused(
            f"a version for {card.engine} holds {' and '.join(sorted(wanted))}, and this one "
            f"{' and '.join(sorted(held)) or 'neither'}: optimise the model again."
        )
    if any(name.endswith(".safetensors") for name in names):
        raise Refused(f"a version with {CARD} holds no safetensors: its weights are in {min(wanted)}.")
    if card.engine == "openvino":
        check_graph(folder / GRAPH, folder / CONSTANTS)
    else:
        check_onnx(folder / ONNX)


def check_graph(graph: Path, constants: Path) -> None:
    """Refuse an OpenVINO graph with a document type or an entity, or whose constants do not fill the file beside it."""
    if graph.stat().st_size > LARGEST_GRAPH_BYTES:
        raise Refused(f"{graph.name} has {graph.stat().st_size:,} bytes: that is no graph.")
    reader = _GraphReader(graph.name)
    try:
        reader.read(graph.read_bytes())
    except expat.ExpatError as error:
        raise Refused(f"{graph.name} is not XML ({error}): optimise the model again.") from None
    if reader.root != "net":
        raise Refused(f"{graph.name} is a document {reader.root!r}, and not an OpenVINO graph.")
    size = constants.stat().st_size
    if not 0 <= size - reader.end <= _LARGEST_GAP_BYTES:
        raise Refused(
            f"{constants.name} has {size:,} bytes, and {graph.name} reads {reader.end:,}: they are not of one model."
        )


class _GraphReader:
    """Walks through the XML: no document type, no entity, layers of the published operation sets only."""

    def __init__(self, name: str) -> None:
        self.root: str | None = None
        self.end = 0
        self._name = name
        self._layers: list[str] = []

    def read(self, content: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.Parse(content, True)

    def _refuse(self, *_told: Any) -> int:
        raise Refused(f"{self._name} declares a document type or an entity: a graph needs neither.")

    def _start(self, element: str, given: dict[str, str]) -> None:
        if self.root is None:
            self.root = element
        if element == "layer":
            self._check_layer(given)
        if element == "data" and "offset" in given and "size" in given:
            self._count(given["offset"], given["size"])

    def _check_layer(self, given: dict[str, str]) -> None:
        version = given.get("version", "")
        if not (version.startswith("opset") and version[5:].isdecimal()):
            raise Refused(
                f"{self._name} has an operation {given.get('type', '?')[:60]!r} of {version[:60] or 'no set'!r}: only "
                "those of OpenVINO's own sets are run."
            )

    def _count(self, offset: str, size: str) -> None:
        if not (offset.isdecimal() and size.isdecimal() and len(offset) < 16 and len(size) < 16):
            raise Refused(f"{self._name} reads constants at {offset[:20]!r}, which is no place in a file.")
        self.end = max(self.end, int(offset) + int(size))


def check_onnx(file: Path) -> None:
    """Refuse an ONNX graph whose tensors lie in other files, which it would name by their paths."""
    tail = b""
    with file.open("rb") as content:
        while block := content.read(1024 * 1024):
            if _FILE_ELSEWHERE in tail + block:
                raise Refused(
                    f"{file.name} has tensors in other files: optimise the model again, into one file."
                )
            tail = block[-len(_FILE_ELSEWHERE) :]


def write_card(folder: Path, card: EngineCard) -> None:
    """Write the card of a version in the making."""
    (folder / CARD).write_text(json.dumps(card.model_dump(mode="json"), indent=1, sort_keys=True))
