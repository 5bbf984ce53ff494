"""Declarations in Postgres: each stored once, encrypted, under a name that tells nothing of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.history.database import Connection, Database
from kubernaut.history.encryption import KeyRing, Keys, Sealed
from kubernaut.history.errors import KeysUnusable, KeyUnknown, Tampered

KNOWN_GOOD_LOCK: Final = 7239104584
NO_KEYS: Final = (
    "without a key to encrypt with nothing is remembered, or read again; set KUBERNAUT_ENCRYPTION_KEYS"
)
_ROTATE_AT_ONCE: Final = 20
log = logging.getLogger(__name__)

_INSERT = """
INSERT INTO kubernaut.declarations (digest, size, key_id, content)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[]) ON CONFLICT (digest) DO NOTHING
"""
_UNDER_OTHER_KEYS = """
SELECT digest, size, key_id, content FROM kubernaut.declarations
WHERE key_id IS DISTINCT FROM $1 AND digest > $2 ORDER BY digest LIMIT $3
"""
# The same may have been stored under its new name meanwhile: then there is one of the two.
_RENAME = """
INSERT INTO kubernaut.known_good AS known (uid, digest, namespace, kind, name, first_seen, last_seen)
SELECT uid, $2, namespace, kind, name, first_seen, last_seen FROM kubernaut.known_good WHERE digest = $1
ON CONFLICT (uid, digest) DO UPDATE SET
    first_seen = least(known.first_seen, excluded.first_seen),
    last_seen = greatest(known.last_seen, excluded.last_seen)
"""


@dataclass(frozen=True, slots=True)
class Plain:
    """A declaration that can be read.

    Attributes:
        digest: stands for the content.
        size: bytes of the content before it was compressed.
    """

    digest: str
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A declaration as its row has it; without a key where an earlier version stored it in the clear."""

    digest: str
    size: int
    key_id: str | None
    content: bytes

    def in_the_clear(self) -> Plain:
        """Return it as it is, where it has no key."""
        return Plain(self.digest, self.size, self.content)


def seal(keys: Keys, plain: Plain) -> Stored:
    """Encrypt. The digest goes with the content, for it would tell whether that is one which somebody knows."""
    name = keys.fingerprints()(plain.digest.encode())
    sealed = keys.seal(plain.digest.encode() + b"\n" + plain.content, _about(name))
    return Stored(name, plain.size, sealed.key_id, sealed.content)


def unseal(keys: Keys, stored: Stored) -> Plain:
    """Return what was stored.

    Raises:
        KeyUnknown, Tampered: as they say.
    """
    if stored.key_id is None:
        return stored.in_the_clear()
    plain = keys.unseal(Sealed(stored.key_id, stored.content), _about(stored.digest))
    digest, _, content = plain.partition(b"\n")
    return Plain(digest.decode(), stored.size, content)


def _about(name: str) -> str:
    return f"declaration {name}"


class Declarations:
    """The table of declarations, and how they get into it.

    Args:
        keys: what they are encrypted with; without them none is stored, and only what is in the clear is read.
    """

    def __init__(self, keys: KeyRing | None) -> None:
        self._keys = keys

    async def keys(self) -> Keys:
        """Return the keys as they are now. Ask before a transaction begins: that they are bad is not Postgres' fault.

        Raises:
            KeysUnusable: there are none.
        """
        if self._keys is None:
            raise KeysUnusable(NO_KEYS)
        return await asyncio.to_thread(self._keys.read)

    async def read(self, stored: Stored) -> Plain:
        """Return what was stored.

        Raises:
            KeysUnusable, KeyUnknown, Tampered: as they say.
        """
        if stored.key_id is None:
            return stored.in_the_clear()
        return await asyncio.to_thread(unseal, await self.keys(), stored)

    async def store(self, connection: Connection, keys: Keys, given: Iterable[Plain]) -> Mapping[str, str]:
        """Store those that are not stored yet, inside a transaction; return by digest under which names they are."""
        contents = {one.digest: one for one in given}
        name = keys.fingerprints()
        named = {digest: name(digest.encode()) for digest in contents}
        # What an object is like is told again and again; encrypting it each time would be for nothing.
        rows = await connection.fetch(
            "SELECT digest FROM kubernaut.declarations WHERE digest = ANY($1::text[])", list(named.values())
        )
        known = {row["digest"] for row in rows}
        missing = [contents[digest] for digest, name in named.items() if name not in known]
        sealed = await asyncio.to_thread(lambda: [seal(keys, one) for one in missing])
        await _insert(connection, sealed)
        return named

    async def rotate(self, database: Database) -> int:
        """Encrypt with the current key what is in the clear or under another one; return how many were.

        Raises:
            HistoryError: Postgres can't be asked, or there are no keys.
        """
        after, done = "", 0
        keys = await self.keys()
        while True:
            async with database.transaction() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock($1)", KNOWN_GOOD_LOCK)
                rows = await connection.fetch(_UNDER_OTHER_KEYS, keys.current, after, _ROTATE_AT_ONCE)
                for row in rows:
                    done += await _rotate(connection, keys, stored(row))
            if not rows:
                break
            after = rows[-1]["digest"]
        if done:
            log.info(
                "known-good declarations were encrypted anew", extra={"count": done, "key": keys.current}
            )
        return done


def stored(row: Any) -> Stored:
    """Return what a row says."""
    return Stored(row["digest"], row["size"], row["key_id"], row["content"])


async def _rotate(connection: Connection, keys: Keys, old: Stored) -> bool:
    try:
        new = await asyncio.to_thread(lambda: seal(keys, unseal(keys, old)))
    except (KeyUnknown, Tampered) as error:
        log.error("a known-good declaration can't be read", extra={"digest": old.digest, "error": str(error)})
        return False
    await _insert(connection, [new])
    await connection.execute(_RENAME, old.digest, new.digest)
    await connection.execute("DELETE FROM kubernaut.known_good WHERE digest = $1", old.digest)
    await connection.execute("DELETE FROM kubernaut.declarations WHERE digest = $1", old.digest)
    return True


async def _insert(connection: Connection, rows: Sequence[Stored]) -> None:
    columns = ("digest", "size", "key_id", "content")
    await connection.execute(_INSERT, *([getattr(row, column) for row in rows] for column in columns))
