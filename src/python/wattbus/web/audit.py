"""What the door tells of who came in, who was turned away, and what an admin changed: lines of the event log."""

from __future__ import annotations

from collections.abc import Callable

from wattbus import words

#: Takes the type of a line and its text, and does not wait.
Log = Callable[[str, str], None]


class Audit:
    """Writes into the event log of the production that runs, else into the output of the process.

    Never a token, never a body. What a client has sent is escaped and cut, so that no line can be forged.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def tell(self, text: str, *, type: str = "Info") -> None:
        """Write one line."""
        self._log(type, words.clean(text, 500))
