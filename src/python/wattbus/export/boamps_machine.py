"""The machine of a BoAmps report: its system, its components, and where it stands."""

from __future__ import annotations

from wattbus.energy.hardware import CpuFacts, GpuFacts, MachineFacts
from wattbus.energy.record import RemoteFacts, TrackerFacts
from wattbus.export.boamps_draft import Draft, share, significant, word
from wattbus.export.boamps_fields import Origin
from wattbus.export.boamps_groups import Totals
from wattbus.export.organisation import Organisation

GIBIBYTE = 1024**3
ASSUMED = "assumed by the remote estimate"


def put_local_machine(
    draft: Draft, machine: MachineFacts, totals: Totals, organisation: Organisation
) -> None:
    """Fill ``system``, ``software`` and ``infrastructure`` from this machine."""
    if machine.os:  # required within system, so without it there is no system
        draft.put("system.os", machine.os)
        draft.put("system.distribution", word(machine.distribution))
        draft.put("system.distributionVersion", word(machine.distribution_version))
    draft.put("software.language", "python")
    draft.put("software.version", word(machine.python_version))
    _put_kind_of_infrastructure(draft, machine, organisation)
    _put_cpu(draft, 0, machine.cpu, totals)
    if machine.memory_bytes:
        here = "infrastructure.components[1]."
        draft.put(
            here + "componentName", "main memory", Origin.DERIVED, "its kind; the modules are not readable"
        )
        draft.put(here + "componentType", "ram")
        draft.put(here + "nbComponent", 1, Origin.DERIVED, "the whole memory as one component")
        draft.put(
            here + "memorySize",
            significant(machine.memory_bytes / GIBIBYTE),
            None,
            "the kernel's total, in GiB",
        )
    start = len(draft.document["infrastructure"]["components"])
    for offset, gpu in enumerate(machine.gpus or ()):
        _put_gpu(draft, start + offset, gpu, totals, machine)


def put_remote_machine(draft: Draft, remote: RemoteFacts) -> None:
    """Fill ``infrastructure`` with what the remote estimate assumes of the machine behind the service."""
    draft.put("infrastructure.infraType", "publicCloud", Origin.DERIVED, "a public service was called")
    draft.put("infrastructure.cloudProvider", word(remote.provider))
    draft.put("infrastructure.cloudService", word(remote.service))
    here = "infrastructure.components[0]."
    draft.put(here + "componentName", word(remote.gpu_name), Origin.ESTIMATED, ASSUMED)
    draft.put(here + "componentType", "gpu", Origin.ESTIMATED, ASSUMED)
    draft.put(here + "nbComponent", remote.gpus, Origin.ESTIMATED, ASSUMED)
    if remote.gpu_memory_bytes:
        draft.put(
            here + "memorySize", significant(remote.gpu_memory_bytes / GIBIBYTE), Origin.ESTIMATED, ASSUMED
        )


def put_environment(
    draft: Draft, organisation: Organisation, tracker: TrackerFacts, machine: MachineFacts, totals: Totals
) -> None:
    """Fill ``environment``; without a country, which nobody guesses, it stays out as a whole."""
    country = organisation.country or word(tracker.country) or organisation.country_code
    if not country:
        return
    said = None if organisation.country else "the power meter's setting"
    draft.put("environment.country", country, None, said)
    draft.put("environment.latitude", organisation.latitude)
    draft.put("environment.longitude", organisation.longitude)
    region = machine.cloud.region if machine.cloud else None
    if organisation.location or not region:
        draft.put("environment.location", organisation.location)
    else:
        draft.put("environment.location", region, Origin.READ, "the cloud's region, as cloud-init left it")
    draft.put("environment.powerSupplierType", organisation.power_supplier)
    draft.put("environment.powerSource", organisation.power_source)
    if organisation.carbon_intensity_g_per_kwh is not None:
        own = "the organisation's own contract"
        draft.put(
            "environment.powerSourceCarbonIntensity",
            organisation.carbon_intensity_g_per_kwh,
            Origin.DECLARED,
            own,
        )
        return
    reckoned = "the mean intensity that the ledger reckoned with, weighted by energy"
    intensity = significant(totals.carbon_intensity_g_per_kwh)
    draft.put("environment.powerSourceCarbonIntensity", intensity, Origin.DERIVED, reckoned)


def _put_kind_of_infrastructure(draft: Draft, machine: MachineFacts, organisation: Organisation) -> None:
    path = "infrastructure.infraType"
    if organisation.infrastructure:
        draft.put(path, organisation.infrastructure, Origin.DECLARED, "the organisation's answer")
    elif organisation.cloud_provider:
        draft.put(path, "publicCloud", Origin.DERIVED, "the organisation named a cloud provider")
    elif machine.cloud:
        draft.put(
            path, "publicCloud", Origin.DERIVED, f"{machine.cloud.source} names {machine.cloud.provider}"
        )
    elif machine.virtual is False:
        draft.put(path, "onPremise", Origin.DERIVED, "no hypervisor and no cloud show on this machine")
    else:
        unknown = (
            "a virtual machine that does not say whose it is"
            if machine.virtual
            else "nothing says what it is"
        )
        draft.put(path, "other", Origin.DEFAULT, unknown)
    if draft.document["infrastructure"]["infraType"] not in ("publicCloud", "privateCloud"):
        return
    for key, declared, read in (
        ("cloudProvider", organisation.cloud_provider, machine.cloud.provider if machine.cloud else None),
        ("cloudInstance", organisation.cloud_instance, machine.cloud.instance if machine.cloud else None),
    ):
        origin, said = (Origin.DECLARED, "the organisation's answer") if declared else (None, None)
        draft.put(f"infrastructure.{key}", declared or word(read), origin, said)


def _put_cpu(draft: Draft, index: int, cpu: CpuFacts, totals: Totals) -> None:
    here = f"infrastructure.components[{index}]."
    draft.put(here + "componentName", word(cpu.name))
    draft.put(here + "componentType", "cpu")
    if cpu.packages:
        draft.put(here + "nbComponent", cpu.packages)
    else:
        draft.put(here + "nbComponent", 1, Origin.DEFAULT, "the number of chips could not be read")
    draft.put(here + "manufacturer", word(cpu.manufacturer))
    draft.put(here + "family", word(cpu.family))
    draft.put(here + "series", word(cpu.series))
    draft.put(here + "share", own_share(totals.cpu_seconds, totals.busy_seconds, cpu.threads))
    draft.add_own(here.rstrip("."), "cores", cpu.cores)
    draft.add_own(here.rstrip("."), "threads", cpu.threads)


def _put_gpu(draft: Draft, index: int, gpu: GpuFacts, totals: Totals, machine: MachineFacts) -> None:
    here = f"infrastructure.components[{index}]."
    memory = significant(gpu.memory_bytes / GIBIBYTE) if gpu.memory_bytes else None
    all_gpus = sum(kind.count for kind in machine.gpus or ())
    draft.put(here + "componentName", word(gpu.name), None, "NVML")
    draft.put(here + "componentType", "gpu")
    draft.put(here + "nbComponent", gpu.count, None, "NVML")
    draft.put(here + "memorySize", memory, None, "NVML, in GiB, of one GPU")
    draft.put(here + "manufacturer", word(gpu.manufacturer), None, "NVML")
    draft.put(here + "family", word(gpu.family), None, "NVML's name")
    draft.put(here + "series", word(gpu.series), None, "NVML's name")
    draft.put(here + "share", own_share(totals.gpu_seconds, totals.busy_seconds, all_gpus))


_MOST_POOL_NOISE = 1.5


def own_share(used_seconds: float | None, busy_seconds: float | None, units: int | None) -> float | None:
    """Return the share of ``units`` processors that the attempts used while they ran, 0..1."""
    if used_seconds is None or not busy_seconds or not units:
        return None
    # Threads of a pool are shared out by whole intervals of the meter, so a short attempt can come out above 1.
    used_share = used_seconds / (busy_seconds * units)
    return share(min(used_share, 1.0)) if used_share <= _MOST_POOL_NOISE else None
