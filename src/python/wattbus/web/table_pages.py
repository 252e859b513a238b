"""The SQL tables that trainings read: what they hold, and how a CSV file becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile

from wattbus import words
from wattbus.access import Role
from wattbus.errors import BadRequest, WattbusError
from wattbus.ml.csv_rows import CsvRows
from wattbus.ml.table_looks import TableLine, TableLook, list_tables, look_at
from wattbus.web.desk import Desk
from wattbus.web.roles import needs
from wattbus.web.training_pages import test_address, tuning_items
from wattbus.web.twin import Twins, plain
from wattbus.web.uploads import aside, blocks, keep

LARGEST_CSV_BYTES = 200_000_000
_INSTEAD = "load it with `wattbus tables load TABLE FILE.csv`"


@dataclass(frozen=True)
class TablesView:
    """The tables, and the database that they are in."""

    database: str
    tables: list[TableLine]


@dataclass(frozen=True)
class TableView:
    """A table, and where a training on it is prepared: one address an item that trains."""

    look: TableLook
    train_on: dict[str, str]


@dataclass(frozen=True)
class Loaded:
    """What became of a CSV file."""

    table: str
    rows_loaded: int
    sentence: str


def add(twins: Twins, desk: Desk) -> None:
    """Open the pages."""

    def tables() -> TablesView:
        """List the tables that trainings read."""
        source = desk.tables()
        return TablesView(source.shown_url, list_tables(source))

    def table(
        name: str,
        label: Annotated[str | None, Query(description="the label column")] = None,
        text: Annotated[str | None, Query(description="the text column")] = None,
        offset: int = 0,
        limit: int = 20,
    ) -> TableView:
        """Show a table: rows, the distribution of its labels, the lengths of its texts."""
        look = look_at(
            desk.tables(), name, label=label or None, text=text or None, offset=offset, limit=limit
        )
        return TableView(look, _train_on(desk, look))

    def load(name: str, file: Path, replace: bool) -> Loaded:
        _check_columns(file)
        rows = desk.tables().load_csv(name, file, if_exists="replace" if replace else "keep")
        if not rows:
            raise BadRequest(f"{name} is there already and was kept: choose to replace it, or another name.")
        return Loaded(name, rows, f"{name}: {words.counted(rows, 'row')} loaded.")

    async def from_form(request: Request) -> Response:
        async with request.form() as form:
            given, name = form.get("file"), str(form.get("name", "")).strip()
            try:
                if not isinstance(given, UploadFile) or not given.filename:
                    raise BadRequest("no file was chosen: choose a CSV file.")
                if not name:
                    raise BadRequest("the table has no name: use letters, digits and _, as in iris.Review.")
                with aside(desk) as file:
                    await keep(blocks(given), file, LARGEST_CSV_BYTES, _INSTEAD)
                    replace = form.get("replace") == "yes"
                    done = await run_in_threadpool(_told_apart, load, name, file, replace)
            except WattbusError as error:
                return twins.back("/tables", str(error), wrong=True)
        return twins.back(f"/tables/{quote(done.table, safe='')}", done.sentence)

    async def from_body(request: Request, name: str, replace: bool = False) -> Response:
        """Make a table from a CSV file with a header, sent as it is; whole or not at all."""
        with aside(desk) as file:
            await keep(request.stream(), file, LARGEST_CSV_BYTES, _INSTEAD)
            done = await run_in_threadpool(_told_apart, load, name, file, replace)
        return JSONResponse(plain(done))

    twins.view("/tables", "tables.html", tables, tag="tables")
    twins.view("/tables/{name}", "table.html", table, tag="tables")
    twins.pages.add_api_route(
        "/tables", from_form, methods=["POST"], dependencies=[needs(Role.OPERATOR)], name="load a table"
    )
    twins.api.add_api_route(
        "/tables/{name}",
        from_body,
        methods=["PUT"],
        dependencies=[needs(Role.OPERATOR)],
        tags=["tables"],
        operation_id="put_tables_name",
        response_model=Loaded,
        openapi_extra={
            "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
        },
    )


def _told_apart(load: Any, name: str, file: Path, replace: bool) -> Loaded:
    """Load, and speak of the file as its sender knows it: not by our name for it."""
    try:
        done: Loaded = load(name, file, replace)
    except BadRequest as error:
        if str(file) in str(error):
            raise BadRequest(str(error).replace(str(file), "the file")) from error
        raise
    return done


def _check_columns(file: Path) -> None:
    columns = CsvRows.inspect(file).columns
    if len(columns) < 2:
        raise BadRequest(
            f"the file has one column, {columns[0].name!r}: a training needs a label column and a text column, with a "
            "comma between their values. Nothing was loaded."
        )


def _train_on(desk: Desk, look: TableLook) -> dict[str, str]:
    """Return of each item that trains where a request on this table is prepared."""
    if look.labels is None or look.lengths is None:
        return {}
    body = {
        "table": look.table.name,
        "columns": f"{look.labels.column},{look.lengths.column}",
        "limit": min(512, look.table.rows),
        "p_of_train": 0.8,
        "num_train_epochs": 3,
    }
    return {item: test_address(item, body) for item in tuning_items(desk)}
