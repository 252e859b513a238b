"""A door to a production that serves a tiny model of each task, for the clients of other APIs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from doors import OpenDoor, open_door
from iop import Production

import tinymodels
from wattbus.home import Home
from wattbus.operations import HFOperation, MLOperation

#: Model and task; the item is called after the model.
MODELS = {
    "grader": "text-classification",
    "camembert-ner": "ner",
    "bert": "fill-mask",
    "encoder": "feature-extraction",
    "gpt2": "text-generation",
    "chatter": "text-generation",
    "vit": "image-classification",
    "detr": "object-detection",
}
TEMPLATE = "{% for turn in messages %}{{ turn.content }} {% endfor %}"


@contextlib.contextmanager
def serving(root: Path) -> Iterator[OpenDoor]:
    """Open the door once every model is loaded."""
    home = Home(root).create()
    production = Production("Test.Models")
    for name, task in MODELS.items():
        folder = tinymodels.build(task, home.models / name)
        if name == "chatter":
            (folder / "chat_template.jinja").write_text(TEMPLATE)
        production.operation(
            f"Python.{name}", MLOperation, settings={"%settings": f"name={name}\ntask={task}"}
        )
    production.operation("Python.HFOperation", HFOperation)
    with open_door(root, production) as client:
        running = client.director.current()
        assert running.wait_ready(120)
        assert [item.error for item in running.items() if item.error] == []
        yield client
