"""Configuration of one wattbus, from the environment: every setting is ``WATTBUS_`` and its name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from wattbus.errors import BadSettings

#: A token that somebody thinks out must be beyond guessing.
SHORTEST_TOKEN = 16


class Config(BaseSettings):
    """What may differ from machine to machine; the production itself is in ``settings.py``."""

    model_config = SettingsConfigDict(env_prefix="WATTBUS_", extra="ignore", frozen=True)

    home: Path = Field(default=Path(".wattbus"), description="the folder of all state")
    settings: Path | None = Field(
        default=None, description="the settings.py to run; by default the one here, else the shipped one"
    )
    production: str | None = Field(
        default=None, description="the production of the settings.py that runs; by default the first"
    )
    store_url: str | None = Field(
        default=None, description="postgresql://... ; by default SQLite in the home"
    )
    tables_url: str | None = Field(
        default=None, description="database of the training tables; by default SQLite in the home"
    )
    allow_hosts: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="host:port, comma-separated: private addresses that requests may go to",
    )
    hub_url: str | None = Field(
        default=None, description="model hub; by default HF_ENDPOINT, else the Hugging Face Hub"
    )
    allow_pickle: bool = Field(
        default=False, description="on: items may send pickle messages to each other; doors never take one"
    )
    stop_seconds: int = Field(
        default=30, ge=0, description="what a stop may take to finish what somebody waits for"
    )
    ballast_mb: float | None = Field(
        default=None,
        ge=0,
        description="what is kept free on the disk of the store, so that what runs can end when it is full; by default "
        "a thousandth of the disk, 1 to 16 MB",
    )
    supervisor: bool = Field(
        default=True, description="off: nobody starts the process of `wattbus start` again when it dies"
    )
    energy: bool = Field(default=True, description="off: no power feed, energies stay unknown")
    country: str | None = Field(
        default=None, description="ISO 3166 code with three letters, for the carbon intensity"
    )
    carbon_g_per_kwh: float | None = Field(
        default=None, ge=0, description="carbon intensity of your contract"
    )
    carbon_year: int | None = Field(default=None, ge=1990, le=2100, description="the year that figure is of")
    carbon_source: str | None = Field(default=None, description="who says that figure")
    pue: float | None = Field(
        default=None,
        ge=1,
        allow_inf_nan=False,
        description="energy of the data centre for each of the machine's (power usage effectiveness)",
    )
    pue_source: str | None = Field(default=None, description="who says that figure")
    water_l_per_kwh: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="litres of water for a kWh of the machine (WUE)"
    )
    water_source: str | None = Field(default=None, description="who says that figure")
    embodied_g: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="grams of CO2e of making the machine"
    )
    embodied_hours: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="hours that the machine is used in its life"
    )
    embodied_source: str | None = Field(default=None, description="who says those two figures")
    http: bool = Field(default=True, description="off: `wattbus start` opens no HTTP door")
    port: int = Field(default=52080, ge=0, le=65535, description="port of the HTTP door; 0 takes a free one")
    http_host: str = Field(
        default="127.0.0.1",
        description="address of the HTTP door; one that others can reach needs a token",
    )
    http_names: Annotated[frozenset[str], NoDecode] = Field(
        default=frozenset(),
        description="comma-separated: names, beside localhost, that the HTTP door is reached under",
    )
    token: SecretStr | None = Field(
        default=None,
        description="an admin's token for the HTTP door, instead of the one that the first start makes; and what "
        "services with WATTBUS_URL show",
    )
    insecure_local: bool = Field(
        default=False, description="on: the HTTP door asks nobody on this machine for a token"
    )
    url: str | None = Field(
        default=None, description="http://host:port of the wattbus that services in this process send through"
    )

    retention_days: float | None = Field(
        default=None,
        gt=0,
        description="purge what ended so many days ago, once a day; by default everything is kept",
    )

    otel_endpoint: str | None = Field(
        default=None,
        description="http://host:port of an OpenTelemetry collector that traces are sent to, by OTLP/HTTP",
    )
    otel_content: bool = Field(
        default=False, description="on: those traces hold message bodies and error texts"
    )

    @field_validator("token", mode="after")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < SHORTEST_TOKEN:
            raise ValueError(
                f"a token has at least {SHORTEST_TOKEN} characters; `wattbus token new` makes one"
            )
        return value

    @model_validator(mode="after")
    def _embodied_whole(self) -> Self:
        if (self.embodied_g is None) != (self.embodied_hours is None):
            raise ValueError(
                "WATTBUS_EMBODIED_G and WATTBUS_EMBODIED_HOURS belong together: set both, or none of them"
            )
        return self

    @field_validator("allow_hosts", "http_names", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            frozenset(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )


def environment_for_children() -> dict[str, str]:
    """Return the environment for a process that does a part of the work: it opens no door and needs no token."""
    return {name: value for name, value in os.environ.items() if name != "WATTBUS_TOKEN"}


def read_config(**given: Any) -> Config:
    """Read the environment; ``given`` values that are not None win."""
    try:
        return Config(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise BadSettings(f"{first['msg'].removeprefix('Value error, ')}.") from None
        name = "WATTBUS_" + "_".join(str(part) for part in first["loc"]).upper()
        shown = "***" if first["loc"] == ("token",) else str(first.get("input"))
        raise BadSettings(f"{name} is {json.dumps(shown)}: {first['msg']}.") from None
