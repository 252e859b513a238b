"""A model survives the death of its process at any step: old or new, always whole, and a retry ends the work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3

import smallmodels
from fakehub import FakeHub
from wattbus.errors import ModelError, Refused
from wattbus.ml.hub import Hub, Patience
from wattbus.ml.models import ModelStore, ModelVersion

# Does a piece of work in a child process that is killed before its n-th change of the file system, for n = 1, 2, ...
# until the work is done; after each it tells the state that the next process finds, and the state after a retry.
KILLED_AT_EACH_STEP = """
import json, os, shutil, signal, sys
from pathlib import Path

import smallmodels
from wattbus.errors import ModelNotCached
from wattbus.ml.models import ModelStore

root, work = Path(sys.argv[1]), sys.argv[2]
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.truncate")
def build(folder):
    smallmodels.build(folder, seed=9)

DO = {
    "stage": lambda store: store.stage("toy", build, source="finetune"),
    "publish": lambda store: store.publish("toy"),
    "rollback": lambda store: store.rollback("toy"),
    "ensure": lambda store: store.ensure("toy"),
}

def killed_at(step):
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    count = 0
    def die(event, args):
        nonlocal count
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in CHANGES:
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
    store = ModelStore(root)
    sys.addaudithook(die)
    DO[work](store)
    os._exit(0)

def state():
    store = ModelStore(root)
    store.clean()
    try:
        current = store.current("toy").id
    except ModelNotCached:
        current = None
    staged = store.staged("toy")
    return {
        "current": current,
        "staged": staged and staged.id,
        "whole": all(check.ok for check in store.verify()),
        "versions": [version.id for version in store.versions("toy")] if "toy" in store.names() else [],
        "left": [str(path) for path in root.rglob("*") if {"aside", "partial"} & set(path.parts) and path.is_file()],
    }

saved = root.with_name("saved")
shutil.copytree(root, saved)
states, step, died = [], 0, True
while died:
    step += 1
    died = killed_at(step)
    after = state()
    again = None
    if died and work in ("stage", "ensure"):
        DO[work](ModelStore(root))
        again = state()
    states.append({"step": step, "died": died, "after": after, "again": again})
    shutil.rmtree(root)
    shutil.copytree(saved, root)
print(json.dumps(states))
"""


def stage(store: ModelStore, seed: int) -> ModelVersion:
    return store.stage("toy", lambda folder: _fill(folder, seed), source="finetune")


def _fill(folder: Path, seed: int) -> None:
    smallmodels.build(folder, seed=seed)


def published(store: ModelStore, seed: int) -> str:
    stage(store, seed)
    return store.publish("toy").id


def killed_at_each_step(root: Path, work: str) -> list[dict[str, Any]]:
    here = Path(__file__).parents[1]
    paths = os.pathsep.join([str(here), str(here.parent / "src/python")])
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_EACH_STEP, str(root), work],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    states: list[dict[str, Any]] = json.loads(done.stdout)
    assert all(state["died"] for state in states[:-1]) and not states[-1]["died"]
    return states


@pytest.mark.parametrize("work", ["publish", "rollback"])
def test_a_kill_at_any_step_of_a_switch_leaves_the_old_or_the_new_version_whole(
    tmp_path: Path, work: str
) -> None:
    store = ModelStore(tmp_path / "models")
    first, second = published(store, 1), published(store, 2)
    target = stage(store, 3).id if work == "publish" else first

    states = killed_at_each_step(store.root, work)

    assert len(states) > 3
    assert [state["after"]["whole"] for state in states] == [True] * len(states)
    switched = [state["after"]["current"] for state in states]
    turn = switched.index(target)
    assert switched == [second] * turn + [target] * (len(states) - turn)
    assert 0 < turn < len(states)


def test_a_kill_at_any_step_of_staging_leaves_what_is_live_and_a_retry_makes_one_version(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path / "models")
    live = published(store, 1)

    states = killed_at_each_step(store.root, "stage")

    assert len(states) > 15
    for state in states:
        assert state["after"]["current"] == live
        assert state["after"]["whole"] and not state["after"]["left"], state
        if state["again"]:
            assert state["again"]["versions"][0] == live and len(state["again"]["versions"]) == 2, state
            assert state["again"]["staged"] == state["again"]["versions"][1]


def test_a_kill_at_any_step_of_importing_is_made_good_by_the_next_asker(tmp_path: Path) -> None:
    root = tmp_path / "models"
    smallmodels.build(root / "toy")

    states = killed_at_each_step(root, "ensure")

    assert len(states) > 15
    for state in states:
        assert state["after"]["whole"] and not state["after"]["left"], state
        if state["again"]:
            assert len(state["again"]["versions"]) == 1, state
            assert state["again"]["current"] == state["again"]["versions"][0]


def test_the_same_content_staged_again_is_the_same_version(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")

    first, again = stage(store, 1), stage(store, 1)

    assert again == first
    assert store.versions("toy") == [first]


def test_content_staged_again_over_a_damaged_version_is_a_version_of_its_own(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    first = stage(store, 1)
    (first.path / "config.json").unlink()

    again = stage(store, 1)

    assert again.id != first.id
    assert store.publish("toy") == again


def test_rolling_back_twice_goes_back_twice(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    first, second, _ = published(store, 1), published(store, 2), published(store, 3)

    assert [store.rollback("toy").id, store.rollback("toy").id] == [second, first]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a disk that fills up needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_leaves_the_old_version_and_no_rest(tiny_disk: Path) -> None:
    store = ModelStore(tiny_disk / "models")
    live = published(store, 1)

    with pytest.raises(ModelError, match="full"):
        store.stage("toy", lambda folder: _large(folder), source="finetune")

    assert store.current("toy").id == live
    assert [path for path in store.root.rglob("*") if "aside" in path.parts and path.is_file()] == []
    assert stage(store, 2).id.startswith("v0002-")  # the space is free again


def ask(url: str, method: str = "POST") -> tuple[int, bytes]:
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, url, headers={"Authorization": "Bearer canary"}, retries=False)
        return answer.status, answer.data


def _large(folder: Path) -> None:
    smallmodels.build(folder, data_bytes=2_000_000)


def test_what_a_live_process_writes_aside_is_not_cleaned_away(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    begun, go_on = threading.Event(), threading.Event()

    def build(folder: Path) -> None:
        _fill(folder, 1)
        begun.set()
        assert go_on.wait(20)

    thread = threading.Thread(target=lambda: store.stage("toy", build, source="finetune"))
    thread.start()
    assert begun.wait(20)
    removed = ModelStore(store.root).clean()
    go_on.set()
    thread.join(20)

    assert removed == []
    assert [check.ok for check in store.verify("toy")] == [True]


def test_only_the_damaged_file_of_a_version_is_fetched_again(tmp_path: Path) -> None:
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "toy", data_bytes=300_000))
        store = ModelStore(tmp_path / "models", hub_url=hub.endpoint)
        version = store.ensure("toy", model_url="org/toy").version
        size, served = (version.path / "tokenizer.json").stat().st_size, hub.bytes_served
        (version.path / "tokenizer.json").unlink()

        got = store.ensure("toy", model_url="org/toy")

    assert (got.bytes_fetched, hub.bytes_served - served) == (size, size)
    assert [check.ok for check in store.verify("toy")] == [True]


def test_a_hub_that_cuts_and_always_begins_anew_ends_in_words(tmp_path: Path) -> None:
    patience = Patience(tries=3, pause_seconds=0.01, total_seconds=8)
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "toy", data_bytes=300_000))
        hub.ignores_ranges = True
        hub.cut_after(100_000)
        store = ModelStore(tmp_path / "models", hub=Hub(hub.endpoint, patience=patience))
        began = time.monotonic()

        with pytest.raises(
            ModelError, match=r"model\.safetensors could not be fetched.*Nothing was published"
        ):
            store.ensure("toy", model_url="org/toy")

    assert time.monotonic() - began < 6  # by its tries, not by the total time
    assert store.names() == []


def test_a_hub_that_ignores_ranges_is_fetched_from_the_start_again(tmp_path: Path) -> None:
    with FakeHub() as hub:
        hub.add("org/toy", smallmodels.build(tmp_path / "toy", data_bytes=300_000))
        hub.ignores_ranges = True
        hub.cut_after(100_000, times=1)
        store = ModelStore(tmp_path / "models", hub=Hub(hub.endpoint, patience=Patience(pause_seconds=0.01)))

        got = store.ensure("toy", model_url="org/toy")

    assert got.bytes_fetched > got.version.size_bytes
    assert [check.ok for check in store.verify("toy")] == [True]


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"the model name '\.\./etc' cannot be used"):
        ModelStore(tmp_path / "models").current("../etc")


def test_a_models_folder_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(ModelError, match=r"cannot be written.*set WATTBUS_HOME"):
        stage(ModelStore(tmp_path / "file" / "models"), 1)


def test_the_live_version_is_read_anew_when_another_process_publishes(tmp_path: Path) -> None:
    mine, theirs = ModelStore(tmp_path / "models"), ModelStore(tmp_path / "models")
    first = published(theirs, 1)
    assert mine.current("toy").id == first

    second = published(theirs, 2)

    assert mine.current("toy").id == second


def test_the_fake_hub_answers_inference_in_turn_and_serves_files() -> None:
    with FakeHub() as hub:
        hub.answers["gpt2"] = [
            (503, {"error": "loading"}, {"Retry-After": "0"}),
            (200, [{"generated_text": "hi"}], {}),
        ]
        hub.files["/picture.jpg"] = ("image/jpeg", b"JPEG")
        url = f"{hub.endpoint}/hf-inference/models/gpt2"

        answers = [ask(url), ask(url), ask(url)]
        picture = ask(f"{hub.endpoint}/picture.jpg", method="GET")

    assert answers[0] == (503, b'{"error": "loading"}')
    assert answers[1:] == [(200, b'[{"generated_text": "hi"}]')] * 2
    assert picture == (200, b"JPEG")
    assert hub.requests[0].headers["authorization"] == "Bearer canary"
