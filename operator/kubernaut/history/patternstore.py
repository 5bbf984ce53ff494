"""What analysis keeps between two rounds: feature sets and vectors, patterns and their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubernaut.history.database import Database
from kubernaut.history.pages import PatternRecord


class PatternStore:
    """Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_feature_set(self, key: str, definition: Mapping[str, Any]) -> None:
        """Keep a feature set (plain JSON) under its key, e.g. its digest; an existing one is left as it is."""
        raise NotImplementedError

    async def load_feature_set(self, key: str | None = None) -> tuple[str, dict[str, Any]] | None:
        """Return (key, definition) of a feature set, or of the newest one."""
        raise NotImplementedError

    async def save_features(self, feature_set: str, rows: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Upsert (run uid, vector); all vectors of a feature set have the same dimension."""
        raise NotImplementedError

    async def load_features(
        self, feature_set: str, uids: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """Return vectors (float32 precision) by run uid."""
        raise NotImplementedError

    async def load_patterns(self, *, retired: bool = False) -> list[PatternRecord]:
        """Return the patterns, oldest first; with ``retired`` also those that are no more."""
        raise NotImplementedError

    async def load_members(self, patterns: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Return membership in [0, 1] by pattern id and run uid; of all living patterns by default."""
        raise NotImplementedError

    async def save_patterns(
        self,
        patterns: Sequence[PatternRecord],
        members: Mapping[str, Mapping[str, float]],
        *,
        position: int | None = None,
    ) -> None:
        """Upsert patterns and replace the members of those named in ``members``, in one transaction.

        ``position`` is how far the analysis has read (``RunBatch.position``); kept for ``load_position``.
        """
        raise NotImplementedError

    async def load_position(self) -> int:
        """Return how far the last saved analysis had read; 0 before the first."""
        raise NotImplementedError
