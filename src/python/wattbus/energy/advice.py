"""What is measured on this machine, on which tier, and what would make it better."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wattbus import words
from wattbus.energy.feed import PowerFacts, PowerSource
from wattbus.energy.hardware import MachineFacts
from wattbus.energy.record import Tier

_RAPL = "sys/class/powercap/intel-rapl:0/energy_uj"


@dataclass(frozen=True)
class Measured:
    """One component: how its power is known, and what would improve that; empty: nothing would.

    ``command`` is the one command that would do it, empty where none would.
    """

    component: str
    tier: str
    method: str
    improve: str
    command: str = ""


def measured_here(
    facts: PowerFacts | None, machine: MachineFacts, *, on: bool = True, root: Path = Path("/")
) -> list[Measured]:
    """Say of processor, GPU and memory how each is measured; ``facts`` is None while no power feed runs."""
    if not on:
        off = ("Take WATTBUS_ENERGY=off away and start again.", "unset WATTBUS_ENERGY")
        return _nothing("WATTBUS_ENERGY is off", off)
    if facts is None:
        later = ("Start the production; the feed needs some seconds.", "wattbus start")
        return _nothing("the power feed has not started", later)
    if facts.cpu is None and facts.gpu is None and facts.ram is None:
        return _nothing(facts.reason or "no power source was found", _for_cpu(None, machine, root))
    return [
        Measured("processor", *_known(facts.cpu), *_for_cpu(facts.cpu, machine, root)),
        Measured("GPU", *_known(facts.gpu, _no_gpu(machine)), *_for_gpu(facts.gpu, machine)),
        Measured("memory", *_known(facts.ram), *_for_memory(facts, machine, root)),
    ]


def machine_in_words(machine: MachineFacts) -> str:
    """Return the machine in one line; what cannot be read is left out."""
    cpu = machine.cpu
    parts = [
        " ".join(
            part for part in (cpu.name or cpu.manufacturer, cpu.series if not cpu.name else None) if part
        ),
        f"{cpu.threads} threads" if cpu.threads else "",
        f"{words.size(machine.memory_bytes)} of memory" if machine.memory_bytes else "",
        *(f"{gpu.count} x {gpu.name}" for gpu in machine.gpus or ()),
        "a virtual machine" if machine.virtual else "",
        " ".join(part for part in (machine.distribution, machine.distribution_version) if part),
    ]
    return ", ".join(part for part in parts if part) or "a machine that says nothing of itself"


def _nothing(reason: str, improve: tuple[str, str]) -> list[Measured]:
    return [Measured("processor, GPU, memory", Tier.NONE, reason, *improve)]


def _known(source: PowerSource | None, otherwise: str = "not read") -> tuple[str, str]:
    return (Tier.NONE, otherwise) if source is None else (source.tier, source.method)


def _for_cpu(source: PowerSource | None, machine: MachineFacts, root: Path) -> tuple[str, str]:
    if source is not None and source.is_counter:
        return "", ""
    counter = root / _RAPL
    if counter.exists() and not os.access(counter, os.R_OK):
        return (
            "There is a counter (RAPL), and this account may not read it: let it, then start again.",
            "sudo chmod a+r /sys/class/powercap/*/energy_uj",
        )
    if machine.virtual:
        return (
            "A virtual machine is shown no counter. For measured figures run on the machine itself; here compare "
            "runs with each other, and look at the CPU seconds, which are counted.",
            "",
        )
    maker = (machine.cpu.manufacturer or "").casefold()
    if maker in ("intel", "amd"):
        return (
            "The counter (RAPL) is not shown: load its kernel module, which also serves AMD, then start again.",
            "sudo modprobe intel_rapl_common",
        )
    return (
        "No counter is known for this processor: compare runs with each other, and look at the CPU seconds.",
        "",
    )


def _no_gpu(machine: MachineFacts) -> str:
    return "there is none" if machine.gpus == () else "not read"


def _for_gpu(source: PowerSource | None, machine: MachineFacts) -> tuple[str, str]:
    if source is not None or machine.gpus == ():
        return "", ""
    if machine.gpus is None:
        return (
            "There may be a GPU that could not be named: install what reads it (NVML for NVIDIA, AMD SMI for AMD).",
            "pip install nvidia-ml-py",
        )
    return (
        "The GPU answers, and its meter is found by nvidia-smi: put that on the path, then start again.",
        "",
    )


def _for_memory(facts: PowerFacts, machine: MachineFacts, root: Path) -> tuple[str, str]:
    if facts.ram is not None and facts.ram.is_counter:
        return "", ""
    idle = "until then it is in the idle bucket and in no operation."
    if facts.cpu is not None and facts.cpu.is_counter:
        return f"This processor shows no counter of the memory: {idle.removeprefix('until then ')}", ""
    if machine.virtual:
        return f"Only a counter of the machine itself would; {idle}", ""
    return f"A RAPL counter of the memory, where the processor has one; {idle}", _for_cpu(
        None, machine, root
    )[1]
