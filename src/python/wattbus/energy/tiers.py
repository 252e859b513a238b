"""The tiers in words: how a figure came about, and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass

from wattbus.energy.record import Scope, Tier


@dataclass(frozen=True)
class TierMeaning:
    """A tier for people: when a figure has it, what its bounds are, how far to trust it."""

    tier: str
    when: str
    bounds: str
    trust: str


TIERS = (
    TierMeaning(
        Tier.MEASURED,
        "a hardware counter (RAPL, NVML) read it, and the operation had the machine to itself",
        "±10 %",
        "Trust it: good for a report, and to compare machines.",
    ),
    TierMeaning(
        Tier.ATTRIBUTED,
        "a hardware counter read the machine, and the figure is the operation's share by CPU time",
        "±25 %",
        "Trust the sum; a single small operation may be off by a quarter.",
    ),
    TierMeaning(
        Tier.MODELLED,
        "no counter: CPU load times the rated power of a known processor",
        "a tenth of the rated power to all of it",
        "Compare runs on this machine, and machines of the same processor.",
    ),
    TierMeaning(
        Tier.MODELLED_GENERIC,
        "the same with a guessed rated power: an unknown processor, or a virtual machine",
        "the same, around a guess",
        "An order of magnitude: compare runs on this machine only.",
    ),
    TierMeaning(
        Tier.ESTIMATED_REMOTE,
        "a remote model made text: a published formula, by token",
        "the provider's batch size from 1 to 256",
        "An order of magnitude for somebody else's machine; never added to yours.",
    ),
    TierMeaning(
        Tier.NONE,
        "nothing was read, for the reason that the record gives",
        "unknown",
        "Unknown is not 0: such attempts are counted, and in no sum.",
    ),
)

#: Whose energy it is, in words.
SCOPES = {
    Scope.LOCAL.value: "this machine",
    Scope.CLIENT.value: "our side of a remote call",
    Scope.REMOTE.value: "the remote side",
}
