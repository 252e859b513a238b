"""The one folder that holds all state, readable by its owner only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wattbus.errors import BadSettings

OWNER_FOLDER = 0o700
OWNER_FILE = 0o600


@dataclass(frozen=True)
class Home:
    """Where the parts of one wattbus live; ``WATTBUS_HOME``, by default ``.wattbus`` in the current folder."""

    root: Path
    #: False: nothing in it has to survive a power cut, so the store forces nothing to the disk. For tests.
    durable: bool = True
    #: What is kept free on its disk; None: a thousandth of the disk, 1 to 16 MB. See ``wattbus.store.space``.
    ballast_bytes: int | None = None

    @classmethod
    def find(cls, root: str | Path | None = None) -> Home:
        """Return the home named by ``root``, else by ``WATTBUS_HOME``, else ``.wattbus`` here."""
        return cls(Path(root or os.environ.get("WATTBUS_HOME") or ".wattbus").absolute())

    @property
    def store_file(self) -> Path:
        return self.root / "store.sqlite"

    @property
    def bodies(self) -> Path:
        """Message bodies over 1 MB, named by their sha256."""
        return self.root / "bodies"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runs(self) -> Path:
        """Working folders of trainings, one a run."""
        return self.root / "runs"

    @property
    def features_file(self) -> Path:
        """What frozen encoders made of the texts of trainings; a cache, made again where it is missing."""
        return self.root / "features.sqlite"

    @property
    def compiled(self) -> Path:
        """What engines have compiled of optimised models, a folder a version; it is made again where it is missing."""
        return self.root / "compiled"

    @property
    def uploads(self) -> Path:
        """The one folder that a request may name a local picture in."""
        return self.root / "uploads"

    @property
    def pictures(self) -> Path:
        """Annotated pictures that operations made."""
        return self.root / "pictures"

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def signing_key_file(self) -> Path:
        """The private key that reports are signed with."""
        return self.root / "signing.key"

    @property
    def published_file(self) -> Path:
        """Which reports were published, and where."""
        return self.root / "published.json"

    @property
    def access_file(self) -> Path:
        """Who may come in over HTTP: tokens by their hashes, and the key of the sessions."""
        return self.root / "access.json"

    @property
    def tables_file(self) -> Path:
        """The default SQL database of training tables; apart from the store on purpose."""
        return self.root / "tables.sqlite"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def productions(self) -> Path:
        """Productions that ``iop --migrate`` has uploaded, a folder each."""
        return self.root / "productions"

    @property
    def positions(self) -> Path:
        """How far each SQLPollService has read its table, a small file each."""
        return self.root / "positions"

    @property
    def backups(self) -> Path:
        """Copies of the store, made before a newer release changed its tables."""
        return self.root / "backups"

    @property
    def ballast_file(self) -> Path:
        """Holds room on the disk, to be given up when it is full."""
        return self.root / "ballast"

    @property
    def log_file(self) -> Path:
        return self.root / "wattbus.log"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    def create(self) -> Home:
        """Make the folders that are missing, each 0700, and return the home."""
        folders = (self.root, self.bodies, self.models, self.runs, self.uploads, self.pictures, self.exports)
        try:
            for folder in folders:
                make_owner_folder(folder)
        except OSError as error:
            raise BadSettings(
                f"the folder {self.root} cannot be made or written ({error.strerror}{self._owner()}): "
                "set WATTBUS_HOME to a folder that you own."
            ) from error
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise BadSettings(
                f"the folder {self.root} cannot be written (Permission denied{self._owner()}): "
                "set WATTBUS_HOME to a folder that you own."
            )
        return self

    def _owner(self) -> str:
        """Say whose folder it is, where it is somebody else's."""
        try:
            return "" if self.root.stat().st_uid == os.geteuid() else f", it belongs to {self.root.owner()}"
        except (OSError, KeyError):
            return ""

    def tidy(self) -> None:
        """Take out what killed writes left aside, and make what others may read readable by the owner only.

        For the one process that holds the home.
        """
        for path in self.root.rglob("*"):
            if path.is_symlink():
                continue
            if (
                path.name.startswith(".")
                and path.name.endswith(".part")
                and path.parent in self._own_folders()
            ):
                path.unlink(missing_ok=True)
            elif path.exists() and path.stat().st_mode & 0o077:
                path.chmod(OWNER_FOLDER if path.is_dir() else OWNER_FILE)

    def _own_folders(self) -> tuple[Path, ...]:
        return self.root, self.bodies, self.pictures, self.exports, self.positions, self.backups


def make_owner_folder(folder: Path) -> Path:
    """Make ``folder`` if it is missing and leave it readable by its owner only."""
    folder.mkdir(mode=OWNER_FOLDER, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(OWNER_FOLDER)
    return folder


def write_durably(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` so that a reader, also after a power cut, sees the old or the new file whole.

    Write aside, fsync, rename, fsync the folder; the file is 0600.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
