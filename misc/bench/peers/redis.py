"""Redis Streams, as good as found: a consumer group for requests, a stream for replies, ``appendfsync always``.

A private server. A request is an XADD, on disk before it is acknowledged; the worker, a process of its own, claims with
XREADGROUP (the claim is on disk too), and sends reply and XACK in one transaction; the client reads all replies that
are there. In ``redis`` a message is a command on a connection of the pool, and 16 tasks work, each on one message at
a time. In ``redis-pipelined`` the client sends in one pipeline what gathered while the last was on its way, and the
worker claims as many as there are and answers them together: one failure there fails them all. The duty of both is
lighter than ours: an opaque body, no trace, no energy record.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import secrets
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.synchronize import Event
from typing import Any

from peers.contender import BODY_BYTES, WORKERS, Measure, NotHere, Setup, drive_tasks
from peers.private import redis_server

REQUESTS, REPLIES, GROUP = "requests", "replies", "workers"
_LOOK_UP_MS = 100


class Redis:
    """A server, a client here, and a worker process for each measurement."""

    def __init__(self, setup: Setup, pipelined: bool) -> None:
        try:
            import redis.asyncio
        except ImportError:
            raise NotHere("the Python package redis is not installed") from None
        self._server, self._port = redis_server(setup.folder)
        self._body = secrets.token_hex(BODY_BYTES // 2).encode()
        self._loop = asyncio.new_event_loop()
        self._pipelined = pipelined
        self._redis = redis.asyncio.Redis(port=self._port, max_connections=1000)
        server = self._loop.run_until_complete(self._redis.info("server"))["redis_version"]
        self.version = (
            f"Redis {server}, redis-py {redis.__version__}{' with hiredis' if find_spec('hiredis') else ''}"
        )
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._outbox: list[bytes] = []
        self._filled = asyncio.Event()

    def measure(self, in_flight: int, requests: int) -> Measure:
        self._loop.run_until_complete(self._empty())
        spawn = multiprocessing.get_context("spawn")
        ready, stop = spawn.Event(), spawn.Event()
        work = _work_together if self._pipelined else _work_one_by_one
        worker = spawn.Process(target=work, args=(self._port, in_flight, ready, stop), daemon=True)
        worker.start()
        try:
            if not ready.wait(30):
                raise RuntimeError("the worker did not start")
            return self._loop.run_until_complete(self._drive(in_flight, requests))
        finally:
            stop.set()
            worker.join(10)

    def close(self) -> None:
        self._loop.run_until_complete(self._redis.aclose())
        self._loop.close()
        self._server.close()

    async def _empty(self) -> None:
        await self._redis.flushall()
        await self._redis.xgroup_create(REQUESTS, GROUP, id="0", mkstream=True)

    async def _drive(self, in_flight: int, requests: int) -> Measure:
        keys = (b"%d" % number for number in itertools.count())

        async def call() -> None:
            if await self._request(next(keys)) != self._body:
                raise RuntimeError("the reply is not the request")

        driven = asyncio.create_task(drive_tasks(call, in_flight, requests))
        helpers = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        # A helper that ends has failed, and its error is the one to tell.
        await asyncio.wait([driven, *helpers], return_when=asyncio.FIRST_COMPLETED)
        for task in (driven, *helpers):
            task.cancel()
        for helper in helpers:
            with contextlib.suppress(asyncio.CancelledError):
                await helper
        return await driven

    async def _request(self, key: bytes) -> bytes:
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._pipelined:
            self._outbox.append(key)
            self._filled.set()
        else:
            await self._redis.xadd(REQUESTS, {"key": key, "body": self._body})
        body: bytes = await future
        return body

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            batch, self._outbox = self._outbox, []
            pipeline = self._redis.pipeline(transaction=False)
            for key in batch:
                pipeline.xadd(REQUESTS, {"key": key, "body": self._body})
            await pipeline.execute()

    async def _receive(self) -> None:
        last: bytes | str = "0"
        while True:
            found: Any = await self._redis.xread({REPLIES: last}, count=1000, block=_LOOK_UP_MS)
            for _, entries in found:
                for entry, fields in entries:
                    last = entry
                    self._waiting.pop(fields[b"key"]).set_result(fields[b"body"])


def _work_together(port: int, count: int, ready: Event, stop: Event) -> None:
    import redis

    with redis.Redis(port=port) as server:
        ready.set()
        while not stop.is_set():
            found: Any = server.xreadgroup(GROUP, "worker", {REQUESTS: ">"}, count=count, block=_LOOK_UP_MS)
            for _, claimed in found:
                pipeline = server.pipeline(transaction=True)
                for _, fields in claimed:
                    pipeline.xadd(REPLIES, {"key": fields[b"key"], "body": fields[b"body"]})
                pipeline.xack(REQUESTS, GROUP, *(entry for entry, _ in claimed))
                pipeline.execute()


def _work_one_by_one(port: int, _: int, ready: Event, stop: Event) -> None:
    asyncio.run(_workers(port, ready.set, stop.is_set))


async def _workers(port: int, ready: Callable[[], None], stop: Callable[[], bool]) -> None:
    import redis.asyncio

    server = redis.asyncio.Redis(port=port)

    async def work(name: str) -> None:
        while not stop():
            found: Any = await server.xreadgroup(GROUP, name, {REQUESTS: ">"}, count=1, block=_LOOK_UP_MS)
            for _, claimed in found:
                for entry, fields in claimed:
                    pipeline = server.pipeline(transaction=True)
                    pipeline.xadd(REPLIES, {"key": fields[b"key"], "body": fields[b"body"]})
                    pipeline.xack(REQUESTS, GROUP, entry)
                    await pipeline.execute()

    ready()
    await asyncio.gather(*(work(f"worker {number}") for number in range(WORKERS)))
    await server.aclose()


def open_contender(setup: Setup, name: str) -> Redis:
    """Start the server."""
    return Redis(setup, pipelined=name.endswith("-pipelined"))
