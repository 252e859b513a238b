"""Who may come in over HTTP: tokens with a role, and the signed sessions of browsers that have shown one.

Of a token only its SHA-256 is kept, in ``access.json`` (0600); the token itself is shown once, when it is made. It has
256 random bits, so a fast hash gives nothing away. A session is a signed value that names the token it came from:
revoke the token, and its sessions end. A process that can read the file needs no token: it signs a pass.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, BadSettings, UnknownName
from wattbus.home import make_owner_folder, write_durably

PREFIX = "wbt_"
SESSION_SECONDS = 12 * 3600
PASS_SECONDS = 60
#: The id of the token that the environment gives (``WATTBUS_TOKEN``); it is in no file.
FROM_ENVIRONMENT = "environment"
_PASS = "wbp_"  # noqa: S105 - what a pass begins with
_LONGEST = 512
#: Sessions that were ended before their time, of which so many are remembered.
_MOST_ENDED = 1_000
_LARGEST_FILE = 1024 * 1024


class Role(StrEnum):
    """What somebody may do: look; send and operate; change settings, code, tokens and take data out."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, wanted: Role) -> bool:
        """Tell whether this role may do what ``wanted`` may."""
        return _ORDER[self] >= _ORDER[wanted]


_ORDER = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True)
class Token:
    """A token as it is kept: by its hash."""

    id: str
    name: str
    role: Role
    sha256: str
    created_s: float
    expires_s: float | None = None

    @property
    def expired(self) -> bool:
        return self.expires_s is not None and time.time() >= self.expires_s


@dataclass(frozen=True)
class Session:
    """Somebody who has signed in with a browser."""

    id: str
    token: Token
    csrf: str
    until_s: int


@dataclass(frozen=True)
class _Kept:
    """What the file holds."""

    key: str
    tokens: tuple[Token, ...] = field(default=())
    #: Sessions that were ended, each with the moment at which it would have ended by itself.
    ended: tuple[tuple[str, int], ...] = field(default=())


class Access:
    """The tokens of one home; reads its file again when another process has changed it."""

    def __init__(self, file: Path, from_environment: str | None = None) -> None:
        self._file, self._lock = file, threading.RLock()
        self._stamp: tuple[int, ...] | None = None
        self._kept = _Kept("")
        self._given = (
            Token(FROM_ENVIRONMENT, "WATTBUS_TOKEN", Role.ADMIN, _hash(from_environment), 0.0)
            if from_environment
            else None
        )

    # -- tokens -------------------------------------------------------------------------------------------------

    def tokens(self) -> list[Token]:
        """Return the tokens that were made, the oldest first."""
        return list(self._read().tokens)

    def create(self, name: str, role: Role, days: float | None = None) -> str:
        """Make a token and return it; only its hash is kept."""
        if not name.strip() or len(name) > 64 or not name.isprintable():
            raise BadRequest(
                "a token needs a name of 1 to 64 printable characters, so that it can be told from others."
            )
        if days is not None and not 0 < days <= 36_500:
            raise BadRequest(f"a token cannot be valid for {days:g} days: give a number from 0 to 36,500.")
        plain = PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        expires = None if days is None else now + days * 86_400
        made = Token(secrets.token_hex(4), name.strip(), role, _hash(plain), now, expires)
        with self._changing() as kept:
            self._write(replace(kept, tokens=(*kept.tokens, made)))
        return plain

    def revoke(self, token_id: str) -> Token:
        """Take a token away; whoever has signed in with it is out."""
        with self._changing() as kept:
            found = next((token for token in kept.tokens if token.id == token_id), None)
            if found is None:
                raise UnknownName("token", token_id, [token.id for token in kept.tokens])
            self._write(replace(kept, tokens=tuple(token for token in kept.tokens if token is not found)))
            return found

    def holder(self, plain: str) -> Token | None:
        """Return the valid token that this is, or None. Every kept hash is compared, in constant time each."""
        kept, found = self._read(), None
        if plain.startswith(_PASS):
            return self._passing(plain, kept)
        wanted = _hash(plain)
        for token in self._candidates(kept):
            if hmac.compare_digest(token.sha256, wanted):
                found = token
        return None if found is None or found.expired else found

    # -- passes of processes that can read the file ---------------------------------------------------------------

    def sign_pass(self) -> str:
        """Return what a process of the owner of this home may show at its door for a minute, as an operator."""
        body = f"{_PASS}{int(time.time() + PASS_SECONDS)}.{secrets.token_urlsafe(12)}"
        return f"{body}.{_signature(self._read().key, 'pass', body)}"

    def _passing(self, plain: str, kept: _Kept) -> Token | None:
        body, _, signature = plain.rpartition(".")
        until = body.removeprefix(_PASS).partition(".")[0]
        if len(plain) > _LONGEST or not _same(_signature(kept.key, "pass", body), signature):
            return None
        return Token("home", "this home", Role.OPERATOR, "", 0.0) if int(until) > time.time() else None

    # -- sessions of browsers -----------------------------------------------------------------------------------

    def sign_in(self, token: Token) -> str:
        """Return the value of a session cookie for who has shown a token."""
        body = f"{token.id}.{int(time.time() + SESSION_SECONDS)}.{secrets.token_urlsafe(12)}"
        return f"{body}.{_signature(self._read().key, 'session', body, token.sha256)}"

    def session(self, cookie: str) -> Session | None:
        """Return the session that a cookie stands for, or None where it is forged, over, or its token is gone."""
        body, _, signature = cookie.rpartition(".")
        token_id, _, rest = body.partition(".")
        if not cookie or len(cookie) > _LONGEST:
            return None
        kept = self._read()
        token = next((token for token in self._candidates(kept) if token.id == token_id), None)
        if token is None or token.expired:
            return None
        # With the token's own hash: where WATTBUS_TOKEN has changed, the sessions of the one before are over.
        if not _same(_signature(kept.key, "session", body, token.sha256), signature):
            return None
        until, _, session_id = rest.partition(".")  # ours, since the signature is
        if int(until) <= time.time() or any(session_id == ended for ended, _ in kept.ended):
            return None
        return Session(session_id, token, _signature(kept.key, "csrf", body), int(until))

    def sign_out(self, session: Session) -> None:
        """End a session before its time: its cookie is worth nothing any more, whoever has it."""
        now = time.time()
        with self._changing() as kept:
            ended = [one for one in kept.ended if one[1] > now and one[0] != session.id]
            ended.append((session.id, session.until_s))
            self._write(replace(kept, ended=tuple(ended[-_MOST_ENDED:])))

    def _candidates(self, kept: _Kept) -> tuple[Token, ...]:
        return (*kept.tokens, *((self._given,) if self._given else ()))

    # -- the file -----------------------------------------------------------------------------------------------

    def _read(self) -> _Kept:
        with self._lock:
            try:
                found = self._file.stat()
            except FileNotFoundError:
                # Nothing yet, or deleted, which takes every token and session away. The key must be the same later on.
                with self._changing() as kept:
                    if not self._file.exists():
                        self._write(kept)
                return self._kept
            stamp = _stamp(found)
            if stamp != self._stamp:
                self._kept, self._stamp = _parsed(self._file), stamp
            return self._kept

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Kept]:
        """Hold off every other process, so that none writes over what another has just written."""
        with self._lock:
            folder = os.open(make_owner_folder(self._file.parent), os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield self._read() if self._file.exists() else _Kept(secrets.token_hex(32))
            finally:
                os.close(folder)

    def _write(self, kept: _Kept) -> None:
        write_durably(self._file, json.dumps(asdict(kept), indent=1).encode())
        self._kept, self._stamp = kept, _stamp(self._file.stat())


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()


def _signature(key: str, purpose: str, *parts: str) -> str:
    return hmac.new(
        bytes.fromhex(key), "\0".join((purpose, *parts)).encode(errors="replace"), "sha256"
    ).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode(errors="replace"))


def _parsed(file: Path) -> _Kept:
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            if found.st_mode & 0o022:
                raise BadSettings(
                    f"others than its owner can write {file}, so nobody can say who may come in: delete it, and the "
                    "next start makes a new token."
                )
            read: dict[str, Any] = json.loads(opened.read(_LARGEST_FILE))
        tokens = tuple(Token(**{**row, "role": Role(row["role"])}) for row in read["tokens"])
        ended = tuple((str(session), int(until)) for session, until in read.get("ended", ()))
        if len(bytes.fromhex(read["key"])) < 32:
            raise ValueError("its key is too short")
        return _Kept(str(read["key"]), tokens, ended)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadSettings(
            f"{file} cannot be read ({error}): delete it, and the next start makes a new token."
        ) from None
