"""What the machine says of itself, read from made-up roots and from this one."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattbus.energy.cloud import CloudFacts
from wattbus.energy.hardware import GpuFacts, read_gpus, read_machine, split_cpu_name, split_gpu_name

XEON = """processor\t: {n}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz
physical id\t: {chip}
core id\t\t: {core}
flags\t\t: fpu vme de {more}

"""


def put(root: Path, name: str, text: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_the_machine_that_runs_the_test_names_its_processor_its_memory_and_its_system() -> None:
    machine = read_machine()

    assert machine.os == sys.platform
    assert machine.python_version == sys.version.split()[0]
    assert machine.cpu.threads is not None
    assert machine.cpu.threads >= 1
    assert machine.memory_bytes is not None
    assert machine.memory_bytes > 100_000_000


def test_two_chips_of_two_cores_with_two_threads_each_are_counted_apart(tmp_path: Path) -> None:
    threads = [(chip, core) for chip in (0, 1) for core in (0, 1) for _ in (0, 1)]
    put(
        tmp_path,
        "proc/cpuinfo",
        "".join(XEON.format(n=n, chip=c, core=k, more="") for n, (c, k) in enumerate(threads)),
    )
    put(tmp_path, "proc/meminfo", "MemTotal:       32768000 kB\nMemFree: 1 kB\n")

    machine = read_machine(tmp_path)

    cpu = machine.cpu
    assert (cpu.packages, cpu.cores, cpu.threads) == (2, 4, 8)
    assert (cpu.manufacturer, cpu.family, cpu.series) == ("Intel", "Xeon", "Gold 6226R")
    assert machine.memory_bytes == 32_768_000 * 1024
    assert machine.virtual is False


def test_a_chip_whose_name_a_hypervisor_hides_is_named_by_its_signature(tmp_path: Path) -> None:
    hidden = "vendor_id: AuthenticAMD\ncpu family: 25\nmodel: 17\nmodel name: AMD EPYC\n"
    text = f"processor: 0\n{hidden}flags: fpu hypervisor\n"
    put(tmp_path, "proc/cpuinfo", text)

    machine = read_machine(tmp_path)

    assert machine.cpu.series == "family 25 model 17"
    assert machine.virtual is True


def test_an_arm_chip_without_a_name_gives_its_maker_and_part_and_leaves_the_rest_unknown(
    tmp_path: Path,
) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0c\n")

    machine = read_machine(tmp_path)

    assert (machine.cpu.manufacturer, machine.cpu.series) == ("ARM", "part 0xd0c")
    assert (machine.cpu.name, machine.cpu.packages, machine.virtual) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("AMD EPYC 7763 64-Core Processor", ("AMD", "EPYC", "7763")),
        ("AMD Ryzen 7 PRO 7840U w/ Radeon 780M Graphics", ("AMD", "Ryzen", "7 PRO 7840U")),
        ("12th Gen Intel(R) Core(TM) i7-1260P", ("Intel", "Core", "i7-1260P")),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", ("Intel", "Xeon", None)),
        ("Apple M2 Pro", ("Apple", "M2", "Pro")),
        ("QEMU Virtual CPU version 2.5+", (None, None, None)),
        ("", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_a_processors_name_is_split_into_maker_family_and_series(
    name: str | None, parts: tuple[str | None, ...]
) -> None:
    assert split_cpu_name(name) == parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("NVIDIA GeForce GTX 1080 Ti", ("GeForce", "GTX 1080 Ti")),
        ("Tesla V100S-PCIE-32GB", ("Tesla", "V100S-PCIE-32GB")),
        ("NVIDIA H200", (None, "H200")),
    ],
)
def test_a_gpus_name_is_split_into_family_and_series(name: str, parts: tuple[str | None, str]) -> None:
    assert split_gpu_name(name) == parts


@pytest.mark.parametrize(
    ("files", "cloud"),
    [
        (
            {"sys_vendor": "Amazon EC2\n", "product_name": "m5.large\n"},
            CloudFacts("aws", "m5.large", None, "/sys/class/dmi/id/sys_vendor"),
        ),
        (
            {"sys_vendor": "Google", "product_name": "Google Compute Engine"},
            CloudFacts("google", None, None, "/sys/class/dmi/id/product_name"),
        ),
        (
            {"chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77", "product_name": "Virtual Machine"},
            CloudFacts("azure", None, None, "/sys/class/dmi/id/chassis_asset_tag"),
        ),
        ({"sys_vendor": "Dell Inc.", "product_name": "PowerEdge R740"}, None),
        ({"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"}, None),
    ],
)
def test_a_cloud_is_named_only_when_the_firmware_names_it(
    tmp_path: Path, files: dict[str, str], cloud: CloudFacts | None
) -> None:
    for name, text in files.items():
        put(tmp_path, f"sys/class/dmi/id/{name}", text)

    assert read_machine(tmp_path).cloud == cloud


def test_what_cloud_init_left_gives_the_region_and_the_instance(tmp_path: Path) -> None:
    left = {
        "v1": {"cloud_name": "aws", "region": "eu-west-3"},
        "ds": {"meta_data": {"instance-type": "c7g.xlarge"}},
    }
    put(tmp_path, "run/cloud-init/instance-data.json", json.dumps(left))

    cloud = read_machine(tmp_path).cloud

    assert cloud == CloudFacts("aws", "c7g.xlarge", "eu-west-3", "/run/cloud-init/instance-data.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"v1": 3}', '{"v1": {"cloud_name": "nocloud"}}', "[" * 100_000]
)
def test_a_cloud_init_file_that_says_nothing_useful_names_no_cloud(tmp_path: Path, text: str) -> None:
    put(tmp_path, "run/cloud-init/instance-data.json", text)

    assert read_machine(tmp_path).cloud is None


def test_on_an_empty_root_nothing_is_guessed(tmp_path: Path, no_driver: None) -> None:
    machine = read_machine(tmp_path)

    assert (machine.gpus, machine.virtual, machine.cloud) == (None, None, None)
    assert (machine.cpu.manufacturer, machine.cpu.family, machine.cpu.packages) == (None, None, None)


@given(junk=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_junk_in_any_file_never_raises(tmp_path: Path, junk: bytes) -> None:
    for name in (
        "proc/cpuinfo",
        "proc/meminfo",
        "sys/class/dmi/id/sys_vendor",
        "run/cloud-init/instance-data.json",
    ):
        put(tmp_path, name, junk)

    read_machine(tmp_path)


def test_a_folder_where_a_file_should_be_is_unreadable_and_no_error(tmp_path: Path) -> None:
    for name in ("proc/cpuinfo", "proc/meminfo", "sys/class/dmi/id/sys_vendor", "sys/hypervisor/type"):
        (tmp_path / name).mkdir(parents=True)

    assert read_machine(tmp_path).cloud is None


def fake_driver(names: list[str], failing: str = "") -> types.ModuleType:
    """Stand in for NVIDIA's library: a driver is not at hand on every machine that runs the tests."""
    module = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def call(name: str, answer: object) -> object:
        def answering(*_: object) -> object:
            if name == failing:
                raise NVMLError(name)
            return answer(*_) if callable(answer) else answer

        return answering

    module.NVMLError = NVMLError  # type: ignore[attr-defined]
    memory = types.SimpleNamespace(total=150_754_820_096)
    for name, answer in {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda index: names[index],
        "nvmlDeviceGetMemoryInfo": memory,
    }.items():
        setattr(module, name, call(name, answer))
    return module


def test_gpus_of_one_kind_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_driver(["NVIDIA H200", "NVIDIA H200", "NVIDIA L4"]))

    gpus = read_gpus()

    assert gpus == (
        GpuFacts("NVIDIA H200", 2, 150_754_820_096, "NVIDIA", None, "H200"),
        GpuFacts("NVIDIA L4", 1, 150_754_820_096, "NVIDIA", None, "L4"),
    )


def test_a_gpu_that_keeps_its_memory_to_itself_is_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "pynvml", fake_driver(["NVIDIA H200"], failing="nvmlDeviceGetMemoryInfo")
    )

    gpus = read_gpus()

    assert gpus == (GpuFacts("NVIDIA H200", 1, None, "NVIDIA", None, "H200"),)


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName"])
def test_a_failing_driver_beside_a_card_leaves_the_gpus_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_driver(["NVIDIA H200"], failing=failing))
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")

    assert read_gpus(tmp_path) is None


def test_a_machine_whose_only_display_is_a_virtual_one_has_no_gpu(tmp_path: Path, no_driver: None) -> None:
    put(tmp_path, "sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
    put(tmp_path, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x1234\n")

    assert read_gpus(tmp_path) == ()


def test_importing_the_module_loads_no_driver_and_no_heavy_library() -> None:
    heavy = ("pynvml", "torch", "codecarbon", "psutil")
    code = f"import sys, wattbus.energy.hardware; print([n for n in {heavy} if n in sys.modules])"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"
