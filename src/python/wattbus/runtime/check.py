"""The check of a production before it runs: what cannot work, or will not do what its author thinks, in sentences.

:func:`check` reads a settings file and says everything; :func:`examine` says what can be said of a production that was
read, and is also asked at each start. Nothing of a component is called.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from wattbus.errors import WattbusError, nearest
from wattbus.runtime import settings
from wattbus.runtime.forms import FREE_TEXT, free_lines
from wattbus.runtime.handlers import handler_findings
from wattbus.runtime.production import Finding, ItemConfig, ProductionConfig, place_of
from wattbus.runtime.reading import read
from wattbus.runtime.retry import ReplyCodeActions
from wattbus.runtime.routes import route_findings
from wattbus.runtime.schedule import Schedule

#: How long a settings file may take to be imported.
IMPORT_SECONDS = 60.0
#: Settings of the host that are numbers or switches, by a value of their type.
HOST_TYPES: dict[str, Any] = {
    "AlertOnError": False, "BatchSize": 0, "BatchWaitMs": 0.0, "CallInterval": 0.0, "FailureTimeout": 0.0,
    "InactivityTimeout": 0.0, "Isolated": False, "KeepaliveInterval": 0.0, "MemoryLimit": 0.0, "QueueCountAlert": 0,
    "QueueLimit": 0, "QueueWaitAlert": 0.0, "RetryInterval": 0.0, "StayConnected": 0.0, "ThrottleDelay": 0.0,
    "TimeLimit": 0.0,
}  # fmt: skip


def check(
    settings_file: Path, name: str | None = None, import_seconds: float = IMPORT_SECONDS
) -> list[Finding]:
    """Read a production and return all there is to say about it, the errors first; never wait for ever."""
    answer: Future[tuple[ProductionConfig | None, list[Finding]]] = Future()
    thread = threading.Thread(target=_answer, args=(answer, settings_file, name), daemon=True)
    thread.start()
    try:
        config, findings = answer.result(import_seconds)
    except TimeoutError:
        return [Finding("error", "", _still_importing(settings_file, thread, import_seconds))]
    if config is not None:
        findings = [*findings, *examine(config)]
        for item in config.items.values():
            findings += settings_findings(item)
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(dict.fromkeys(findings), key=lambda finding: order[finding.level])


def _answer(
    answer: Future[tuple[ProductionConfig | None, list[Finding]]], settings_file: Path, name: str | None
) -> None:
    try:
        answer.set_result(read(settings_file, name))
    except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
        answer.set_exception(error)


def examine(production: ProductionConfig) -> list[Finding]:
    """Return what the classes and the routes of a production show to be wrong."""
    handlers = [
        Finding(level, item.name, f"{place_of(item)}: {text}")
        for item in production.items.values()
        for level, text in handler_findings(item.component, item.kind)
    ]
    return [*handlers, *route_findings(production)]


# -- settings ------------------------------------------------------------------------------------------------------


def settings_findings(item: ItemConfig) -> Iterator[Finding]:
    """Try the settings of an item on a component that never starts."""
    warned: list[str] = []
    component, adapter = item.component, item.adapter
    yield from _said(item, lambda: settings.apply(object.__new__(component), item, warned.append))
    if adapter is not None:
        yield from _said(
            item, lambda: settings.apply_to_adapter(object.__new__(adapter), item, warned.append)
        )
    for name in HOST_TYPES:
        yield from _said(item, partial(settings.host_setting, item, name, HOST_TYPES[name]))
    yield from _said(
        item, lambda: ReplyCodeActions.parse(settings.host_setting(item, "ReplyCodeActions", ""))
    )
    if item.schedule.strip():
        yield from _said(item, lambda: Schedule.parse(item.schedule))
    yield from (Finding("warning", item.name, f"{place_of(item)}: {text}") for text in warned)
    yield from _free_text_findings(item)


def _said(item: ItemConfig, attempt: Callable[[], object]) -> Iterator[Finding]:
    try:
        attempt()
    except WattbusError as error:
        yield Finding("error", item.name, f"{place_of(item)}: {error}")


def _free_text_findings(item: ItemConfig) -> Iterator[Finding]:
    text, component = str(item.host_settings.get(FREE_TEXT) or ""), item.component
    declared = [str(row[0]) for row in component._get_properties()]  # type: ignore[attr-defined]
    for name in free_lines(text):
        close = nearest(name, declared)
        if close is not None and close != name:
            yield Finding(
                "warning",
                item.name,
                f"{place_of(item)}: %settings has {name!r}, which {component.__name__} does not declare: did you mean "
                f"{close!r}?",
            )
    for line in text.replace("\r", "").split("\n"):
        if line.strip() and "=" not in line:
            yield Finding(
                "warning",
                item.name,
                f"{place_of(item)}: %settings has the line {line.strip()!r}, which is not key=value: as on IRIS it "
                "makes an empty attribute of that name.",
            )


def _still_importing(settings_file: Path, thread: threading.Thread, seconds: float) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame is not None else []
    folder = str(settings_file.absolute().parent)
    at = [f"line {step.lineno} of {step.filename}" for step in stack if step.filename.startswith(folder)]
    return (
        f"{settings_file} is not imported after {seconds:g} s{', it is at ' + at[-1] if at else ''}: move what waits "
        "out of the module, into on_init of a component."
    )
