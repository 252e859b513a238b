"""Signatures of reports: Ed25519 over the report's canonical JSON, with one key a home.

The signature stands in the report, in ``x-wattbus-signature``, and covers all the rest of it by RFC 8785; so it
outlives another indentation and another order of keys, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wattbus.errors import BadSettings, Refused
from wattbus.export.canonical import canonical_json
from wattbus.home import Home, make_owner_folder, write_durably

SIGNATURE = "x-wattbus-signature"
ALGORITHM = "Ed25519"
CANONICAL = "RFC 8785, without x-wattbus-signature"
KEY_TYPE = "ssh-ed25519"


class Verdict(StrEnum):
    """What can be said of a report's signature."""

    VALID = "valid"
    CHANGED = "changed"
    UNKNOWN_KEY = "unknown key"
    UNSIGNED = "unsigned"


@dataclass(frozen=True)
class Verified:
    """The verdict on a report, the key it names, and the verdict in words."""

    verdict: Verdict
    public_key: str
    text: str


class SigningKey:
    """The private key of a home; only its signatures and its public half leave it."""

    def __init__(self, pem: bytes) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"it holds a key of another kind ({type(key).__name__})")
        self._key = key
        self.public_key = (
            key.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    def sign(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return ``document`` with its signature; its header must name the public half of this key."""
        named = document.get("header", {}).get("publisher", {}).get("publicKey")
        if named != self.public_key:
            raise Refused(
                "the report names another public key than the one of this home: leave public_key out of "
                "organisation.toml, and export it again."
            )
        unsigned = {name: value for name, value in document.items() if name != SIGNATURE}
        value = base64.b64encode(self._key.sign(canonical_json(unsigned))).decode()
        return {**unsigned, SIGNATURE: {"algorithm": ALGORITHM, "canonical": CANONICAL, "value": value}}


def signing_key(home: Home, *, make: bool = True) -> SigningKey | None:
    """Return the key of a home, made once; None when there is none and ``make`` is off. Raises BadSettings."""
    file = home.signing_key_file
    if not file.exists():
        if not make:
            return None
        _make(home)
    try:
        return SigningKey(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"the signing key {file} cannot be used ({error}): put the right one there, or remove it to have a new "
            "one made, which others do not know yet."
        ) from None


def verify(document: dict[str, Any], known_keys: Collection[str]) -> Verified:
    """Say whether a report is as it was signed, and whether its key is one of ``known_keys``."""
    public_key = str(document.get("header", {}).get("publisher", {}).get("publicKey", ""))
    signature = document.get(SIGNATURE)
    if signature is None:
        return Verified(
            Verdict.UNSIGNED, public_key, "it carries no signature: nobody can tell whether it was changed."
        )
    if not _fits(document, signature, public_key):
        return Verified(
            Verdict.CHANGED, public_key, "it is not what was signed: it was changed since, or its key was."
        )
    if _plain(public_key) not in {_plain(key) for key in known_keys}:
        return Verified(
            Verdict.UNKNOWN_KEY,
            public_key,
            "it is as it was signed, by a key that is not known here: ask its publisher for the key, and give it "
            "with --key.",
        )
    return Verified(Verdict.VALID, public_key, "it is as it was signed, by a key that is known here.")


def _fits(document: dict[str, Any], signature: Any, public_key: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(signature, dict) or signature.get("algorithm") != ALGORITHM:
        return False
    unsigned = {name: value for name, value in document.items() if name != SIGNATURE}
    try:
        key = Ed25519PublicKey.from_public_bytes(_raw(public_key))
        key.verify(base64.b64decode(str(signature.get("value")), validate=True), canonical_json(unsigned))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _raw(public_key: str) -> bytes:
    """Return the 32 bytes of a key in OpenSSH's form."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = serialization.load_ssh_public_key(public_key.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("another kind of key")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _plain(public_key: str) -> tuple[str, ...]:
    """Return a key without its comment."""
    return tuple(public_key.split()[:2])


def _make(home: Home) -> None:
    """Make the key of a home; of two processes that do so at once, the first one's stays."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = home.signing_key_file
    aside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        make_owner_folder(home.root)
        write_durably(aside, pem)
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
        aside.unlink()
    except OSError as error:
        raise BadSettings(
            f"the signing key {file} cannot be made ({error.strerror}): name a home that you own."
        ) from error
