"""The guard of a child process: holds it and whatever it starts, and ends all of it when the production is gone.

``python -m wattbus.runtime.guard TALK LEASH`` splits in two while it is still small. The one half becomes the child
(child.py) and talks over the descriptor TALK. The other half, the guard, waits for its end, and listens to the LEASH
that the production holds: ``t`` asks the child's process group to end, ``k`` or the end of the leash (the production
was killed) kills the group and every descendant, also one with a session of its own. The guard's last word on the
leash is a JSON line: how the child ended, and the CPU seconds of all of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from typing import NoReturn

ASK_TO_END, KILL = b"t", b"k"
_SET_PARENT_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)
# The kernel's killer looks at this when memory runs out: rather the child than the production.
_SOONER_KILLED = b"500"


def main() -> None:
    """Split into guard and child."""
    talk, leash = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (talk, leash):
        os.set_inheritable(descriptor, False)
    # A core file would hold message bodies.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # What the child leaves behind when it dies becomes the guard's, so that nothing slips away.
    _control(_SET_SUBREAPER, 1)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(leash)
        _become_child(guard)
        from wattbus.runtime import child as child_side

        child_side.main(talk)
        return
    os.close(talk)
    _watch(child, leash)


def _become_child(guard: int) -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _control(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != guard:  # it died before the line above
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:
        score.write(_SOONER_KILLED)


def _watch(child: int, leash: int) -> NoReturn:
    """Wait for the end of the child, end the rest, say how it went."""
    with contextlib.suppress(OSError):  # the child has done it already
        os.setpgid(child, child)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # the end of the child is the end of its output
        os.dup2(nothing, descriptor)
    held = _Held(child)
    threading.Thread(target=_obey, args=(held, leash), daemon=True).start()
    status = held.wait()
    _end_the_rest()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {"status": status, "cpu_seconds": spent.ru_utime + spent.ru_stime}
    with contextlib.suppress(OSError):
        os.write(leash, json.dumps(report).encode() + b"\n")
    os._exit(0)


class _Held:
    """The child, signalled only while its number is certainly its own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._ended = False

    def signal(self, number: int) -> None:
        with self._lock:
            if not self._ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, number)

    def wait(self) -> int:
        """Return the exit code, or minus the signal; what else ends meanwhile is taken off the process table."""
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            if ended.si_pid == self._pid:
                break
            os.waitpid(ended.si_pid, 0)
        # Its group may have other members still, and its number is free once it is waited for.
        self.signal(signal.SIGKILL)
        with self._lock:
            self._ended = True
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _obey(held: _Held, leash: int) -> None:
    word = KILL
    while word:
        try:
            word = os.read(leash, 1)
        except OSError:  # cut off: as good as let go
            word = b""
        held.signal(signal.SIGTERM if word == ASK_TO_END else signal.SIGKILL)


def _end_the_rest() -> None:
    """Kill what the child left behind until nothing is left; each end may hand over more."""
    while True:
        for pid in _own_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _own_children() -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as children:
                found += [int(word) for word in children.read().split()]
    return found


def _control(option: int, value: int) -> None:
    """Call prctl, where there is one."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
