"""What came of an attempt: the seat makes it, the bus delivers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from wattbus.energy.record import EnergyRecord
from wattbus.runtime.iris import Envelope
from wattbus.store.rows import Header
from wattbus.store.units import Acceptance, Ending, ProcessChange


@dataclass(slots=True)
class Result:
    """What came of an attempt."""

    duration_seconds: float
    response: Envelope | None = None
    error_status: str | None = None
    detail: str | None = None
    ending: Ending = Ending.COMPLETED
    wait_seconds: float = 0.0  # of a RETRY: how long until the message may be handed out again
    final: bool = False  # of an ERROR: no rule of the item turns it into another try
    children: list[Acceptance] = field(default_factory=list)
    energy: list[EnergyRecord] = field(default_factory=list)
    replied: bool = False  # the component has answered before its end
    process: ProcessChange | None = None
    answers: Header | None = None  # the request that ends, where a response was in hand
    when_stored: Callable[[bool], None] | None = None  # told whether the end of the attempt is in the store

    def failed(self, error_status: str, detail: str | None = None) -> Result:
        """Return the same attempt as one that ended in error: nothing it made is sent."""
        process = self.process
        if process is not None:
            ends = Ending.ERROR if self.answers is not None else None
            process = replace(process, row=None, ends_request=ends, error_status=error_status)
        return replace(
            self,
            response=None,
            children=[],
            ending=Ending.ERROR,
            error_status=error_status,
            detail=detail or self.detail,
            process=process,
        )
