"""R19, R20: a PostgreSQL whose connections are cut, that is restarted at once, and that is away for a while."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from sqlalchemy import func, select

import wattbus
from components import Text, echo_production
from waiting import until
from wattbus import testing
from wattbus.config import read_config
from wattbus.doctor import examine
from wattbus.door import PythonDoor
from wattbus.energy.feed import NullFeed
from wattbus.errors import StoreBusy
from wattbus.home import Home
from wattbus.store.queries import list_events
from wattbus.store.rows import Claimed
from wattbus.store.store import Store, counts
from wattbus.store.tables import attempts, messages


def test_messages_go_on_when_every_connection_is_cut_again_and_again(
    tmp_path: Path, postgres_url: str
) -> None:
    name = f"cut{os.getpid()}"
    url = f"{postgres_url}&application_name={name}"
    with testing.production(echo_production(), tmp_path, store_url=url) as bus:
        with _cutting(postgres_url, name) as cuts:
            sent = _send(bus, lambda sent: sent >= 200 and len(cuts) >= 5)
        _wait_until_done(bus, sent)
        done = _ends(bus)
        told = list_events(bus.production.store.engine, type="Warning", limit=1000)

    assert done == {"completed": sent}
    assert any("the store works again after" in line.text for line in told)
    assert _healthy(tmp_path, url)


def test_what_was_claimed_in_a_commit_without_an_answer_is_not_overtaken(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=postgres_url) as bus:
        store = bus.production.store
        lost = _lose_the_answer_to_the_next_claim(store, monkeypatch)
        with monkeypatch.context() as still:
            still.setattr(store, "_is_well", lambda: False)  # nobody looks after it but the next commit
            bus.submit("Echo", Text("claimed, and in nobody's hands"))
            assert lost.wait(10)
            bus.submit("Echo", Text("accepted later"))
            until(lambda: counts(store.engine).get("Completed", 0) >= 2, "one of the two is answered", 30)
        _wait_until_done(bus, 2)

    assert _healthy(tmp_path, postgres_url)


def _lose_the_answer_to_the_next_claim(store: Store, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the database commit the next claim, and lose the connection, for longer than is insisted on an answer."""
    lost = threading.Event()
    transactions = store._transactions
    connection: Any = transactions._connection.driver_connection
    commit, open_attempt = connection.commit, transactions._open
    claimed: list[Claimed] = []

    def opened(*given: Any) -> Claimed:
        claimed.append(open_attempt(*given))
        return claimed[-1]

    def committed() -> None:
        commit()
        if claimed:
            connection.close()
            raise psycopg.OperationalError("the connection was lost")

    def gives_up(_step: Callable[[], object]) -> NoReturn:
        lost.set()
        raise psycopg.OperationalError("the database is away")

    monkeypatch.setattr(transactions, "_open", opened)
    monkeypatch.setattr(connection, "commit", committed)
    monkeypatch.setattr(transactions._line, "insist", gives_up)
    return lost


@pytest.mark.heavy
def test_messages_go_on_through_immediate_restarts_of_the_database(tmp_path: Path, cluster: Cluster) -> None:
    with testing.production(echo_production(), tmp_path, store_url=cluster.url) as bus:
        restarts: list[int] = []
        ended = threading.Event()

        def restart() -> None:
            while not ended.wait(0.5):
                cluster.control("restart", "-m", "immediate", "-w")
                restarts.append(1)

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            sent = _send(bus, lambda sent: sent >= 1000 and len(restarts) >= 3)
        finally:
            ended.set()
            thread.join()
        _wait_until_done(bus, sent)
        done = _ends(bus)

    assert done == {"completed": sent}
    assert _healthy(tmp_path, cluster.url)


@pytest.mark.heavy
def test_a_database_that_is_away_is_said_to_be_and_everything_goes_on_by_itself(
    tmp_path: Path, cluster: Cluster
) -> None:
    with testing.production(echo_production(), tmp_path, store_url=cluster.url) as bus:
        before = bus.request("Echo", Text("before"), timeout_seconds=30)
        cluster.control("stop", "-m", "fast", "-w")
        with pytest.raises(StoreBusy, match=r"does not answer .* goes on by itself"):
            bus.submit("Echo", Text("meanwhile"))
        cluster.control("start", "-w", "-l", str(cluster.folder / "log"))
        sent = _send(bus, lambda sent: sent >= 1)
        _wait_until_done(bus, sent + 1)
        after = bus.request("Echo", Text("after"), timeout_seconds=30)

    assert (before.text, after.text) == ("before", "after")
    assert _healthy(tmp_path, cluster.url)


def test_a_production_can_be_stopped_while_its_database_is_away(tmp_path: Path, postgres_url: str) -> None:
    with _proxy(postgres_url) as (url, cut):
        config = read_config(home=tmp_path, store_url=url)
        with wattbus.run(echo_production(), config=config, feed=NullFeed("a test")) as bus:
            bus.request("Echo", Text("before"), timeout_seconds=30)
            cut()
        state = bus.production.state

    assert state == "Suspended"  # nobody could say whether somebody waits


class Cluster:
    """A PostgreSQL of the test's own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._user = {} if os.geteuid() else {"user": "nobody", "extra_groups": []}
        self._run("initdb", "-D", str(folder), "-U", "postgres", "--auth=trust", "--no-sync")
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {self._port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n"
            )

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def control(self, *words: str) -> None:
        """Run pg_ctl."""
        self._run("pg_ctl", "-D", str(self.folder), *words)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs / program, *words], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=60, check=False, **self._user,
        )  # type: ignore[call-overload]  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL that only this test uses; stopped afterwards."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = found[-1] if found else Path(shutil.which("initdb") or "")
    if not program.is_file():
        pytest.skip("no initdb: a PostgreSQL of one's own cannot be started")
    folder = Path(tempfile.mkdtemp(prefix="wattbus-cluster-"))
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        made = Cluster(folder, program.resolve().parent)
        made.control("start", "-w", "-l", str(folder / "log"))
        yield made
    finally:
        with contextlib.suppress(AssertionError, UnboundLocalError):
            made.control("stop", "-m", "immediate", "-w")
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _cutting(url: str, name: str) -> Iterator[list[int]]:
    """End all connections of an application again and again; the list grows by how many were cut."""
    cuts: list[int] = []
    ended = threading.Event()

    def cut() -> None:
        with psycopg.connect(url, autocommit=True) as admin:
            while not ended.wait(0.3):
                query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
                rows = admin.execute(query, (name,)).fetchall()
                cuts.append(rows[0][0])

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield cuts
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _proxy(url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Stand between a production and its database; what is returned cuts the line for good."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        _close(sink)

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((str(parts.get("host")), int(str(parts.get("port") or 5432))))
                sockets.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    def cut() -> None:
        for one in sockets:
            _close(one)

    threading.Thread(target=take, daemon=True).start()
    port = listener.getsockname()[1]
    there = f"{parts.get('host')}:{parts.get('port') or 5432}"
    try:
        yield url.replace(there, f"127.0.0.1:{port}"), cut
    finally:
        cut()


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def _send(bus: PythonDoor, enough: Callable[[int], bool]) -> int:
    """Send until it is enough, each message again until it is accepted; return how many were."""
    sent = 0
    while not enough(sent):
        until(partial(_accepted, bus, sent), "the message is accepted", 60)
        sent += 1
    return sent


def _accepted(bus: PythonDoor, number: int) -> bool:
    try:
        bus.submit("Echo", Text(str(number)), idempotency_key=f"number {number}")
    except StoreBusy:
        return False
    return True


def _wait_until_done(bus: PythonDoor, sent: int) -> None:
    def done() -> bool:
        try:
            found = counts(bus.production.store.engine)
        except StoreBusy:
            return False
        return set(found) == {"Completed"} and found["Completed"] >= 2 * sent

    until(done, "every message is Completed, with its response", 60)


def _ends(bus: PythonDoor) -> dict[str, int]:
    """Return how the attempts ended, by outcome; put back does not count: nothing had begun."""
    query = (
        select(attempts.c.outcome, func.count())
        .join(messages, messages.c.id == attempts.c.message_id)
        .where(messages.c.type == "Request", attempts.c.outcome != "put back")
        .group_by(attempts.c.outcome)
    )
    with bus.production.store.engine.connect() as connection:
        return {outcome: count for outcome, count in connection.execute(query)}


def _healthy(home: Path, url: str) -> bool:
    report = examine(Home(home), url)
    assert report.ok, report.to_text()
    return True
