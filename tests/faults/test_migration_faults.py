"""R18: a store of an older release, of a newer one, and a process that is killed while it migrates."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

import wattbus
from components import Text, echo_production
from waiting import wait_for
from wattbus import testing
from wattbus.doctor import examine
from wattbus.errors import StoreError
from wattbus.home import Home
from wattbus.store.database import SCHEMA

MIGRATIONS = Path(wattbus.__file__).parent / "store" / "migrations"

# Opens the store and dies in the middle of its migration: after the tables have changed, before the commit.
DIES = """
import os, signal, sys
from pathlib import Path
from alembic import command
from components import echo_production
from wattbus import testing

upgrade = command.upgrade

def upgrade_and_die(config, revision):
    upgrade(config, revision)
    os.kill(os.getpid(), signal.SIGKILL)

command.upgrade = upgrade_and_die
testing.production(echo_production(), Path(sys.argv[1]))
"""


def test_an_old_store_is_copied_then_brought_up_to_date_and_its_messages_go_on(tmp_path: Path) -> None:
    home = _old_store(tmp_path)

    with testing.production(echo_production(), tmp_path) as bus:
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))
        schema = _schema(home)
    copies = list(home.backups.glob("store-*-schema-0001.sqlite"))
    with sqlite3.connect(copies[0]) as copy:
        kept = copy.execute("SELECT id, status FROM messages ORDER BY id").fetchall()
    copy.close()

    assert schema == SCHEMA
    assert kept == [(1, "Queued"), (2, "Queued"), (3, "Queued")]
    assert copies[0].stat().st_mode & 0o077 == 0
    assert examine(home).ok


def test_kill_9_in_a_migration_leaves_the_old_store_and_the_next_start_migrates_again(tmp_path: Path) -> None:
    home = _old_store(tmp_path)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    killed = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    before = _schema(home)

    with testing.production(echo_production(), tmp_path) as bus:
        wait_for(bus, lambda rows: all(row.status == "Completed" for row in rows))

    assert (killed.returncode, before) == (-signal.SIGKILL, "0001")
    assert _schema(home) == SCHEMA
    assert not list(home.backups.glob(".*"))
    assert examine(home).ok


def test_three_copies_are_kept(tmp_path: Path) -> None:
    home = _old_store(tmp_path)
    home.backups.mkdir(mode=0o700)
    for day in range(1, 5):
        (home.backups / f"store-2025010{day}T000000-schema-0000.sqlite").touch(0o600)

    with testing.production(echo_production(), tmp_path):
        names = sorted(file.name for file in home.backups.iterdir())

    assert len(names) == 3
    assert names[0].startswith("store-20250103") and names[2].endswith("schema-0001.sqlite")


def test_where_no_copy_can_be_made_the_old_store_stays_as_it_is(tmp_path: Path) -> None:
    home = _old_store(tmp_path)
    home.backups.mkdir(mode=0o700)
    subprocess_limit = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from pathlib import Path; from components import echo_production; from wattbus import testing;"
        "testing.production(echo_production(), Path(sys.argv[1]))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)

    done = subprocess.run(
        [sys.executable, "-c", subprocess_limit, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert "no copy of it could be made first" in done.stderr
    assert _schema(home) == "0001"


def test_a_store_of_a_newer_release_is_refused_in_words(tmp_path: Path) -> None:
    with testing.production(echo_production(), tmp_path) as bus:
        bus.request("Echo", Text("hi"))
    with sqlite3.connect(Home(tmp_path).store_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StoreError, match=r"schema 9999.*a newer release has written it"):
        testing.production(echo_production(), tmp_path)

    assert _schema(Home(tmp_path)) == "9999"


def _old_store(folder: Path) -> Home:
    """Make a store as the first release left it, with three queued messages."""
    home = Home(folder).create()
    engine = create_engine(f"sqlite:///{home.store_file}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number in (1, 2, 3):
            _insert_message(connection, number)
        columns = {column["name"] for column in inspect(connection).get_columns("messages")}
        assert "idempotency_key" in columns
    engine.dispose()
    home.store_file.chmod(0o600)
    return home


def _insert_message(connection: object, number: int) -> None:
    body = Text(f"old {number}")
    json = f'{{"text": "{body.text}", "times": 1}}'
    run = connection.execute  # type: ignore[attr-defined]
    run(
        text("INSERT INTO bodies (id, sha256, size_bytes, json) VALUES (:id, :sha, :size, :json)"),
        {"id": number, "sha": hashlib.sha256(json.encode()).hexdigest(), "size": len(json), "json": json},
    )
    values = {
        "id": number, "session_id": number, "type": "Request", "invocation": "Queue", "source_item": "door",
        "source_business_type": "BusinessService", "target_item": "Echo",
        "target_business_type": "BusinessOperation", "target_queue": "Echo",
        "body_class": "components.Text", "body_id": number, "description": "", "priority": 6, "status": "Queued",
        "is_error": 0, "attempts": 0, "not_before_us": 0, "response_required": 0, "time_created_us": number,
    }  # fmt: skip
    names = ", ".join(values)
    run(text(f"INSERT INTO messages ({names}) VALUES ({', '.join(':' + name for name in values)})"), values)


def _schema(home: Home) -> str:
    connection = sqlite3.connect(home.store_file)
    try:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    finally:
        connection.close()
