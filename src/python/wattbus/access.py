"""Who may come in over HTTP: tokens with a role, and the signed sessions of browsers that have shown one.

Of a token only its SHA-256 is kept, in ``access.json`` (0600); the token itself is shown once, when it is made. It has
256 random bits, so a fast hash gives nothing away. A session is a signed value that names the token it came from:
revoke the token, and its sessions end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from wattbus.errors import BadRequest, BadSettings, UnknownName
from wattbus.home import write_durably

PREFIX = "wbt_"
SESSION_SECONDS = 12 * 3600
#: The id of the token that the environment gives (``WATTBUS_TOKEN``); it is in no file.
FROM_ENVIRONMENT = "environment"


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

    token: Token
    csrf: str


@dataclass(frozen=True)
class _Kept:
    """What the file holds."""

    key: str
    tokens: tuple[Token, ...] = field(default=())


class Access:
    """The tokens of one home; reads its file again when another process has changed it."""

    def __init__(self, file: Path, from_environment: str | None = None) -> None:
        self._file, self._lock = file, threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._kept = _Kept(secrets.token_hex(32))
        self._given = (
            Token(FROM_ENVIRONMENT, "WATTBUS_TOKEN", Role.ADMIN, _hash(from_environment), 0.0)
            if from_environment
            else None
        )

    # -- tokens -------------------------------------------------------------------------------------------------

    def tokens(self) -> list[Token]:
        """Return the tokens that were made, the oldest first."""
        with self._lock:
            return list(self._read().tokens)

    def first_token(self) -> str | None:
        """Make a token for the owner if there is none at all, and return it; it is shown once and never again."""
        if self._given is not None or self.tokens():
            return None
        return self.create("owner", Role.ADMIN)

    def create(self, name: str, role: Role, days: float | None = None) -> str:
        """Make a token and return it; only its hash is kept."""
        if not name.strip() or len(name) > 64:
            raise BadRequest(
                "a token needs a name of 1 to 64 characters, so that it can be told from others."
            )
        if days is not None and days <= 0:
            raise BadRequest(
                f"a token that is valid for {days:g} days is never valid: give a positive number."
            )
        plain = PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        expires = None if days is None else now + days * 86_400
        made = Token(secrets.token_hex(4), name.strip(), role, _hash(plain), now, expires)
        with self._lock:
            kept = self._read()
            self._write(replace(kept, tokens=(*kept.tokens, made)))
        return plain

    def revoke(self, token_id: str) -> Token:
        """Take a token away; whoever has signed in with it is out."""
        with self._lock:
            kept = self._read()
            found = next((token for token in kept.tokens if token.id == token_id), None)
            if found is None:
                raise UnknownName("token", token_id, [token.id for token in kept.tokens])
            self._write(replace(kept, tokens=tuple(token for token in kept.tokens if token is not found)))
            return found

    def holder(self, plain: str) -> Token | None:
        """Return the valid token that this is, or None. Every kept hash is compared, in constant time each."""
        wanted, found = _hash(plain), None
        with self._lock:
            tokens = self._read().tokens
        for token in (*tokens, *((self._given,) if self._given else ())):
            if hmac.compare_digest(token.sha256, wanted):
                found = token
        return None if found is None or found.expired else found

    # -- sessions of browsers -----------------------------------------------------------------------------------

    def sign_in(self, token: Token) -> str:
        """Return the value of a session cookie for who has shown a token."""
        until = int(time.time() + SESSION_SECONDS)
        body = f"{token.id}.{until}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._signature('session', body)}"

    def session(self, cookie: str) -> Session | None:
        """Return the session that a cookie stands for, or None where it is forged, old, or its token is gone."""
        body, _, signature = cookie.rpartition(".")
        parts = body.split(".", 2)
        if len(parts) != 3 or not parts[1].isdecimal() or len(cookie) > 512:
            return None
        if (
            not hmac.compare_digest(self._signature("session", body), signature)
            or int(parts[1]) < time.time()
        ):
            return None
        candidates = [*self.tokens(), *((self._given,) if self._given else ())]
        token = next((token for token in candidates if token.id == parts[0]), None)
        if token is None or token.expired:
            return None
        return Session(token, self._signature("csrf", body))

    def _signature(self, purpose: str, body: str) -> str:
        with self._lock:
            key = self._read().key
        # A changed WATTBUS_TOKEN ends the sessions of the one before.
        given = self._given.sha256 if self._given is not None else ""
        return hmac.new(f"{key}{given}".encode(), f"{purpose}:{body}".encode(), "sha256").hexdigest()

    # -- the file -----------------------------------------------------------------------------------------------

    def _read(self) -> _Kept:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            if self._stamp is None:
                self._write(self._kept)  # the key must be the same after a restart
            return self._kept
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._kept, self._stamp = _parsed(self._file), stamp
        return self._kept

    def _write(self, kept: _Kept) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._file, json.dumps(asdict(kept), indent=1).encode())
        found = self._file.stat()
        self._kept, self._stamp = kept, (found.st_mtime_ns, found.st_ino)


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


def _parsed(file: Path) -> _Kept:
    try:
        read: dict[str, Any] = json.loads(file.read_bytes())
        tokens = tuple(Token(**{**row, "role": Role(row["role"])}) for row in read["tokens"])
        return _Kept(str(read["key"]), tokens)
    except (ValueError, KeyError, TypeError) as error:
        raise BadSettings(
            f"{file} cannot be read ({error}): delete it, and the next start makes a new token."
        ) from None
