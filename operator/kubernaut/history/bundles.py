"""Diagnostics bundles in Postgres: what is too large for a run's status, compressed and encrypted."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing, Sealed

MAX_BUNDLE_BYTES: Final = 16 * 2**20
_COLUMNS: Final = "run_uid, step, taken_at, size, key_id, content"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle as it is stored: of a step of a run, taken at a time, ``size`` bytes before it was compressed."""

    run_uid: str
    step: str
    taken_at: datetime
    size: int
    key_id: str
    content: bytes

    @property
    def about(self) -> str:
        """What the encryption is bound to: a row that is put in another's place can't be read."""
        return f"run {self.run_uid}\n{self.step}"


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What is known of a bundle without its content."""

    step: str
    taken_at: datetime
    size: int


def seal(keys: KeyRing, run_uid: str, step: str, taken_at: datetime, content: bytes) -> Bundle:
    """Compress and encrypt. Blocking for some milliseconds a MiB; call it in a thread.

    Raises:
        ValueError: it is larger than ``MAX_BUNDLE_BYTES``.
        KeysUnusable: there is no key.
    """
    if len(content) > MAX_BUNDLE_BYTES:
        raise ValueError(f"it has {len(content)} bytes; at most {MAX_BUNDLE_BYTES} are kept")
    empty = Bundle(run_uid, step, taken_at, len(content), "", b"")
    sealed = keys.seal(zlib.compress(content), empty.about)
    return replace(empty, key_id=sealed.key_id, content=sealed.content)


def unseal(keys: KeyRing, bundle: Bundle) -> bytes:
    """Return what was given to ``seal``.

    Raises:
        KeysUnusable, KeyUnknown, Tampered: as they say.
    """
    return zlib.decompress(keys.unseal(Sealed(bundle.key_id, bundle.content), bundle.about))


def again(keys: KeyRing, bundle: Bundle) -> Bundle:
    """Return a bundle encrypted with the current key.

    Raises:
        KeysUnusable, KeyUnknown, Tampered: as they say.
    """
    plain = keys.unseal(Sealed(bundle.key_id, bundle.content), bundle.about)
    sealed = keys.seal(plain, bundle.about)
    return replace(bundle, key_id=sealed.key_id, content=sealed.content)


class Bundles:
    """Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, bundle: Bundle) -> None:
        """Keep a bundle in place of an earlier one of the step; a replay, and one that comes late, change nothing."""
        async with self._database.connection() as connection:
            await connection.execute(
                f"INSERT INTO kubernaut.bundles AS known ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) "
                "ON CONFLICT (run_uid, step) DO UPDATE SET taken_at = excluded.taken_at, size = excluded.size, "
                "key_id = excluded.key_id, content = excluded.content, stored_at = now() "
                "WHERE excluded.taken_at > known.taken_at",
                *(bundle.run_uid, bundle.step, bundle.taken_at, bundle.size, bundle.key_id, bundle.content),
            )

    async def load(self, run_uid: str, step: str) -> Bundle | None:
        """Return a bundle, or None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM kubernaut.bundles WHERE run_uid = $1 AND step = $2", run_uid, step
            )
        return None if row is None else _bundle(row)

    async def of_run(self, run_uid: str) -> Sequence[BundleInfo]:
        """Return which steps of a run have a bundle, in the order they were taken."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT step, taken_at, size FROM kubernaut.bundles WHERE run_uid = $1 ORDER BY taken_at, step",
                run_uid,
            )
        return [BundleInfo(row["step"], row["taken_at"], row["size"]) for row in rows]

    async def under_other_keys(self, key_id: str, after: tuple[str, str], most: int) -> Sequence[Bundle]:
        """Return some of the bundles that are not encrypted with this key, after one (run, step) in their order."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM kubernaut.bundles WHERE key_id <> $1 AND (run_uid, step) > ($2, $3) "
                "ORDER BY run_uid, step LIMIT $4",
                *(key_id, *after, most),
            )
        return [_bundle(row) for row in rows]

    async def replace(self, old: Bundle, new: Bundle) -> bool:
        """Store the same bundle encrypted anew; False where another one has taken its place meanwhile."""
        async with self._database.connection() as connection:
            done = await connection.fetchval(
                "UPDATE kubernaut.bundles SET key_id = $5, content = $6 "
                "WHERE run_uid = $1 AND step = $2 AND taken_at = $3 AND key_id = $4 RETURNING true",
                *(old.run_uid, old.step, old.taken_at, old.key_id, new.key_id, new.content),
            )
        return bool(done)


def _bundle(row: Any) -> Bundle:
    return Bundle(*(row[name] for name in _COLUMNS.split(", ")))
