"""The command ``wattbus energy``: what was used, by item and by bucket, and what is measured on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from wattbus import words
from wattbus.cli.output import JsonOption, configured, plain, reading, say, say_json, say_table

if TYPE_CHECKING:
    from wattbus.energy.advice import Measured
    from wattbus.energy.calibration import IdlePower
    from wattbus.energy.factors import FactorFigure
    from wattbus.energy.survey import Survey

_UNKNOWN_CARBON = "unknown: set WATTBUS_COUNTRY, three letters of ISO 3166, or WATTBUS_CARBON_G_PER_KWH"

energy = typer.Typer(
    help="Energy by item and by bucket, and what is measured here.", invoke_without_command=True
)


@energy.callback()
def sums(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show the energy by item, model and tier, and the machine's by bucket."""
    if context.invoked_subcommand is not None:
        return
    from wattbus.energy.factors import configured_factors
    from wattbus.store.queries import carbon_sums, energy_buckets, energy_groups

    engine, factors = reading(), configured_factors(configured())
    groups, buckets, carbon = energy_groups(engine), energy_buckets(engine), carbon_sums(engine)
    if as_json:
        beside = [
            {
                "host": bucket.host,
                "tier": bucket.tier,
                "operations": factors.figures(bucket.operations_joules),
                "machine": factors.figures(bucket.total_joules, bucket.seconds),
            }
            for bucket in buckets
        ]
        say_json({"items": groups, "buckets": buckets, "carbon": carbon, "factors": beside})
        return
    say_table(
        ["item", "model", "scope", "#attempts", "#unknown", "#energy", "#bounds", "#CPU time", "#duration"],
        (
            (
                group.item,
                group.model or "",
                group.scope,
                group.attempts,
                group.unknown,
                words.joules(group.joules, group.tier),
                words.joule_range(group.low_joules, group.high_joules),
                words.seconds(group.cpu_seconds),
                words.seconds(group.duration_seconds),
            )
            for group in groups
        ),
        empty="No attempt has been metered yet.",
    )
    for bucket in buckets:
        say(f"The machine {bucket.host}, {words.seconds(bucket.seconds)}, {bucket.method}:")
        for name in ("operations", "idle", "others", "overhead"):
            say(f"  {name:<11} {words.joules(getattr(bucket, name + '_joules'), bucket.tier)}")
        say(f"  {'total':<11} {words.joules(bucket.total_joules, bucket.tier)}")
        for figure in factors.figures(bucket.total_joules, bucket.seconds):
            say(f"  beside it: {_in_words(figure)}")
    for part in carbon:
        say(
            f"Carbon: {part.grams:.2g} g CO2e for {words.counted(part.attempts, 'attempt')} on our side, "
            f"{part.g_per_kwh:g} g/kWh ({part.source})"
        )
    if buckets and not carbon:
        say(f"Carbon: {_UNKNOWN_CARBON}")


@energy.command("check")
def check(
    seconds: Annotated[
        float, typer.Option(min=0.5, max=60, help="How long a reading lasts; two are made.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Say what is measured on this machine, on which tier, and what would improve it; no production is needed."""
    from wattbus.door import power_feed
    from wattbus.energy.carbon import configured_intensity
    from wattbus.energy.factors import configured_factors
    from wattbus.energy.survey import survey

    config = configured()
    intensity, factors = configured_intensity(config), configured_factors(config)
    found = survey(power_feed(config), on=config.energy, interval_seconds=seconds)
    if as_json:
        say_json({**plain(found), "carbon": intensity, "factors": factors})
        return
    say(found.machine)
    say_table(
        ["part", "tier", "how", "#now"],
        ((part.component, part.tier, part.method, _now(found, part.component)) for part in found.measured),
        empty="Nothing is measured here.",
    )
    if found.why_none:
        say(f"No reading: {found.why_none}.")
    if found.idle is not None:
        say(f"At rest: {_at_rest(found.idle, found.tier)}")
    say(
        f"Carbon: {_UNKNOWN_CARBON if intensity is None else f'{intensity.g_per_kwh:g} g/kWh, {intensity.label}'}"
    )
    for name, value, source in factors.stated():
        say(f"{name}: {value}, {source}")
    _say_advice(found.measured)


def _say_advice(measured: Sequence[Measured]) -> None:
    """Say what would improve each part, and the one command that would do most."""
    better = [part for part in measured if part.improve]
    if not better:
        say("Nothing would improve this: each part is read from a counter.")
        return
    say("What would improve it:")
    for part in better:
        say(f"  {part.component}: {part.improve}")
    commands = [part.command for part in better if part.command]
    say(f"Run: {commands[0]}" if commands else "No command on this machine would.")


def _now(found: Survey, component: str) -> str:
    return words.watts(
        found.watts.get({"processor": "cpu", "GPU": "gpu", "memory": "ram"}.get(component, "")), found.tier
    )


def _at_rest(idle: IdlePower, tier: str) -> str:
    parts = (("processor", idle.cpu_watts), ("GPU", idle.gpu_watts), ("memory", idle.ram_watts))
    watts = ", ".join(f"{name} {words.watts(value, tier)}" for name, value in parts if value is not None)
    read = (
        ""
        if idle.load is None
        else f" over {words.seconds(idle.seconds)}, {idle.load:.0%} of the processor in use"
    )
    return f"{watts} ({idle.how}{read})"


def _in_words(figure: FactorFigure) -> str:
    return f"{figure.name} {figure.value:.2g} {figure.unit} ({figure.how}: {figure.source})"
