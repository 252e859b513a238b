"""How much one client may ask for: so many at once, and so many a second after that."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """A token bucket for each client; the clients that were seen longest ago are forgotten."""

    size: float
    per_second: float
    most: int = 10_000
    now: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def left(self, client: str) -> float:
        """Return what a client may still take now."""
        if client not in self._left:
            return self.size
        left, seen = self._left[client]
        return min(self.size, left + (self.now() - seen) * self.per_second)

    def take(self, client: str) -> bool:
        """Take one; False: there is none left."""
        left = self.left(client)
        self._left[client] = (left - 1 if left >= 1 else left, self.now())
        self._left.move_to_end(client)
        if len(self._left) > self.most:
            self._left.popitem(last=False)
        return left >= 1


@dataclass
class Failures:
    """Wrong tokens by client; who has shown a right one from there is let in while others try."""

    bucket: Bucket
    most: int = 10_000
    _known: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    def exhausted(self, client: str) -> bool:
        """Tell whether a client has shown too many wrong tokens."""
        return self.bucket.left(client) < 1

    def wrong(self, client: str) -> bool:
        """Count a wrong token; False: there were too many already."""
        return self.bucket.take(client)

    def right(self, client: str, token_id: str) -> bool:
        """Tell whether a right token counts now: it does not where it is new among too many wrong ones."""
        if self.exhausted(client) and (client, token_id) not in self._known:
            return False
        self._known[client, token_id] = None
        self._known.move_to_end((client, token_id))
        if len(self._known) > self.most:
            self._known.popitem(last=False)
        return True
