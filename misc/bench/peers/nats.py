"""NATS JetStream through nats-py: a stream for requests and one for replies, ``sync_interval: always``.

A private server of version 2.10 or newer, the first that knows the option. Each publish waits for the stream's
acknowledgement; the worker, a process of its own, acknowledges a request after its reply is in the stream; at most the
number in flight is out at once. Its duty is lighter than ours: an opaque body, no trace, no energy record.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import re
import secrets
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.synchronize import Event
from typing import Any

from peers.contender import BODY_BYTES, Measure, NotHere, Setup, drive_tasks
from peers.private import PrivateServer, free_port, program, told_version

REQUESTS, REPLIES = "requests", "replies"
_FIRST = (2, 10)


class Nats:
    """A server, a client here, and a worker process for each measurement."""

    def __init__(self, setup: Setup) -> None:
        try:
            import nats
        except ImportError:
            raise NotHere("the Python package nats-py is not installed") from None
        path = program("nats-server", "BENCH_NATS_SERVER")
        said = told_version(path)
        number = re.search(r"v?(\d+)\.(\d+)", said)
        if number is None or (int(number[1]), int(number[2])) < _FIRST:
            raise NotHere(
                f"{said} has no `sync_interval: always`; 2.10 has, and BENCH_NATS_SERVER may name one"
            )
        self.version = f"{said.replace(': v', ' ')}, nats-py {version('nats-py')}"
        port, place = free_port(), setup.folder / "nats"
        place.mkdir()
        settings = {
            "listen": f"127.0.0.1:{port}",
            "jetstream": {"store_dir": str(place), "sync_interval": "always"},
        }
        (place / "server.conf").write_text(json.dumps(settings))
        self._server = PrivateServer([path, "-c", str(place / "server.conf")], place, port)
        self._url = f"nats://127.0.0.1:{port}"
        self._body = secrets.token_hex(BODY_BYTES // 2).encode()
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._client: Any = None
        try:
            self._loop.run_until_complete(self._open(nats.connect))
        except BaseException:
            self._server.close()
            raise

    def measure(self, in_flight: int, requests: int) -> Measure:
        self._loop.run_until_complete(self._empty())
        spawn = multiprocessing.get_context("spawn")
        ready, stop = spawn.Event(), spawn.Event()
        worker = spawn.Process(target=_work, args=(self._url, in_flight, ready, stop), daemon=True)
        worker.start()
        try:
            if not ready.wait(30):
                raise RuntimeError("the worker did not start")
            return self._loop.run_until_complete(self._drive(in_flight, requests))
        finally:
            stop.set()
            worker.join(10)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
        self._server.close()

    async def _open(self, connect: Any) -> None:
        self._client = await connect(self._url)
        self._stream = self._client.jetstream(timeout=30)
        for name in (REQUESTS, REPLIES):
            await self._stream.add_stream(name=name, subjects=[f"{name}.*"], storage="file")

    async def _empty(self) -> None:
        for name in (REQUESTS, REPLIES):
            await self._stream.purge_stream(name)

    async def _drive(self, in_flight: int, requests: int) -> Measure:
        keys = map(str, itertools.count())

        async def replied(message: Any) -> None:
            self._waiting.pop(message.subject.rpartition(".")[2]).set_result(message.data)

        async def call() -> None:
            if await self._request(next(keys)) != self._body:
                raise RuntimeError("the reply is not the request")

        replies = await self._stream.subscribe(
            f"{REPLIES}.*", cb=replied, config=_reader("none"), manual_ack=True
        )
        try:
            return await drive_tasks(call, in_flight, requests)
        finally:
            await replies.unsubscribe()

    async def _request(self, key: str) -> bytes:
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        await self._stream.publish(f"{REQUESTS}.{key}", self._body)
        body: bytes = await future
        return body


def _reader(ack: str, out: int | None = None) -> Any:
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    return ConsumerConfig(ack_policy=AckPolicy(ack), deliver_policy=DeliverPolicy.ALL, max_ack_pending=out)


def _work(url: str, out: int, ready: Event, stop: Event) -> None:
    asyncio.run(_worker(url, out, ready.set, stop.is_set))


async def _worker(url: str, out: int, ready: Callable[[], None], stop: Callable[[], bool]) -> None:
    import nats

    client = await nats.connect(url)
    stream = client.jetstream(timeout=30)
    at_work: set[asyncio.Task[None]] = set()

    async def answer(message: Any) -> None:
        await stream.publish(f"{REPLIES}.{message.subject.rpartition('.')[2]}", message.data)
        await message.ack()

    async def echo(message: Any) -> None:
        # A subscription calls back one message after the other: the answers must not wait for each other.
        task = asyncio.create_task(answer(message))
        at_work.add(task)
        task.add_done_callback(at_work.discard)

    source = await stream.subscribe(
        f"{REQUESTS}.*", cb=echo, config=_reader("explicit", out), manual_ack=True
    )
    ready()
    while not stop():
        await asyncio.sleep(0.05)
    await source.unsubscribe()
    await client.close()


def open_contender(setup: Setup, name: str) -> Nats:
    """Start the server and declare the streams."""
    return Nats(setup)
