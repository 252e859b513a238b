"""A child process as the production sees it: started, spoken to, and ended with all that it has started.

Two sockets lead to it: one to talk, in the frames of pipe.py, and the leash to its guard (guard.py), by which the
production ends the child and is told how it ended. What the child prints comes line by line, in a thread of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from wattbus.config import environment_for_children
from wattbus.runtime.guard import ASK_TO_END, KILL
from wattbus.runtime.pipe import BrokenPipe, Frame, Frames, packed

TICK_SECONDS = 0.1
#: How long a killed process may take to be gone; longer, and it hangs in the kernel.
_GONE_SECONDS = 5.0
_READ_BYTES = 1 << 20
_LONGEST_LINE_BYTES = 64 * 1024
_WORDS = {
    signal.SIGSEGV: "a segmentation fault",
    signal.SIGABRT: "it aborted itself",
    signal.SIGBUS: "a bus error",
    signal.SIGFPE: "an arithmetic error",
    signal.SIGILL: "an illegal instruction",
}


class Ended(Exception):
    """The child process is gone; the text says how, in words."""

    def __init__(self, status: int | None, cpu_seconds: float | None) -> None:
        super().__init__(_ending_words(status))
        self.status, self.cpu_seconds = status, cpu_seconds


class ChildProcess:
    """One child process, from its start to its end."""

    def __init__(self, on_line: Callable[[str, str], None]) -> None:
        """Start it; ``on_line`` gets what it prints, as (event type, line), in a thread of its own."""
        talk, child_talk = socket.socketpair()
        leash, child_leash = socket.socketpair()
        with child_talk, child_leash:
            self._process = subprocess.Popen(  # noqa: S603 - our interpreter, our module
                [
                    sys.executable, "-P", "-m", "wattbus.runtime.guard", str(child_talk.fileno()),
                    str(child_leash.fileno()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment_for_children() | {"PYTHONPATH": _python_path()},
                pass_fds=(child_talk.fileno(), child_leash.fileno()),
                start_new_session=True,
            )  # fmt: skip
        self.pid: int | None = None  # of the child itself; told by its first frame
        self._talk, self._leash = talk, leash
        talk.setblocking(False)
        leash.setblocking(False)
        self._frames = Frames()
        self._to_send = bytearray()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._report = bytearray()
        self._talk_ended = self._leash_ended = self._closed = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(talk, selectors.EVENT_READ)
        self._selector.register(leash, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._output = Output(self._process.stdout, self._process.stderr, on_line)

    @property
    def mark(self) -> str:
        """Return how a line begins by which the child says that a call has ended."""
        return self._output.mark

    def send(self, frame: Frame) -> None:
        """Send a frame, soon; any thread may."""
        data = packed(frame)
        with self._lock:
            self._to_send += data
        with contextlib.suppress(OSError):  # woken already, or closed
            self._wake.send(b"x")

    def listen(self, on_frame: Callable[[Frame], bool], tick: Callable[[], None]) -> None:
        """Hand over each frame that comes until ``on_frame`` says that it is enough; ``tick`` is called meanwhile.

        Raises :class:`Ended` when the child is gone and all that it has said is handed over.
        """
        enough = False
        while not enough:
            tick()
            for frame in self._exchange(TICK_SECONDS):
                enough = on_frame(frame) or enough
            if enough:
                return
            if self._leash_ended:
                # The report comes after the end: what the child has said is all there.
                frames = self._received()
                while frames and not enough:
                    enough = any([on_frame(frame) for frame in frames])
                    frames = self._received()
                if not enough:
                    raise self._ended()
            elif self._talk_ended:
                self.kill()  # it lives, and has closed the pipe

    def await_marks(self, marks: list[int]) -> None:
        """Wait until the output up to these marks is handed over; 0: that stream has none."""
        self._output.await_marks(marks, _GONE_SECONDS)

    def is_gone(self) -> bool:
        """Tell whether it has ended, without waiting."""
        if not self._leash_ended:
            self._read_leash()
        return self._leash_ended or self._talk_ended or self._hangs_up()

    def _hangs_up(self) -> bool:
        """Tell whether the child's end of the talk is closed, which is so a moment before its guard knows."""
        try:
            return not self._talk.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def ask_to_end(self) -> None:
        """Ask the process group of the child to end, by SIGTERM."""
        self._pull(ASK_TO_END)

    def kill(self) -> None:
        """Kill the child and all that it has started."""
        self._pull(KILL)

    def end(self) -> Ended:
        """Kill what is left, wait until it is gone, close everything, and return how it ended."""
        if not self._closed:
            self.kill()
            deadline = time.monotonic() + _GONE_SECONDS
            while not self._leash_ended and time.monotonic() < deadline:
                self._exchange(TICK_SECONDS)
            self._closed = True
            self._leash.close()  # a guard that has not answered kills at the end of its leash
            try:
                self._process.wait(_GONE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._selector.close()
            for end in (self._talk, self._wake, self._woken):
                end.close()
            self._output.close(_GONE_SECONDS)
        return self._ended()

    def _pull(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            self._leash.send(word)

    def _exchange(self, seconds: float) -> list[Frame]:
        """Send and receive for so long at most; return what came."""
        frames: list[Frame] = []
        with self._lock:
            sends = bool(self._to_send)
        if not self._talk_ended:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if sends else 0)
            self._selector.modify(self._talk, events)
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._woken:
                with contextlib.suppress(OSError):
                    self._woken.recv(_READ_BYTES)
            elif key.fileobj is self._leash:
                self._read_leash()
            else:
                if events & selectors.EVENT_WRITE:
                    self._send_some()
                if events & selectors.EVENT_READ:
                    frames += self._received()
        return frames

    def _send_some(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # it is gone: its end is read elsewhere
            sent = self._talk.send(memoryview(self._to_send)[:_READ_BYTES])
            del self._to_send[:sent]

    def _received(self) -> list[Frame]:
        if self._talk_ended:
            return []
        try:
            data = self._talk.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._talk_ended = True
            self._selector.unregister(self._talk)
            return []
        try:
            return self._frames.feed(data)
        except BrokenPipe:
            self._talk_ended = True
            self._selector.unregister(self._talk)
            raise

    def _read_leash(self) -> None:
        try:
            data = self._leash.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._report += data
        if not data:
            self._leash_ended = True
            self._selector.unregister(self._leash)

    def _ended(self) -> Ended:
        told = json.loads(bytes(self._report)) if self._report.endswith(b"\n") else {}
        return Ended(told.get("status"), told.get("cpu_seconds"))


class Output:
    """What a child prints, line by line: none is lost, and its pipes never fill."""

    def __init__(
        self, stdout: IO[bytes] | None, stderr: IO[bytes] | None, on_line: Callable[[str, str], None]
    ) -> None:
        assert stdout is not None and stderr is not None
        # Nobody can know what it is before it is told, so no output is taken for a mark.
        self.mark = f"\0{uuid.uuid4().hex} "
        self._on_line = on_line
        self._reached = [0, 0]
        self._changed = threading.Condition()
        # Named as the worker: its lines are those of the worker's job.
        self._threads = [
            threading.Thread(
                target=self._read,
                args=(number, pipe, type_),
                name=threading.current_thread().name,
                daemon=True,
            )
            for number, (pipe, type_) in enumerate(((stdout, "Info"), (stderr, "Warning")))
        ]
        for thread in self._threads:
            thread.start()

    def await_marks(self, marks: list[int], seconds: float) -> None:
        """Wait until both streams are read up to their marks."""
        with self._changed:
            self._changed.wait_for(
                lambda: all(reached >= mark for reached, mark in zip(self._reached, marks, strict=True)),
                seconds,
            )

    def close(self, seconds: float) -> None:
        """Wait for the end of both streams."""
        for thread in self._threads:
            thread.join(seconds)

    def _read(self, number: int, pipe: IO[bytes], type_: str) -> None:
        rest = b""
        mark = self.mark.encode()
        with pipe:
            while data := os.read(pipe.fileno(), _READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > _LONGEST_LINE_BYTES:
                    # A line without end is told in parts; the last of it may be the first of a mark.
                    lines, rest = [*lines, rest[: -len(mark)]], rest[-len(mark) :]
                for line in lines:
                    text, marked, reached = line.partition(mark)
                    self._tell(type_, text)
                    if marked:
                        with self._changed:
                            self._reached[number] = int(reached)
                            self._changed.notify_all()
        self._tell(type_, rest)

    def _tell(self, type_: str, line: bytes) -> None:
        for start in range(0, len(line), _LONGEST_LINE_BYTES):
            text = line[start : start + _LONGEST_LINE_BYTES].decode(errors="replace").rstrip("\r")
            if text.strip():
                self._on_line(type_, text)


def _ending_words(status: int | None) -> str:
    if status is None:
        return "it is gone, and nobody saw how: its guard was killed"
    if status >= 0:
        return f"it ended with exit code {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    what = _WORDS.get(-status)  # type: ignore[call-overload]
    return f"it was ended by {name}" + (f", {what}" if what else "")


def _python_path() -> str:
    """Return where the child finds this package before it is told the production's own path."""
    root = str(Path(__file__).parents[2])
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
