"""RabbitMQ quorum queues through aio-pika: one for requests, one for replies.

Publisher confirms on both, and an ack after the reply's confirm. Its duty is lighter than ours: an opaque body, no
trace, no energy record, nothing kept. The worker is a process of its own, as measured no slower than one event loop
for both.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import secrets
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.synchronize import Event
from typing import Any

from peers.contender import BODY_BYTES, Measure, NotHere, Setup, drive_tasks

URL = os.environ.get("BENCH_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
# Should the run be killed, the broker drops the queues itself.
QUORUM: dict[str, Any] = {"x-queue-type": "quorum", "x-expires": 600_000}


class RabbitMQ:
    """Queues, a client here, and a worker process for each measurement (its prefetch is the number in flight)."""

    def __init__(self, setup: Setup) -> None:
        try:
            import aio_pika
        except ImportError:
            raise NotHere("the Python package aio-pika is not installed") from None
        # The end of a run deletes queues that still have consumers, which it would report.
        logging.getLogger("aiormq").setLevel(logging.ERROR)
        logging.getLogger("aio_pika").setLevel(logging.ERROR)
        self._pika = aio_pika
        self._requests, self._replies = f"bench_{setup.run}_requests", f"bench_{setup.run}_replies"
        self._body = secrets.token_hex(BODY_BYTES // 2).encode()
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._declare())
        except OSError as error:
            raise NotHere(f"no broker at {URL.rpartition('@')[2]} ({error})") from None
        self.version = f"RabbitMQ {self._server}, aio-pika {version('aio-pika')}"

    def measure(self, in_flight: int, requests: int) -> Measure:
        spawn = multiprocessing.get_context("spawn")
        ready, stop = spawn.Event(), spawn.Event()
        worker = spawn.Process(target=_work, args=(self._requests, in_flight, ready, stop), daemon=True)
        worker.start()
        try:
            if not ready.wait(30):
                raise RuntimeError("the worker did not start")
            return self._loop.run_until_complete(self._drive(in_flight, requests))
        finally:
            stop.set()
            worker.join(10)

    def close(self) -> None:
        # Stopped in the middle, nobody reads any more what was on its way: without a word about it.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._loop.run_until_complete(self._delete())
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.close()

    async def _declare(self) -> None:
        self._connection = await self._pika.connect(URL)
        told = self._connection.transport
        server: Any = (
            told.connection.server_properties["version"] if told is not None else "of unknown version"
        )
        self._server = server.decode() if isinstance(server, bytes) else server
        self._channel = await self._connection.channel(publisher_confirms=True)
        await self._channel.set_qos(prefetch_count=256)
        for name in (self._requests, self._replies):
            queue = await self._channel.declare_queue(name, durable=True, arguments=QUORUM)
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

        async def replied(message: Any) -> None:
            self._waiting.pop(message.correlation_id).set_result(message.body)
            await message.ack()

        self._consumer = await queue.consume(replied)
        self._reply_queue = queue

    async def _delete(self) -> None:
        await self._reply_queue.cancel(self._consumer)
        await self._channel.queue_delete(self._requests)
        await self._channel.queue_delete(self._replies)
        await self._connection.close()

    async def _drive(self, in_flight: int, requests: int) -> Measure:
        keys = map(str, itertools.count())

        async def call() -> None:
            if await self._request(next(keys)) != self._body:
                raise RuntimeError("the reply is not the request")

        return await drive_tasks(call, in_flight, requests)

    async def _request(self, key: str) -> bytes:
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        message = self._pika.Message(
            self._body,
            correlation_id=key,
            reply_to=self._replies,
            delivery_mode=self._pika.DeliveryMode.PERSISTENT,
        )
        await self._channel.default_exchange.publish(message, routing_key=self._requests)
        body: bytes = await future
        return body


def _work(queue: str, prefetch: int, ready: Event, stop: Event) -> None:
    asyncio.run(_worker(queue, prefetch, ready.set, stop.is_set))


async def _worker(queue: str, prefetch: int, ready: Callable[[], None], stop: Callable[[], bool]) -> None:
    import aio_pika

    connection = await aio_pika.connect(URL)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(prefetch_count=prefetch)
    source = await channel.declare_queue(queue, durable=True, arguments=QUORUM)

    async def echo(message: Any) -> None:
        reply = aio_pika.Message(
            message.body,
            correlation_id=message.correlation_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await channel.default_exchange.publish(reply, routing_key=message.reply_to)
        await message.ack()

    tag = await source.consume(echo)
    ready()
    while not stop():
        await asyncio.sleep(0.05)
    await source.cancel(tag)
    await connection.close()


def open_contender(setup: Setup, name: str) -> RabbitMQ:
    """Connect and declare the queues."""
    return RabbitMQ(setup)
