"""The engines that run a graph: OpenVINO and ONNX Runtime, each with arrays in and arrays out, from any thread."""

from __future__ import annotations

import contextlib
import importlib
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from wattbus.errors import ModelCorrupt, ModelError
from wattbus.home import OWNER_FILE, make_owner_folder
from wattbus.ml.engine_files import GRAPH, ONNX, EngineCard
from wattbus.ml.threads import COMPUTE, cores

#: Parts of OpenVINO that a process which only runs graphs does not need; the second one would call its maker.
_LEFT_OUT = ("openvino.tools.ovc", "openvino_telemetry")


class Runner(Protocol):
    """A loaded graph."""

    version: str

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Return the outputs, in the order of the card, for the inputs by name; all are arrays of numpy."""
        ...


def open_runner(folder: Path, card: EngineCard, cache: Path | None) -> Runner:
    """Load the graph of an optimised version; compiled code is kept in ``cache`` for the next process.

    Raises ModelError where its engine is not installed, ModelCorrupt where it does not take the graph.
    """
    try:
        if card.engine == "onnxruntime":
            return OnnxRunner(folder / ONNX, card)
        return OpenvinoRunner(folder / GRAPH, card, cache)
    except ImportError as error:
        raise ModelError(
            f"the version {folder.name!r} runs on {card.engine}, which is not installed: pip install {card.engine}."
        ) from error
    except RuntimeError as error:
        raise ModelCorrupt(
            f"{card.engine} does not take the graph of {folder.name!r} ({_first_line(error)}): optimise the model "
            "again."
        ) from error


class OpenvinoRunner:
    """A graph compiled by OpenVINO for the processor; each thread borrows a request of its own."""

    def __init__(self, graph: Path, card: EngineCard, cache: Path | None) -> None:
        openvino = import_openvino()
        self.version = str(openvino.__version__).partition("-")[0]
        self._outputs = len(card.outputs)
        core = openvino.Core()
        wanted = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(cores()),
            "INFERENCE_PRECISION_HINT": card.arithmetic if card.arithmetic in arithmetics(core) else "f32",
        }
        self._compiled = _compiled(core, graph, wanted, cache)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        with self._borrowed() as request:
            with COMPUTE.taken():
                answer = request.infer(dict(feeds), share_inputs=True)
            return [answer[number] for number in range(self._outputs)]

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Any]:
        try:
            request = self._free.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._free.put(request)


class OnnxRunner:
    """A graph in a session of ONNX Runtime, which any number of threads may run."""

    def __init__(self, file: Path, card: EngineCard) -> None:
        import onnxruntime

        self.version = str(onnxruntime.__version__)
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        # Its threads look out for more work for a while, on cores that another model may have by then.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 4
        self._outputs = list(card.outputs)
        # From its bytes: a graph without a folder cannot name files in it.
        try:
            self._session = onnxruntime.InferenceSession(
                file.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common class but this
            raise RuntimeError(str(error)) from error

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        with COMPUTE.taken():
            return list(self._session.run(self._outputs, dict(feeds)))


_IMPORTING = threading.Lock()


def import_openvino() -> Any:
    """Import OpenVINO without its converter and its telemetry, which it would load with the rest."""
    with _IMPORTING:
        absent = [name for name in _LEFT_OUT if name not in sys.modules and "openvino" not in sys.modules]
        for name in absent:
            sys.modules[name] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("openvino")
        finally:
            for name in absent:
                del sys.modules[name]


def arithmetics(core: Any) -> frozenset[str]:
    """Return the arithmetics that the processor has circuits for: f32, and bf16 on some."""
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"f32"} | ({"bf16"} if "BF16" in able else set()))


def _compiled(core: Any, graph: Path, wanted: dict[str, str], cache: Path | None) -> Any:
    """Compile with what an earlier process left in ``cache``, and without it where that cannot be read or written."""
    if cache is not None:
        with contextlib.suppress(OSError, RuntimeError):
            kept = {**wanted, "CACHE_DIR": str(make_owner_folder(cache))}
            compiled = core.compile_model(str(graph), "CPU", kept)
            for file in cache.iterdir():
                file.chmod(OWNER_FILE)
            return compiled
    return core.compile_model(str(graph), "CPU", wanted)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
