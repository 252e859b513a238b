"""The class methods of IRIS that components call: the event log, the console, and what a status says.

A status is 1, or the text of the error: ``"ERROR #5001: the text"``.
"""

from __future__ import annotations

from typing import Any

from wattbus.errors import NeedsIris
from wattbus.runtime import context

# Severity numbers of Ens.Util.Log and their words in the event log.
_LOG_TYPES = {1: "Assert", 2: "Error", 3: "Warning", 4: "Info", 5: "Trace", 6: "Alert"}
_CONSOLE_TYPES = {-1: "Trace", 0: "Info", 1: "Warning", 2: "Error", 3: "Alert"}
_GENERAL_ERROR = 5001


class _ClassMethods:
    """A class of which only class methods are called; one that has no stand-in is a sentence."""

    NAME = ""

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        shown = method.replace("_", "%", 1) if method.startswith("_") else method
        raise NeedsIris(
            f"{self.NAME}.{shown}() needs InterSystems IRIS: the class has a stand-in here, this method of it has none."
        )


class EventLog(_ClassMethods):
    """``Ens.Util.Log``."""

    NAME = "Ens.Util.Log"

    @staticmethod
    def Log(level: Any, source_class: str, source_method: str | None, text: Any, *_rest: Any) -> int:
        type = _LOG_TYPES.get(level, level if level in _LOG_TYPES.values() else "Info")
        context.log(type, str(text), source_class, source_method)
        return 1

    @classmethod
    def LogAssert(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(1, source_class, source_method, text)

    @classmethod
    def LogError(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(2, source_class, source_method, text)

    @classmethod
    def LogWarning(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(3, source_class, source_method, text)

    @classmethod
    def LogInfo(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(4, source_class, source_method, text)

    @classmethod
    def LogTrace(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(5, source_class, source_method, text)

    @classmethod
    def LogAlert(cls, source_class: str, source_method: str | None, text: Any) -> int:
        return cls.Log(6, source_class, source_method, text)


class Console(_ClassMethods):
    """``%SYS.System``: console lines go to the event log as well."""

    NAME = "%SYS.System"

    @staticmethod
    def WriteToConsoleLog(text: Any, _flag: int = 0, level: int = 0, source: str = "") -> int:
        context.log(_CONSOLE_TYPES.get(level, "Info"), str(text), source, None)
        return 1


class Statuses(_ClassMethods):
    """``%SYSTEM.Status``: what a status says."""

    NAME = "%SYSTEM.Status"

    @staticmethod
    def OK() -> int:
        return 1

    @staticmethod
    def Error(code: Any = _GENERAL_ERROR, *details: Any) -> str:
        return f"ERROR #{code}: {' '.join(map(str, details))}".rstrip(": ")

    @staticmethod
    def IsOK(status: Any) -> int:
        return int(status in (1, "1", None))

    @classmethod
    def IsError(cls, status: Any) -> int:
        return int(not cls.IsOK(status))

    @classmethod
    def GetErrorText(cls, status: Any, *_language: Any) -> str:
        return "" if cls.IsOK(status) else str(status)

    @classmethod
    def GetOneErrorText(cls, status: Any, _index: int = 1, *_language: Any) -> str:
        return cls.GetErrorText(status)

    @classmethod
    def GetOneStatusText(cls, status: Any, _index: int = 1, *_language: Any) -> str:
        return cls.GetErrorText(status)

    @classmethod
    def GetStatusText(cls, status: Any, *_language: Any) -> str:
        return cls.GetErrorText(status)

    @classmethod
    def GetErrorCodes(cls, status: Any) -> str:
        text = cls.GetErrorText(status)
        code = text.removeprefix("ERROR #").partition(":")[0]
        return (
            code if code.isdecimal() and text.startswith("ERROR #") else str(_GENERAL_ERROR) if text else ""
        )

    @classmethod
    def DisplayError(cls, status: Any, *_rest: Any) -> int:
        print(cls.GetErrorText(status))
        return 1

    @classmethod
    def AppendStatus(cls, first: Any, second: Any) -> Any:
        texts = [cls.GetErrorText(status) for status in (first, second) if cls.IsError(status)]
        return "\n".join(texts) if texts else 1


def check_status(status: Any) -> None:
    """Raise where the status is an error, as ``iris.check_status`` does."""
    if Statuses.IsError(status):
        raise RuntimeError(Statuses.GetErrorText(status))
