"""What an optimisation compares on: the user's rows in a table, or the requests that the bus has kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from wattbus.errors import BadRequest
from wattbus.home import Home
from wattbus.messages import OptimiseRequest
from wattbus.ml.optimise_spec import MOST_ROWS, candidates_of, check_inputs
from wattbus.ml.pipeline_tasks import FIELDS, Feed, Task
from wattbus.ml.tables import TrainingTables
from wattbus.store.filters import MessageFilter
from wattbus.store.queries import list_messages, message_body, message_header

#: Among so many of the newest answers of a model those are looked for whose requests can be asked again.
_LOOKED_THROUGH = 2000


def inputs_for(
    request: OptimiseRequest,
    home: Home,
    model: str,
    task: Task,
    *,
    tables: Callable[[], TrainingTables],
    store: Callable[[], Engine],
) -> list[str]:
    """Return the inputs that a request names; BadRequest or UnknownName where it names none, or too few."""
    candidates_of(request.to)
    _one_source(request.table, request.text_column, request.requests)
    if request.table is not None and request.text_column is not None:
        return rows_of_table(tables(), request.table, request.text_column, _wanted(request.limit))
    engine = store()
    try:
        return kept_requests(engine, home, model, task, _wanted(request.requests))
    finally:
        engine.dispose()


def rows_of_table(tables: TrainingTables, table: str, column: str, limit: int) -> list[str]:
    """Return the texts of a column, without empty ones; BadRequest where they are too few."""
    found: dict[str, None] = {}
    for (value,) in tables.rows(table, [column], None):
        if isinstance(value, str) and value.strip():
            found[value] = None
        if len(found) >= limit:
            break
    inputs = list(found)
    check_inputs(inputs, f"the column {column} of {table} (different ones, without empty ones)")
    return inputs


def kept_requests(engine: Engine, home: Home, model: str, task: Task, limit: int) -> list[str]:
    """Return the inputs of the newest requests that a model has answered; BadRequest where they are too few."""
    which = MessageFilter(body_class="MLResponse", body_fields=(("$.model", model),), is_error=False)
    found: dict[str, None] = {}
    for answer in list_messages(engine, limit=_LOOKED_THROUGH, which=which):
        asked = message_header(engine, answer.corresponding_id) if answer.corresponding_id else None
        body = message_body(engine, home.bodies, asked.body_id) if asked is not None else None
        found.update(dict.fromkeys(_inputs(body, task)))
        if len(found) >= limit:
            break
    inputs = list(found)[:limit]
    check_inputs(inputs, f"the kept requests to {model} (different ones)")
    return inputs


def _wanted(limit: int | None) -> int:
    return MOST_ROWS if limit is None else min(limit, MOST_ROWS)


def _one_source(table: str | None, column: str | None, requests: int | None) -> None:
    if (table is None) == (requests is None):
        raise BadRequest(
            "an optimisation compares on your own inputs: name a table with its text column, or a number of kept "
            "requests, one of the two."
        )
    if table is not None and not column:
        raise BadRequest(
            f"the table {table} has several columns: name the one with the texts, as in ReviewText."
        )


def _inputs(body: str | None, task: Task) -> list[str]:
    """Return the texts, or names of pictures, that a request holds."""
    try:
        told: Any = json.loads(body or "{}")
    except ValueError:
        return []
    given = (
        next((told[name] for name in FIELDS[task.feed] if name in told), None)
        if isinstance(told, dict)
        else None
    )
    several = given if isinstance(given, list) else [given]
    texts = [one for one in several if isinstance(one, str) and one.strip()]
    # a picture's address cannot be asked again without going out for it
    return texts if task.feed is Feed.TEXT else [one for one in texts if "://" not in one]
