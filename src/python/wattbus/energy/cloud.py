"""The cloud that a machine runs in: what its firmware and cloud-init say, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

READ_LIMIT_BYTES = 4_000_000
DMI = "sys/class/dmi/id"


@dataclass(frozen=True)
class CloudFacts:
    """The cloud this machine says it runs in."""

    provider: str
    instance: str | None = None
    region: str | None = None
    source: str = ""  # the file that said so


VM_PRODUCTS = (
    "kvm",
    "vmware",
    "virtualbox",
    "virtual machine",
    "standard pc",
    "hvm domu",
    "bochs",
    "openstack",
    "qemu",
)

# As cloud-init's ds-identify reads them: DMI file, what it says, the name of the provider.
CLOUDS = (
    ("sys_vendor", "amazon ec2", "aws"),
    ("bios_version", "amazon", "aws"),
    ("product_name", "google compute engine", "google"),
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "azure"),
    ("chassis_asset_tag", "oraclecloud.com", "oracle"),
    ("sys_vendor", "alibaba cloud", "alibaba"),
    ("sys_vendor", "digitalocean", "digitalocean"),
    ("sys_vendor", "hetzner", "hetzner"),
    ("sys_vendor", "scaleway", "scaleway"),
    ("sys_vendor", "vultr", "vultr"),
    ("sys_vendor", "linode", "linode"),
    ("sys_vendor", "akamai", "linode"),
    ("sys_vendor", "upcloud", "upcloud"),
    ("sys_vendor", "tencent cloud", "tencent"),
    ("sys_vendor", "exoscale", "exoscale"),
)


def is_virtual(root: Path, processor: Mapping[str, str]) -> bool | None:
    """Tell whether a hypervisor shows in the first block of ``/proc/cpuinfo`` or in the firmware."""
    flags = processor.get("flags", "").split()
    if "hypervisor" in flags:
        return True
    if read_text(root / "sys/hypervisor/type"):
        return True
    said = f"{_dmi(root, 'sys_vendor')} {_dmi(root, 'product_name')}".casefold().strip()
    if any(product in said for product in VM_PRODUCTS):
        return True
    # On x86 every hypervisor that does not hide sets the flag; elsewhere its absence says nothing.
    return False if flags else None


def read_cloud(root: Path) -> CloudFacts | None:
    """Return the cloud that the firmware names, else the one that cloud-init left, else None."""
    region, instance, named = _read_cloud_init(root)
    for file, says, provider in CLOUDS:
        if _dmi(root, file).casefold().startswith(says) or (
            file == "bios_version" and says in _dmi(root, file)
        ):
            if provider == "aws" and file == "sys_vendor":  # a Nitro machine's product is its instance type
                instance = _dmi(root, "product_name") or instance
            return CloudFacts(provider, instance, region, f"/{DMI}/{file}")
    if named:
        return CloudFacts(named, instance, region, "/run/cloud-init/instance-data.json")
    return None


def _read_cloud_init(root: Path) -> tuple[str | None, str | None, str | None]:
    """Return region, instance type and provider as cloud-init left them for every account to read."""
    try:
        data = json.loads(read_text(root / "run/cloud-init/instance-data.json") or "{}")
    except (ValueError, RecursionError):
        return None, None, None
    first = data.get("v1") if isinstance(data, dict) else None
    if not isinstance(first, dict):
        return None, None, None
    metadata = (data.get("ds") or {}).get("meta_data") if isinstance(data.get("ds"), dict) else None
    instance = _word(metadata.get("instance-type")) if isinstance(metadata, dict) else None
    provider = _word(first.get("cloud_name"))
    names = {"gce": "google"}
    known = {name for _, _, name in CLOUDS} | {"ovh"}
    provider = names.get(provider or "", provider)
    return _word(first.get("region")), instance, provider if provider in known else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[\w.-]{1,64}", value) else None


def _dmi(root: Path, name: str) -> str:
    return (read_text(root / DMI / name) or "").strip()


def list_folder(folder: Path) -> list[Path]:
    """Return what lies in a folder, nothing when it is not there or not ours to read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def read_text(path: Path) -> str | None:
    """Return the start of a small file, or None when it is not there or not ours to read."""
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
