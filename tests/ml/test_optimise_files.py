"""What an optimised version may hold, and no more: a graph of an engine, its card, and side files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import smallmodels
from wattbus.errors import BadRequest, ModelCorrupt, Refused
from wattbus.ml.engine_files import CARD, CONSTANTS, GRAPH, ONNX
from wattbus.ml.manifest import check_folder, is_allowed
from wattbus.ml.models import ModelStore

_CARD = {
    "engine": "openvino", "task": "text-classification", "precision": "fp32", "inputs": ["input_ids"],
    "outputs": ["logits"], "model_type": "bert", "architecture": "B", "class_path": "b.B", "parameters": 1,
    "layers": 1, "foundation_model": None, "made_with": {},
}  # fmt: skip
_GRAPH = """<?xml version="1.0"?>
<net name="m" version="11"><layers>
<layer id="0" name="c" type="Const" version="opset1"><data element_type="f32" offset="0" size="40"/></layer>
</layers></net>"""


def optimised(folder: Path) -> Path:
    """Make the folder of an optimised version by hand."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / CARD).write_text(json.dumps(_CARD))
    (folder / GRAPH).write_text(_GRAPH)
    (folder / CONSTANTS).write_bytes(bytes(40))
    return folder


def test_a_version_of_an_engine_holds_its_graph_its_constants_and_its_card(tmp_path: Path) -> None:
    folder = optimised(tmp_path / "made")

    assert check_folder(folder) == ["config.json", CARD, CONSTANTS, GRAPH]


def test_nothing_of_an_engine_is_fetched_or_brought_under_the_name_of_a_plain_model(tmp_path: Path) -> None:
    folder = smallmodels.build(tmp_path / "plain")
    (folder / GRAPH).write_text(_GRAPH)

    assert [is_allowed(name) for name in (GRAPH, CONSTANTS, ONNX)] == [False, False, False]
    with pytest.raises(Refused, match=f"{GRAPH} is no kind of file that a model needs"):
        check_folder(folder)


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _bytes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


ENTITY = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e SYSTEM "file:///etc/passwd">]><net>&e;</net>'
BOMB = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><net>&b;</net>'


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_text(GRAPH, ENTITY), "declares a document type or an entity"),
        (_text(GRAPH, BOMB), "declares a document type or an entity"),
        (_text(GRAPH, "<net>"), "openvino_model.xml is not XML"),
        (_text(GRAPH, "<svg/>"), "is a document 'svg', and not an OpenVINO graph"),
        (_text(GRAPH, _GRAPH.replace("opset1", "extension")), "an operation 'Const' of 'extension'"),
        (_text(GRAPH, _GRAPH.replace('"40"', '"4000"')), "has 40 bytes, and openvino_model.xml reads 4,000"),
        (_text(GRAPH, _GRAPH.replace('offset="0"', 'offset="-1"')), "reads constants at '-1'"),
        (_bytes(CONSTANTS, bytes(4000)), "has 4,000 bytes, and openvino_model.xml reads 40"),
        (_bytes(ONNX, b"onnx"), "a version for openvino holds openvino_model.bin and openvino_model.xml"),
        (_bytes("other.bin", b"x"), "other.bin is a format that can run code"),
        (_text("other.xml", "<net/>"), "other.xml is no kind of file that a model needs"),
        (_bytes("model.safetensors", smallmodels.safetensors_bytes()), "holds no safetensors"),
        (_text(CARD, "{}"), "engine.json of 'made' cannot be used"),
        (_text(CARD, json.dumps({**_CARD, "code": "x"})), "engine.json of 'made' cannot be used"),
        (_text(CARD, json.dumps({**_CARD, "engine": "python"})), "engine.json of 'made' cannot be used"),
        (_text("adapter_config.json", "{}"), "merge the adapter"),
    ],
)
def test_a_folder_that_is_not_exactly_an_optimised_version_is_refused(
    spoil: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    folder = optimised(tmp_path / "made")
    spoil(folder)

    with pytest.raises(Refused, match=sentence):
        check_folder(folder)


def test_an_onnx_graph_whose_tensors_lie_in_other_files_is_refused(tmp_path: Path) -> None:
    folder = optimised(tmp_path / "made")
    for name in (GRAPH, CONSTANTS):
        (folder / name).unlink()
    (folder / CARD).write_text(json.dumps({**_CARD, "engine": "onnxruntime"}))
    (folder / ONNX).write_bytes(bytes(1024 * 1024 - 4) + b"\x0a\x08location\x12\x0b/etc/passwd")
    with pytest.raises(Refused, match=r"model.onnx has tensors in other files"):
        check_folder(folder)
    (folder / ONNX).write_bytes(bytes(100))

    assert ONNX in check_folder(folder)


def test_an_optimised_version_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    folder = optimised(tmp_path / "made")
    (folder / "config.json").unlink()

    with pytest.raises(BadRequest, match=r"there is no config\.json"):
        check_folder(folder)


def test_the_weights_of_an_optimised_version_are_those_of_the_version_that_it_was_made_from(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path / "models")
    plain, made = smallmodels.build(tmp_path / "plain"), optimised(tmp_path / "made")

    def keep(folder: Path, parent: str | None) -> str:
        def copy(aside: Path) -> None:
            shutil.copytree(folder, aside, dirs_exist_ok=True)

        version = store.stage("toy", copy, source="test", parent=parent)
        store.publish("toy")
        return version.id

    first = keep(plain, None)
    second = keep(made, first)

    assert (store.current("toy").id, store.with_weights("toy").id) == (second, first)
    assert all(check.ok for check in store.verify("toy"))


def test_an_optimised_version_that_is_not_what_was_staged_is_not_published_and_the_live_one_stays(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path / "models")
    plain, made = smallmodels.build(tmp_path / "plain"), optimised(tmp_path / "made")
    live = store.stage("toy", lambda aside: shutil.copytree(plain, aside, dirs_exist_ok=True), source="test")
    store.publish("toy")
    staged = store.stage(
        "toy", lambda aside: shutil.copytree(made, aside, dirs_exist_ok=True), source="test", parent=live.id
    )
    constants = staged.path / CONSTANTS
    constants.chmod(0o600)
    constants.write_bytes(bytes(39) + b"x")

    with pytest.raises(ModelCorrupt, match=rf"{staged.id} is not what was published: .*{CONSTANTS}"):
        store.publish("toy")
    assert store.current("toy").id == live.id
