"""Stands in for the ``iris`` module where there is no IRIS: what iop 4.1 asks of it, and a sentence for the rest.

iop reaches IRIS through one late-bound function, ``iop.runtime.iris.get_iris``; :func:`stand_in` replaces it. Without
that, ``iris.cls`` answers with a mock on which everything seems to succeed.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from wattbus.errors import BadRequest, BadSettings
from wattbus.runtime import context

# Severity numbers of Ens.Util.Log and their words in the event log.
_LOG_TYPES = {1: "Assert", 2: "Error", 3: "Warning", 4: "Info", 5: "Trace", 6: "Alert"}


class _Object:
    """What iop takes for an IRIS object: a class of a module named iris, with ``_IsA``."""

    CLASSNAME: ClassVar[str] = ""
    ANCESTORS: ClassVar[tuple[str, ...]] = ("%Persistent",)

    @classmethod
    def _New(cls, *_arguments: Any) -> Any:
        return cls()

    def _IsA(self, name: str) -> bool:
        return name == self.CLASSNAME or name in self.ANCESTORS

    def _ClassName(self, _full: int = 1) -> str:
        return self.CLASSNAME

    def _Id(self) -> str | None:
        return None


class Envelope(_Object):
    """``IOP.Message``: a Python class by name and its fields as JSON."""

    CLASSNAME = "IOP.Message"
    __slots__ = ("classname", "iris_id", "json", "type")

    def __init__(self, classname: str = "", json: str = "", iris_id: str | None = None) -> None:
        self.classname, self.json, self.iris_id = classname, json, iris_id
        self.type = "String"

    def _Id(self) -> str | None:
        return self.iris_id


class GeneratorStart(Envelope):
    """``IOP.Generator.Message.Start``: asks the target to open a stream."""

    CLASSNAME = "IOP.Generator.Message.Start"
    ANCESTORS = ("%Persistent", "IOP.Message")
    __slots__ = ()


class GeneratorPoll(_Object):
    CLASSNAME = "IOP.Generator.Message.Poll"


class GeneratorAck(_Object):
    CLASSNAME = "IOP.Generator.Message.Ack"


class GeneratorStop(_Object):
    CLASSNAME = "IOP.Generator.Message.Stop"


class CallStructure(_Object):
    """``Ens.CallStructure``: one of several synchronous requests sent together."""

    CLASSNAME = "Ens.CallStructure"
    ANCESTORS = ()

    def __init__(self) -> None:
        self.TargetDispatchName = ""
        self.Request: Any = None
        self.Response: Any = None
        self.ResponseCode = 0


class CharacterStream(_Object):
    """``%Stream.GlobalCharacter``, in memory."""

    CLASSNAME = "%Stream.GlobalCharacter"
    ANCESTORS = ("%Stream.Object",)

    def __init__(self) -> None:
        self._text, self._at = "", 0

    @property
    def AtEnd(self) -> bool:
        return self._at >= len(self._text)

    def Write(self, text: str) -> int:
        self._text += text
        return 1

    def Rewind(self) -> int:
        self._at = 0
        return 1

    def Read(self, size: int = 32000) -> str:
        part = self._text[self._at : self._at + size]
        self._at += len(part)
        return part


class _PickleRefused:
    """``IOP.PickleMessage``: loading a pickle runs whatever its sender wants."""

    @staticmethod
    def _New(*_arguments: Any) -> NoReturn:
        raise BadRequest(
            "pickle messages are refused: send a Message (dataclass) or a PydanticMessage instead."
        )


class _EventLog:
    """``Ens.Util.Log``."""

    @staticmethod
    def Log(level: int, source_class: str, source_method: str | None, text: str) -> int:
        context.log(_LOG_TYPES.get(level, "Info"), text, source_class, source_method)
        return 1

    @staticmethod
    def LogAssert(source_class: str, source_method: str | None, text: str) -> int:
        context.log("Assert", text, source_class, source_method)
        return 1


class _Console:
    """``%SYS.System``: console lines go to the event log as well."""

    @staticmethod
    def WriteToConsoleLog(text: str, _flag: int = 0, level: int = 0, source: str = "") -> int:
        words = {-1: "Trace", 0: "Info", 1: "Warning", 2: "Error", 3: "Alert"}
        context.log(words.get(level, "Info"), text, source, None)
        return 1


class _Status:
    @staticmethod
    def IsError(status: Any) -> bool:
        return status not in (1, "1", None)

    @staticmethod
    def GetOneStatusText(status: Any, _index: int = 1) -> str:
        return "" if status in (1, "1", None) else str(status)


class _Generators:
    class Message:
        Start, Poll, Ack, Stop = GeneratorStart, GeneratorPoll, GeneratorAck, GeneratorStop


class Reference:
    """``iris.ref``: a place that a callee writes into."""

    def __init__(self, value: Any = None) -> None:
        self.value = value


_CLASSES: dict[str, Any] = {
    "IOP.Message": Envelope,
    "IOP.Generator.Message.Start": GeneratorStart,
    "IOP.PickleMessage": _PickleRefused,
    "IOP.Generator.Message.StartPickle": _PickleRefused,
    "%Stream.GlobalCharacter": CharacterStream,
    "Ens.CallStructure": CallStructure,
    "Ens.Util.Log": _EventLog,
    "%SYS.System": _Console,
}

for _made in (
    _Object, Envelope, GeneratorStart, GeneratorPoll, GeneratorAck, GeneratorStop, CallStructure, CharacterStream,
):  # fmt: skip
    # iop knows an IRIS object by the module of its type.
    _made.__module__ = "iris.wattbus"


class StandIn:
    """The object that iop gets for the ``iris`` module."""

    class IOP:
        Generator = _Generators
        Message = Envelope

    class system:
        Status = _Status

    ref = Reference

    @staticmethod
    def cls(name: str) -> Any:
        """Return the stand-in for an IRIS class; one that only IRIS has is a sentence, never a mock."""
        if name not in _CLASSES:
            raise BadSettings(
                f"the class {name!r} lives in InterSystems IRIS and has no stand-in here: "
                "run this component inside IRIS, or write the part that uses it in Python."
            )
        return _CLASSES[name]

    def __getattr__(self, name: str) -> NoReturn:
        raise BadSettings(
            f"iris.{name} lives in InterSystems IRIS and has no stand-in here: run this component inside IRIS."
        )


def real_iris_is_here() -> bool:
    """Tell whether this process runs inside a real IRIS, by its runtime state and not by the import."""
    try:
        import iris
    except ImportError:
        return False
    runtime = getattr(iris, "runtime", None)
    return str(getattr(runtime, "state", "")) == "embedded-kernel"


def stand_in() -> None:
    """Let iop talk to wattbus; nothing is changed inside a real IRIS."""
    from iop.runtime import iris as seam

    if real_iris_is_here() or getattr(seam.get_iris, "wattbus", False):
        return
    module = StandIn()

    def get_iris(namespace: str | None = None) -> Any:
        return module

    get_iris.wattbus = True  # type: ignore[attr-defined]
    seam.get_iris = get_iris
