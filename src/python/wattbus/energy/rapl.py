"""RAPL, the energy counters of a processor, read directly: its packages, and its memory where that is counted apart.

Linux shows a counter a domain in ``/sys/class/powercap``, in microjoules, that begins anew at
``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst). A package holds its cores, so only packages are
added up; memory (``dram``) is beside its package. Chips of several dies may show one counter several times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wattbus.energy.cloud import list_folder, read_text

POWERCAP = "sys/class/powercap"
# No package draws more: a silence in which it could have passed its range twice cannot be read.
HIGHEST_WATTS = 1000.0
# Mirrors of one counter are read a moment apart; two packages are hardly ever this near to each other (1 J of 65 kJ).
_MIRROR_UJ = 1_000_000
_MICRO = 1e-6


class RaplFault(RuntimeError):
    """A counter could not be read: the next reading spans the silence."""


class RaplLost(RaplFault):
    """A counter has run in a way that cannot be made up for: counting has begun anew."""


@dataclass
class _Counter:
    name: str
    file: Path
    range_uj: int
    last_uj: int = 0

    def now_uj(self) -> int:
        text = read_text(self.file)
        try:
            return int(text or "")
        except ValueError:
            raise RaplFault(f"the energy counter {self.file} cannot be read any more") from None

    def passed_uj(self, now_uj: int, seconds: float) -> int:
        if self.range_uj and seconds * HIGHEST_WATTS > self.range_uj * _MICRO:
            raise RaplLost(
                f"the energy counter {self.name} was not read for {seconds:.0f} s and may have begun anew twice"
            )
        if now_uj >= self.last_uj:
            return now_uj - self.last_uj
        if not self.range_uj:
            raise RaplLost(f"the energy counter {self.name} ran backwards, and its range is not known")
        return now_uj - self.last_uj + self.range_uj


class Rapl:
    """The counters of one machine; :func:`find_rapl` makes it."""

    def __init__(self, packages: list[_Counter], memory: list[_Counter]) -> None:
        self._packages, self._memory = packages, memory

    @property
    def packages(self) -> int:
        """Return how many packages are counted."""
        return len(self._packages)

    @property
    def memories(self) -> int:
        """Return how many memory counters there are; 0: the memory is not counted."""
        return len(self._memory)

    def start(self) -> None:
        """Count from here on."""
        for counter in (*self._packages, *self._memory):
            counter.last_uj = counter.now_uj()

    def read(self, seconds: float) -> tuple[float, float | None]:
        """Return the joules of processor and memory since the last reading, ``seconds`` ago; raises RaplFault."""
        counters = (*self._packages, *self._memory)
        now = [counter.now_uj() for counter in counters]
        try:
            passed = [counter.passed_uj(new, seconds) for counter, new in zip(counters, now, strict=True)]
        finally:
            for counter, new in zip(counters, now, strict=True):
                counter.last_uj = new
        cut = len(self._packages)
        return sum(passed[:cut]) * _MICRO, sum(passed[cut:]) * _MICRO if self._memory else None


def find_rapl(root: Path = Path("/")) -> Rapl | None:
    """Return the counters that this account may read; None where there are none, or not all may be read."""
    packages: list[_Counter] = []
    memory: list[_Counter] = []
    for zone in list_folder(root / POWERCAP):
        # intel-rapl:0 is a package and intel-rapl:0:1 a part of it; intel-rapl-mmio:0 shows the same packages again.
        parts = zone.name.split(":")
        name = (read_text(zone / "name") or "").strip()
        if parts[0] != "intel-rapl" or len(parts) not in (2, 3):
            continue
        kind = memory if len(parts) == 3 and name == "dram" else None
        if len(parts) == 2 and name.startswith("package"):
            kind = packages
        if kind is None:
            continue
        try:
            counter = _Counter(
                f"{name} ({zone.name})", zone / "energy_uj", _whole(zone / "max_energy_range_uj")
            )
            counter.last_uj = counter.now_uj()
        except RaplFault:
            return None  # a part of the machine would pass for all of it
        kind.append(counter)
    return Rapl(_distinct(packages), _distinct(memory)) if packages else None


def _whole(file: Path) -> int:
    text = (read_text(file) or "").strip()
    return int(text) if text.isdecimal() else 0


def _distinct(counters: list[_Counter]) -> list[_Counter]:
    """Leave out counters that show the same energy as one before: they are mirrors of it."""
    kept: list[_Counter] = []
    for counter in counters:
        mirrors = counter.last_uj > 0 and any(abs(counter.last_uj - one.last_uj) < _MIRROR_UJ for one in kept)
        if not mirrors:
            kept.append(counter)
    return kept
