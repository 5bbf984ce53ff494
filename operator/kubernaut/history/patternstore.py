"""What analysis keeps between two rounds: feature sets and vectors, patterns and their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgvector import Vector

from kubernaut.history.database import Connection, Database
from kubernaut.history.errors import Rejected, Superseded
from kubernaut.history.pages import PatternRecord
from kubernaut.history.rows import from_json, to_json

_PATTERN_COLUMNS = (
    *("id", "version", "name", "namespace", "feature_set", "centroid", "members", "status"),
    *("first_seen", "last_seen", "retired_at"),
)
_PATTERN = ", ".join(_PATTERN_COLUMNS)
_UPSERT_PATTERN = (
    f"INSERT INTO kubernaut.patterns ({_PATTERN}) VALUES "
    f"({', '.join(f'${at}' for at, _ in enumerate(_PATTERN_COLUMNS, 1))}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _PATTERN_COLUMNS[1:])
)

# Before another set is the newest, so that the one which is replaced now stays until its patterns have moved.
_FORGET_VECTORS = """
DELETE FROM kubernaut.run_features WHERE feature_set IN (
    SELECT key FROM kubernaut.feature_sets
    WHERE number < (SELECT max(number) FROM kubernaut.feature_sets) AND NOT EXISTS (
        SELECT FROM kubernaut.patterns WHERE feature_set = key AND retired_at IS NULL
    )
)
"""


# Who keeps a memory of the patterns must not write over what another has learned meanwhile. Every write makes a new
# version of this row; the transaction that made it says which.
_FIRST_MARK = """
INSERT INTO kubernaut.analysis (position) VALUES (coalesce($1::bigint, 0)) ON CONFLICT DO NOTHING RETURNING xmin::text
"""
_NEXT_MARK = """
UPDATE kubernaut.analysis SET position = coalesce($1, position) WHERE xmin::text = $2 RETURNING xmin::text
"""


class PatternStore:
    """What one analysis keeps. Every method raises HistoryUnavailable while Postgres can't answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mark: str | None = None

    async def save_feature_set(self, key: str, definition: Mapping[str, Any]) -> None:
        """Keep a feature set (plain JSON) under its key, e.g. its digest; an existing one becomes the newest.

        Vectors of sets that neither a living pattern nor the newest names are forgotten: each run has one of each.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_FORGET_VECTORS)
            await connection.execute(
                "INSERT INTO kubernaut.feature_sets AS known (key, definition) VALUES ($1, $2) "
                "ON CONFLICT (key) DO UPDATE SET number = DEFAULT "
                "WHERE known.number < (SELECT max(number) FROM kubernaut.feature_sets)",
                *(key, to_json(definition)),
            )

    async def load_feature_set(self, key: str | None = None) -> tuple[str, dict[str, Any]] | None:
        """Return (key, definition) of a feature set, or of the newest one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT key, definition FROM kubernaut.feature_sets "
                "WHERE $1::text IS NULL OR key = $1 ORDER BY number DESC LIMIT 1",
                key,
            )
        return None if row is None else (row["key"], from_json(row["definition"]))

    async def save_features(self, feature_set: str, rows: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Upsert (run uid, vector) in one transaction.

        Raises:
            Rejected: the feature set is not known, or a vector's dimension differs from the others' of the set.
        """
        vectors = {uid: Vector(list(vector)) for uid, vector in rows}
        if not vectors:
            return
        async with self._database.transaction() as connection:
            await self._fix_dimension(connection, feature_set, next(iter(vectors.values())).dimensions())
            await connection.execute(
                "CREATE TEMPORARY TABLE staged_features ON COMMIT DROP "
                "AS SELECT feature_set, run_uid, features FROM kubernaut.run_features WITH NO DATA"
            )
            await connection.copy_records_to_table(
                "staged_features",
                records=((feature_set, uid, vector) for uid, vector in vectors.items()),
                columns=("feature_set", "run_uid", "features"),
                schema_name="pg_temp",
            )
            await connection.execute(
                "INSERT INTO kubernaut.run_features AS known (feature_set, run_uid, features) "
                "SELECT feature_set, run_uid, features FROM staged_features "
                "ON CONFLICT (feature_set, run_uid) DO UPDATE SET features = excluded.features"
            )

    async def _fix_dimension(self, connection: Connection, feature_set: str, dimension: int) -> None:
        known = await connection.fetchval(
            "UPDATE kubernaut.feature_sets SET dimension = coalesce(dimension, $2) WHERE key = $1 "
            "RETURNING dimension",
            *(feature_set, dimension),
        )
        if known != dimension:
            what = (
                "is not saved yet" if known is None else f"has vectors of dimension {known}, not {dimension}"
            )
            raise Rejected(f"feature set {feature_set} {what}")

    async def load_features(
        self, feature_set: str, uids: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """Return vectors (float32 precision) by run uid."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT run_uid, features FROM kubernaut.run_features "
                "WHERE feature_set = $1 AND ($2::text[] IS NULL OR run_uid = ANY($2))",
                *(feature_set, uids),
            )
        return {row["run_uid"]: row["features"].to_list() for row in rows}

    async def load_patterns(self, *, retired: bool = False) -> list[PatternRecord]:
        """Return the patterns, oldest first; with ``retired`` also those that are no more."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_PATTERN} FROM kubernaut.patterns WHERE $1 OR retired_at IS NULL ORDER BY first_seen, id",
                retired,
            )
        return [_pattern_of(row) for row in rows]

    async def load_members(self, patterns: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Return membership in [0, 1] by pattern id and run uid; of all living patterns by default."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT m.pattern, m.run_uid, m.membership FROM kubernaut.pattern_members m "
                "JOIN kubernaut.patterns p ON p.id = m.pattern "
                "WHERE CASE WHEN $1::text[] IS NULL THEN p.retired_at IS NULL ELSE p.id = ANY($1) END",
                patterns,
            )
        members: dict[str, dict[str, float]] = {}
        for pattern, uid, membership in rows:
            members.setdefault(pattern, {})[uid] = membership
        return members

    async def save_patterns(
        self,
        patterns: Sequence[PatternRecord],
        members: Mapping[str, Mapping[str, float]],
        *,
        position: int | None = None,
    ) -> None:
        """Upsert patterns and replace the members of those named in ``members``, in one transaction.

        ``position`` is how far the analysis has read (``RunBatch.position``); kept for ``load_position``.

        Raises:
            Superseded: another analysis wrote since ``load_position`` was asked here, or Postgres was restored.
            Rejected: a pattern's feature set, or the pattern of a member, is not known.
        """
        async with self._database.transaction() as connection:
            mark = await self._next_mark(connection, position)
            await connection.executemany(_UPSERT_PATTERN, [_pattern_row(pattern) for pattern in patterns])
            await connection.execute(
                "DELETE FROM kubernaut.pattern_members WHERE pattern = ANY($1::text[])", list(members)
            )
            await connection.copy_records_to_table(
                "pattern_members",
                records=((id_, uid, share) for id_, of in members.items() for uid, share in of.items()),
                columns=("pattern", "run_uid", "membership"),
                schema_name="kubernaut",
            )
        self._mark = mark

    async def _next_mark(self, connection: Connection, position: int | None) -> str:
        if self._mark is None:
            mark = await connection.fetchval(_FIRST_MARK, position)
        else:
            mark = await connection.fetchval(_NEXT_MARK, position, self._mark)
        if mark is None:
            raise Superseded(
                "the patterns in the history were written by somebody else since they were read; "
                "they are read again: let only one analyst run"
            )
        return str(mark)

    async def load_position(self) -> int:
        """Return how far the last saved analysis had read; 0 before the first.

        Asked before all else that is loaded: from here on nobody else may write.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT position, xmin::text AS mark FROM kubernaut.analysis")
        self._mark = None if row is None else row["mark"]
        return 0 if row is None else int(row["position"])

    async def superseded(self) -> bool:
        """Whether somebody else wrote since ``load_position`` was asked here, or Postgres was restored."""
        async with self._database.connection() as connection:
            mark = await connection.fetchval("SELECT xmin::text FROM kubernaut.analysis")
        return bool(mark != self._mark)


def _pattern_row(pattern: PatternRecord) -> tuple[Any, ...]:
    special = {"centroid": Vector(list(pattern.centroid)), "status": to_json(pattern.status)}
    return tuple(special.get(column, getattr(pattern, column)) for column in _PATTERN_COLUMNS)


def _pattern_of(row: Mapping[str, Any]) -> PatternRecord:
    values = dict(row)
    return PatternRecord(
        **{**values, "centroid": row["centroid"].to_list(), "status": from_json(row["status"])}
    )
