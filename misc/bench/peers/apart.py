"""A measurement in a process of its own: fresh caches, a peak of memory of its own, bounded in time."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def apart(limit_seconds: float, function: Callable[..., Any], *given: Any) -> Any:
    """Call ``function`` in a fresh process and return what it returns; end the process when its time is over."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_call, args=(theirs, function, given), name=function.__name__)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit_seconds):
            raise TimeoutError(f"{function.__name__}: nothing after {limit_seconds:g} s")
        try:
            done, answer = ours.recv()
        except EOFError:
            raise RuntimeError(f"{function.__name__}: the process ended; see above") from None
        process.join(30)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(15)
        if process.is_alive():
            process.kill()
            process.join()
    if not done:
        raise RuntimeError(f"{function.__name__} failed:\n{answer}")
    return answer


def _call(pipe: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped: too slow"))
    try:
        answer = function(*given)
    except Exception:
        pipe.send((False, traceback.format_exc()))
    else:
        pipe.send((True, answer))
