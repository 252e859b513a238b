"""dramatiq on RabbitMQ: quorum queues, publisher confirms, and its results backend on a private Redis.

The Redis has ``appendfsync always``, so that a result is on disk before anybody reads it; the message is
acknowledged after that. Clients are threads, which is what dramatiq's broker is for, and the worker is dramatiq's own
with 16 threads in a process of its own. Its duty is lighter than ours: no trace, no energy record.
"""

from __future__ import annotations

import logging
import multiprocessing
import secrets
from importlib.metadata import version
from multiprocessing.synchronize import Event
from typing import Any

from peers.contender import BODY_BYTES, WORKERS, Measure, NotHere, Setup, drive
from peers.private import redis_server
from peers.rabbitmq import QUORUM, URL

_WAIT_MS = 60_000


class Dramatiq:
    """A broker and an actor for the clients here, and one worker process."""

    def __init__(self, setup: Setup) -> None:
        try:
            import dramatiq.brokers.rabbitmq
            import dramatiq.results.backends.redis
        except ImportError as error:
            raise NotHere(f"the Python package {error.name} is not installed") from None
        import pika.exceptions

        logging.getLogger("pika").setLevel(logging.CRITICAL)  # connections that end with their thread
        self._queue = f"bench_{setup.run}_dramatiq"
        self._server, self._port = redis_server(setup.folder)
        spawn = multiprocessing.get_context("spawn")
        ready, self._stop = spawn.Event(), spawn.Event()
        self._worker = spawn.Process(target=_work, args=(self._port, self._queue, ready, self._stop))
        try:
            self._broker, self._echo = _echo(self._port, self._queue)
            self._broker.declare_queue(self._queue, ensure=True)
            self._worker.start()
            if not ready.wait(30):
                raise RuntimeError("the worker did not start")
        except (pika.exceptions.AMQPError, dramatiq.errors.ConnectionError) as error:
            self._server.close()
            raise NotHere(f"no broker at {URL.rpartition('@')[2]} ({type(error).__name__})") from None
        except BaseException:
            self.close()
            raise
        self.version = f"dramatiq {version('dramatiq')}, pika {version('pika')}, redis-py {version('redis')}"
        self._body = secrets.token_hex(BODY_BYTES // 2)

    def measure(self, in_flight: int, requests: int) -> Measure:
        def call() -> None:
            if self._echo.send(self._body).get_result(block=True, timeout=_WAIT_MS) != self._body:
                raise RuntimeError("the reply is not the request")

        try:
            return drive(call, in_flight, requests)
        finally:
            self._broker.close()  # a connection for each thread: the next measurement has its own
            self._broker.connections.clear()
            self._broker.channels.clear()
            self._broker.state.__dict__.clear()

    def close(self) -> None:
        self._stop.set()
        if self._worker.pid is not None:
            self._worker.join(15)
            if self._worker.is_alive():
                self._worker.kill()
        for name in (self._queue, f"{self._queue}.DQ", f"{self._queue}.XQ"):
            self._broker.channel.queue_delete(name)
        self._broker.close()
        self._server.close()


def _echo(port: int, queue: str) -> tuple[Any, Any]:
    """Return a broker and the actor on it, the same for client and worker."""
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker
    from dramatiq.results import Results
    from dramatiq.results.backends.redis import RedisBackend

    class QuorumBroker(RabbitmqBroker):
        """Declares quorum queues, which have on disk what they confirm."""

        def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
            arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
            return arguments | QUORUM

    broker = QuorumBroker(url=URL, confirm_delivery=True)
    broker.add_middleware(Results(backend=RedisBackend(port=port, max_connections=1000), store_results=True))
    dramatiq.set_broker(broker)

    @dramatiq.actor(queue_name=queue, broker=broker)
    def echo(body: str) -> str:
        return body

    return broker, echo


def _work(port: int, queue: str, ready: Event, stop: Event) -> None:
    from dramatiq import Worker

    logging.getLogger("pika").setLevel(logging.CRITICAL)
    broker, _ = _echo(port, queue)
    worker = Worker(broker, worker_threads=WORKERS)
    worker.start()
    ready.set()
    stop.wait()
    worker.stop()
    broker.close()


def open_contender(setup: Setup, name: str) -> Dramatiq:
    """Start Redis and the worker, and declare the queues."""
    return Dramatiq(setup)
