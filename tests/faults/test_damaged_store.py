"""R17: a store that is damaged, cut off, emptied, or without its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command import SETTINGS, Command
from components import Text, echo_production
from wattbus import testing
from wattbus.doctor.salvage import salvage
from wattbus.errors import StoreError
from wattbus.home import Home

SENDER = """
import sys
from pathlib import Path
from components import Text, echo_production
from wattbus import testing
with testing.production(echo_production(), Path(sys.argv[1])) as bus:
    for number in range(5):
        bus.request("Echo", Text(str(number)))
    print("sent", flush=True)
    sys.stdin.read()
"""


def random_bytes(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 4096 // 2 * 4096)
        opened.write(os.urandom(8192))


def noise(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("harm", [random_bytes, noise, truncated, emptied])
def test_a_damaged_store_is_refused_in_words_and_stays_as_it_is(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    home = _filled(tmp_path)
    harm(home.store_file)
    before = home.store_file.read_bytes()

    with pytest.raises(StoreError) as refused:
        testing.production(echo_production(), home.root)

    said = str(refused.value)
    assert "damaged" in said and "backup" in said and "wattbus doctor --salvage" in said
    assert home.store_file.read_bytes() == before


def test_a_store_whose_log_is_left_without_it_is_refused(tmp_path: Path) -> None:
    home = _filled(tmp_path)
    home.store_file.with_name("store.sqlite-wal").write_bytes(b"the log of a store that is gone")
    home.store_file.unlink()

    with pytest.raises(StoreError, match=r"store\.sqlite is gone, and its log store\.sqlite-wal is there"):
        testing.production(echo_production(), home.root)

    assert not home.store_file.exists()


def test_a_store_that_has_lost_its_log_after_a_death_is_refused_until_it_is_put_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    _send_and_kill(tmp_path)
    log = home.store_file.with_name("store.sqlite-wal")
    aside = log.rename(tmp_path / "aside")
    home.store_file.with_name("store.sqlite-shm").unlink()

    with pytest.raises(StoreError, match=r"its log .* was lost after the last process died") as refused:
        testing.production(echo_production(), tmp_path)
    home.store_file.with_name("store.sqlite-wal").unlink(missing_ok=True)
    aside.rename(log)
    with testing.production(echo_production(), tmp_path) as bus:
        texts = [bus.production.store.body(number) for number in (1, 9)]

    assert "was accepted" in str(refused.value)
    assert [json.loads(text or "")["text"] for text in texts] == ["0", "4"]


def test_after_a_death_without_damage_the_store_opens_also_when_a_reader_has_folded_its_log_in(
    tmp_path: Path,
) -> None:
    _send_and_kill(tmp_path)
    subprocess.run(
        [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT 1 FROM messages')",
         str(Home(tmp_path).store_file)],
        check=True,
    )  # fmt: skip

    with testing.production(echo_production(), tmp_path) as bus:
        answer = bus.request("Echo", Text("after"))

    assert answer == Text("after")


def test_what_can_be_read_of_a_damaged_store_is_salvaged_and_the_store_is_not_touched(tmp_path: Path) -> None:
    home = _filled(tmp_path / "home", count=300)
    random_bytes(home.store_file)
    before = home.store_file.read_bytes()

    saved = salvage(home, tmp_path / "saved.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()]

    assert saved.messages == len(lines) > 100
    assert {"id", "status", "target_item", "body"} <= lines[0].keys()
    assert any(line["body"] == {"text": "hello 0", "times": 1} for line in lines)
    assert home.store_file.read_bytes() == before


def test_salvage_says_so_where_nothing_can_be_read(tmp_path: Path) -> None:
    home = _filled(tmp_path / "home")
    noise(home.store_file)

    saved = salvage(home, tmp_path / "saved.jsonl")

    assert (saved.messages, str(saved).startswith("nothing can be read")) == (0, True)


def test_the_command_refuses_a_damaged_store_with_a_status_and_saves_what_is_readable(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    wattbus = Command(tmp_path)
    wattbus("start")
    wattbus("test", "Slow", "Job", "--background")
    wattbus("stop")
    store = Home(tmp_path / "home").store_file
    random_bytes(store)
    damaged = store.read_bytes()

    said = wattbus("start", status=1)
    saved = wattbus.json("doctor", "--salvage", "saved.jsonl")

    assert "wattbus doctor --salvage" in said
    assert saved["reason"] is None
    assert store.read_bytes() == damaged


def _filled(folder: Path, count: int = 20) -> Home:
    with testing.production(echo_production(), folder) as bus:
        for number in range(count):
            bus.request("Echo", Text(f"hello {number}"))
    return Home(folder)


def _send_and_kill(folder: Path) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    try:
        assert sender.stdout is not None and sender.stdout.readline() == "sent\n"
        os.kill(sender.pid, signal.SIGKILL)
    finally:
        sender.kill()
        sender.communicate()
