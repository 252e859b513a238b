"""HTTPService: what comes in by HTTP goes to its target, and the target's answer goes back."""

from __future__ import annotations

from typing import Any

from iop import BusinessService, target

from wattbus.errors import BadSettings, RequestTimeout
from wattbus.runtime import context


class HTTPService(BusinessService):
    """The item that a client of the REST door names; it accepts every message type that its target accepts."""

    Output = target()
    #: Off: the client gets an empty answer as soon as the message is safe.
    WaitForResponse: bool = True
    #: Seconds to wait for the target; -1: as long as it takes.
    ResponseTimeout: float = -1.0

    def on_init(self) -> None:
        """Refuse to run without a target."""
        if not self.Output:
            raise BadSettings(f"{self.iris_handle._ConfigName} has no target: connect its Output.")

    def on_message(self, request: Any = None) -> Any:
        """Pass the message on."""
        if not self.WaitForResponse:
            self.send_request_async(self.Output, request)
            return None
        clock = context.place().clock
        began = clock.monotonic()
        response = self.send_request_sync(self.Output, request, self.ResponseTimeout)
        # iop answers None for no response as well as for an empty one; only the first took all the time.
        if response is None and 0 <= self.ResponseTimeout <= clock.monotonic() - began:
            raise RequestTimeout(
                f"no response from {self.Output!r} within {self.ResponseTimeout:g} s: the message stays in the store "
                "and goes on."
            )
        return response
