"""Streams of IRIS, in memory or on a file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wattbus.errors import BadRequest
from wattbus.runtime.iris_objects import OK, IrisObject, Reference

#: IRIS hands out this much at once.
_READ_AT_ONCE = 32_000


class Stream(IrisObject, iris="%Stream.Object"):
    """``%Stream.Object``: text, or bytes as one character each, written at the end and read from a place."""

    TYPE: ClassVar[str] = "GC"
    TERMINATOR: ClassVar[str] = "\r\n"
    BINARY: ClassVar[bool] = False

    def __init__(self, text: str | bytes = "") -> None:
        self._text, self._at = self._characters(text), 0
        self._id = ""
        self.LineTerminator = self.TERMINATOR

    @property
    def AtEnd(self) -> int:
        return int(self._at >= len(self._text))

    @property
    def Size(self) -> int:
        return len(self._text)

    def Write(self, text: Any) -> int:
        self._text += self._characters(text)
        return OK

    def WriteLine(self, text: Any = "") -> int:
        return self.Write(self._characters(text) + self.LineTerminator)

    def Rewind(self) -> int:
        self._at = 0
        return OK

    def MoveToEnd(self) -> int:
        self._at = len(self._text)
        return OK

    def Clear(self) -> int:
        self._text, self._at = "", 0
        return OK

    def Read(self, length: int | Reference = _READ_AT_ONCE, *_status: Any) -> str:
        wanted = int(length.value or _READ_AT_ONCE) if isinstance(length, Reference) else int(length)
        part = self._text[self._at : self._at + wanted]
        self._at += len(part)
        if isinstance(length, Reference):
            length.value = len(part)
        return part

    def ReadLine(self, *_arguments: Any) -> str:
        end = self._text.find(self.LineTerminator, self._at)
        if end < 0:
            return self.Read(max(1, len(self._text) - self._at))
        line = self._text[self._at : end]
        self._at = end + len(self.LineTerminator)
        return line

    def CopyFrom(self, source: Any, *_arguments: Any) -> int:
        self._text, self._at = self._characters(_whole(source)), 0
        return OK

    CopyFromAndSave = CopyFrom

    def _Save(self, *_arguments: Any) -> int:
        return OK

    def _Id(self) -> str:
        return self._id

    def fields(self) -> dict[str, Any]:
        if self.BINARY:
            return {"base64": base64.b64encode(self._text.encode("latin-1")).decode()}
        return {"text": self._text}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Any:
        if set(fields) - {"text", "base64"}:
            raise BadRequest(f'{cls.CLASSNAME}: a stream is {{"text": "..."}} or {{"base64": "..."}}.')
        try:
            return cls(
                base64.b64decode(fields["base64"], validate=True) if "base64" in fields else fields["text"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(f"{cls.CLASSNAME}: the stream cannot be read: {error}.") from None

    @classmethod
    def _characters(cls, text: Any) -> str:
        if isinstance(text, bytes | bytearray):
            return bytes(text).decode("latin-1" if cls.BINARY else "utf-8")
        if isinstance(text, str | int | float):
            return str(text)
        raise BadRequest(
            f"a {type(text).__name__} cannot be written to {cls.CLASSNAME}: write text or bytes."
        )


class CharacterStream(Stream, iris="%Stream.GlobalCharacter"):
    """``%Stream.GlobalCharacter``."""


class TmpCharacterStream(CharacterStream, iris="%Stream.TmpCharacter"):
    """``%Stream.TmpCharacter``."""


class DynamicCharacterStream(CharacterStream, iris="%Stream.DynamicCharacter"):
    """``%Stream.DynamicCharacter``."""


class BinaryStream(Stream, iris="%Stream.GlobalBinary"):
    """``%Stream.GlobalBinary``: as embedded Python has it, each byte is a character from 0 to 255."""

    TYPE = "GB"
    BINARY = True


class TmpBinaryStream(BinaryStream, iris="%Stream.TmpBinary"):
    """``%Stream.TmpBinary``."""


class DynamicBinaryStream(BinaryStream, iris="%Stream.DynamicBinary"):
    """``%Stream.DynamicBinary``."""


class _FileStream(Stream, iris="%Stream.FileStream"):
    """What streams on files have in common: linked to a file, read from it, written to it by ``_Save``."""

    TERMINATOR = "\n"

    def __init__(self, text: str | bytes = "") -> None:
        super().__init__(text)
        self._filename = ""
        self.TranslateTable = "UTF8"

    @property
    def Filename(self) -> str:
        return self._filename

    @Filename.setter
    def Filename(self, name: str) -> None:
        self.LinkToFile(name)

    def LinkToFile(self, name: str) -> int:
        file = Path(name)
        self._filename = str(name)
        if file.is_file():
            self._text, self._at = self._characters(file.read_bytes()), 0
        return OK

    def FilenameSet(self, name: str) -> int:
        return self.LinkToFile(name)

    def _Save(self, *_arguments: Any) -> int:
        if self._filename:
            Path(self._filename).write_bytes(self._text.encode("latin-1" if self.BINARY else "utf-8"))
        return OK


class FileCharacterStream(_FileStream, iris="%Stream.FileCharacter"):
    """``%Stream.FileCharacter``, in UTF-8."""

    TYPE = "FC"


class FileBinaryStream(_FileStream, iris="%Stream.FileBinary"):
    """``%Stream.FileBinary``."""

    TYPE = "FB"
    BINARY = True


def _whole(source: Any) -> Any:
    return source._text if isinstance(source, Stream) else source
