"""One loaded PyTorch model to the graphs of engines: OpenVINO in several precisions, ONNX Runtime in int8."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wattbus.errors import ModelError, Refused
from wattbus.home import make_owner_folder
from wattbus.ml.engine_answers import ANSWERS
from wattbus.ml.engine_files import CARD, GRAPH, ONNX, EngineCard, check_graph, write_card
from wattbus.ml.engine_images import PROCESSOR, ImageReader
from wattbus.ml.engine_texts import TOKENIZER
from wattbus.ml.manifest import MANIFEST, is_allowed
from wattbus.ml.model_files import LoadedModel
from wattbus.ml.pipeline_tasks import Feed, find_task
from wattbus.ml.prediction import ModelFacts
from wattbus.ml.runner import arithmetics

#: An image processor's numbers may differ by rounding; more is another way of preparing pictures.
_LARGEST_PIXEL_DIFFERENCE = 1e-3
_OUTPUTS = {
    "feature-extraction": ("last_hidden_state",),
    "object-detection": ("logits", "pred_boxes"),
}
#: Pictures that a graph which takes any size is asked with, beside the one it was traced with.
_SIZES = ((31, 200), (300, 301))
#: A share of the largest number of an output, which rounding in another order may come to.
_LARGEST_SHARE = 1e-2
_ONNX_VERSION = 17


class NotMade(ModelError):
    """A candidate that cannot be made here, of a model that may be convertible otherwise."""


class Converter:
    """Converts one model; the graph is traced once, and each candidate is made of it."""

    def __init__(self, source: Path, loaded: LoadedModel, facts: ModelFacts, work: Path) -> None:
        if facts.task not in ANSWERS:
            raise ModelError(
                f"a model for {facts.task} cannot be optimised: what can is for {', '.join(sorted(ANSWERS))}."
            )
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would call its maker
        self._source = source
        self._loaded = loaded
        self._facts = facts
        self._work = make_owner_folder(work)
        self._pipeline = loaded.pipeline
        self._openvino = _imported("openvino")
        self._core = self._openvino.Core()
        self._inputs: tuple[str, ...] = ()
        self._base: Path | None = None
        self._check_weights()
        self._side_files(make_owner_folder(work / "side"))

    def able(self, candidate: str) -> None:
        """Raise NotMade, with why, for a candidate that this machine cannot run or make."""
        if candidate == "bf16" and "bf16" not in arithmetics(self._core):
            name = self._core.get_property("CPU", "FULL_DEVICE_NAME")
            raise NotMade(f"the processor ({name}) has no bf16: it would be run as fp32.")
        needed = {"int8-weights": ("nncf",), "int8": ("nncf",), "onnx-int8": ("onnx", "onnxruntime")}
        for package in needed.get(candidate, ()):
            if not _installed(package):
                raise NotMade(f"it needs {package}: pip install 'wattbus[optimise]'.")

    def make(self, candidate: str, folder: Path, samples: Sequence[Any]) -> Path:
        """Write a whole version into ``folder``: graph, card, and what the model came with but for its weights."""
        self.able(candidate)
        make_owner_folder(folder)
        for file in sorted(self._work.joinpath("side").rglob("*")):
            if file.is_file():
                target = folder / file.relative_to(self._work / "side")
                make_owner_folder(target.parent)
                shutil.copyfile(file, target)
        if candidate == "onnx-int8":
            self._write_onnx(folder / ONNX)
        else:
            self._write_openvino(candidate, folder / GRAPH, samples)
        write_card(folder, self._card(candidate))
        return folder

    def feeds(self, text: str) -> dict[str, Any]:
        """Return a text as the graph takes it."""
        told = self._pipeline.tokenizer(text, truncation=True, return_tensors="np")
        return {name: told[name].astype("int64") for name in self._input_names()}

    def pixels(self, image: Any) -> dict[str, Any]:
        """Return a picture as the graph takes it."""
        return {
            "pixel_values": self._pipeline.image_processor(images=image, return_tensors="np")["pixel_values"]
        }

    def _write_openvino(self, candidate: str, graph: Path, samples: Sequence[Any]) -> None:
        model = self._core.read_model(str(self._traced()))
        if candidate == "int8-weights":
            nncf = _imported("nncf")
            nncf.set_log_level(logging.ERROR)
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        elif candidate == "int8":
            nncf = _imported("nncf")
            nncf.set_log_level(logging.ERROR)
            model = nncf.quantize(
                model,
                nncf.Dataset(list(samples)),
                subset_size=len(samples),
                model_type=None if self._facts.task == "image-classification" else nncf.ModelType.TRANSFORMER,
            )
        self._save(model, graph, compress=candidate == "fp16")

    def _traced(self) -> Path:
        """Trace the model to a graph of fp32, once."""
        if self._base is None:
            import torch
            from openvino.tools.ovc import convert_model

            base = self._work / "traced.xml"
            example, shapes = self._example()
            with _quiet():
                try:
                    traced = torch.jit.trace(
                        self._module(), tuple(example.values()), strict=False, check_trace=False
                    )
                    model = convert_model(traced, example_input=tuple(example.values()), input=shapes)
                except Exception as error:  # whatever a model's code or the converter raises
                    raise ModelError(self._refusal(error)) from error
            for port, name in zip(model.inputs, self._input_names(), strict=True):
                port.get_tensor().set_names({name})
            if self._any_size():
                self._check_sizes(model)
            self._save(model, base, compress=False)
            self._base = base
        return self._base

    def _save(self, model: Any, graph: Path, *, compress: bool) -> None:
        """Write a graph and its constants; the converter does not say why it cannot, and may cut a file short."""
        try:
            self._openvino.save_model(model, str(graph), compress_to_fp16=compress)
            check_graph(graph, graph.with_suffix(".bin"))
        except (RuntimeError, OSError, Refused) as error:
            free = shutil.disk_usage(graph.parent).free
            raise ModelError(
                f"{graph.parent} cannot be written ({str(error)[:200]}), {free:,} bytes are free on its disk: make "
                "room and send the request again. Nothing was staged."
            ) from error

    def _write_onnx(self, file: Path) -> None:
        import torch

        quantization = _imported("onnxruntime.quantization")
        plain = self._work / "traced.onnx"
        example, _ = self._example()
        names = self._input_names()
        free = {0: "batch", 1: "length"}
        if self._of_images:
            free = {0: "batch", 2: "height", 3: "width"} if self._any_size() else {0: "batch"}
        given = {0: "batch"} if self._of_images or self._facts.task == "text-classification" else free
        # Of the convolutions in int8 ONNX Runtime has those with unsigned weights only.
        kinds = quantization.QuantType
        weights = kinds.QUInt8 if self._of_images else kinds.QInt8
        with _quiet():
            try:
                torch.onnx.export(
                    self._module(),
                    tuple(example[name] for name in names),
                    str(plain),
                    input_names=list(names),
                    output_names=list(self._outputs()),
                    dynamic_axes={**dict.fromkeys(names, free), **dict.fromkeys(self._outputs(), given)},
                    opset_version=_ONNX_VERSION,
                    dynamo=False,
                )
                quantization.quantize_dynamic(str(plain), str(file), weight_type=weights)
            except Exception as error:  # whatever a model's code or the exporter raises
                raise NotMade(self._refusal(error)) from error
            finally:
                plain.unlink(missing_ok=True)

    def _module(self) -> Any:
        """Return the model as a function of its inputs in order, which gives the outputs that an answer is made of."""
        import torch

        model, names, wanted = self._pipeline.model, self._input_names(), self._outputs()

        class Plain(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, *given: Any) -> Any:
                told = self.model(**dict(zip(names, given, strict=True)), return_dict=True)
                found = tuple(told[name] for name in wanted)
                return found if len(found) > 1 else found[0]

        return Plain().eval()

    def _example(self) -> tuple[Any, Any]:
        import torch

        names = self._input_names()
        if names == ("pixel_values",):
            pixels = self.pixels(_picture(90, 70))["pixel_values"]
            sides = (-1, -1) if self._any_size() else pixels.shape[2:]
            return {"pixel_values": torch.from_numpy(pixels)}, [(-1, pixels.shape[1], *sides)]
        told = self._pipeline.tokenizer(
            ["a text to trace with", "another one"], padding=True, return_tensors="pt"
        )
        return {name: told[name] for name in names}, [(-1, -1) for _ in names]

    def _input_names(self) -> tuple[str, ...]:
        if not self._inputs:
            taken = inspect.signature(self._pipeline.model.forward).parameters
            if self._of_images:
                self._inputs = ("pixel_values",)
            else:
                given = self._pipeline.tokenizer.model_input_names
                order = ("input_ids", "attention_mask", "token_type_ids")
                self._inputs = tuple(name for name in order if name in given and name in taken)
        return self._inputs

    def _outputs(self) -> tuple[str, ...]:
        return _OUTPUTS.get(self._facts.task, ("logits",))

    @property
    def _of_images(self) -> bool:
        return find_task(self._facts.task).feed is Feed.IMAGE

    def _any_size(self) -> bool:
        """Tell whether pictures keep their shape on the way to the model."""
        if not self._of_images:
            return False
        return len({self.pixels(_picture(*sides))["pixel_values"].shape for sides in ((90, 70), *_SIZES)}) > 1

    def _check_sizes(self, model: Any) -> None:
        """Refuse a graph that has kept the size of the picture it was traced with."""
        import numpy
        import torch

        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        module = self._module()
        for sides in _SIZES:
            pixels = self.pixels(_picture(*sides))["pixel_values"]
            with torch.inference_mode():
                wanted = module(torch.from_numpy(pixels))
            try:
                found = compiled(pixels)
            except RuntimeError as error:
                raise ModelError(self._refusal(error)) from error
            for number, one in enumerate(wanted if isinstance(wanted, tuple) else (wanted,)):
                theirs, ours = one.numpy(), found[number]
                most = _LARGEST_SHARE * float(numpy.abs(theirs).max() or 1.0)
                if theirs.shape != ours.shape or float(numpy.abs(theirs - ours).max()) > most:
                    said = "the graph holds for pictures of one size only, and its pictures keep their own"
                    raise ModelError(self._refusal(ModelError(said)))

    def _card(self, candidate: str) -> EngineCard:
        tokenizer, facts = self._pipeline.tokenizer, self._facts
        return EngineCard(
            engine="onnxruntime" if candidate == "onnx-int8" else "openvino",
            task=facts.task,
            precision="int8" if candidate == "onnx-int8" else candidate,
            arithmetic="bf16" if candidate == "bf16" else "f32",
            inputs=self._input_names(),
            outputs=self._outputs(),
            max_tokens=_limit(tokenizer),
            pad_token_id=getattr(tokenizer, "pad_token_id", None) or 0,
            pad_type_id=getattr(tokenizer, "pad_token_type_id", None) or 0,
            pooling=self._loaded.pooling,  # type: ignore[arg-type]
            model_type=facts.model_type,
            architecture=facts.architecture,
            class_path=facts.class_path,
            parameters=facts.parameters,
            layers=facts.layers,
            foundation_model=facts.foundation_model,
            head_untrained=facts.head_untrained,
            made_with={name: importlib.metadata.version(name) for name in _MAKERS[candidate]},
        )

    def _check_weights(self) -> None:
        """Refuse weights that are no numbers: every answer is wrong with them, and none differs from another."""
        import torch

        for name, weight in self._pipeline.model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise ModelError(
                    f"the weights of {self._source.name!r} hold numbers that are none (NaN or infinite, in {name}): "
                    "the model cannot be optimised. Fetch it again, or roll back to a version that is whole."
                )

    def _side_files(self, folder: Path) -> None:
        """Gather what the version holds beside its graph, and see that an engine reads inputs as the model did."""
        for file in sorted(self._source.rglob("*")):
            name = file.relative_to(self._source).as_posix()
            if not file.is_file() or not is_allowed(name) or name in (MANIFEST, CARD):
                continue
            if ".safetensors" not in name:
                make_owner_folder((folder / name).parent)
                shutil.copyfile(file, folder / name)
        config = self._pipeline.model.config
        told = json.loads((folder / "config.json").read_bytes())
        told["id2label"] = {str(number): label for number, label in config.id2label.items()}
        (folder / "config.json").write_text(json.dumps(told, indent=1))
        if self._pipeline.tokenizer is not None:
            self._write_tokenizer(folder)
        if self._of_images:
            processor = self._pipeline.image_processor
            (folder / PROCESSOR).write_text(processor.to_json_string())
            self._check_pixels(ImageReader(folder))

    def _write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer as the pipeline uses it; one without the fast form cannot be used by an engine."""
        backend = getattr(self._pipeline.tokenizer, "backend_tokenizer", None)
        if backend is None or not hasattr(backend, "to_str"):
            raise ModelError(
                f"the tokenizer of {self._source.name!r} has no fast form (tokenizer.json): the model cannot be "
                "optimised."
            )
        copy = type(backend).from_str(backend.to_str())
        copy.no_padding()
        copy.no_truncation()
        copy.save(str(folder / TOKENIZER))
        file = folder / "tokenizer_config.json"
        told = json.loads(file.read_bytes()) if file.is_file() else {}
        tokenizer = self._pipeline.tokenizer
        told |= {
            name: getattr(tokenizer, name, None) for name in ("mask_token", "unk_token", "truncation_side")
        }
        told["clean_up_tokenization_spaces"] = bool(tokenizer.clean_up_tokenization_spaces)
        file.write_text(json.dumps(told, indent=1))

    def _check_pixels(self, reader: ImageReader) -> None:
        import numpy

        for width, height in ((90, 70), (31, 200), (300, 301)):
            picture = _picture(width, height)
            theirs, ours = self.pixels(picture)["pixel_values"], reader.pixels(picture)
            if (
                theirs.shape != ours.shape
                or float(numpy.abs(theirs - ours).max()) > _LARGEST_PIXEL_DIFFERENCE
            ):
                raise ModelError(
                    f"the pictures of {self._source.name!r} are prepared in a way that an engine does not repeat: the "
                    "model cannot be optimised."
                )

    def _refusal(self, error: Exception) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0][:300] if lines else type(error).__name__
        return (
            f"the converter cannot take the model {self._source.name!r} ({self._facts.architecture}): {said}"
        )


_MAKERS = {
    "fp32": ("openvino", "torch", "transformers"),
    "bf16": ("openvino", "torch", "transformers"),
    "fp16": ("openvino", "torch", "transformers"),
    "int8-weights": ("openvino", "nncf", "torch", "transformers"),
    "int8": ("openvino", "nncf", "torch", "transformers"),
    "onnx-int8": ("onnxruntime", "onnx", "torch", "transformers"),
}


def weights_bytes(folder: Path) -> int:
    """Return the size of all files of a version, its manifest apart."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)


def _limit(tokenizer: Any) -> int | None:
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if isinstance(limit, int) and limit < 1_000_000 else None


def _picture(width: int, height: int) -> Any:
    """Draw a picture with a pattern in it, the same each time."""
    import numpy
    from PIL import Image

    drawn = numpy.random.default_rng(width * height).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return Image.fromarray(drawn.astype(numpy.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotMade(
            f"it needs {name.partition('.')[0]} ({error}): pip install 'wattbus[optimise]'."
        ) from error


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what tracing warns of: the graph is compared with the model afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
