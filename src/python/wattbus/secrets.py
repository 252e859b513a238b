"""The vault: secrets kept apart from messages, which hold a reference instead.

A secret enters once, is encrypted at rest (Fernet: AES-128-CBC with HMAC-SHA256) with a key file beside it, and
leaves only through :meth:`Vault.reveal`. Both files are 0600. Everything that is written elsewhere goes through
:meth:`Vault.redact` first.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wattbus.errors import BadRequest
from wattbus.home import write_durably

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

PREFIX = "secret:"
# Tokens with a known shape are never written, also when nobody declared them secret.
_TOKEN_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b|\bsk-[A-Za-z0-9_-]{20,}\b")
_SHORTEST_REDACTED = 6


class Vault:
    """Secrets by reference, for one home folder; ``None`` as file keeps them in memory only."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._secrets: dict[str, str] | None = None if file else {}

    def seal(self, value: str) -> str:
        """Keep ``value`` and return its reference; the same value gives the same reference."""
        if not value or value.startswith(PREFIX):
            return value
        with self._lock:
            secrets = self._loaded()
            digest = hashlib.sha256(value.encode()).hexdigest()[:16]
            reference = f"{PREFIX}{digest}"
            if reference not in secrets:
                secrets[reference] = value
                self._save()
            return reference

    def reveal(self, reference: str) -> str:
        """Return the secret behind ``reference``; a text that is no reference is returned as it is."""
        if not reference.startswith(PREFIX):
            return reference
        with self._lock:
            secrets = self._loaded()
        if reference not in secrets:
            raise BadRequest(f"the secret {reference!r} is not in this vault: send the key itself once more.")
        return secrets[reference]

    def redact(self, text: str) -> str:
        """Return ``text`` as it may be written: every known secret is ``***`` and its last four characters."""
        secrets = self._secrets if self._secrets is not None else self._peek()
        for value in secrets.values():
            if len(value) >= _SHORTEST_REDACTED and value in text:
                text = text.replace(value, masked(value))
        # One character is found ten times faster than three, and most texts have neither.
        if ("_" in text and "hf_" in text) or ("-" in text and "sk-" in text):
            text = _TOKEN_SHAPES.sub(lambda match: masked(match.group()), text)
        return text

    def _peek(self) -> dict[str, str]:
        with self._lock:
            return self._loaded()

    def _loaded(self) -> dict[str, str]:
        if self._secrets is None:
            assert self._file is not None
            self._secrets = {}
            if self._file.exists():
                plain = self._cipher().decrypt(self._file.read_bytes())
                self._secrets = dict(json.loads(plain))
        return self._secrets

    def _save(self) -> None:
        if self._file is not None:
            plain = json.dumps(self._secrets).encode()
            write_durably(self._file, self._cipher().encrypt(plain))

    def _cipher(self) -> Fernet:
        from cryptography.fernet import Fernet

        assert self._file is not None
        key_file = self._file.with_suffix(".key")
        if not key_file.exists():
            write_durably(key_file, Fernet.generate_key())
        return Fernet(key_file.read_bytes())


def masked(value: str) -> str:
    """Show that a secret is there, and its last four characters at most."""
    return f"***{value[-4:]}" if len(value) >= 12 else "***"
