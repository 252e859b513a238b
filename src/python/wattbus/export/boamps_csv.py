"""Reports in BoAmps' flattened form: a column a value, its name the path with ``_``, as its own tool makes it.

https://github.com/Boavizta/BoAmps/tree/main/tools/data_flattener. Keys of our own stay out: the form is the format's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wattbus.export.boamps_model import EXTRA_PREFIX

#: What a spreadsheet takes for a formula when a cell begins with it.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def flattened(document: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return the values of a report under flat names.

    >>> flattened({"task": {"algorithms": [{"framework": "torch"}]}, "quality": "low", "x-own": 1})
    {'task_algorithms_0_framework': 'torch', 'quality': 'low'}
    """
    return dict(_flat(document, ""))


def csv_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return reports as CSV, a row each; the columns are those that any of them has, in their order.

    A text that a spreadsheet would run as a formula gets an apostrophe in front; a number stays what it is.
    """
    rows = [flattened(document) for document in documents]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out)  # lines end as RFC 4180 says, and a cell with such an end is quoted
    writer.writerow(columns)
    writer.writerows([[_safe(row.get(name, "")) for name in columns] for row in rows])
    return out.getvalue()


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not str(key).startswith(EXTRA_PREFIX):
                yield from _flat(inner, f"{name}_{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}_{index}")
    else:
        yield name, value


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
