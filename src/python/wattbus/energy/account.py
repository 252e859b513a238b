"""What the ledger has written down for one attempt so far; it becomes the attempt's energy record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattbus.energy.cputime import NANO
from wattbus.energy.feed import PowerFacts, PowerSource
from wattbus.energy.feed_thread import Gap
from wattbus.energy.record import EnergyRecord, EnergyStatus, Tier, make_record
from wattbus.energy.split import Split

if TYPE_CHECKING:
    from wattbus.energy.carbon import CarbonIntensity

JOULES_PER_KWH = 3_600_000.0

# The table of docs/energy.md.
MEASURED_ERROR = 0.10
ATTRIBUTED_ERROR = 0.25
LOWEST_FRACTION_OF_TDP = 0.1
# "Alone": it used nearly all CPU time that anyone used, in the readings that hold nearly all of its energy: the first
# and the last one hold what came before and after it. "10 counter periods": here a period is one reading of the ledger,
# not of the chip, because what lies between two readings is divided by CPU time.
ALONE_SHARE = 0.95
MEASURED_READINGS = 10
# An operation of more than a second that used nothing is a broken meter, not a miracle.
ZERO_IS_BROKEN_SECONDS = 1.0

_new, _set = object.__new__, object.__setattr__
# In Python 3.11 naming a member of an enum takes 80 ns, and each attempt needs several.
_MEASURED_TIER, _ATTRIBUTED_TIER = Tier.MEASURED, Tier.ATTRIBUTED
_MODELLED_TIER, _GENERIC_TIER = Tier.MODELLED, Tier.MODELLED_GENERIC
_MEASURED, _ESTIMATED, _PENDING = EnergyStatus.MEASURED, EnergyStatus.ESTIMATED, EnergyStatus.PENDING
_RANK = {tier: rank for rank, tier in enumerate(Tier)}
_NOT_ENDED = Gap("no power reading yet: the interval that holds it has not ended", failed=False)


class Account:
    """Sums the parts of one attempt over its intervals. Touched by the ledger's thread only."""

    __slots__ = (
        "child_seconds", "counter_joules", "cpu_joules", "cpu_seconds", "formula_high", "formula_low", "gap",
        "gap_seconds", "gpu_joules", "on_gpu", "overlap_seconds", "own_seconds", "ram_joules", "readings",
        "seen_child_seconds", "seen_own_ns", "shared_joules", "used_seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.seen_own_ns = 0
        self.cpu_joules: float | None = None
        self.gpu_joules: float | None = None
        self.ram_joules: float | None = None
        self.gap: Gap | None = None
        self.on_gpu = False
        self.formula_low: float | None
        self.formula_high: float | None
        self.formula_low = self.formula_high = 0.0
        # alone; of readings in which others worked as well
        self.readings, self.shared_joules = 0, 0.0
        self.cpu_seconds = self.gap_seconds = self.counter_joules = self.seen_child_seconds = 0.0
        # of the interval that is being closed
        self.own_seconds = self.child_seconds = self.overlap_seconds = self.used_seconds = 0.0

    def take(self, own_ns: int, child_seconds: float, overlap_seconds: float) -> None:
        """Note what the attempt used since the last tick, from its cumulated CPU times.

        A clock read while its window paused shows too little; the cumulated figures never run backwards.
        """
        self.own_seconds = self.child_seconds = 0.0
        if own_ns > self.seen_own_ns:
            self.own_seconds = (own_ns - self.seen_own_ns) * NANO
            self.seen_own_ns = own_ns
        if child_seconds > self.seen_child_seconds:
            self.child_seconds = child_seconds - self.seen_child_seconds
            self.seen_child_seconds = child_seconds
        self.overlap_seconds = overlap_seconds

    def add(self, split: Split, facts: PowerFacts, cores: float, *, alone: bool) -> None:
        """Add the part of the interval that the attempt used."""
        used = self.used_seconds
        whole = 0.0
        if split.cpu_watts is not None:
            whole = joules = split.cpu_watts * used
            self.cpu_joules = (self.cpu_joules or 0.0) + joules
            self._bound(facts.cpu, joules, used / cores)
        if split.ram_watts is not None:
            joules = split.ram_watts * used
            self.ram_joules = (self.ram_joules or 0.0) + joules
            whole += joules
            self._bound(facts.ram, joules, 0.0)
        if self.on_gpu and split.gpu_watts is not None:
            joules = split.gpu_watts * self.overlap_seconds
            self.gpu_joules = (self.gpu_joules or 0.0) + joules
            whole += joules
            self._bound(facts.gpu, joules, self.overlap_seconds)
        if alone and used >= ALONE_SHARE * split.busy_seconds:
            self.readings += 1
        else:
            self.shared_joules += whole

    def miss(self, gap: Gap) -> None:
        """Note that the interval has no reading, or none of the GPU."""
        self.gap_seconds += self.overlap_seconds
        self.gap = gap

    def settle(
        self,
        provisional: EnergyRecord,
        facts: PowerFacts | None,
        carbon: CarbonIntensity | None,
        threads_known: bool = True,
        live: bool = False,
    ) -> EnergyRecord:
        """Return the record with its energy, or with the reason why there is none."""
        own_seconds = provisional.cpu_seconds or 0.0  # exact; the account adds the pool threads, a tick late
        cpu_seconds = self.cpu_seconds if threads_known and self.cpu_seconds > own_seconds else own_seconds
        cpu, gpu, ram = self.cpu_joules, self.gpu_joules, self.ram_joules
        unknown = cpu is None and gpu is None and ram is None
        if live and unknown:
            return make_record(provisional, {"cpu_seconds": cpu_seconds, "partial": True})
        if unknown or facts is None:
            return _without_energy(provisional, cpu_seconds, self.gap or _NOT_ENDED)
        energy = (cpu or 0.0) + (gpu or 0.0) + (ram or 0.0)
        duration = provisional.duration_seconds or 0.0
        if energy <= 0 and duration > ZERO_IS_BROKEN_SECONDS:
            nothing = Gap(f"the power feed gave 0 J for an operation of {duration:.1f} s", failed=True)
            return _without_energy(provisional, cpu_seconds, nothing)
        tier = self._tier(facts, energy, threads_known)
        fields = {  # the hot half of make_record, without its call; what is not in here is the class's default
            **provisional.__dict__,
            "cpu_seconds": cpu_seconds,
            "energy_joules": energy,
            "cpu_joules": cpu,
            "tier": tier,
            "method": facts.method,
            "status": _PENDING if live else _MEASURED if tier is _MEASURED_TIER else _ESTIMATED,
        }
        if gpu is not None:
            fields["gpu_joules"] = gpu
        if ram is not None:
            fields["ram_joules"] = ram
        low, high = self.formula_low, self.formula_high
        if low is not None and high is not None:
            if self.counter_joules:
                error = MEASURED_ERROR if tier is _MEASURED_TIER else ATTRIBUTED_ERROR
                low += self.counter_joules * (1 - error)
                high += self.counter_joules * (1 + error)
            fields["low_joules"] = low if low < energy else energy
            fields["high_joules"] = high if high > energy else energy
        if live or self.gap is not None:
            fields["partial"] = True
        if self.gap is not None:
            missing = f"no power reading for {self.gap_seconds:.1f} of {duration:.1f} s: {self.gap.reason}"
            fields["reason"] = _both(missing, provisional.reason)
        if carbon is not None:
            fields["carbon_grams"] = energy / JOULES_PER_KWH * carbon.g_per_kwh
            fields["carbon_intensity_g_per_kwh"] = carbon.g_per_kwh
            fields["carbon_source"] = carbon.label
        record = _new(EnergyRecord)
        _set(record, "__dict__", fields)
        return record

    def _bound(self, source: PowerSource | None, joules: float, share_seconds: float) -> None:
        if source is None or source.is_counter:
            self.counter_joules += joules
            return
        if source.max_watts is None or self.formula_low is None or self.formula_high is None:
            self.formula_low = self.formula_high = None
            return
        self.formula_low += LOWEST_FRACTION_OF_TDP * source.max_watts * share_seconds
        self.formula_high += source.max_watts * share_seconds

    def _tier(self, facts: PowerFacts, energy: float, threads_known: bool) -> Tier:
        worst, rank = _MEASURED_TIER, 0
        source = facts.cpu
        if self.cpu_joules is not None and source is not None:
            worst, rank = source.tier, _RANK[source.tier]
        source = facts.gpu
        if self.gpu_joules is not None and source is not None and _RANK[source.tier] > rank:
            worst, rank = source.tier, _RANK[source.tier]
        source = facts.ram
        if self.ram_joules is not None and source is not None and _RANK[source.tier] > rank:
            worst, rank = source.tier, _RANK[source.tier]
        if rank == 0:
            alone = self.shared_joules <= (1 - ALONE_SHARE) * energy and self.readings >= MEASURED_READINGS
            return worst if alone and threads_known else _ATTRIBUTED_TIER
        # Without thread clocks a modelled figure is a division by time of a guess.
        return worst if threads_known or worst is not _MODELLED_TIER else _GENERIC_TIER


def _without_energy(provisional: EnergyRecord, cpu_seconds: float, gap: Gap) -> EnergyRecord:
    return make_record(
        provisional,
        {
            "cpu_seconds": cpu_seconds,
            "status": EnergyStatus.FAILED if gap.failed else EnergyStatus.NOT_MEASURED,
            "reason": _both(gap.reason, provisional.reason),
        },
    )


def _both(first: str, second: str | None) -> str:
    return f"{first}; {second}" if second else first
