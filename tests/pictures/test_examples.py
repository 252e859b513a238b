"""The examples in the docstrings of the pictures say what comes out."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

import wattbus.pictures
from wattbus.pictures import axes, sheet, strokes


@pytest.mark.parametrize("module", [wattbus.pictures, axes, sheet, strokes], ids=lambda one: one.__name__)
def test_the_examples_of_the_docstrings_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)

    assert tried > 0 and failed == 0
