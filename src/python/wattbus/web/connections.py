"""One connection of a client: it must say what it wants in its time, or it is closed.

The rest of a body that was refused is read and thrown away for as long, so that its sender gets to see the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: From the first moment, or the end of the answer before, to the end of the head of a request.
HEAD_SECONDS = 10.0


class Connection(H11Protocol):
    """uvicorn's, which by itself waits for ever for the head of a request."""

    head_seconds = HEAD_SECONDS

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self._busy:
            self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._busy and not self.transport.is_closing():
            self._watch()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        self._unwatch()
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self._busy and not self.transport.is_closing():
            self.transport.close()
