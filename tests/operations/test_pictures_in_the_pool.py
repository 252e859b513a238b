"""Pictures are decoded in the threads of the pool, several at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from iop import Production
from PIL import Image

import tinymodels
from wattbus import testing
from wattbus.home import Home
from wattbus.messages import MLRequest
from wattbus.ml import images
from wattbus.operations import MLOperation


def test_two_pictures_are_decoded_at_once_each_by_the_worker_that_has_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path).create()
    tinymodels.build("image-classification", home.models / "vit")
    for name in ("left.png", "right.png"):
        Image.new("RGB", (40, 30), "red").save(home.uploads / name)
    production = Production("Test.Pictures")
    production.operation(
        "Looks",
        MLOperation,
        pool_size=2,
        settings={"%settings": "name=vit\ntask=image-classification"},
    )
    both, workers, plain = threading.Barrier(2), set(), images.decode

    def decode(*arguments: Any) -> Any:
        both.wait(60)  # under a lock, or in one thread, the second would never come
        workers.add(threading.current_thread().name)
        return plain(*arguments)

    monkeypatch.setattr(images, "decode", decode)
    with testing.production(production, tmp_path) as bus:
        asked = [bus.begin("Looks", MLRequest(url=name)) for name in ("left.png", "right.png")]
        answers = [one.result(120) for one in asked]

    assert [len(answer.output) > 0 for answer in answers] == [True, True]
    assert workers == {"Looks#1", "Looks#2"}
