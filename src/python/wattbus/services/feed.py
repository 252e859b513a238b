"""A feed: what the ready-made services have in common, their targets and a key for each message that they send.

The key is made from what the message was made of. A service that is killed between a send and its own note of it sends
again at the next start, and the bus knows the key: nothing is lost, and nothing comes twice.
"""

from __future__ import annotations

import hashlib
from typing import Any

from iop import PollingBusinessService, target

from wattbus.errors import BadSettings, UsedKey
from wattbus.runtime import context


class Feed(PollingBusinessService):
    """Sends to its targets; inside IRIS, which has no idempotency keys, without the keys."""

    Output = target()
    #: More targets, with commas between them, as in IRIS.
    TargetConfigNames: str = ""

    def on_init(self) -> None:
        """Refuse to run without a target."""
        if not self._targets():
            raise BadSettings(
                f"{self._name()} has no target: connect its Output, or name items in TargetConfigNames."
            )

    def _send(self, message: Any, *identity: object) -> None:
        """Send to every target; ``identity`` says what the message was made of, where there is something to say."""
        for name in self._targets():
            with context.send_options(idempotency_key=self._key(name, identity) if identity else None):
                try:
                    self.send_request_async(name, message)
                except UsedKey as sent_before:
                    # What it was made of has changed since: once is once.
                    self.log_warning(f"not sent again, though it has changed: {sent_before}")

    def _begin_session(self) -> None:
        """Let the next message begin a session of its own; until then those of one poll share one."""
        self.iris_handle.ForceSessionId()

    def _poll_again(self) -> None:
        """Ask to be called again at once, without waiting for the CallInterval."""
        self._wait_for_next_call_interval = False

    def _targets(self) -> list[str]:
        named = [*str(self.Output or "").split(","), *self.TargetConfigNames.split(",")]
        return list(dict.fromkeys(name.strip() for name in named if name.strip()))

    def _name(self) -> str:
        """Return the name of the item."""
        return str(self.iris_handle._ConfigName)

    def _key(self, target_name: str, identity: tuple[object, ...]) -> str:
        words = "\0".join(map(str, (self._name(), target_name, *identity)))
        return f"feed-{hashlib.sha256(words.encode(errors='replace')).hexdigest()[:48]}"

    def _stops(self) -> bool:
        """Tell whether the production is about to stop: what is left waits for the next start."""
        return context.place().stopping.is_set()
