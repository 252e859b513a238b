"""A fetched model beside everything that its repository lists; the real client, a small hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

import smallmodels
from fakehub import FakeHub
from wattbus.ml.models import ModelStore
from wattbus.savings.files import shown_ratios, shown_side
from wattbus.savings.reckoning import Row, row_of, totals_of
from wattbus.savings.runs import list_runs

DOUBLES = {"pytorch_model.bin": 5_000, "tf_model.h5": 6_000, "flax_model.msgpack": 7_000}


def rows(store: ModelStore) -> list[Row]:
    return [row_of(run, None) for run in list_runs(None, store)]


def test_a_fetch_stands_beside_every_file_that_its_repository_lists(tmp_path: Path) -> None:
    folder = smallmodels.build(tmp_path / "toy")
    for name, size in DOUBLES.items():
        (folder / name).write_bytes(b"x" * size)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x" * 9_000)  # deeper than what the template read
    with FakeHub() as hub:
        hub.add("org/toy", folder)
        store = ModelStore(tmp_path / "models", hub_url=hub.endpoint)
        fetched = store.ensure("toy", model_url=f"{hub.endpoint}/org/toy").bytes_fetched

    (row,) = rows(store)

    listed = fetched + sum(DOUBLES.values())
    assert row.template is not None and row.ours.seconds is not None
    assert (row.ours.bytes, row.template.bytes) == (fetched, listed)
    assert row.bytes_ratio == pytest.approx(listed / fetched)
    assert row.template.seconds == pytest.approx(row.ours.seconds * listed / fetched)
    assert "weights as bin, h5, msgpack, safetensors" in row.how
    assert (row.ours.joules, row.template.joules, row.joules_ratio) == (None, None, None)
    assert "the joules of a network are not known" in row.note
    assert shown_ratios(row).startswith("time ") and "B, " in shown_side(row.ours)
    assert (totals_of([row]).ours_bytes, totals_of([row]).template_bytes) == (fetched, listed)


def test_the_same_revision_under_another_name_comes_without_a_byte(tmp_path: Path) -> None:
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "toy"))
        store = ModelStore(tmp_path / "models", hub_url=hub.endpoint)
        first = store.ensure("toy", model_url=f"{hub.endpoint}/org/toy").bytes_fetched
        store.ensure("again", model_url=f"{hub.endpoint}/org/toy")

    again = next(row for row in rows(store) if row.run.startswith("fetch-again"))

    assert again.template is not None
    assert (again.ours.bytes, again.template.bytes) == (0, first)
    assert (again.ours.seconds, again.template.seconds, again.seconds_ratio) == (None, None, None)
    assert "was here under another name" in again.what


def test_a_model_of_an_earlier_release_or_a_package_has_no_listing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    for name, source in (("old", "https://huggingface.co/org/old@abc"), ("wheel", "pkg:pypi/wheel@1")):
        store.stage(name, lambda folder, name=name: smallmodels.build(folder, seed=len(name)), source=source)

    told = {row.run.split("-")[1]: row for row in rows(store)}

    assert told["old"].not_measured == "it was fetched before the sizes of a listing were kept"
    assert told["wheel"].not_measured == "it came in a package, which holds one format of weights"
    assert totals_of(list(told.values())).left_out == 2
