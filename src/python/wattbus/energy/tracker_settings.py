"""The settings of an emissions tracker, read as codecarbon 3.3.2 reads them.

A keyword wins over ``CODECARBON_*`` in the environment, that over ``.codecarbon.config`` in the working directory, that
over the one in the home directory. What has no meaning here is accepted, and said once in the log.
"""

from __future__ import annotations

import configparser
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from wattbus.errors import BadSettings, unknown_name_sentence

logger = logging.getLogger("wattbus.codecarbon")

CONFIG_FILE = ".codecarbon.config"
CONFIG_SECTION = "codecarbon"
PREFIX = "codecarbon_"

_NETWORK = "nothing is sent anywhere, and nothing is asked from the network"
_ALL_READ = "the power of the whole machine is read, as it can be read best"
#: What codecarbon takes and this tracker has no use for, with the reason.
WITHOUT_MEANING = {
    "measure_power_secs": "the power is read once a second",
    "api_call_interval": _NETWORK,
    "api_endpoint": _NETWORK,
    "api_key": _NETWORK,
    "save_to_api": _NETWORK,
    "emissions_endpoint": _NETWORK,
    "electricitymaps_api_token": _NETWORK,
    "co2_signal_api_token": _NETWORK,
    "country_2letter_iso_code": _NETWORK,
    "save_to_prometheus": "`wattbus start` has /metrics for Prometheus",
    "prometheus_url": "`wattbus start` has /metrics for Prometheus",
    "save_to_logfire": _NETWORK,
    "gpu_ids": _ALL_READ,
    "force_mode_cpu_load": _ALL_READ,
    "rapl_include_dram": _ALL_READ,
    "rapl_prefer_psys": _ALL_READ,
    "allow_multiple_runs": "any number of trackers and tasks may run at once",
    "logger_preamble": "messages go to the logger wattbus.codecarbon: give it a format of yours",
    "metadata": "`wattbus export boamps` makes the report, and reads what it needs",
}
#: The order in which codecarbon takes them without their names.
IN_ORDER = (
    "project_name", "measure_power_secs", "api_call_interval", "api_endpoint", "api_key", "output_dir", "output_file",
    "output_methods", "save_to_file", "save_to_api", "save_to_logger", "logging_logger", "save_to_prometheus",
    "save_to_logfire", "prometheus_url", "output_handlers", "gpu_ids", "emissions_endpoint", "experiment_id",
    "experiment_name", "electricitymaps_api_token", "co2_signal_api_token", "tracking_mode", "log_level",
    "on_csv_write", "logger_preamble", "force_cpu_power", "force_ram_power", "pue", "wue",
    "force_carbon_intensity_g_co2e_kwh", "force_mode_cpu_load", "allow_multiple_runs", "rapl_include_dram",
    "rapl_prefer_psys", "metadata",
)  # fmt: skip
MODES = ("machine", "process")
WRITES = ("append", "update")
METHODS = ("csv", "api", "logger", "prometheus", "logfire", "boamps")
DEFAULT_EXPERIMENT = "5b0fa12a-3dd7-45bb-9766-cc326314d9f1"  # codecarbon's own


@dataclass(frozen=True)
class TrackerSettings:
    """What an emissions tracker does, and where it is."""

    project_name: str = "codecarbon"
    output_dir: str = "."
    output_file: str = "emissions.csv"
    output_methods: tuple[str, ...] = ("csv",)
    logging_logger: Any = None
    output_handlers: tuple[Any, ...] = field(default=())
    experiment_id: str = DEFAULT_EXPERIMENT
    experiment_name: str = "base"
    tracking_mode: str = "machine"
    log_level: str | int = "info"
    on_csv_write: str = "append"
    force_cpu_power: float | None = None
    force_ram_power: float | None = None
    pue: float = 1.0
    wue: float = 0.0
    force_carbon_intensity_g_co2e_kwh: float | None = None
    country_iso_code: str | None = None
    region: str | None = None
    cloud_provider: str | None = None
    cloud_region: str | None = None


_NUMBERS = ("force_cpu_power", "force_ram_power", "pue", "wue", "force_carbon_intensity_g_co2e_kwh")
_SWITCHES = ("save_to_file", "save_to_logger")
KNOWN = tuple(
    dict.fromkeys([*IN_ORDER, *(one.name for one in fields(TrackerSettings)), "country_2letter_iso_code"])
)
_said: set[str] = set()


def read_settings(positional: tuple[Any, ...], given: Mapping[str, Any]) -> TrackerSettings:
    """Return the settings of one tracker; raises BadSettings for a name or a value that cannot be used."""
    if len(positional) > len(IN_ORDER):
        raise BadSettings(
            f"a tracker takes {len(IN_ORDER)} settings without a name, and {len(positional)} came."
        )
    keywords = {**dict(zip(IN_ORDER, positional, strict=False)), **given}
    for name in keywords:
        if name not in KNOWN:
            raise BadSettings(unknown_name_sentence("setting of an emissions tracker", name, KNOWN))
    configured = read_configuration()
    for name in sorted((keywords.keys() | configured.keys()) & WITHOUT_MEANING.keys()):
        _say_once(name)
    values = {name: value for name, value in configured.items() if name in KNOWN} | keywords
    numbers = {
        name: _number(name, values[name], forgiven=name not in keywords)
        for name in _NUMBERS
        if values.get(name) is not None
    }
    chosen = {
        one.name: values[one.name]
        for one in fields(TrackerSettings)
        if one.name in values and values[one.name] is not None
    }
    chosen |= {name: number for name, number in numbers.items() if number is not None}
    for name in set(numbers) - {name for name, number in numbers.items() if number is not None}:
        chosen.pop(name, None)
    chosen["output_methods"] = _methods(values)
    chosen["output_handlers"] = tuple(values.get("output_handlers") or ())
    chosen["experiment_id"] = str(chosen.get("experiment_id", DEFAULT_EXPERIMENT))
    settings = TrackerSettings(**chosen)
    _check(settings)
    return settings


def read_configuration() -> dict[str, str]:
    """Return what the two files and the environment say, by setting; all values are text."""
    found: dict[str, str] = {}
    for folder in (Path.home(), Path.cwd()):
        found |= _read_file(folder / CONFIG_FILE)
    for name, value in os.environ.items():
        if name.lower().startswith(PREFIX):
            found[name.lower().removeprefix(PREFIX)] = value
    return found


def _read_file(file: Path) -> dict[str, str]:
    parser = configparser.ConfigParser()
    try:
        parser.read(file, encoding="utf-8")
        return dict(parser[CONFIG_SECTION]) if parser.has_section(CONFIG_SECTION) else {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise BadSettings(f"{file} cannot be read: {error}. Mend it, or remove it.") from error


def _methods(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the outputs that are asked for; ``output_methods`` wins over the older switches."""
    methods = values.get("output_methods")
    if methods is None:
        switches = {name: _switch(values.get(name), name == "save_to_file") for name in _SWITCHES}
        return tuple(
            name.removeprefix("save_to_").replace("file", "csv") for name in _SWITCHES if switches[name]
        )
    if isinstance(methods, str):
        methods = [method.strip() for method in methods.split(",") if method.strip()]
    names = tuple(str(getattr(method, "value", method)).lower() for method in methods)
    for name in names:
        if name not in METHODS:
            raise BadSettings(unknown_name_sentence("output method", name, METHODS))
        if name not in ("csv", "logger"):
            _say_once(
                f"output method {name}",
                "`wattbus export boamps` makes the report" if name == "boamps" else _NETWORK,
            )
    return names


def _switch(value: Any, default: bool) -> bool:
    if value is None:
        return default
    return value if isinstance(value, bool) else str(value).strip().lower() == "true"


def _number(name: str, value: Any, *, forgiven: bool) -> float | None:
    """Return a number; what is none in the configuration is left out with a word in the log, as codecarbon does."""
    try:
        number = float(value)
        if isinstance(value, bool) or not 0 <= number < float("inf"):
            raise ValueError
    except (TypeError, ValueError):
        sentence = f"{name} is {value!r}: give a number that is 0 or more."
        if not forgiven:
            raise BadSettings(sentence) from None
        logger.error("%s It is left out.", sentence)
        return None
    return number


def _check(settings: TrackerSettings) -> None:
    _one_of("tracking_mode", settings.tracking_mode, MODES)
    _one_of("on_csv_write", settings.on_csv_write, WRITES)
    if "csv" in settings.output_methods and not Path(settings.output_dir).is_dir():
        raise BadSettings(
            f"output_dir is {str(settings.output_dir)!r}, and there is no such folder: make it, or name another."
        )
    if "logger" in settings.output_methods and settings.logging_logger is None:
        raise BadSettings("output to a logger is asked for, and logging_logger is not given: give one.")
    if settings.cloud_provider and not settings.cloud_region:
        raise BadSettings(f"cloud_provider is {settings.cloud_provider!r}: give cloud_region with it.")


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadSettings(f"{name} is {value!r}: give one of {', '.join(known)}.")


def _say_once(name: str, reason: str = "", say: Callable[..., None] = logger.warning) -> None:
    if name not in _said:
        _said.add(name)
        say("%s has no effect here: %s.", name, reason or WITHOUT_MEANING[name])
