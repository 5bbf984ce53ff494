"""Diagnostics bundles: what is too big for a run's status."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from kubernaut.history.database import Database

MAX_BUNDLE_BYTES = 16 * 2**20


class Bundles:
    """Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, run_uid: str, step: str, content: bytes) -> None:
        """Keep a bundle; a later one of the same step replaces it.

        Raises:
            ValueError: it is larger than ``MAX_BUNDLE_BYTES``.
        """
        if len(content) > MAX_BUNDLE_BYTES:
            raise ValueError(
                f"bundle of step {step} of run {run_uid} has {len(content)} bytes; "
                f"at most {MAX_BUNDLE_BYTES} are kept"
            )
        packed = await asyncio.to_thread(zlib.compress, content)
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO kubernaut.bundles (run_uid, step, size, content) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (run_uid, step) DO UPDATE "
                "SET size = excluded.size, content = excluded.content, stored_at = now()",
                *(run_uid, step, len(content), packed),
            )

    async def load(self, run_uid: str, step: str) -> bytes | None:
        """Return a bundle as it was given."""
        async with self._database.connection() as connection:
            packed = await connection.fetchval(
                "SELECT content FROM kubernaut.bundles WHERE run_uid = $1 AND step = $2", run_uid, step
            )
        return None if packed is None else await asyncio.to_thread(zlib.decompress, packed)

    async def steps(self, run_uid: str) -> Sequence[tuple[str, int]]:
        """Return which steps of a run have a bundle, and its size in bytes."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT step, size FROM kubernaut.bundles WHERE run_uid = $1 ORDER BY step", run_uid
            )
        return [(row["step"], row["size"]) for row in rows]
