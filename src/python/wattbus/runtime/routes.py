"""The routes of a production, looked at: targets that are not there, and items that would wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iop import TargetSetting

from wattbus.errors import nearest
from wattbus.runtime.production import Finding, ItemConfig, ProductionConfig, place_of
from wattbus.runtime.source import Send, sends, settings_of, targets

#: Where IRIS sends to by itself.
_KNOWN_TO_IRIS = frozenset({"Ens.Alert", "Ens.ScheduleHandler"})


@dataclass(frozen=True)
class Route:
    """One item sends to another; ``setting`` names where that is said, or is empty."""

    source: str
    target: str
    setting: str = ""


def route_findings(production: ProductionConfig) -> Iterator[Finding]:
    """Return what is wrong with the targets of all items."""
    for item in production.items.values():
        yield from _of_item(production, item)
    yield from _circles(production)


def connections(production: ProductionConfig) -> list[Route]:
    """Return which item sends to which, as its settings and its source show it; only items of the production count."""
    there = {*production.items, *production.skipped}
    routes: dict[tuple[str, str], Route] = {}
    for item in production.items.values():
        values = settings_of(item.component, item.host_settings)
        named = [(part.strip(), name) for name, value in values.items() for part in value.split(",")]
        sent = [
            (target, send.attribute)
            for send in sends(item.component)
            for target in targets(send, item.component, values)
        ]
        for target, setting in (*named, *sent):
            if target in there and target != item.name:
                routes.setdefault((item.name, target), Route(item.name, target, setting))
    return list(routes.values())


def _of_item(production: ProductionConfig, item: ItemConfig) -> Iterator[Finding]:
    values = settings_of(item.component, item.host_settings)
    told = set()
    for send in sends(item.component):
        found = targets(send, item.component, values)
        if not found and send.attribute and send.attribute in _target_settings(item.component):
            yield Finding(
                "warning",
                item.name,
                f"{place_of(item)}: {send.method} sends to {send.attribute}, which is connected to nothing: "
                f"`prod.connect(item.{send.attribute}, other)`, or a setting {send.attribute!r}.",
            )
        for target in found:
            if target not in told:
                told.add(target)
                how = (
                    f"{send.method} (line {send.line}) sends to"
                    if not send.attribute
                    else f"{send.attribute} is"
                )
                yield from _target_findings(production, item, target, how)
    for name in ("TargetConfigName", "TargetConfigNames", *_target_settings(item.component)):
        for target in values.get(name, "").split(","):
            if target.strip() and target.strip() not in told:
                told.add(target.strip())
                yield from _target_findings(production, item, target.strip(), f"{name} is")


def _target_findings(
    production: ProductionConfig, item: ItemConfig, target: str, how: str
) -> Iterator[Finding]:
    if target in production.items:
        if production.items[target].kind == "service":
            yield Finding(
                "error",
                item.name,
                f"{place_of(item)}: {how} {target!r}, which is a service: services receive no messages, name a process "
                "or an operation.",
            )
    elif target in production.skipped:
        yield Finding(
            "warning",
            item.name,
            f"{place_of(item)}: {how} {target!r}, which needs IRIS: that message is refused here.",
        )
    elif target not in _KNOWN_TO_IRIS:
        close = nearest(target, production.items)
        cure = f"did you mean {close!r}?" if close else f"there are {', '.join(production.items)}."
        yield Finding(
            "error",
            item.name,
            f"{place_of(item)}: {how} {target!r}, and no item of the production has that name: {cure}",
        )


def _target_settings(component: type) -> list[str]:
    return [
        name
        for cls in component.__mro__
        for name, value in vars(cls).items()
        if isinstance(value, TargetSetting)
    ]


# -- circles -------------------------------------------------------------------------------------------------------


def _circles(production: ProductionConfig) -> Iterator[Finding]:
    """Find items that wait for each other: with one worker each, they would wait for ever."""
    waits: dict[str, dict[str, Send]] = {}
    for item in production.items.values():
        values = settings_of(item.component, item.host_settings)
        waits[item.name] = {
            target: send
            for send in sends(item.component)
            if send.waits
            for target in targets(send, item.component, values)
            if target in production.items
        }
    told: set[frozenset[str]] = set()
    for start in waits:
        circle = _circle_from(start, waits)
        if circle is None or frozenset(circle) in told:
            continue
        told.add(frozenset(circle))
        steps = " -> ".join([*circle, start])
        single = [name for name in circle if production.items[name].pool_size <= 1]
        first = waits[start][circle[1] if len(circle) > 1 else start]
        if single:
            yield Finding(
                "error" if len(single) == len(circle) else "warning",
                start,
                f"{place_of(production.items[start])}: a circle of synchronous requests, {steps}: {', '.join(single)} "
                "has one worker, which waits while its own answer is asked for, so the request is refused. Send one of "
                f"them with send_request_async (line {first.line}, {first.method}), give it a time-out, or raise the "
                "pool size.",
            )


def _circle_from(start: str, waits: dict[str, dict[str, Send]]) -> list[str] | None:
    """Return the shortest way from an item back to itself."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop(0)
        for target in waits[way[-1]]:
            if target == start:
                return way
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return None
