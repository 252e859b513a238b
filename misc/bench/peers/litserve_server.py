"""LitServe on an optimised version of ours: ``litserve_server.py PORT FOLDER THREADS BATCH WAIT_SECONDS``.

The same graph, engine, engine settings and tokenizer; batching is LitServe's own, as its documentation shows it: what
came within the wait is padded to its longest and run at once. FOLDER ``-`` answers without a model: the cost of HTTP.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import litserve


class Answers(litserve.LitAPI):  # type: ignore[misc]  # not typed
    """Text classification."""

    def setup(self, device: str) -> None:
        self._folder = None if sys.argv[2] == "-" else Path(sys.argv[2])
        if self._folder is None:
            return
        import openvino
        from tokenizers import Tokenizer

        told = json.loads((self._folder / "config.json").read_bytes())
        self._labels = [told["id2label"][str(number)] for number in range(len(told["id2label"]))]
        self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(512)
        self._tokenizer.enable_padding()
        wanted = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": sys.argv[3],
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        self._compiled = core.compile_model(str(self._folder / "openvino_model.xml"), "CPU", wanted)
        self._names = [one.get_any_name() for one in self._compiled.inputs]

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # a type here would be one for FastAPI
        return str(request["inputs"])

    def batch(self, inputs: list[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> list[Any]:
        import numpy

        if self._folder is None:
            return [{"label": "none", "score": 1.0} for _ in texts]
        coded = self._tokenizer.encode_batch(texts)
        read = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feeds = {
            name: numpy.array([getattr(one, read[name]) for one in coded], dtype=numpy.int64)
            for name in self._names
        }
        scores = self._compiled(feeds)[0]
        scores = numpy.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return [
            {"label": self._labels[best], "score": float(one[best])}
            for one, best in zip(scores, scores.argmax(-1), strict=True)
        ]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    api = Answers(max_batch_size=int(sys.argv[4]), batch_timeout=float(sys.argv[5]))
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
