"""Models saved without IRIS: each is a row of its class's table in the tables database, and a save is a transaction.

``iris_persistence`` asks one object for all it needs of IRIS, its Runtime; :class:`TablesRuntime` is ours.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import iris_persistence
import iris_persistence.schema
from iris_persistence.field_utils import is_model_type, is_serial_model_type, walk_declared_value
from iris_persistence.runtime import RuntimeStatusError
from sqlalchemy import inspect

from wattbus.errors import NeedsIris
from wattbus.runtime import iris_sql
from wattbus.runtime.iris_extents import Extent, table_name
from wattbus.runtime.iris_objects import OK
from wattbus.runtime.persistent import (
    DATE_TYPES,
    ModelObject,
    is_message_class,
    json_value,
    model_named,
    moment,
    typed_value,
)

_SELECT_IDS = re.compile(r"SELECT ID FROM (\S+)")
_COLUMN_KINDS = (str, int, float, bool)
#: How an object that has a row of its own stands in the row of another.
_REFERENCE = "%Id"


class TablesRuntime:
    """The Runtime of iris_persistence on the tables database; each save is a transaction of its own."""

    def call_classmethod(self, class_name: str, method_name: str, *args: Any) -> Any:
        if method_name in ("OdbcToLogical", "LogicalToOdbc"):
            return args[0]  # dates and times are kept as they are written
        if method_name in ("_GetParameter", "%GetParameter"):
            parameters = getattr(model_named(class_name), "_parameters", None) or {}
            return parameters.get(args[0], "")
        raise NeedsIris(f"{class_name}.{method_name}() needs InterSystems IRIS.")

    def new_object(self, class_name: str) -> ModelObject:
        _known_model(class_name)
        return ModelObject(class_name)

    def save_object(self, obj: ModelObject) -> int:
        model = _known_model(obj._ClassName(1))
        row = {name: _for_row(value) for name, value in vars(obj).items() if not name.startswith("_")}
        obj._number = _extent(model).save(row, obj._number)
        return OK

    def get_object(self, class_name: str, obj_id: str) -> ModelObject | None:
        model = _known_model(class_name)
        row = _extent(model).load(int(obj_id)) if str(obj_id).isdecimal() else None
        if row is None:
            return None
        found = ModelObject(class_name)
        found._number = int(obj_id)
        for name, value in row.items():
            declared = model.__model_fields__[name].declared_type
            setattr(found, name, walk_declared_value(value, declared, self._from_row))
        return found

    def _from_row(self, value: Any, declared: Any) -> Any:
        if is_model_type(declared) and isinstance(value, dict):
            if _REFERENCE in value:
                return self.get_object(declared._classname, str(value[_REFERENCE]))
            made = ModelObject(declared._classname)
            for name, field in declared.__model_fields__.items():
                if name in value:
                    setattr(made, name, walk_declared_value(value[name], field.declared_type, self._from_row))
            return made
        return typed_value(value, declared)

    def delete_object(self, class_name: str, obj_id: str) -> bool:
        return str(obj_id).isdecimal() and _extent(_known_model(class_name)).delete(int(obj_id))

    @contextmanager
    def connection(self) -> Iterator[_Connection]:
        yield _Connection()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def set_property(self, obj: Any, prop_name: str, value: Any) -> None:
        setattr(obj, prop_name, value)

    def get_property(self, obj: Any, prop_name: str) -> Any:
        return getattr(obj, prop_name, None)

    def invoke_method(self, obj: Any, method_name: str, *args: Any) -> Any:
        return getattr(obj, method_name)(*args)

    def get_object_id(self, obj: Any) -> str | None:
        return obj._Id() or None

    def check_status(self, status: Any, operation: str) -> None:
        if status != OK:
            raise RuntimeStatusError(operation, str(status), backend="wattbus")

    def compile_class(self, class_name: str, flags: str = "") -> None:
        raise NeedsIris(f"compiling the class {class_name} needs InterSystems IRIS.")

    def extract_python_value(self, val: Any) -> Any:
        return val

    def extract_typed_python_value(self, val: Any, collection_kind: str | None) -> Any:
        return val

    def clear_reference(self, obj: Any, field_name: str, *, serial: bool = False) -> None:
        setattr(obj, field_name, None)

    def decode_percent_list(self, value: Any) -> list[Any]:
        return list(value or ())

    def inject_iris_value(self, obj: Any, field_name: str, val: Any, field_meta: Any | None = None) -> None:
        setattr(obj, field_name, val)


class _Connection:
    """What iris_persistence takes for a DB-API connection and its cursor: it asks for ids, and for a table's name."""

    def __init__(self) -> None:
        self._rows: list[list[Any]] = []
        self.description: list[tuple[str]] = []

    def cursor(self) -> _Connection:
        return self

    def execute(self, sql: str, params: Any = ()) -> None:
        if "%Dictionary.CompiledClass" in sql:
            self._rows, self.description = [[table_name(str(params[0])), ""]], [("SqlTableName",)]
            return
        asked = _SELECT_IDS.match(sql)
        if asked is not None and not inspect(iris_sql.tables_engine()).has_table(asked[1].lower()):
            self._rows = []  # nothing was ever saved
            return
        found = iris_sql.run(sql, [moment(value) for value in params])
        self._rows, self.description = list(found), [(name,) for name in found.columns]

    def fetchone(self) -> list[Any] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[list[Any]]:
        rows, self._rows = self._rows, []
        return rows

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.fetchall())

    def close(self) -> None:
        self._rows = []


_RUNTIME = TablesRuntime()


def runtime() -> TablesRuntime:
    """Return the Runtime that saves in the tables database."""
    return _RUNTIME


def install() -> None:
    """Let iris_persistence work on the tables database."""
    iris_persistence.install_runtime(_RUNTIME)
    # Model.sync_schema looks the function up at each call; the class dictionary that it would write to is IRIS's.
    iris_persistence.schema.sync_schema = _sync_schema


def _sync_schema(model_cls: Any, _seen: set[str] | None = None) -> None:
    if not is_message_class(model_cls) and not is_serial_model_type(model_cls):
        _extent(model_cls).make()


def _known_model(class_name: str) -> Any:
    model = model_named(class_name)
    if model is None:
        raise NeedsIris(f"the class {class_name!r} needs InterSystems IRIS: no Model here stands for it.")
    return model


def _extent(model: Any) -> Extent:
    kinds = {}
    for name, field in model.__model_fields__.items():
        declared = field.declared_type
        kinds[name] = (
            declared
            if declared in _COLUMN_KINDS
            else str
            if declared in (*DATE_TYPES, decimal.Decimal)
            else dict
        )
    return Extent(model._classname, kinds)


def _for_row(value: Any) -> Any:
    if isinstance(value, ModelObject):
        return {_REFERENCE: value._number} if value._number is not None else value.fields()
    if isinstance(value, list):
        return [_for_row(item) for item in value]
    if isinstance(value, dict):
        return {key: _for_row(item) for key, item in value.items()}
    return json_value(value)
