"""An operation that answers a generator request in another way than a plain one.

iop hands both to the same handler. Mixed in before ``BusinessOperation``, this hands a generator request to
:meth:`Streaming._stream`, on wattbus and inside IRIS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from iop.messages.decorators import input_deserializer
from iop.runtime import iris

if TYPE_CHECKING:
    from iop import BusinessOperation

    Operation = BusinessOperation
else:
    Operation = object


class Streaming(Operation):
    """Opens a stream with :meth:`_stream`, which each operation writes."""

    @input_deserializer  # type: ignore[untyped-decorator, unused-ignore]
    def _dispatch_generator_started(self, request: Any) -> Any:
        self._gen = self._stream(request)
        return iris.get_iris().IOP.Generator.Message.Ack._New()

    def _stream(self, request: Any) -> Iterator[Any]:
        """Check the request at once, and return what yields the values of the stream."""
        raise NotImplementedError
