"""What this machine is made of, as far as it can be read: unreadable is None, and nothing is guessed.

Only files that every account may read are opened; no network, no privilege, no subprocess on Linux.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattbus.energy.cloud import CloudFacts, is_virtual, list_folder, read_cloud, read_text


@dataclass(frozen=True)
class CpuFacts:
    """The processor; ``packages`` counts chips, ``threads`` what the operating system schedules on."""

    name: str | None = None
    manufacturer: str | None = None
    family: str | None = None
    series: str | None = None
    packages: int | None = None
    cores: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class GpuFacts:
    """One kind of GPU and how many of it there are; memory is that of one."""

    name: str
    count: int = 1
    memory_bytes: int | None = None
    manufacturer: str | None = None
    family: str | None = None
    series: str | None = None


@dataclass(frozen=True)
class MachineFacts:
    """One machine. ``gpus`` is None when it is not known whether there are any, () when there are none."""

    os: str | None = None
    distribution: str | None = None
    distribution_version: str | None = None
    python_version: str | None = None
    cpu: CpuFacts = CpuFacts()
    memory_bytes: int | None = None
    gpus: tuple[GpuFacts, ...] | None = None
    virtual: bool | None = None
    cloud: CloudFacts | None = None


def read_machine(root: Path = Path("/")) -> MachineFacts:
    """Read this machine; ``root`` is where ``proc``, ``sys`` and ``run`` lie. Never raises."""
    distribution, distribution_version = _read_distribution()
    cpuinfo = _read_cpuinfo(root)
    return MachineFacts(
        os=platform.system().lower() or None,
        distribution=distribution,
        distribution_version=distribution_version,
        python_version=platform.python_version() or None,
        cpu=_read_cpu(cpuinfo),
        memory_bytes=_read_memory(root),
        gpus=read_gpus(root),
        virtual=is_virtual(root, cpuinfo[0] if cpuinfo else {}),
        cloud=read_cloud(root),
    )


def _read_distribution() -> tuple[str | None, str | None]:
    if platform.system() == "Darwin":
        return "macOS", platform.mac_ver()[0] or None
    if platform.system() == "Windows":
        return "Windows", platform.version() or None
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None, None
    return release.get("NAME"), release.get("VERSION_ID")


ARM_MAKERS = {
    "0x41": "ARM",
    "0x4e": "NVIDIA",
    "0x61": "Apple",
    "0x51": "Qualcomm",
    "0xc0": "Ampere",
    "0x48": "HiSilicon",
}
CPU_MAKERS = {
    "AuthenticAMD": "AMD",
    "GenuineIntel": "Intel",
    "HygonGenuine": "Hygon",
    "CentaurHauls": "Zhaoxin",
}
NOISE = re.compile(
    r"\((?:R|TM|C)\)|\bCPU\b|\bProcessor\b|\b\d+-Cores?\b|@.*$|\bw/.*$"
    r"|\b\d+(?:st|nd|rd|th) Gen\b|\bwith .* Graphics\b",
    re.IGNORECASE,
)
CPU_NAME = re.compile(
    r"\b(?P<maker>Intel|AMD|Apple|Ampere|Neoverse)\b[\s-]*(?P<family>Xeon|Core|Atom|Pentium|Celeron|EPYC|Ryzen|"
    r"Athlon|Opteron|Threadripper|Altra|M\d+|[NV]\d)?\s*(?P<series>.*)",
    re.IGNORECASE,
)


def _read_cpuinfo(root: Path) -> list[dict[str, str]]:
    """Return one mapping a logical processor; empty when the file cannot be read."""
    blocks = (read_text(root / "proc/cpuinfo") or "").split("\n\n")
    processors = []
    for block in blocks:
        pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in pairs}
        if "processor" in fields:
            processors.append(fields)
    return processors


def _read_cpu(processors: list[dict[str, str]]) -> CpuFacts:
    first = processors[0] if processors else {}
    name = first.get("model name") or _name_outside_linux()
    maker, family, series = split_cpu_name(name)
    maker = (
        maker
        or CPU_MAKERS.get(first.get("vendor_id", ""))
        or ARM_MAKERS.get(first.get("CPU implementer", ""))
    )
    packages = {processor["physical id"] for processor in processors if "physical id" in processor}
    cores = {
        (processor["physical id"], processor["core id"])
        for processor in processors
        if "physical id" in processor and "core id" in processor
    }
    return CpuFacts(
        name=name,
        manufacturer=maker,
        family=family,
        series=series or _signature(first),
        packages=len(packages) or None,
        cores=len(cores) or None,
        threads=len(processors) or os.cpu_count(),
    )


def _name_outside_linux() -> str | None:
    if platform.system() == "Darwin":
        try:
            answer = subprocess.run(
                ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
                capture_output=True,
                text=True,
                timeout=2,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip() or None
    if platform.system() == "Windows":
        return platform.processor() or None
    return None


def _signature(processor: dict[str, str]) -> str | None:
    """Return what the chip itself says of its series, for a hypervisor that hides the model name."""
    if "cpu family" in processor and "model" in processor:
        return f"family {processor['cpu family']} model {processor['model']}"
    if "CPU part" in processor:
        return f"part {processor['CPU part']}"
    return None


def split_cpu_name(name: str | None) -> tuple[str | None, str | None, str | None]:
    """Split a processor's name into manufacturer, family and series.

    >>> split_cpu_name("Intel(R) Xeon(R) Gold 6226R CPU @ 2.90GHz")
    ('Intel', 'Xeon', 'Gold 6226R')
    >>> split_cpu_name("AMD EPYC")
    ('AMD', 'EPYC', None)
    """
    words = " ".join(NOISE.sub(" ", name or "").split())
    match = CPU_NAME.search(words)
    if not match:
        return None, None, None
    series = match["series"].strip(" ,()")
    maker = "ARM" if match["maker"] == "Neoverse" else match["maker"]
    return maker, match["family"], series or None


def _read_memory(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


DISPLAY_CLASS = "0x03"  # PCI: display controllers; a VM's paravirtual screen is one too, hence the vendors
ACCELERATOR_VENDORS = ("0x10de", "0x1002")  # NVIDIA, AMD


def read_gpus(root: Path = Path("/")) -> tuple[GpuFacts, ...] | None:
    """Return the NVIDIA GPUs by kind, () when the machine shows no GPU, None when that cannot be told."""
    found = _read_nvml()
    if found:
        return found
    if _has_accelerator(root):
        return None  # there is one, and nothing here can name it
    return () if found is not None or (root / "sys").is_dir() else None


def _read_nvml() -> tuple[GpuFacts, ...] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old pynvml announces its end at import
        try:
            import pynvml
        except ImportError:
            return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        kinds = [_name_and_memory(pynvml, handle) for handle in handles]
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return tuple(_gpu(name, kinds.count((name, memory)), memory) for name, memory in dict.fromkeys(kinds))


def _name_and_memory(pynvml: Any, handle: Any) -> tuple[str, int | None]:
    name = pynvml.nvmlDeviceGetName(handle)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    try:
        return text, int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError:  # a partitioned device keeps it to itself
        return text, None


def _gpu(name: str, count: int, memory_bytes: int | None) -> GpuFacts:
    family, series = split_gpu_name(name)
    return GpuFacts(name, count, memory_bytes, manufacturer="NVIDIA", family=family, series=series)


def split_gpu_name(name: str) -> tuple[str | None, str | None]:
    """Split an NVIDIA device name into family and series.

    >>> split_gpu_name("NVIDIA GeForce GTX 1080 Ti")
    ('GeForce', 'GTX 1080 Ti')
    >>> split_gpu_name("NVIDIA H200")
    (None, 'H200')
    """
    words = name.removeprefix("NVIDIA ").strip()
    for family in ("GeForce", "Quadro", "Tesla", "TITAN", "Jetson", "RTX"):
        if words.casefold().startswith(family.casefold()):
            return family, words[len(family) :].strip(" -") or None
    return None, words or None


def _has_accelerator(root: Path) -> bool:
    if (root / "dev/nvidia0").exists() or (root / "dev/kfd").exists():
        return True
    devices = list_folder(root / "sys/bus/pci/devices")
    return any(
        (read_text(device / "class") or "").startswith(DISPLAY_CLASS)
        and (read_text(device / "vendor") or "").strip() in ACCELERATOR_VENDORS
        for device in devices
    )
