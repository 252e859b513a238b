"""Where the data of an observed window came from: a table that was read from a file, or a known public data set."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from wattbus.energy.record import DataFacts, TaskFacts
from wattbus.ml.observe import Sighting, Tell
from wattbus.ml.observe_data import bytes_of, shape_of
from wattbus.ml.observe_patches import Patches
from wattbus.ml.sources import PUBLIC_HUB

READERS = {
    "read_csv": "csv",
    "read_table": "csv",
    "read_json": "json",
    "read_parquet": "parquet",
    "read_feather": "arrow",
    "read_excel": "xlsx",
    "read_sql": "sql",
    "read_sql_query": "sql",
    "read_sql_table": "sql",
}
_TABLES = ("pandas", "polars")
_PUBLIC = "sklearn.datasets"
_HUB = "datasets"
_OF_THE_USER = (
    "load_files",
    "load_svmlight_file",
    "load_svmlight_files",
    "load_sample_image",
    "load_sample_images",
)


@dataclass(frozen=True)
class DataOrigin:
    """One source of data; the address of a local file is its name."""

    format: str | None
    source: str | None
    uri: str | None
    shape: tuple[int, ...] | None = None
    bytes: int | None = None

    def facts(self) -> DataFacts:
        """Return the data as the input of a task."""
        rows = self.shape[0] if self.shape else None
        shape = None if self.shape is None else "(" + ", ".join(str(length) for length in self.shape) + ")"
        return DataFacts("input", "tabular", rows, self.bytes, shape, self.format, self.source, self.uri)


class FilesNotes:
    """What one observation has seen being read."""

    def __init__(self) -> None:
        self._origins: list[DataOrigin] = []

    def read(self, origin: DataOrigin) -> None:
        self._origins.append(origin)

    def sightings(self) -> list[Sighting]:
        """Return none: what is read is no model; see :meth:`told_of`."""
        return []

    def told_of(self, facts: TaskFacts | None) -> TaskFacts | None:
        """Complete a task's input by where its data came from, when all came from one place.

        With ``facts`` None it is a generic task, whose input is that data; None when nothing was read.
        """
        distinct = {(one.format, one.source, one.uri) for one in self._origins}
        if len(distinct) != 1:
            return facts
        origin = self._origins[-1]
        if facts is None:
            return TaskFacts("other", requests=1, data=(origin.facts(),))
        data = tuple(_told(one, origin) if one.usage == "input" else one for one in facts.data)
        return replace(facts, data=data or (origin.facts(),))


class FilesWatch:
    """Looks into the functions of pandas and polars that read, and those that load public data sets."""

    name = "files"

    def __init__(self) -> None:
        self._depth = _Depth()

    def wants(self, module: str) -> bool:
        return module in (*_TABLES, _PUBLIC, _HUB)

    def notes(self, on_gpu: Callable[[], object]) -> FilesNotes:
        return FilesNotes()

    def install(self, patches: Patches, tell: Tell) -> None:
        for library in _TABLES:
            for name, format in READERS.items():
                if hasattr(sys.modules.get(library), name):
                    patches.wrap(sys.modules[library], name, self._noting(tell, _table_origin(format)))
        for name in list(vars(sys.modules.get(_PUBLIC, object))):
            if name.startswith(("load_", "fetch_")) and name not in _OF_THE_USER:
                patches.wrap(sys.modules[_PUBLIC], name, self._noting(tell, _public_origin))
        if hasattr(sys.modules.get(_HUB), "load_dataset"):
            patches.wrap(sys.modules[_HUB], "load_dataset", self._noting(tell, _hub_origin))

    def _noting(self, tell: Tell, origin: Callable[[Any, Any], DataOrigin]) -> Callable[..., Any]:
        depth = self._depth

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **named: Any) -> Any:
                if depth.value:
                    return original(*args, **named)
                depth.value = 1
                try:
                    read = original(*args, **named)
                finally:
                    depth.value = 0
                place = args[0] if args else next(iter(named.values()), None)
                tell("files", lambda notes: notes.read(origin(place, read)))
                return read

            return run

        return make


class _Depth(threading.local):
    value = 0


def _table_origin(format: str) -> Callable[[Any, Any], DataOrigin]:
    def origin(place: Any, read: Any) -> DataOrigin:
        shape, size = shape_of(read), bytes_of(read)
        if format == "sql" or not isinstance(place, str | os.PathLike):
            return DataOrigin(format, None, None, shape, size)
        name = os.fspath(place)
        if "://" in str(name):
            public = str(name).startswith(("http://", "https://"))
            return DataOrigin(format, "public" if public else None, str(name), shape, size)
        return DataOrigin(format, None, f"file:{os.path.basename(str(name))}", shape, size)

    return origin


def _public_origin(place: Any, read: Any) -> DataOrigin:
    data = read[0] if isinstance(read, tuple) and read else getattr(read, "data", None)
    return DataOrigin(None, "public", None, shape_of(data), bytes_of(data))


def _hub_origin(place: Any, read: Any) -> DataOrigin:
    if not isinstance(place, str) or os.path.exists(place) or place in ("csv", "json", "parquet", "text"):
        return DataOrigin(place if place in ("csv", "json", "parquet") else None, None, None)
    return DataOrigin(None, "public", f"{PUBLIC_HUB}/datasets/{place}")


def _told(data: DataFacts, origin: DataOrigin) -> DataFacts:
    return replace(
        data,
        format=data.format or origin.format,
        source=data.source or origin.source,
        source_uri=data.source_uri or origin.uri,
    )
