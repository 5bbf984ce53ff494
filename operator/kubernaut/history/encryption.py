"""What is stored encrypted: AES-256-GCM (NIST SP 800-38D), under keys from a file.

The file has one key a line, 32 random bytes in base64; empty lines and those that begin with # say nothing. The
first key encrypts, all of them decrypt, and a key is told by its digest. It is read anew each time, for a mounted
Secret changes while it is used: keys are rotated without a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from kubernaut.history.errors import KeysUnusable, KeyUnknown, Tampered

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FINGERPRINT_INFO: Final = b"kubernaut.io/fingerprint"


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something encrypted, and which key it takes to read it."""

    key_id: str
    content: bytes


class Keys:
    """Keys as they were read once: the first of them encrypts."""

    def __init__(self, path: Path, keys: Mapping[str, bytes]) -> None:
        self._path = path
        self._keys = keys
        self.current = next(iter(keys))

    def fingerprints(self) -> Callable[[bytes], str]:
        """Return what names contents: equal ones have equal names, 64 hexadecimal digits that tell nothing of them.

        They are HMAC-SHA256 under a key derived (HKDF, RFC 5869) from the first, so another first key gives others.
        """
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        own = HKDF(SHA256(), _KEY_BYTES, salt=None, info=_FINGERPRINT_INFO).derive(self._keys[self.current])
        return lambda plain: hmac.digest(own, plain, "sha256").hex()

    def seal(self, plain: bytes, about: str) -> Sealed:
        """Encrypt.

        Args:
            about: what it belongs to; it can't be read as anything else's.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # who has no keys needs none of it

        nonce = os.urandom(_NONCE_BYTES)
        key = AESGCM(self._keys[self.current])
        return Sealed(self.current, nonce + key.encrypt(nonce, plain, about.encode()))

    def unseal(self, sealed: Sealed, about: str) -> bytes:
        """Decrypt.

        Raises:
            KeyUnknown: it was encrypted with a key that is not in the file.
            Tampered: it is not what was encrypted, or belongs to something else.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._keys.get(sealed.key_id)
        if key is None:
            raise KeyUnknown(
                f"it was encrypted with key {sealed.key_id}, which is not in {self._path}; add that below the first"
            )
        nonce, rest = sealed.content[:_NONCE_BYTES], sealed.content[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, rest, about.encode())
        except (InvalidTag, ValueError):
            raise Tampered(
                f"what is stored for {about.replace(chr(10), ', step ')} is not what was encrypted"
            ) from None


class KeyRing:
    """The keys of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def current(self) -> str:
        """The id of the key that encrypts.

        Raises:
            KeysUnusable: the file can't be read, or holds no key.
        """
        return self.read().current

    def trouble(self) -> str:
        """Return what is wrong with the file, in words; empty where nothing is."""
        try:
            self.read()
        except KeysUnusable as error:
            return str(error)
        return ""

    def seal(self, plain: bytes, about: str) -> Sealed:
        """Encrypt, as ``Keys.seal`` does.

        Raises:
            KeysUnusable: the file can't be read, or holds no key.
        """
        return self.read().seal(plain, about)

    def unseal(self, sealed: Sealed, about: str) -> bytes:
        """Decrypt, as ``Keys.unseal`` does.

        Raises:
            KeysUnusable: the file can't be read, or holds no key.
            KeyUnknown, Tampered: as they say.
        """
        return self.read().unseal(sealed, about)

    def read(self) -> Keys:
        """Return the keys as they are now.

        Raises:
            KeysUnusable: the file can't be read, or holds no key; or nothing is installed that could use one.
        """
        if find_spec("cryptography") is None:
            raise KeysUnusable(
                "what is encrypted can't be read here: the Python package cryptography is not installed; install it, "
                "or use another machine where there are no wheels of it for this one"
            )
        try:
            return Keys(self._path, _parsed(self._path, self._path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise KeysUnusable(f"the keys in {self._path} can't be read: {error}") from None


def _parsed(path: Path, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = base64.b64decode(line.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise KeysUnusable(
                f"{path}, line {number}: not a key; write {_KEY_BYTES} random bytes in base64, as from "
                "`openssl rand -base64 32`"
            )
        keys[hashlib.sha256(key).hexdigest()[:12]] = key
    if not keys:
        raise KeysUnusable(f"{path} holds no key; write one line, as from `openssl rand -base64 32`")
    return keys
