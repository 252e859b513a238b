"""How near optimised models come to the machine: their arithmetic a second beside its best matrix product.

    python misc/bench/limit.py --runs 7 --write     # about three minutes

The models are those of optimise.py, run by the product's engine at batch 16 (texts of 128 tokens, pictures of 224 by
224). Their operations are counted in the graph: two for each multiplication of a convolution or a matrix product; the
rest is not counted. The limit is the fastest product of two square matrices found in the same run, of several sizes
and by several libraries, turn by turn with the models.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from optimise import WORKS, converted
from table import figure, machine, table, write_block
from wattbus.ml.engine_files import read_card
from wattbus.ml.runner import open_runner

BATCH, TOKENS, EDGE = 16, 128, 224
SIZES = (1024, 2048, 3072)
INPUTS = 10  # that the conversion compares, and calibrates int8, on
MODELS = ("bert-base size", "ResNet-50 size")
PRECISIONS = ("fp32", "int8")

Run = Callable[[], object]


def operations(graph: Path, shapes: dict[str, list[int]]) -> float:
    """Return the arithmetic operations of one run of a graph on inputs of these shapes."""
    import openvino

    model = openvino.Core().read_model(str(graph))
    model.reshape({name: openvino.PartialShape(shape) for name, shape in shapes.items()})
    total = 0.0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "MatMul":
            left = list(node.input(0).get_shape())
            inner = left[-2] if node.get_attributes().get("transpose_a") else left[-1]
        elif kind == "Convolution":
            inner = int(numpy.prod(list(node.input(1).get_shape())[1:]))
        elif kind == "ScaledDotProductAttention":
            keys = list(node.input(1).get_shape())
            inner = (
                keys[-2] + keys[-1] * keys[-2] / list(node.output(0).get_shape())[-1]
            )  # scores, and their sums
        else:
            continue
        total += 2.0 * inner * float(numpy.prod(list(node.output(0).get_shape())))
    return total


def model_run(folder: Path) -> tuple[Run, float]:
    """Return what runs a version once at batch 16, and its operations."""
    card = read_card(folder)
    if card.inputs == ("pixel_values",):
        shapes = {"pixel_values": [BATCH, 3, EDGE, EDGE]}
        feeds: dict[str, Any] = {
            "pixel_values": numpy.random.default_rng(0).random(shapes["pixel_values"], "float32")
        }
    else:
        shapes = {name: [BATCH, TOKENS] for name in card.inputs}
        feeds = {name: numpy.ones((BATCH, TOKENS), dtype=numpy.int64) for name in card.inputs}
    runner = open_runner(folder, card, None)
    return (lambda: runner.run(feeds)), operations(folder / "openvino_model.xml", shapes)


def products(size: int) -> dict[str, dict[str, Run]]:
    """Return the products of two square matrices by precision and library."""
    import torch

    one, two = (numpy.random.default_rng(seed).random((size, size), "float32") for seed in (1, 2))
    left, right = torch.from_numpy(one), torch.from_numpy(two)
    found: dict[str, dict[str, Run]] = {
        "fp32": {
            "numpy": lambda: one @ two,
            "torch": lambda: left @ right,
            "openvino": _openvino(one, two, False),
        },
        "int8": {"openvino": _openvino(one, two, True), "onnxruntime": _onnx(one, two)},
    }
    return found


def _openvino(one: Any, two: Any, in_int8: bool) -> Run:
    import openvino
    from openvino import opset13

    given = opset13.parameter(one.shape, numpy.float32, name="given")
    model = openvino.Model([opset13.matmul(given, opset13.constant(two), False, False)], [given])
    if in_int8:
        import nncf

        model = nncf.quantize(model, nncf.Dataset([{"given": one}]), subset_size=1)
    wanted = {"INFERENCE_NUM_THREADS": os.environ["OMP_NUM_THREADS"], "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", wanted).create_infer_request()
    return lambda: request.infer([one], share_inputs=True)


def _onnx(one: Any, two: Any) -> Run:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    size = one.shape[0]
    weights = (two * 255).astype(numpy.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["given", "weights"], ["product"])],
        "product",
        [helper.make_tensor_value_info("given", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [size, size])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = (one * 255).astype(numpy.uint8)
    return lambda: session.run(None, {"given": given})


def _seconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measured(runs: int, place: Path) -> list[list[str]]:
    """Return the rows: of each model and precision its rate, and that of the best product."""
    engines: dict[tuple[str, str], tuple[Run, float]] = {}
    missing: dict[tuple[str, str], str] = {}
    for name in MODELS:
        work, mine = WORKS[name], place / name.split()[0]
        mine.mkdir()
        folder = work.build(mine / "model")
        (mine / "uploads").mkdir()
        inputs = work.inputs(INPUTS, mine)
        for precision in PRECISIONS:
            made = converted(work, folder, precision, inputs, mine)
            if isinstance(made, Path):
                engines[name, precision] = model_run(made)
            else:
                missing[name, precision] = made.reason[:80]
    squares = {
        (precision, library, size): (run, 2.0 * size**3)
        for size in SIZES
        for precision, several in products(size).items()
        for library, run in several.items()
    }
    rates: dict[Any, list[float]] = {}
    for number in range(runs + 1):
        for key, (run, count) in {**engines, **squares}.items():
            seconds = _seconds(run)
            if number:  # the first warms
                rates.setdefault(key, []).append(count / seconds / 1e9)
    middle = {key: statistics.median(found) for key, found in rates.items()}
    rows = []
    for key in ((name, precision) for name in MODELS for precision in PRECISIONS):
        name, precision = key
        if key in missing:
            rows.append([name, precision, missing[key], "", "", ""])
            continue
        best = max((one for one in squares if one[0] == precision), key=lambda one: middle[one])
        words = f"{best[1]}, {best[2]:,} by {best[2]:,}"
        share = f"{100 * middle[key] / middle[best]:.0f} %"
        rows.append([name, precision, figure(middle[key]), figure(middle[best]), share, words])
    return rows


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    where = machine(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory() as place:
        rows = measured(options.runs, Path(place))
    head = [
        "model",
        "precision",
        "10⁹ operations a second",
        "best matrix product",
        "share of it",
        "which product",
    ]
    text = (
        f"{where} Batch {BATCH}, {options.threads} threads; medians of {options.runs} runs by turns. bf16: this "
        f"processor has none, so it has no row.\n\n{table(head, rows, 2)}"
    )
    print(text)
    if options.write:
        write_block("limit", text)


if __name__ == "__main__":
    main()
