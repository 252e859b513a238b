"""The examples of docs/testing.md are tests, and they pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "testing.md").read_text()
RUN_SECONDS = 120


def test_every_example_of_the_page_about_testing_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for name, block in blocks:
        (tmp_path / name).write_text(block)
    tests = sum(block.count("\ndef test_") for _, block in blocks)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src' / 'python'}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )

    assert tests > 5
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
