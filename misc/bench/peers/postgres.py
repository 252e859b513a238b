"""A queue in PostgreSQL, as good as found: SKIP LOCKED, prepared statements, wake-ups in memory.

``synchronous_commit`` is on. ``postgres`` does our work: header, body, attempt, response with its body, energy row;
``postgres-light`` keeps one row a request and nothing else. Each request has three durable steps: it is accepted; it
is claimed (the attempt is durable before the work starts); it is done. A worker that is done claims its next request
in the same commit, as ours does. Each client has a connection; more than 48 clients share 48, each for the time of
its INSERT (a server takes 100 connections by default). LISTEN/NOTIFY (which takes one lock for all commits) and
polling were tried and were slower at 16 and 64 in flight.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Callable
from typing import Any

from peers.contender import BODY_BYTES, WORKERS, Measure, NotHere, Setup, drive, drive_each

CONNECTIONS = 48
URL = os.environ.get("BENCH_POSTGRES_URL", "postgresql://127.0.0.1:5432/test")

_NEXT = """(SELECT id FROM messages WHERE status = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)"""

_LIGHT = {
    "tables": """
        CREATE TABLE messages (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text NOT NULL DEFAULT 'queued',
            body text NOT NULL, response text, worker text, created timestamptz DEFAULT clock_timestamp(),
            claimed timestamptz, done timestamptz) WITH (fillfactor = 70);
        CREATE INDEX ON messages (id) WHERE status = 'queued'
    """,
    "accept": "INSERT INTO messages (body) VALUES (%s) RETURNING id",
    "claim": f"""
        UPDATE messages SET status = 'claimed', claimed = clock_timestamp(), worker = %s
        WHERE id = {_NEXT} RETURNING id, body
    """,
    "done": """
        ended AS (UPDATE messages SET status = 'done', response = %s, done = clock_timestamp() WHERE id = %s)
    """,
    "empty": "TRUNCATE messages",
}

_SAME = {
    "tables": """
        CREATE TABLE messages (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session_id bigint, corresponding_id bigint,
            type text NOT NULL, source text NOT NULL, target text NOT NULL, body_class text NOT NULL,
            status text NOT NULL, created timestamptz DEFAULT clock_timestamp(), processed timestamptz
            ) WITH (fillfactor = 70);
        CREATE INDEX ON messages (id) WHERE status = 'queued';
        CREATE INDEX ON messages (session_id);
        CREATE TABLE bodies (id bigint PRIMARY KEY, body text NOT NULL);
        CREATE TABLE attempts (
            message_id bigint, number int, worker text NOT NULL, started timestamptz DEFAULT clock_timestamp(),
            lease_until timestamptz DEFAULT clock_timestamp() + interval '30 s', ended timestamptz,
            outcome text NOT NULL, PRIMARY KEY (message_id, number)) WITH (fillfactor = 70);
        CREATE TABLE energy (
            message_id bigint, attempt int, item text NOT NULL, started timestamptz DEFAULT clock_timestamp(),
            duration_seconds double precision, energy_joules double precision, tier text NOT NULL,
            status text NOT NULL, PRIMARY KEY (message_id, attempt))
    """,
    "accept": """
        WITH accepted AS (
            INSERT INTO messages (type, source, target, body_class, status)
            VALUES ('Request', 'client', 'Echo', 'Text', 'queued') RETURNING id
        ), body AS (INSERT INTO bodies SELECT id, %s FROM accepted)
        SELECT id FROM accepted
    """,
    "claim": f"""
        , claimed AS (UPDATE messages SET status = 'claimed' WHERE id = {_NEXT} RETURNING id),
        attempt AS (
            INSERT INTO attempts (message_id, number, worker, outcome) SELECT id, 1, %s, 'running' FROM claimed
        )
        SELECT id, body FROM claimed JOIN bodies USING (id)
    """,
    "done": """
        given AS (SELECT %s::text AS body, %s::bigint AS id),
        reply AS (
            INSERT INTO messages (session_id, corresponding_id, type, source, target, body_class, status)
            SELECT id, id, 'Response', 'Echo', 'client', 'Text', 'done' FROM given RETURNING id
        ), reply_body AS (INSERT INTO bodies SELECT reply.id, given.body FROM reply, given),
        ended AS (
            UPDATE messages SET status = 'done', processed = clock_timestamp(), corresponding_id = reply.id
            FROM given, reply WHERE messages.id = given.id
        ), attempt_ended AS (
            UPDATE attempts SET outcome = 'completed', ended = clock_timestamp()
            FROM given WHERE message_id = given.id AND number = 1
        ), metered AS (
            INSERT INTO energy (message_id, attempt, item, duration_seconds, energy_joules, tier, status)
            SELECT id, 1, 'Echo', 0.0001, 0.001, 'attributed', 'measured' FROM given
        )
    """,
    "empty": "TRUNCATE messages, bodies, attempts, energy",
}


class Postgres:
    """Tables in a schema of their own, 16 workers with a connection each, and a connection for each client."""

    def __init__(self, setup: Setup, duty: dict[str, str]) -> None:
        try:
            import psycopg
        except ImportError:
            raise NotHere("the Python package psycopg is not installed") from None
        self._psycopg = psycopg
        self._schema = f"bench_{setup.run}"
        try:
            self._admin = self._connect()
        except psycopg.OperationalError as error:
            raise NotHere(f"no server at {URL.rpartition('@')[2]} ({str(error).splitlines()[0]})") from None
        (server,) = self._admin.execute("SHOW server_version").fetchone()
        self.version = f"PostgreSQL {server.partition(' ')[0]}, psycopg {psycopg.__version__}"
        # One transaction: all or nothing is left behind.
        made = f"CREATE SCHEMA {self._schema}; SET search_path = {self._schema}; {duty['tables']}"
        self._admin.execute(made, prepare=False)
        self._accept, self._empty = duty["accept"], duty["empty"]
        claim = duty["claim"].strip()
        first = "WITH nothing AS (SELECT 1) " if claim.startswith(",") else ""
        self._claim = first + claim
        self._done_and_claim = f"WITH {duty['done']} {claim}"
        self._body = secrets.token_hex(BODY_BYTES // 2)
        self._failure: Exception | None = None
        self._work = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._answers: dict[int, Answer] = {}
        self._stopping = False
        self._workers = [
            threading.Thread(target=self._serve, args=(f"worker {number}",), daemon=True)
            for number in range(WORKERS)
        ]
        for worker in self._workers:
            worker.start()

    def measure(self, in_flight: int, requests: int) -> Measure:
        self._admin.execute(self._empty)
        connections = [self._connect() for _ in range(min(in_flight, CONNECTIONS))]
        cursors = [connection.cursor() for connection in connections]
        try:
            if in_flight > CONNECTIONS:
                return drive(self._shared(cursors), in_flight, requests)
            return drive_each([self._client(cursor) for cursor in cursors], requests)
        finally:
            for connection in connections:
                connection.close()

    def close(self) -> None:
        self._stopping = True
        self._work.release(WORKERS)
        for worker in self._workers:
            worker.join(10)
        self._admin.execute(f"DROP SCHEMA {self._schema} CASCADE")
        self._admin.close()

    def _connect(self) -> Any:
        connection = self._psycopg.connect(URL, autocommit=True, connect_timeout=5, prepare_threshold=0)
        connection.execute("SET synchronous_commit = on")
        with contextlib.suppress(self._psycopg.errors.InsufficientPrivilege):
            # Not a second of waiting for each, see _committed; not every user may ask for it.
            connection.execute("SET deadlock_timeout = '20ms'")
        connection.execute(f"SET search_path = {self._schema}")
        return connection

    def _client(self, cursor: Any) -> Callable[[], None]:
        def call() -> None:
            message_id = cursor.execute(self._accept, (self._body,)).fetchone()[0]
            self._await_reply(message_id)

        return call

    def _shared(self, cursors: list[Any]) -> Callable[[], None]:
        free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for cursor in cursors:
            free.put(cursor)

        def call() -> None:
            cursor = free.get()
            try:
                message_id = cursor.execute(self._accept, (self._body,)).fetchone()[0]
            finally:
                free.put(cursor)
            self._await_reply(message_id)

        return call

    def _await_reply(self, message_id: int) -> None:
        """Wake a worker and wait for the reply; raise where a worker has failed, since nobody may come any more."""
        self._work.release()
        answer = self._answer(message_id)
        if self._failure is not None or answer.wait() != self._body:
            raise RuntimeError(f"no reply: {self._failure or 'it is not the request'}")

    def _answer(self, message_id: int) -> Answer:
        """Return the meeting point of a request's client and worker; whoever comes second takes it out."""
        with self._lock:
            if message_id in self._answers:
                return self._answers.pop(message_id)
            return self._answers.setdefault(message_id, Answer())

    def _serve(self, name: str) -> None:
        try:
            with self._connect() as connection:
                self._work_on(connection, name)
        except Exception as error:
            with self._lock:
                self._failure = error
                for answer in self._answers.values():
                    answer.give("")

    def _work_on(self, connection: Any, name: str) -> None:
        cursor = connection.cursor()
        done: tuple[str, int] | None = None
        while not self._stopping:
            if done is None:
                self._work.acquire()
                claimed = self._committed(cursor, self._claim, (name,))
            else:
                claimed = self._committed(cursor, self._done_and_claim, (*done, name))
                self._answer(done[1]).give(done[0])
            done = None if claimed is None else (claimed[1], claimed[0])

    def _committed(self, cursor: Any, statement: str, values: tuple[Any, ...]) -> Any:
        """Execute until it is committed: two workers may each lock a row that the other has claimed a moment ago.

        SKIP LOCKED does not skip it: a row of the snapshot that was changed since is locked, waited for, and only then
        looked at again. The server rolls one of the two back.
        """
        while True:
            with contextlib.suppress(self._psycopg.errors.DeadlockDetected):
                return cursor.execute(statement, values).fetchone()


class Answer:
    """A reply on its way from a worker to a client in this process."""

    __slots__ = ("_gate", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._gate = threading.Lock()
        self._gate.acquire()

    def give(self, text: str) -> None:
        self._text = text
        self._gate.release()

    def wait(self) -> str:
        self._gate.acquire()
        return self._text


def open_contender(setup: Setup, name: str) -> Postgres:
    """Make the tables and start the workers."""
    return Postgres(setup, _LIGHT if name == "postgres-light" else _SAME)
