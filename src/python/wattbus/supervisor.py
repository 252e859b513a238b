"""The supervisor: a small process that starts the process of a home and starts it again when it dies.

It holds no state and loads next to nothing, so there is little in it that could fail. Signals for the process go
through it: SIGTERM and SIGINT stop, SIGHUP updates. A process that ends by itself, with a state or with a sentence, is
not started again; one that was killed or that crashed is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from types import FrameType

from wattbus.clock import SYSTEM, Clock
from wattbus.home import Home

#: The process of the home reads here who supervises it.
VARIABLE = "WATTBUS_SUPERVISED_BY"
LONGEST_PAUSE_SECONDS = 30.0
_WINDOW_SECONDS = 60.0
_MOST_DEATHS = 5
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Restarts:
    """When a process that died is started again: after 1, 2, 4, ... s, and not after five deaths in a minute."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque()

    def died(self, now_seconds: float) -> float | None:
        """Note a death and return the pause before the next start; None: it dies too often."""
        self._deaths.append(now_seconds)
        while now_seconds - self._deaths[0] > _WINDOW_SECONDS:
            self._deaths.popleft()
        if len(self._deaths) >= _MOST_DEATHS:
            return None
        return min(LONGEST_PAUSE_SECONDS, 2.0 ** (len(self._deaths) - 1))


class Supervisor:
    """Keeps one command running on one home."""

    def __init__(self, home: Home, command: Sequence[str], clock: Clock = SYSTEM) -> None:
        self._home, self._command, self._clock = home, list(command), clock
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    def run(self) -> int:
        """Run the command until it ends by itself, and return its exit status; 1 where it dies too often."""
        for number in _PASSED_ON:
            signal.signal(number, self._pass_on)
        restarts = Restarts()
        while True:
            code = self._run_once()
            if self._ended_by_itself(code):
                return max(code, 0)
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            pause = restarts.died(self._clock.monotonic())
            if pause is None:
                _say(f"the process died by {how}, for the {_MOST_DEATHS}th time in a minute: it is given up")
                return 1
            _say(f"the process died by {how}; it is started again in {pause:g} s")
            if self._clock.wait(self._ending, pause):
                return 0

    def _run_once(self) -> int:
        # In a session of its own: a Ctrl-C of the terminal comes through us, and only once.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, start_new_session=True, env={**os.environ, VARIABLE: str(os.getpid())}
        )
        if self._ending.is_set():  # a signal came before there was anybody to pass it on to
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait()

    def _ended_by_itself(self, code: int) -> bool:
        assert self._process is not None
        if code == 0 or self._ending.is_set():
            return True
        # One that never answered has said why in a sentence: bad settings, a port that is taken.
        return code > 0 and not self._has_answered(self._process.pid)

    def _has_answered(self, pid: int) -> bool:
        try:
            pointer = json.loads((self._home.root / "control.json").read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(pointer, dict) and pointer.get("pid") == pid

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._ending.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _say(text: str) -> None:
    sys.stdout.write(f"supervisor {os.getpid()}: {text}\n")
    sys.stdout.flush()
