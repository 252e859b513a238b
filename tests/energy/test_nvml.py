"""GPU counters by NVML: codecarbon's own code over a driver that is not at hand, and the tiers that follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wattbus.energy

# One GPU whose counter shows 30 J more each time it is asked.
DRIVER = """
import os
from types import SimpleNamespace

class NVMLError(Exception): pass
class NVMLError_NotSupported(NVMLError): pass
NVML_TEMPERATURE_GPU = 0
asked = 0

def nvmlDeviceGetTotalEnergyConsumption(handle):
    global asked
    asked += 1
    if os.environ.get("BROKEN_FROM") and asked >= int(os.environ["BROKEN_FROM"]):
        raise NVMLError("the driver is gone")
    return 1_000_000 + asked * 30_000

def nvmlDeviceGetPowerUsage(handle):
    if os.environ.get("BROKEN_FROM") and asked >= int(os.environ["BROKEN_FROM"]):
        raise NVMLError("the driver is gone")
    return 60_000

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "NVIDIA H100"
def nvmlDeviceGetUUID(handle): return "GPU-0"
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=80, free=80, used=0)
def nvmlDeviceGetTemperature(handle, sensor): return 40
def nvmlDeviceGetEnforcedPowerLimit(handle): return 700_000
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=50)
def nvmlDeviceGetComputeMode(handle): return 0
def nvmlDeviceGetComputeRunningProcesses(handle): return []
def nvmlDeviceGetGraphicsRunningProcesses(handle): return []
"""

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from wattbus.energy import CodecarbonFeed, Ledger
from wattbus.energy.cputime import LinuxCpuTimes

class Alone(LinuxCpuTimes):
    def machine(self):  # nobody else is on this machine
        return 2 * time.monotonic(), self.process()

counter = Path(sys.argv[1]) / "sys/class/powercap/intel-rapl:0/energy_uj"
records, intervals = [], []
def settled(some, interval):
    records.extend(some)
    if interval is not None:
        intervals.append(interval)

feed = CodecarbonFeed(root=Path(sys.argv[1]))
ledger = Ledger(feed, on_settled=settled, interval_seconds=3600, cpu=Alone())
ledger.start()
assert ledger.wait_ready(60)

def attempt(number, gpu):
    window = ledger.open(number, 1, "Op")
    window.describe(gpu=gpu)
    return window

def tick(seconds=0.05):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    counter.write_text(str(int(counter.read_text()) + 5_000_000))
    ledger.settle()

tick(0.25)  # at rest: what the device spends anyway
alone = attempt(1, True)
for _ in range(30):
    tick()
alone.close(); ledger.settle()
one, two, none = attempt(2, True), attempt(3, True), attempt(4, False)
tick()
for window in (none, two, one):
    window.close()
ledger.settle(); ledger.stop()
print(json.dumps({
    "gpu": [ledger.facts.gpu.tier, ledger.facts.gpu.method, ledger.facts.gpu_model],
    "records": {record.message_id: [record.gpu_joules, record.tier, record.reason] for record in records},
    "watts": [interval.watts_by_component.get("gpu") for interval in intervals],
    "difference": max(abs(one.operations_joules + one.idle_joules + one.others_joules + one.overhead_joules
                          - one.total_joules) for one in intervals),
}))
"""


def run(tmp_path: Path, **environment: str) -> dict[str, Any]:
    (tmp_path / "pynvml.py").write_text(DRIVER)
    tool = tmp_path / "nvidia-smi"  # by which codecarbon finds that there is a GPU
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in {
        "name": "package-0",
        "energy_uj": "1000000",
        "max_energy_range_uj": "65532610987",
    }.items():
        (zone / name).write_text(text)
    package = Path(wattbus.energy.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env={
            **os.environ,
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{package}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_a_gpu_counter_is_measured_and_shared_by_those_who_use_it(tmp_path: Path) -> None:
    said = run(tmp_path)

    assert said["gpu"] == ["measured", "NVML or AMD SMI", "1 x NVIDIA H100"]
    alone, one, two, none = (said["records"][number] for number in "1234")
    assert (alone[1], one[1], two[1]) == ("measured", "attributed", "attributed")
    assert 0 < alone[0] <= 31 * 30.0
    assert one[0] == pytest.approx(two[0], rel=0.3)  # by their seconds, which hardly differ
    assert 0 < one[0] + two[0] <= 2 * 30.0
    assert none[0] is None
    assert said["difference"] < 1e-9


def test_a_driver_that_fails_leaves_the_gpu_unknown_and_never_zero(tmp_path: Path) -> None:
    said = run(tmp_path, BROKEN_FROM="8")

    alone, one, two, none = (said["records"][number] for number in "1234")
    assert alone[0] > 0 and "the GPU's counter has not moved" in alone[2]
    assert (one[0], two[0], none[0]) == (None, None, None)
    assert "the GPU's counter has not moved" in one[2] and none[2] is None
    assert said["watts"][-1] is None
