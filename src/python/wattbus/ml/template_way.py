"""The way of the 2022 template, in a child process that does a part of it each time its parent asks.

``python -m wattbus.ml.template_way SPEC.json --attended`` tells ``{"event": "ready"}`` once the model is loaded, then
reads a line for each part, ``{"do": "training"}``, and tells ``{"event": "done"}`` after it. Training: every row padded
to 512 tokens, float32, the Trainer's own loop. Answering: the transformers pipeline, float32, one request at a time.
Errors and exit statuses are those of :mod:`wattbus.ml.training`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pydantic import BaseModel, ConfigDict

from wattbus.errors import ModelError, WattbusError

PADDED_TOKENS = 512
SEED = 42
Parts = dict[str, Callable[[], None]]


class TemplateSpec(BaseModel):
    """One sample: a model with labelled texts to train on, or with a task and requests to answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_folder: Path
    work: Path
    task: str = ""
    requests: tuple[dict[str, Any], ...] = ()
    uploads: Path | None = None
    rows: tuple[tuple[str, str], ...] = ()  # label, text
    labels: tuple[str, ...] = ()
    batch_size: int = 1


def training_parts(spec: TemplateSpec) -> Parts:
    """Load the classifier and pad the rows; training is one pass over them, evaluation predicts each once."""
    import torch
    from transformers import Trainer, TrainingArguments, default_data_collator

    from wattbus.ml.classifier import load_classifier
    from wattbus.ml.train_spec import reject_unsafe_folder

    reject_unsafe_folder(spec.model_folder)
    base = load_classifier(spec.model_folder, spec.labels, None, SEED)
    length = min(PADDED_TOKENS, base.max_tokens)
    texts = [text for _, text in spec.rows]
    coded = base.tokenizer(texts, padding="max_length", truncation=True, max_length=length)
    examples = [
        {**{name: coded[name][row] for name in coded}, "labels": base.label_ids[label]}
        for row, (label, _) in enumerate(spec.rows)
    ]

    def trainer(rows: Sequence[dict[str, Any]]) -> Any:
        return Trainer(
            model=base.model,
            args=TrainingArguments(
                output_dir=str(spec.work),
                num_train_epochs=1,
                per_device_train_batch_size=spec.batch_size,
                per_device_eval_batch_size=spec.batch_size,
                seed=SEED,
                use_cpu=not torch.cuda.is_available(),
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=rows,
            data_collator=default_data_collator,
        )

    def warm_up() -> None:
        trainer(examples[: spec.batch_size]).train()

    def training() -> None:
        trainer(examples).train()

    def evaluation() -> None:
        trainer(examples).predict(examples)

    return {"warm-up": warm_up, "training": training, "evaluation": evaluation}


def answering_parts(spec: TemplateSpec) -> Parts:
    """Load the pipeline; answering asks it each request, one after the other."""
    from wattbus.ml import pipelines
    from wattbus.ml.images import ImageSource

    images = None if spec.uploads is None else ImageSource(spec.uploads, _no_address)
    predictor = pipelines.load(spec.model_folder, spec.task, {"dtype": "float32"}, images=images)

    def warm_up() -> None:
        predictor.predict(spec.requests[0])

    def answering() -> None:
        for inputs in spec.requests:
            predictor.predict(inputs)

    return {"warm-up": warm_up, "answering": answering}


def _no_address(url: str) -> bytes:
    raise ModelError(
        f"{url!r} is an address, and a sample asks nobody: measure on requests with uploaded pictures."
    )


def parts_asked() -> SimpleQueue[str]:
    """Return where the parts come that the parent asks for; the end of its pipe ends this process, whatever it does."""
    asked: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        with open(0, "rb", closefd=False) as lines:
            for line in lines:
                asked.put(json.loads(line)["do"])
        os._exit(3)

    threading.Thread(target=read, name="parent-watch", daemon=True).start()
    return asked


def main() -> int:
    """Do what the parent asks until it closes the pipe, and return the exit status."""
    from wattbus.ml.training import Events, read_line

    parser = argparse.ArgumentParser(prog="python -m wattbus.ml.template_way")
    parser.add_argument("spec", type=Path)
    parser.add_argument(
        "--attended", action="store_true", required=True, help="stdin is a pipe of the parent"
    )
    given = parser.parse_args()
    events = Events(os.dup(1))
    os.umask(0o077)
    os.dup2(2, 1)  # libraries print: into the log, not among the events
    read_line(0)
    asked = parts_asked()
    spec = TemplateSpec.model_validate_json(given.spec.read_bytes())
    try:
        parts = training_parts(spec) if spec.rows else answering_parts(spec)
        events.send("ready")
        while True:  # ended by the parent, or by the end of its pipe
            parts[asked.get()]()
            events.send("done")
    except WattbusError as error:
        events.send("error", kind=type(error).__name__, message=str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
