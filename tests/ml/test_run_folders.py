"""What optimisations that were killed leave in the home is found by the doctor and removed by the next start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from components import echo_production
from wattbus import doctor, testing
from wattbus.energy import FakeFeed
from wattbus.home import Home
from wattbus.ml import run_folders
from wattbus.ml.versions import ModelFolder


def test_work_of_ended_messages_and_of_killed_processes_is_named_and_removed_with_the_next_start(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home").create()
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    with testing.production(echo_production(), home.root, feed=FakeFeed()):
        pass
    of_message = run_folders.of_message(home.runs, 77)
    killed = home.runs / f"optimise-by-hand-{int(ended.stdout)}"
    mine = run_folders.by_hand(home.runs)
    for folder in (of_message, killed, mine):
        folder.mkdir(mode=0o700)

    before = doctor.examine(home)
    with testing.production(echo_production(), home.root, feed=FakeFeed()):
        left = list(home.runs.iterdir())
    after = doctor.examine(home)

    assert not before.ok
    assert "runs/optimise-77 is left over of a message that has ended" in before.to_text()
    assert f"1 optimisation by hand cut off (runs/{killed.name})" in before.to_text()
    assert left == [mine] and mine.name.endswith(f"-{os.getpid()}")
    assert after.ok, after.to_text()


def test_the_doctor_names_versions_in_the_making_that_nobody_makes_and_compiled_code_of_versions_that_are_gone(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home").create()
    folder = ModelFolder(home.models, "toy")
    (home.compiled / "toy" / "v0001-00000000").mkdir(parents=True, mode=0o700)
    home.compiled.chmod(0o700)
    (home.compiled / "toy").chmod(0o700)
    with folder.aside() as held:
        making = doctor.examine(home).to_text()
        left = held.with_suffix(".left.lock")
        left.touch(mode=0o600)
        found = doctor.examine(home)

    assert "in the making" not in making
    assert "1 version in the making cut off: the next start removes it" in found.to_text()
    assert "compiled code of 1 version that is gone: the next load removes it" in found.to_text()
    assert found.ok, found.to_text()
