"""The feed of a real machine, against codecarbon's own tracker and without its side effects."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import wattbus.energy
from energy_samples import Sink, burn
from wattbus.energy import CodecarbonFeed, EnergyStatus, Ledger, Tier
from wattbus.energy.codecarbon_feed import ProbeFailed, facts_of, probe

TRACKER = """
import sys, time
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code="FRA", output_methods=[], measure_power_secs=1,
    allow_multiple_runs=True, tracking_mode="machine", log_level="error")
tracker._ensure_hardware_ready()
print("ready", flush=True)
input()
tracker.start()
input()
tracker.stop()
data = tracker.final_emissions_data
print(data.energy_consumed * 3.6e6 / data.duration, flush=True)
"""


def test_the_power_read_is_that_of_codecarbons_own_tracker_over_the_same_time() -> None:
    feed, pause = CodecarbonFeed(), threading.Event()
    with subprocess.Popen(
        [sys.executable, "-c", TRACKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tracker:
        assert tracker.stdin is not None
        assert tracker.stdout is not None
        assert tracker.stdout.readline() == "ready\n"
        feed.start()
        tracker.stdin.write("\n")
        tracker.stdin.flush()
        feed.read()
        joules = seconds = 0.0
        for _ in range(3):
            burn(0.3)
            pause.wait(0.5)
            reading = feed.read()
            joules += reading.total_joules
            seconds += reading.duration_seconds
        theirs, _ = tracker.communicate("\n")
    feed.stop()

    # the RAM constant is most of it; the rest is noise of two loops a second out of step
    assert joules / seconds == pytest.approx(float(theirs), rel=0.08)


def test_the_ledger_meters_an_attempt_on_this_machine() -> None:
    sink = Sink()
    ledger = Ledger(CodecarbonFeed(), on_settled=sink)
    ledger.start()
    assert ledger.wait_ready(60)
    window = ledger.open(1, 1, "x")
    burn(0.1)
    window.close()
    ledger.stop()

    record = sink.records[1]
    assert record.status in (EnergyStatus.ESTIMATED, EnergyStatus.MEASURED)
    assert (record.energy_joules or 0) > 0
    assert (record.low_joules or 0) <= (record.energy_joules or 0) <= (record.high_joules or 0)
    assert (record.method or "").startswith("codecarbon ")
    assert record.carbon_grams is None


WATCH_THE_NETWORK = """
import os, socket
def refuse(*arguments, **options):
    open(os.path.join(os.environ["HOME"], "network"), "a").close()
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
"""


def test_starting_the_feed_imports_no_pandas_writes_no_file_and_calls_nobody(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # seen by this process' child and, through the path, by the child that the feed starts
    watch = tmp_path_factory.mktemp("watch")
    (watch / "sitecustomize.py").write_text(WATCH_THE_NETWORK)
    program = (
        "import sys; from wattbus.energy import CodecarbonFeed\n"
        "feed = CodecarbonFeed(); feed.start(); feed.read(); feed.stop()\n"
        "print('sitecustomize' in sys.modules, 'pandas' in sys.modules)\n"
    )
    package = Path(wattbus.energy.__file__).parents[2]
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((str(watch), str(package))),
        "PYTHONDONTWRITEBYTECODE": "1",
        # settings of the user that would make a tracker write or send
        "CODECARBON_SAVE_TO_FILE": "true",
        "CODECARBON_SAVE_TO_API": "true",
        "CODECARBON_EMISSIONS_ENDPOINT": "http://127.0.0.1:9/",
    }

    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "True False"
    assert list(tmp_path.rglob("*")) == []


def test_a_stated_tdp_replaces_the_guess() -> None:
    found = probe({"force_cpu_power": 65.0, "force_ram_power": 7.0})
    facts = facts_of(found)

    if facts.cpu is not None and facts.cpu.is_counter:
        pytest.skip("this machine has a hardware counter, which a stated TDP does not replace")
    assert facts.cpu is not None
    assert (facts.cpu.tier, facts.cpu.max_watts) == (Tier.MODELLED, 65.0)
    assert facts.ram is not None
    assert facts.ram.max_watts == 7.0


def found(mode: str, **changes: Any) -> dict[str, Any]:
    cpu = {"kind": "cpu", "mode": mode, "model": "A CPU", "tdp": 40}
    base = {
        "version": "3.3.2",
        "hardware": [{"kind": "ram"}, cpu],
        "tdp_known": True,
        "tdp_forced": False,
        "virtual": False,
        "ram_watts": 10.0,
        "cpu_model": "A CPU",
        "gpu_model": "",
    }
    return {**base, **changes}


@pytest.mark.parametrize(
    ("answer", "tier", "max_watts", "idle_watts"),
    [
        (found("intel_rapl"), Tier.MEASURED, None, None),
        (found("windows_emi"), Tier.MEASURED, None, None),
        (found("cpu_load"), Tier.MODELLED, 40.0, 4.0),
        (found("cpu_load", tdp_known=False), Tier.MODELLED_GENERIC, 40.0, 4.0),
        (found("cpu_load", virtual=True), Tier.MODELLED_GENERIC, 40.0, 4.0),
        (found("cpu_load", virtual=True, tdp_forced=True), Tier.MODELLED, 40.0, 4.0),
        (found("constant"), Tier.MODELLED_GENERIC, 40.0, 20.0),
    ],
)
def test_the_tier_follows_from_what_codecarbon_found(
    answer: dict[str, Any], tier: Tier, max_watts: float | None, idle_watts: float | None
) -> None:
    cpu = facts_of(json.loads(json.dumps(answer))).cpu

    assert cpu is not None
    assert (cpu.tier, cpu.max_watts, cpu.idle_watts) == (tier, max_watts, idle_watts)


def test_a_gpu_and_a_measured_chip_are_counters() -> None:
    facts = facts_of(
        found(
            "cpu_load",
            hardware=[
                {"kind": "raspberry", "chip_part": "RAM"},
                {"kind": "apple_chip", "chip_part": "CPU"},
                {"kind": "gpu", "gpu_ids": None},
            ],
        )
    )

    assert facts.cpu is not None
    assert facts.gpu is not None
    assert facts.ram is not None
    assert facts.cpu.is_counter
    assert facts.gpu.is_counter
    assert facts.ram.is_counter


def test_a_probe_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeFailed, match=r"could not look for power sources: .*Error"):
        probe({"no_such_option": 1.0})

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ProbeFailed, match=r"could not look for power sources: .*No such file"):
        probe({})


def test_importing_energy_loads_nothing_heavy() -> None:
    program = (
        "import sys, wattbus.energy.ledger, wattbus.energy.codecarbon_feed; from wattbus.energy import *; "
        "print([name for name in ('codecarbon', 'pandas', 'psutil', 'numpy', 'torch') if name in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def test_every_exported_name_can_be_loaded() -> None:
    loaded = [getattr(wattbus.energy, name) for name in wattbus.energy.__all__]

    assert None not in loaded
    assert sorted(wattbus.energy.__all__) == sorted(wattbus.energy._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'Lodger'"):
        wattbus.energy.Lodger  # noqa: B018
