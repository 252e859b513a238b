"""The room on the disk of a store: some is kept in a ballast file, and given up so that what runs can end.

On a full disk not even a DELETE works. So new messages are refused as long as there is less room than the ballast is
large, and when a write fails all the same, the ballast goes: what is in hand then has that much room to end in. When
somebody has made room, the ballast is laid anew and messages are taken again; nothing has to be started for it.
"""

from __future__ import annotations

import contextlib
import os

from wattbus.errors import StoreFull
from wattbus.home import OWNER_FILE, Home

_SMALLEST_BYTES, _LARGEST_BYTES = 1_000_000, 16_000_000
_PART_OF_DISK = 1_000


class Space:
    """The room on the disk of one home."""

    def __init__(self, home: Home, *, kept: bool = True) -> None:
        """``kept``: False where the store does not lie in the home, or need not survive anything."""
        self._home, self._file = home, home.ballast_file
        self.ballast_bytes = self._size(home) if kept else 0
        self._low = False

    def prepare(self) -> None:
        """Lay the ballast; on a disk that has no room for it nothing is accepted yet."""
        if not self.ballast_bytes:
            self._file.unlink(missing_ok=True)
            return
        self.look()

    def look(self) -> bool:
        """Look at the disk, and tell whether messages are taken again that were refused until now."""
        if not self.ballast_bytes:
            return False
        was_low, free = self._low, self._free_bytes()
        laid = self._is_laid()
        if not laid and free >= 2 * self.ballast_bytes:
            laid = self._lay()
            free = self._free_bytes()
        self._low = not laid or free < self.ballast_bytes
        return was_low and not self._low

    @property
    def is_low(self) -> bool:
        """Tell whether the room is kept for what is in hand: nothing more is begun."""
        return self._low

    def refusal(self) -> StoreFull | None:
        """Return why no new message is taken now; None: it is taken."""
        if not self._low:
            return None
        return StoreFull(
            f"the disk of {self._home.root} has {self._free_bytes() / 1e6:.1f} MB left, and "
            f"{self.ballast_bytes / 1e6:g} MB are kept for what runs: the message was not accepted. Make room there; "
            "it goes on by itself."
        )

    def make_room(self) -> bool:
        """Give the ballast up: a write found the disk full. False: it is gone already."""
        if not self.ballast_bytes:
            return False
        self._low = True
        try:
            self._file.unlink()
        except OSError:
            return False
        return True

    def _is_laid(self) -> bool:
        try:
            return self._file.stat().st_size >= self.ballast_bytes
        except OSError:
            return False

    def _lay(self) -> bool:
        try:
            descriptor = os.open(self._file, os.O_CREAT | os.O_WRONLY, OWNER_FILE)
            try:
                os.posix_fallocate(descriptor, 0, self.ballast_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.unlink()
            return False
        return True

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self._home.root)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    @staticmethod
    def _size(home: Home) -> int:
        if home.ballast_bytes is not None:
            return home.ballast_bytes
        try:
            disk = os.statvfs(home.root)
        except OSError:
            return _SMALLEST_BYTES
        return min(_LARGEST_BYTES, max(_SMALLEST_BYTES, disk.f_blocks * disk.f_frsize // _PART_OF_DISK))
