"""R10: a power cut while models are published and rolled back, or settings saved: the old or the new, whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = "10"
CUT_SECONDS = "4"  # on average; a process that is not up yet at the cut has promised nothing

_START = """
import sys
from pathlib import Path
home, told = Path(sys.argv[1]) / "home", Path(sys.argv[2])
"""

# What is told lies on another disk: before a change what it leads to, after it that it is done.
_WRITER = (
    _START
    + """
def tell(*words):
    with told.open("a") as out:
        print(*words, file=out, flush=True)
"""
)

MODELS_WRITER = (
    _WRITER
    + """
import smallmodels
from wattbus.home import Home
from wattbus.ml.models import ModelStore

store = ModelStore(Home(home).create().models)
for seed in range(1, 10_000):
    staged = store.stage("toy", lambda folder: smallmodels.build(folder, seed=seed), source="test").id
    tell("staged", staged)
    tell("next", staged)
    tell("done", store.publish("toy").id)
    if seed % 3 == 0:
        tell("next", store.previous("toy"))
        tell("done", store.rollback("toy").id)
"""
)

MODELS_CHECKER = (
    _START
    + """
from wattbus import doctor
from wattbus.home import Home
from wattbus.ml.models import ModelStore
from wattbus.ml.versions import ModelFolder

lines = [line.split() for line in told.read_text().splitlines()]
if not lines:
    sys.exit(0)  # cut before anything was promised
store = ModelStore(Home(home).create().models)
store.clean()
pointer = ModelFolder(store.root, "toy").current()
done = [place for place, (word, _) in enumerate(lines) if word == "done"]
allowed = {lines[done[-1]][1]} if done else {None}
allowed |= {version for word, version in lines[done[-1] + 1 if done else 0:] if word == "next"}
assert (pointer and pointer.version) in allowed, (pointer, allowed)
assert {version for word, version in lines if word == "staged"} <= {one.id for one in store.versions("toy")}
assert all(check.ok for check in store.verify())
files = [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]
assert not [path for path in files if not path.stat().st_size or path.suffix == ".part"]
report = doctor.examine(Home(home))
assert report.ok, report.to_text()
"""
)

SETTINGS_WRITER = (
    _WRITER
    + """
from components import echo_production
from wattbus import testing

with testing.production(echo_production(), home) as bus:
    for size in range(2, 10_000):
        tell("next", size)
        bus.production.set_pool_size("Echo", 1 + size % 7)
        tell("done", size)
"""
)

SETTINGS_CHECKER = (
    _START
    + """
from components import echo_production
from wattbus import doctor, testing
from wattbus.home import Home

lines = [line.split() for line in told.read_text().splitlines()]
with testing.production(echo_production(), home) as bus:
    size = next(item.pool_size for item in bus.items() if item.name == "Echo")
allowed = {1 + int(number) % 7 for word, number in lines[-2:]} or {1}
if [word for word, _ in lines] == ["next"]:
    allowed |= {1}
assert size in allowed, (size, lines[-2:])
report = doctor.examine(Home(home))
assert report.ok, report.to_text()
"""
)


@pytest.fixture
def powercut(shared: Path) -> Path:
    """The harness that cuts the power of a loop-mounted disk."""
    tool = shared / "tools" / "powercut.py"
    if not tool.is_file():
        pytest.skip(f"no harness for power cuts at {tool}")
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
        pytest.skip("a power cut needs root, loop devices and mkfs.ext4")
    return tool


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("writer", "checker"),
    [(MODELS_WRITER, MODELS_CHECKER), (SETTINGS_WRITER, SETTINGS_CHECKER)],
    ids=["publish-and-rollback", "settings"],
)
def test_after_a_power_cut_the_old_or_the_new_is_there_and_whole(
    tmp_path: Path, powercut: Path, writer: str, checker: str
) -> None:
    (tmp_path / "writer.py").write_text(writer)
    (tmp_path / "checker.py").write_text(checker)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    commands = [f"{sys.executable} {tmp_path}/{name}.py {{dir}} {{ack}}" for name in ("writer", "checker")]

    done = subprocess.run(
        [
            sys.executable, str(powercut), "--cut", CUT_SECONDS, "--rounds", ROUNDS,
            "--", commands[0], ":::", commands[1],
        ],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "CalledProcessError" in done.stderr:
        pytest.skip(f"no disk can be made here: {done.stderr.splitlines()[-1]}")

    told = re.search(rf"rounds={ROUNDS} acknowledged=(\d+) rounds_with_loss=(\d+)", done.stdout)
    assert told is not None, done.stderr
    assert int(told[1]) > 0
    assert int(told[2]) == 0, done.stderr
