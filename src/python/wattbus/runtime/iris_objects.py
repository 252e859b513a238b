"""Objects of IRIS classes, in Python: what each of them has, and the envelopes that iop puts messages in.

An IRIS object is known by the module of its type, which starts with ``iris``, and by ``_IsA`` (a leading ``%`` of
ObjectScript is ``_`` in Python). A class here says which IRIS class it stands for::

    class StringRequest(StringContainer, Request, iris="Ens.StringRequest"): ...
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from wattbus.errors import BadRequest, NeedsIris, unknown_name_sentence
from wattbus.runtime.iris_extents import Extent

#: The key under which an object inside a body names its class.
CLASS_KEY = "%Class"
OK = 1
#: Ids of saved objects begin here: a received body has the id of its message, and the two are not to be confused.
_FIRST_SAVED_ID = 10**12


def full_name(name: str) -> str:
    """Return the full name of an IRIS class: ``%Status`` is short for ``%Library.Status``.

    >>> full_name("%ListOfDataTypes"), full_name("Ens.Request")
    ('%Library.ListOfDataTypes', 'Ens.Request')
    """
    return f"%Library.{name[1:]}" if name.startswith("%") and "." not in name else name


def python_name(name: str) -> str:
    """Return the name of an IRIS class as Python code writes it.

    >>> python_name("%Stream.GlobalCharacter")
    'iris._Stream.GlobalCharacter'
    """
    return "iris." + name.replace("%", "_")


class IrisObject:
    """``%RegisteredObject``: an object of an IRIS class."""

    CLASSNAME: ClassVar[str] = "%Library.RegisteredObject"
    #: This class and those it extends, by their IRIS names.
    ANCESTRY: ClassVar[frozenset[str]] = frozenset({CLASSNAME})
    #: Each property with its first value.
    PROPERTIES: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(
        cls, iris: str, properties: Mapping[str, Any] | None = None, extends: Iterable[str] = ()
    ) -> None:
        cls.CLASSNAME = iris
        bases = [base for base in cls.__bases__ if issubclass(base, IrisObject)]
        # ``extends`` names ancestors that are no classes here.
        cls.ANCESTRY = frozenset({iris, *extends}).union(*(base.ANCESTRY for base in bases))
        cls.PROPERTIES = {}
        for base in bases:
            cls.PROPERTIES |= base.PROPERTIES
        cls.PROPERTIES |= properties or {}
        # iop knows an IRIS object by the module of its type, and a handler's type by module and name.
        cls.__module__, _, cls.__name__ = python_name(iris).rpartition(".")

    @classmethod
    def _New(cls, *arguments: Any) -> Any:
        return cls(*arguments)

    @classmethod
    def _Extends(cls, name: str) -> int:
        return int(full_name(name) in cls.ANCESTRY)

    def _IsA(self, name: str) -> int:
        return self._Extends(name)

    def _ClassName(self, full: int = 0) -> str:
        return self.CLASSNAME if full else self.CLASSNAME.rpartition(".")[2]

    def _ConstructClone(self, _deep: int = 0) -> Any:
        return copy.deepcopy(self)

    def __getattr__(self, name: str) -> Any:
        # iop asks every message for methods by their ObjectScript names, such as %ClassName: a plain no, and fast.
        if name.startswith("__") or name[:1] == "%":
            raise AttributeError(name)
        if name[:1] == "_" and name[1:2].isupper():
            raise NeedsIris(
                f"{self._ClassName(1)}.{name.replace('_', '%', 1)}() needs InterSystems IRIS: the class has a stand-in "
                "here, this method of it has none."
            )
        raise NeedsIris(
            lambda: (
                f"{self._ClassName(1)}: {unknown_name_sentence('property or method', name, self.PROPERTIES)}"
            )
        )

    def __repr__(self) -> str:
        return f"<{python_name(self._ClassName(1))} {self.fields()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.fields() == other.fields()

    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        # The module that an IRIS class names cannot be imported, so a copy is made by the class's IRIS name.
        return _again, (type(self).CLASSNAME, dict(vars(self)))

    def fields(self) -> dict[str, Any]:
        """Return the properties as JSON has them; an object among them carries its class."""
        return {name: plain(getattr(self, name)) for name in self.PROPERTIES}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        """Make the object that :meth:`fields` describes."""
        made = cls._New()
        for name, value in fields.items():
            setattr(made, name, rich(value))
        return made


class Persistent(IrisObject, iris="%Library.Persistent"):
    """``%Persistent``: an object with properties, which can be saved in a table of the tables database."""

    _id: str | None = None

    def __init__(self) -> None:
        for name, value in self.PROPERTIES.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.PROPERTIES and not name.startswith("_"):
            raise NeedsIris(f"{self.CLASSNAME}: {unknown_name_sentence('property', name, self.PROPERTIES)}")
        object.__setattr__(self, name, _as_iris_keeps_it(value) if name[0] != "_" else value)

    def _Id(self) -> str:
        return self._id or ""

    def _Save(self, _related: int = 1) -> int:
        number = int(self._id or 0) - _FIRST_SAVED_ID
        saved = _extent(type(self)).save(self.fields(), number if number > 0 else None)
        self._id = str(_FIRST_SAVED_ID + saved)
        return OK

    @classmethod
    def _OpenId(cls, id: str | int, *_concurrency: Any) -> Any:
        fields = _extent(cls).load(_number(id))
        if fields is None:
            return ""  # a null object, as on IRIS
        found = cls.from_fields(fields)
        found._id = str(id)
        return found

    @classmethod
    def _ExistsId(cls, id: str | int) -> int:
        return int(_extent(cls).load(_number(id)) is not None)

    @classmethod
    def _DeleteId(cls, id: str | int, *_concurrency: Any) -> int:
        return int(_extent(cls).delete(_number(id)))


class Envelope(IrisObject, iris="IOP.Message", extends=("Ens.MessageBody", "%Library.Persistent")):
    """``IOP.Message``: a Python class by name and its fields as JSON."""

    def __init__(self, classname: str = "", json: str = "", iris_id: str | None = None) -> None:
        self.classname, self.json, self.iris_id = classname, json, iris_id
        self.type = "String"

    def _Id(self) -> str | None:
        return self.iris_id

    def fields(self) -> dict[str, Any]:
        return {"classname": self.classname, "json": self.json}


class GeneratorStart(Envelope, iris="IOP.Generator.Message.Start"):
    """``IOP.Generator.Message.Start``: asks the target to open a stream."""


class GeneratorPoll(Persistent, iris="IOP.Generator.Message.Poll"):
    """``IOP.Generator.Message.Poll``: asks for the next of a stream."""


class GeneratorAck(Persistent, iris="IOP.Generator.Message.Ack"):
    """``IOP.Generator.Message.Ack``: the stream is open."""


class GeneratorStop(Persistent, iris="IOP.Generator.Message.Stop"):
    """``IOP.Generator.Message.Stop``: the stream has ended."""


class CallStructure(IrisObject, iris="Ens.CallStructure"):
    """``Ens.CallStructure``: one of several synchronous requests sent together."""

    def __init__(self) -> None:
        self.TargetDispatchName = ""
        self.Request: Any = None
        self.Response: Any = None
        self.ResponseCode = 0


class Reference:
    """``iris.ref``: a place that a callee writes into."""

    def __init__(self, value: Any = None) -> None:
        self.value = value


@functools.cache
def known_classes() -> dict[str, type[IrisObject]]:
    """Return every class that has objects here, by its IRIS name; runtime/iris.py imports them all."""

    def below(cls: type[IrisObject]) -> Iterator[type[IrisObject]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from below(sub)

    return {cls.CLASSNAME: cls for cls in below(IrisObject)}


def plain(value: Any) -> Any:
    """Return a value as JSON has it; an object carries its class."""
    if isinstance(value, IrisObject):
        return {CLASS_KEY: value._ClassName(1), **value.fields()}
    return value


def rich(value: Any) -> Any:
    """Return what :func:`plain` was given."""
    if not isinstance(value, dict) or CLASS_KEY not in value:
        return value
    fields = dict(value)
    name = fields.pop(CLASS_KEY)
    cls = known_classes().get(str(name))
    if cls is None:
        raise NeedsIris(
            f"the class {name!r} inside a body lives in InterSystems IRIS and has no stand-in here."
        )
    return cls.from_fields(fields)


def _as_iris_keeps_it(value: Any) -> Any:
    """Return a value as a property of IRIS has it: no None and no truth values, but "" and 1 or 0."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float | IrisObject):
        return value
    raise BadRequest(
        f"a {type(value).__name__} cannot be a property of an IRIS object: use text, numbers, a stream, a list or an "
        "array object, such as iris.cls('%Library.ListOfDataTypes')._New()."
    )


def _extent(cls: type[IrisObject]) -> Extent:
    return Extent(cls.CLASSNAME, {name: type(value) for name, value in cls.PROPERTIES.items()})


def _number(id: str | int) -> int:
    text = str(id)
    return int(text) - _FIRST_SAVED_ID if text.isdecimal() else 0


def _again(name: str, state: dict[str, Any]) -> Any:
    made = object.__new__(known_classes()[name])
    for key, value in state.items():
        object.__setattr__(made, key, value)
    return made
