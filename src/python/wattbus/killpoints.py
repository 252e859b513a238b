"""Kill points: the named places in the life of a message and of a model where a fault test ends the process.

``WATTBUS_KILL_AT=name`` or ``name:3`` (the third time it is reached) makes the process kill itself there with SIGKILL,
as a power cut would: no handler runs, nothing is flushed. A training does it in its child process, and the production
ends with it. Tests hold that every name in the code was exercised.
"""

from __future__ import annotations

import os
import signal

_WANTED, _, _times = os.environ.get("WATTBUS_KILL_AT", "").partition(":")
_left = int(_times or 1)
# The process that was given the order: a power cut in a child of it is one for both.
_root = int(os.environ.setdefault("WATTBUS_KILL_ROOT", str(os.getpid()))) if _WANTED else 0

#: In the life of a message. Of a commit there are two: before it, and after it but before anyone is told.
MESSAGE_POINTS = (
    "body.after-file",
    "accept.before-commit",
    "accept.after-commit",
    "claim.before-commit",
    "claim.after-commit",
    "handle.before-effect",
    "handle.after-effect",
    "reply.before-commit",
    "reply.after-commit",
    "defer.before-commit",
    "defer.after-commit",
    "complete.before-commit",
    "complete.after-commit",
    "deliver.before-commit",
    "deliver.after-commit",
    "settle.before-commit",
    "settle.after-commit",
)

#: In the life of a model: fetched, fine-tuned, optimised, staged, published, rolled back.
MODEL_POINTS = (
    "download.after-files",
    "version.before-rename",
    "version.after-rename",
    "download.before-switch",
    "download.after-switch",
    "checkpoint.before-marker",
    "checkpoint.after-marker",
    "rung.before-save",
    "rung.after-save",
    "result.before-save",
    "result.after-save",
    "optimise.before-convert",
    "optimise.after-convert",
    "optimise.before-result",
    "optimise.after-result",
    "stage.before-pointer",
    "stage.after-pointer",
    "override.before-publish",
    "publish.before-switch",
    "publish.after-switch",
    "override.after-publish",
    "rollback.before-switch",
    "rollback.after-switch",
)

#: Every kill point there is, but for those of the ready-made services.
POINTS = (*MESSAGE_POINTS, *MODEL_POINTS)

#: Those of the ready-made services: between what they do to their source and what they send.
FEED_POINTS = ("file.after-take", "file.after-send", "row.after-send")

#: False in all but a fault test: the hot path asks this once and goes on.
ARMED = bool(_WANTED)


def reached(name: str) -> None:
    """End the process here if this is the place that was asked for."""
    global _left
    if name != _WANTED:
        return
    _left -= 1
    if _left <= 0:
        os.kill(_root, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
