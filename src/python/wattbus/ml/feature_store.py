"""The store of features: what an encoder made of a text, kept by its weights and the text, for the next training.

One SQLite file of the home. It is a cache: what is damaged is made again, and past its size the oldest are dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

LARGEST_BYTES = 1_000_000_000
_AT_ONCE = 500
_WAIT_SECONDS = 30.0

_METADATA = sa.MetaData()
_FEATURES = sa.Table(
    "features",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("maker", sa.LargeBinary, nullable=False),  # sha256 of the weights and of how the vector is made
    sa.Column("text", sa.LargeBinary, nullable=False),  # sha256
    sa.Column("vector", sa.LargeBinary, nullable=False),  # float32
    sa.UniqueConstraint("maker", "text"),
)


class FeatureStore:
    """Features of one maker: an encoder with its way to make one vector of a text. Without a file, nothing is kept."""

    def __init__(self, file: Path | None, maker: str, largest_bytes: int = LARGEST_BYTES) -> None:
        self._file = file
        self._maker = hashlib.sha256(maker.encode()).digest()
        self._largest_bytes = largest_bytes

    def read(self, texts: Sequence[str]) -> dict[int, Any]:
        """Return the vectors that are kept, by the place of their text."""
        import numpy

        if self._file is None or not self._file.is_file():
            return {}
        places: dict[bytes, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(_digest(text), []).append(place)
        wanted = list(places)
        found: dict[int, Any] = {}
        try:
            with self._begin() as connection:
                for start in range(0, len(wanted), _AT_ONCE):
                    query = sa.select(_FEATURES.c.text, _FEATURES.c.vector).where(
                        _FEATURES.c.maker == self._maker,
                        _FEATURES.c.text.in_(wanted[start : start + _AT_ONCE]),
                    )
                    for row in connection.execute(query):
                        for place in places[row.text]:
                            found[place] = numpy.frombuffer(row.vector, dtype=numpy.float32)
        except sa.exc.DatabaseError:
            self._file.unlink(missing_ok=True)  # a cache that cannot be read is none
            return {}
        return found

    def keep(self, vectors: Mapping[str, Any]) -> None:
        """Keep vectors by their text, durably, all or none; drop the oldest past the size.

        A disk that is full, or a file that is locked for long, costs the next training time and this one nothing.
        """
        if self._file is None or not vectors:
            return
        from sqlalchemy.dialects.sqlite import insert

        rows = [
            {"maker": self._maker, "text": _digest(text), "vector": vector.astype("float32").tobytes()}
            for text, vector in vectors.items()
        ]
        with contextlib.suppress(sa.exc.DatabaseError), self._begin() as connection:
            _METADATA.create_all(connection)
            connection.execute(insert(_FEATURES).on_conflict_do_nothing(), rows)
            self._drop_oldest(connection)

    def _drop_oldest(self, connection: sa.Connection) -> None:
        size = sa.func.coalesce(sa.func.sum(sa.func.length(_FEATURES.c.vector)), 0)
        used = connection.scalar(sa.select(size)) or 0
        if used <= self._largest_bytes:
            return
        so_far = sa.func.sum(sa.func.length(_FEATURES.c.vector)).over(order_by=_FEATURES.c.number.desc())
        ranked = sa.select(_FEATURES.c.number, so_far.label("bytes")).subquery()
        old = sa.select(ranked.c.number).where(ranked.c.bytes > self._largest_bytes)
        connection.execute(sa.delete(_FEATURES).where(_FEATURES.c.number.in_(old)))

    def _begin(self) -> Any:
        engine = sa.create_engine(
            f"sqlite:///{self._file}", poolclass=sa.NullPool, connect_args={"timeout": _WAIT_SECONDS}
        )
        return engine.begin()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
