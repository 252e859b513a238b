"""FileDropService: every file that is dropped into a folder becomes messages, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wattbus import killpoints
from wattbus.errors import BadRequest, BadSettings
from wattbus.messages import FileRequest, FileRow
from wattbus.runtime import context
from wattbus.services import file_content
from wattbus.services.drop_folder import DropFolder, StillWritten, Taken
from wattbus.services.feed import Feed
from wattbus.services.file_content import Format
from wattbus.services.message_type import build, build_from_some, message_type

_MB = 1024 * 1024


class FileDropService(Feed):
    """Takes whole files from ``FilePath``, sends them, and archives or removes them.

    A file that cannot be sent is moved to ``ErrorPath`` with a warning in the event log. The settings have the names of
    IRIS where it has them; see ``docs/services.md``.
    """

    FilePath: str = ""
    FileSpec: str = "*"  # patterns, with commas between them
    WorkPath: str = ""  # by default .dropped/work in FilePath
    ArchivePath: str = ""  # empty: a file that was sent is removed
    ErrorPath: str = ""  # by default .dropped/error in FilePath
    Format: str = "file"  # file, json, csv
    Charset: str = "Default"
    Delimiter: str = ","
    MessageType: str = ""
    #: Seconds for which a file must not change before it is taken.
    FileAccessTimeout: float = 2.0
    FilesAtOnce: int = 100
    MaxFileMB: float = 64.0

    def on_init(self) -> None:
        """Check the settings and make the folders."""
        super().on_init()
        if not self.FilePath:
            raise BadSettings(f"{self._name()} has no FilePath: name the folder that files are dropped into.")
        self._format = file_content.read_format(self.Format)
        self._charset = file_content.read_charset(self.Charset, self._format)
        if len(self.Delimiter) != 1:
            raise BadSettings(f"Delimiter is {self.Delimiter!r}: one character is needed.")
        self._type = message_type(self.MessageType, FileRequest if self._format is Format.FILE else FileRow)
        self._folder = DropFolder(
            Path(self.FilePath),
            work=_path(self.WorkPath),
            archive=_path(self.ArchivePath),
            errors=_path(self.ErrorPath),
            patterns=self.FileSpec,
        )
        self._folder.prepare()
        self._immovable: set[Path] = set()

    def on_poll(self) -> None:
        """Send what is in the work folder, then what was dropped, up to ``FilesAtOnce`` files."""
        left = max(1, self.FilesAtOnce)
        for taken in self._folder.taken()[:left]:
            if self._stops():
                return
            self._handle(taken)
            left -= 1
        now = context.place().clock.monotonic()
        ready, odd = self._folder.look(now, self.FileAccessTimeout)
        for what in odd:
            self._refuse(what.path, what.why)
        for name in ready[:left]:
            if self._stops():
                return
            fresh = self._folder.take(name)
            if fresh is not None:
                killpoints.reached("file.after-take")
                self._handle(fresh)
        if len(ready) > left:
            self._poll_again()

    def _handle(self, taken: Taken) -> None:
        """Send a file of the work folder and be done with it, in this order."""
        try:
            messages = self._messages(taken)
        except (StillWritten, FileNotFoundError):
            return  # it stays there for the next poll, or another has sent it
        except BadRequest as why:
            self._refuse(taken.path, str(why))
            return
        self._begin_session()
        for number, message in enumerate(messages, 1):
            if self._stops():
                return
            self._send(message, taken.identity, number)
            killpoints.reached("file.after-send")
        self._folder.done(taken)

    def _messages(self, taken: Taken) -> list[Any]:
        """Return all messages of a file: one that is half wrong is not half sent."""
        content = self._folder.read(taken, int(self.MaxFileMB * _MB))
        if self._format is Format.FILE:
            fields = file_content.file_fields(taken.name, content.data, content.modified, self._charset)
            return [build_from_some(self._type, fields)]
        text = file_content.decoded(content.data, self._charset)
        if self._format is Format.JSON:
            rows = file_content.json_rows(text)
        else:
            rows = file_content.csv_rows(text, self.Delimiter)
        return [self._row(taken.name, number, row) for number, row in enumerate(rows, 1)]

    def _row(self, name: str, number: int, row: dict[str, Any]) -> Any:
        if self._type is FileRow:
            row = {"file": file_content.shown_name(name), "number": number, "row": row}
        try:
            return build(self._type, row)
        except BadRequest as error:
            raise BadRequest(f"its row {number} does not fit: {error}") from None

    def _refuse(self, path: Path, why: str) -> None:
        """Move what cannot be sent out of the way and say so; what cannot even be moved is said once."""
        name = file_content.shown_name(path.name)
        why = why.rstrip(".")
        try:
            place = self._folder.refuse(path)
        except OSError as error:
            if path not in self._immovable:
                self._immovable.add(path)
                self.log_warning(
                    f"{name} was not sent: {why}. It cannot be moved either ({error.strerror}): take it away."
                )
            return
        if place is not None:
            self.log_warning(
                f"{name} was not sent: {why}. It lies in {place} now; mend it and drop it again."
            )


def _path(text: str) -> Path | None:
    return Path(text) if text else None
