"""Collections of IRIS: lists and arrays of values, counted from 1, and the dynamic objects that are JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from wattbus.errors import BadRequest
from wattbus.runtime.iris_objects import OK, IrisObject, Reference, plain, rich


class ListOfDataTypes(IrisObject, iris="%Library.ListOfDataTypes"):
    """``%ListOfDataTypes``: values by their place, the first is 1; what is not there is ``""``."""

    def __init__(self) -> None:
        self._items: list[Any] = []

    @property
    def Size(self) -> int:
        return len(self._items)

    def Count(self) -> int:
        return len(self._items)

    def Insert(self, value: Any) -> int:
        self._items.append(value)
        return OK

    def InsertAt(self, value: Any, place: int) -> int:
        self._items.insert(int(place) - 1, value)
        return OK

    def InsertList(self, values: Any) -> int:
        self._items.extend(values)
        return OK

    def GetAt(self, place: int) -> Any:
        return self._items[int(place) - 1] if 1 <= int(place) <= len(self._items) else ""

    def SetAt(self, value: Any, place: int) -> int:
        if not 1 <= int(place) <= len(self._items):
            raise BadRequest(f"SetAt: there is no place {place} in a list of {len(self._items)}: use Insert.")
        self._items[int(place) - 1] = value
        return OK

    def RemoveAt(self, place: int) -> Any:
        return self._items.pop(int(place) - 1) if 1 <= int(place) <= len(self._items) else ""

    def Find(self, value: Any, after: int = 0) -> Any:
        places = (
            place for place in range(int(after or 0) + 1, self.Count() + 1) if self.GetAt(place) == value
        )
        return next(places, "")

    def Next(self, place: Any = "") -> Any:
        following = int(place or 0) + 1
        return following if following <= len(self._items) else ""

    def Previous(self, place: Any = "") -> Any:
        before = int(place) - 1 if place not in ("", None) else len(self._items)
        return before if before >= 1 else ""

    def GetNext(self, place: Reference) -> Any:
        place.value = self.Next(place.value)
        return self.GetAt(place.value) if place.value != "" else ""

    def Clear(self) -> int:
        self._items.clear()
        return OK

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items))

    def fields(self) -> dict[str, Any]:
        return {"items": [plain(item) for item in self._items]}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        made = cls()
        made.InsertList(rich(item) for item in fields.get("items", []))
        return made


class ListOfObjects(ListOfDataTypes, iris="%Library.ListOfObjects"):
    """``%ListOfObjects``."""


class ArrayOfDataTypes(IrisObject, iris="%Library.ArrayOfDataTypes"):
    """``%ArrayOfDataTypes``: values by key, in the order of their keys."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}

    @property
    def Size(self) -> int:
        return len(self._items)

    def Count(self) -> int:
        return len(self._items)

    def SetAt(self, value: Any, key: Any) -> int:
        self._items[str(key)] = value
        return OK

    def GetAt(self, key: Any) -> Any:
        return self._items.get(str(key), "")

    def IsDefined(self, key: Any) -> int:
        return int(str(key) in self._items)

    def RemoveAt(self, key: Any) -> Any:
        return self._items.pop(str(key), "")

    def Find(self, value: Any) -> Any:
        return next((key for key in sorted(self._items) if self._items[key] == value), "")

    def Next(self, key: Any = "") -> Any:
        return next((other for other in sorted(self._items) if other > str(key or "")), "")

    def Previous(self, key: Any = "") -> Any:
        before = [other for other in sorted(self._items) if key in ("", None) or other < str(key)]
        return before[-1] if before else ""

    def GetNext(self, key: Reference) -> Any:
        key.value = self.Next(key.value)
        return self.GetAt(key.value) if key.value != "" else ""

    def Clear(self) -> int:
        self._items.clear()
        return OK

    def __len__(self) -> int:
        return len(self._items)

    def fields(self) -> dict[str, Any]:
        return {"items": {key: plain(item) for key, item in self._items.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        made = cls()
        for key, value in fields.get("items", {}).items():
            made.SetAt(rich(value), key)
        return made


class ArrayOfObjects(ArrayOfDataTypes, iris="%Library.ArrayOfObjects"):
    """``%ArrayOfObjects``."""


class DynamicObject(IrisObject, iris="%Library.DynamicObject"):
    """``%DynamicObject``: a JSON object, its keys as attributes too."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}

    @classmethod
    def _FromJSON(cls, source: Any) -> Any:
        return _dynamic(_parsed(source))

    def _ToJSON(self, stream: Any = None) -> Any:
        return _written(_undynamic(self), stream)

    def _Get(self, key: str, default: Any = "") -> Any:
        return self._items.get(str(key), default)

    def _Set(self, key: str, value: Any, *_type: Any) -> Any:
        self._items[str(key)] = value
        return self

    def _Remove(self, key: str) -> Any:
        return self._items.pop(str(key), "")

    def _IsDefined(self, key: str) -> int:
        return int(str(key) in self._items)

    def _Size(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name.startswith("_") else self._items.get(name, "")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._items[name] = value

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = _undynamic(self)
        return found

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        return _dynamic(dict(fields))


class DynamicArray(IrisObject, iris="%Library.DynamicArray"):
    """``%DynamicArray``: a JSON array, counted from 0."""

    def __init__(self) -> None:
        self._items: list[Any] = []

    @classmethod
    def _FromJSON(cls, source: Any) -> Any:
        return _dynamic(_parsed(source))

    def _ToJSON(self, stream: Any = None) -> Any:
        return _written(_undynamic(self), stream)

    def _Get(self, place: int, default: Any = "") -> Any:
        return self._items[int(place)] if 0 <= int(place) < len(self._items) else default

    def _Push(self, value: Any, *_type: Any) -> Any:
        self._items.append(value)
        return self

    def _Pop(self) -> Any:
        return self._items.pop() if self._items else ""

    def _Size(self) -> int:
        return len(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items))

    def fields(self) -> dict[str, Any]:
        return {"items": _undynamic(self)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        return _dynamic(list(fields.get("items", [])))


def _parsed(source: Any) -> Any:
    text = source.Read(max(1, source.Size)) if hasattr(source, "Read") else source
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"%FromJSON: the text is not JSON ({error}).") from None


def _written(value: Any, stream: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return stream.Write(text) if stream is not None else text


def _dynamic(value: Any) -> Any:
    if isinstance(value, dict):
        made = DynamicObject()
        made._items.update({key: _dynamic(item) for key, item in value.items()})
        return made
    if isinstance(value, list):
        array = DynamicArray()
        array._items.extend(_dynamic(item) for item in value)
        return array
    return value


def _undynamic(value: Any) -> Any:
    if isinstance(value, DynamicObject):
        return {key: _undynamic(item) for key, item in value._items.items()}
    if isinstance(value, DynamicArray):
        return [_undynamic(item) for item in value._items]
    return value
