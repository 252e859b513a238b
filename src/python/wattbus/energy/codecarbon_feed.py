"""The power feed of a real machine: codecarbon's power sources, read each second by the ledger.

This is the only file that imports codecarbon.

What is codecarbon's: which source a machine has (NVML, a load formula over a TDP), the TDP, the RAM constant, and
the reading of each source. RAPL is read directly where this account may (rapl.py): that counts the memory apart,
which is then measured and no constant. What is not used, chosen by measurement (codecarbon 3.3.2, 2 cores):

- The tracker's own loop. Its two timers, a new thread a tick each, cost 0.13 % of a core, its errors are
  swallowed into a log line, and it always computes emissions, for a country that it would have to guess.
  The same hardware objects read from the feed's thread cost 0.04 % and raise; a test holds both totals
  together.
- Detection in this process. It imports pandas (0.4 s, 51 MB) and takes 1.4 s to name the CPU, with the
  interpreter's lock held in part: that would slow the start of the bus. A short-lived child does it; here
  only the hardware classes are imported (0.1 s, in the feed's thread).

Country, address and emissions are never asked for: only energy is read, and no network is touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattbus import words
from wattbus.config import environment_for_children
from wattbus.energy.feed import PowerFacts, PowerReading, PowerSource
from wattbus.energy.rapl import Rapl, RaplLost, find_rapl
from wattbus.energy.record import Tier

JOULES_PER_KWH = 3_600_000.0
PROBE_DEADLINE_SECONDS = 60.0

# codecarbon's names for the ways it knows the power of a CPU
_COUNTER_MODES = ("intel_rapl", "windows_emi", "intel_power_gadget")
_LOAD_MODE = "cpu_load"
# its load formula is TDP * (0.1 + 0.9 load^3), its constant mode half the TDP whatever runs
_LOAD_IDLE_FRACTION = 0.1
_CONSTANT_FRACTION = 0.5

_PROBE = "import wattbus.energy.codecarbon_feed as feed; feed.print_probe()"


class ProbeFailed(RuntimeError):
    """codecarbon could not say what this machine has; the text says why."""


class CodecarbonFeed:
    """Read codecarbon's hardware objects; ``cpu_tdp_watts`` and ``ram_watts`` replace its guesses."""

    def __init__(
        self,
        *,
        cpu_tdp_watts: float | None = None,
        ram_watts: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        root: Path = Path("/"),
    ) -> None:
        self._forced = {"force_cpu_power": cpu_tdp_watts, "force_ram_power": ram_watts}
        self._clock = clock
        self._root = root
        self._rapl: Rapl | None = None
        self._hardware: list[tuple[str, Any]] = []
        self._since = 0.0

    def start(self) -> PowerFacts:
        """Find the power sources in a child process, then begin to count; 2 s, of which 0.1 s here."""
        found = probe(self._forced)
        load_readers()
        from codecarbon.core.hardware_cache import _hardware_from_spec
        from codecarbon.external.logger import set_logger_level

        set_logger_level("error")
        self._rapl = find_rapl(self._root)
        counted = _counted(self._rapl)
        self._hardware = [
            (component, _hardware_from_spec(spec, os.curdir))
            for spec in found["hardware"]
            if (component := component_of(spec)) not in counted
        ]
        for _, hardware in self._hardware:
            hardware.start()
        if self._rapl is not None:
            self._rapl.start()
        self._since = self._clock()
        return facts_of(found, self._rapl)

    def read(self) -> PowerReading:
        """Return the energy of each component since the last reading."""
        now = self._clock()
        duration = now - self._since
        joules: dict[str, float] = {}
        if self._rapl is not None:
            try:
                cpu, ram = self._rapl.read(duration)
            except RaplLost:
                self._since = now
                raise
            joules["cpu"] = cpu
            if ram is not None:
                joules["ram"] = ram
        for component, hardware in self._hardware:
            _, energy = hardware.measure_power_and_energy(last_duration=duration)
            joules[component] = joules.get(component, 0.0) + float(energy.kWh) * JOULES_PER_KWH
        self._since = now
        return PowerReading(duration, joules.get("cpu"), joules.get("gpu"), joules.get("ram"))

    def stop(self) -> None:
        self._hardware = []


def load_readers() -> None:
    """Import codecarbon's hardware classes: 0.1 s."""
    import codecarbon.core.hardware_cache
    import codecarbon.external.hardware
    import codecarbon.external.ram  # noqa: F401


def probe(forced: dict[str, float | None]) -> dict[str, Any]:
    """Let a child process ask codecarbon what this machine has; raises ProbeFailed."""
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter and a constant
            [sys.executable, "-c", _PROBE],
            input=json.dumps(forced),
            env={
                **environment_for_children(),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            capture_output=True,
            text=True,
            timeout=PROBE_DEADLINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProbeFailed(f"codecarbon could not look for power sources: {error}") from error
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProbeFailed(f"codecarbon could not look for power sources: {last}")
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def print_probe() -> None:
    """Print what codecarbon finds on this machine, as one line of JSON; runs in the child process."""
    from importlib.metadata import version

    from codecarbon import OfflineEmissionsTracker
    from codecarbon.core.hardware_cache import _spec_from_hardware

    forced = {name: value for name, value in json.load(sys.stdin).items() if value is not None}
    # Each option that a .codecarbon.config or CODECARBON_* could turn into a file or a request is stated.
    tracker = OfflineEmissionsTracker(
        country_iso_code="",
        output_methods=[],
        output_handlers=[],
        emissions_endpoint=None,
        electricitymaps_api_token=None,
        allow_multiple_runs=True,
        tracking_mode="machine",
        log_level="error",
        pue=1.0,
        **forced,
    )
    detected = tracker.get_detected_hardware()
    specs = [_spec_from_hardware(hardware) for hardware in tracker._hardware]
    cpu_specs = [spec for spec in specs if spec["kind"] == "cpu"]
    known = True
    if cpu_specs and cpu_specs[0]["mode"] not in _COUNTER_MODES and "force_cpu_power" not in forced:
        # codecarbon's own mark of a generic TDP is lost for a guess of 4 W a thread: look the model up again
        from codecarbon.core.cpu import TDP

        model = cpu_specs[0]["model"]
        known = bool(model) and TDP()._get_cpu_power_from_registry(model) is not None
    ram = [hardware for hardware in tracker._hardware if type(hardware).__name__ == "RAM"]
    print(
        json.dumps(
            {
                "version": version("codecarbon"),
                "hardware": specs,
                "tdp_known": known,
                "tdp_forced": "force_cpu_power" in forced,
                "virtual": is_virtual(),
                "ram_watts": float(ram[0].total_power().W) if ram else None,
                "cpu_model": detected["cpu_model"],
                "gpu_model": detected["gpu_model"],
            }
        )
    )


def component_of(spec: dict[str, Any]) -> str:
    """Return cpu, gpu or ram for one of codecarbon's hardware specs."""
    kind = str(spec["kind"])
    if kind in ("cpu", "gpu", "ram"):
        return kind
    return str(spec["chip_part"]).lower()  # Apple silicon and Raspberry Pi name the part of the chip


def facts_of(found: dict[str, Any], rapl: Rapl | None = None) -> PowerFacts:
    """Say what a probe found, and which counters are read directly, in the ledger's words."""
    sources = _counted(rapl)
    for spec in found["hardware"]:
        component = component_of(spec)
        if component in sources:
            continue
        if spec["kind"] == "cpu":
            sources[component] = _cpu_source(spec, found)
        elif spec["kind"] == "ram":
            watts = found["ram_watts"]
            sources[component] = PowerSource(Tier.MODELLED_GENERIC, f"constant {watts:g} W", watts, watts)
        else:
            sources[component] = PowerSource(
                Tier.MEASURED, {"gpu": "NVML or AMD SMI"}.get(spec["kind"], spec["kind"])
            )
    parts = ", ".join(f"{name} {source.method}" for name, source in sources.items())
    return PowerFacts(
        method=f"codecarbon {found['version']}: {parts}; divided by CPU time",
        cpu=sources.get("cpu"),
        gpu=sources.get("gpu"),
        ram=sources.get("ram"),
        cpu_model=found["cpu_model"] or None,
        gpu_model=found["gpu_model"] or None,
    )


def _counted(rapl: Rapl | None) -> dict[str, PowerSource]:
    if rapl is None:
        return {}
    found = {"cpu": PowerSource(Tier.MEASURED, f"RAPL, {words.counted(rapl.packages, 'package')}")}
    if rapl.memories:
        found["ram"] = PowerSource(Tier.MEASURED, f"RAPL, {words.counted(rapl.memories, 'memory counter')}")
    return found


def _cpu_source(spec: dict[str, Any], found: dict[str, Any]) -> PowerSource:
    mode, tdp = spec["mode"], spec["tdp"]
    if mode in _COUNTER_MODES:
        return PowerSource(Tier.MEASURED, mode)
    stated = found["tdp_forced"]
    generic = not stated and (found["virtual"] or not found["tdp_known"])
    origin = "stated" if stated else "known" if found["tdp_known"] else "guessed"
    where = " in a virtual machine" if found["virtual"] else ""
    if mode == _LOAD_MODE:
        tier = Tier.MODELLED_GENERIC if generic else Tier.MODELLED
        method = f"load times a {origin} TDP of {tdp:g} W{where}"
        return PowerSource(tier, method, float(tdp), tdp * _LOAD_IDLE_FRACTION)
    return PowerSource(
        Tier.MODELLED_GENERIC,
        f"half a {origin} TDP of {tdp:g} W{where}",
        float(tdp),
        tdp * _CONSTANT_FRACTION,
    )


def is_virtual() -> bool:
    """Say whether Linux runs in a virtual machine, which sees a part of the CPU; False elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as cpuinfo:
            return any(line.startswith("flags") and " hypervisor" in line for line in cpuinfo)
    except OSError:
        return False
