"""Rounds of analysis: read what is new, cluster or assign, keep, publish.

The order of a round makes every crash harmless: patterns, then objects, then vectors, then the position up to
which vectors are stored. People wait for the objects, so the vectors come after them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from kubernaut.history.errors import Superseded
from kubernaut.history.pages import PatternRecord, RunBatch
from kubernaut.history.records import RunRecord
from kubernaut.patterns.assign import Assigner, extend
from kubernaut.patterns.clustering import Clusterer, Hdbscan, default_min_cluster_size
from kubernaut.patterns.discovery import Discovery, FormerPattern, Pattern, discover
from kubernaut.patterns.features import FeatureSet
from kubernaut.patterns.publish import PatternSink, Retired, publish, publish_off, retired_of
from kubernaut.patterns.settings import AnalystSettings
from kubernaut.patterns.table import RunTable

# Up to here a full clustering costs about 0.1 s; beyond, runs are assigned between clusterings.
ALWAYS_CLUSTER = 5_000
_VECTORS_AT_ONCE = 10_000
_REMEMBER_RETIRED = timedelta(days=30)
_ATTEMPTS = 3


class RunSource(Protocol):
    """The part of ``history.repository.Repository`` that analysis reads."""

    async def finished_runs_after(
        self, position: int = 0, *, limit: int = 2000, details: bool = False
    ) -> RunBatch[RunRecord]: ...


class Store(Protocol):
    """The part of ``history.patternstore.PatternStore`` that analysis keeps its memory in."""

    async def save_feature_set(self, key: str, definition: Mapping[str, Any]) -> None: ...
    async def load_feature_set(self, key: str | None = None) -> tuple[str, dict[str, Any]] | None: ...
    async def save_features(self, feature_set: str, rows: Iterable[tuple[str, Sequence[float]]]) -> None: ...
    async def load_patterns(self, *, retired: bool = False) -> list[PatternRecord]: ...
    async def load_members(self, patterns: Sequence[str] | None = None) -> dict[str, dict[str, float]]: ...
    async def save_patterns(
        self,
        patterns: Sequence[PatternRecord],
        members: Mapping[str, Mapping[str, float]],
        *,
        position: int | None = None,
    ) -> None: ...
    async def load_position(self) -> int: ...
    async def superseded(self) -> bool: ...


@dataclass(frozen=True)
class Round:
    """What one round did, for the log: counts, and seconds by phase.

    Attributes:
        superseded: how often the memory was given up, because somebody else had written what is kept.
    """

    runs: int
    read: int
    clustered: bool
    patterns: int
    retired: int
    noise: int
    vectors_written: int
    patterns_written: int
    objects_created: int
    objects_patched: int
    conflicts: int
    superseded: int
    read_seconds: float
    discover_seconds: float
    keep_seconds: float
    publish_seconds: float
    vectors_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON, times rounded to milliseconds."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


class Analysis:
    """The memory of the analysis between rounds, which never overlap.

    One process is meant to run it. Where there are two for a while, each gives its memory up when the other has
    written: from two memories the same runs would become two patterns.
    """

    def __init__(
        self,
        source: RunSource,
        store: Store,
        sink: PatternSink,
        settings: AnalystSettings,
        *,
        clusterer: Clusterer | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._store, self._sink, self._settings = source, store, sink, settings
        self._clusterer: Clusterer = clusterer or Hdbscan(settings.min_cluster_size)
        self._now, self._monotonic = now, monotonic
        self._forget()

    def _forget(self) -> None:
        self._table = RunTable(with_namespace=self._settings.include_namespace)
        self._position = 0
        self._kept_position = 0
        self._features: FeatureSet | None = None
        self._former: dict[str, FormerPattern] = {}
        self._records: dict[str, PatternRecord] = {}
        self._discovery: Discovery | None = None
        self._assigner: Assigner | None = None
        self._clustered_runs = 0
        self._clustered_at = self._loaded_at = self._monotonic()
        self._loaded = False
        self._unkept: list[int] = []
        self._added: list[int] = []
        self._must_cluster = False

    @property
    def discovery(self) -> Discovery | None:
        """What the last round found; None before the first."""
        return self._discovery

    async def round(self) -> Round:
        """Do one round.

        Raises:
            HistoryUnavailable: Postgres does not answer; the next round goes on where this one stopped.
            Superseded: somebody else writes what is kept all the time; the next round begins anew.
            ClusterError: the API server refused or did not answer; likewise.
        """
        superseded = 0
        if self._monotonic() - self._loaded_at > self._settings.reload.total_seconds():
            self._forget()
        elif self._loaded and await self._store.superseded():
            self._forget()
            superseded = 1
        while True:
            try:
                return await self._round(superseded)
            except Superseded:
                self._forget()
                superseded += 1
                if superseded >= _ATTEMPTS:
                    raise

    async def _round(self, superseded: int) -> Round:
        began = self._monotonic()
        if not self._loaded:
            await self._load()
        added = await self._read()
        read = self._monotonic()
        clustered = self._discover(added)
        self._added = []
        found = self._monotonic()
        assert self._discovery is not None
        patterns = await self._keep_patterns(self._discovery)
        kept = self._monotonic()
        present = {pattern.name: pattern.status for pattern in self._discovery.patterns}
        retired = [Retired(one.name, "") for one in self._former.values() if not one.active]
        heirs = {one.name: one for one in retired_of(self._discovery, self._former)}
        retired = [heirs.get(one.name, one) for one in retired]
        written = await publish(self._sink, present, retired, self._now())
        published = self._monotonic()
        vectors = await self._keep_vectors(self._discovery)
        return Round(
            runs=len(self._table),
            read=len(added),
            clustered=clustered,
            patterns=len(present),
            retired=len(retired),
            noise=self._discovery.noise,
            vectors_written=vectors,
            patterns_written=patterns,
            objects_created=written.created,
            objects_patched=written.patched,
            conflicts=len(written.conflicts),
            superseded=superseded,
            read_seconds=read - began,
            discover_seconds=found - read,
            keep_seconds=kept - found,
            publish_seconds=published - kept,
            vectors_seconds=self._monotonic() - published,
        )

    async def pause(self) -> int:
        """Say on the patterns that nothing is learned now; return how many had to be written.

        Raises:
            ClusterError: the API server refused or did not answer.
        """
        return (await publish_off(self._sink, self._now())).patched

    async def _load(self) -> None:
        self._kept_position = await self._store.load_position()
        kept = await self._store.load_feature_set()
        self._features = FeatureSet.from_json(kept[1]) if kept else None
        oldest = self._now() - _REMEMBER_RETIRED
        records = [
            record
            for record in await self._store.load_patterns(retired=True)
            if record.retired_at is None or record.retired_at >= oldest
        ]
        members = await self._store.load_members([record.id for record in records])
        self._records = {record.id: record for record in records}
        self._former = {
            record.id: FormerPattern(
                record.id,
                record.name,
                record.version,
                record.retired_at is None,
                frozenset(members.get(record.id, {})),
            )
            for record in records
        }
        self._loaded = True

    async def _read(self) -> list[int]:
        while True:
            batch = await self._source.finished_runs_after(self._position, limit=self._settings.batch)
            if not batch.runs:
                return self._added
            before = len(self._table)
            touched = self._table.extend(batch.runs)
            # A record that came again may look otherwise now; only a clustering moves a run.
            self._must_cluster |= any(at < before for at in touched)
            if batch.position > self._kept_position:
                self._unkept.extend(touched)
            # Kept until they are assigned: the next batch may not be read before the next round.
            self._added.extend(touched)
            self._position = batch.position

    def _discover(self, added: Sequence[int]) -> bool:
        if self._discovery is not None and not self._due(added):
            if added:
                self._discovery = extend(self._discovery, self._table, added, self._assigner)
            return False
        self._discovery = discover(self._table, self._former, self._clusterer, self._features)
        self._assigner = Assigner.of(self._discovery)
        self._clustered_runs, self._clustered_at = len(self._table), self._monotonic()
        self._must_cluster = False
        return True

    def _due(self, added: Sequence[int]) -> bool:
        runs = len(self._table)
        fresh = runs - self._clustered_runs
        if self._must_cluster:
            return True
        if not fresh:
            return False
        if runs <= ALWAYS_CLUSTER or fresh >= self._clustered_runs // 10:
            return True
        if self._monotonic() - self._clustered_at >= self._settings.recluster.total_seconds():
            return True
        assert self._assigner is not None
        strangers = sum(
            self._assigner.assign(self._table.rows[self._table.look[at]]) is None
            for at in range(self._clustered_runs, runs)
        )
        least = self._settings.min_cluster_size or default_min_cluster_size(runs)
        return bool(added) and strangers >= least

    async def _keep_patterns(self, discovery: Discovery) -> int:
        """Store what changed of patterns and members; return how many patterns were written."""
        key = discovery.features.digest
        refitted = self._features is None or self._features.digest != key
        if refitted:
            # No vector of a new feature set is stored yet: position 0 says so, wherever we end from here on.
            await self._store.save_patterns([], {}, position=0)
            self._kept_position = 0
            await self._store.save_feature_set(key, discovery.features.to_json())
            self._unkept = list(range(len(self._table)))
        changed = [pattern for pattern in discovery.patterns if self._moved(pattern)]
        gone = [id_ for id_ in discovery.retired if self._former[id_].active]
        records = [self._record(pattern, key) for pattern in changed]
        records += [self._retired(id_) for id_ in gone]
        if records:
            members = {pattern.id: self._membership(pattern, discovery) for pattern in changed}
            await self._store.save_patterns(records, members)
        for pattern in changed:
            uids = frozenset(self._table.uids[at] for at in pattern.members)
            self._former[pattern.id] = FormerPattern(pattern.id, pattern.name, pattern.version, True, uids)
        for id_ in gone:
            self._former[id_] = replace(self._former[id_], active=False)
        self._records.update({record.id: record for record in records})
        self._features = discovery.features
        return len(records)

    async def _keep_vectors(self, discovery: Discovery) -> int:
        """Store the vectors that are not, then the position they reach to; return how many were written."""
        unkept = self._unkept
        for start in range(0, len(unkept), _VECTORS_AT_ONCE):
            part = unkept[start : start + _VECTORS_AT_ONCE]
            await self._store.save_features(discovery.features.digest, self._vectors(discovery, part))
        if self._position != self._kept_position:
            await self._store.save_patterns([], {}, position=self._position)
            self._kept_position = self._position
        self._unkept = []
        return len(unkept)

    def _vectors(
        self, discovery: Discovery, positions: Sequence[int]
    ) -> Iterator[tuple[str, Sequence[float]]]:
        rows: dict[int, list[float]] = {}
        for at in positions:
            look = self._table.look[at]
            if look not in rows:
                rows[look] = discovery.space.vectors[look].tolist()
            yield self._table.uids[at], rows[look]

    def _moved(self, pattern: Pattern) -> bool:
        former = self._former.get(pattern.id)
        return (
            former is None
            or not former.active
            or former.version != pattern.version
            or len(former.members) != len(pattern.members)
            or any(self._table.uids[at] not in former.members for at in pattern.members)
        )

    def _membership(self, pattern: Pattern, discovery: Discovery) -> dict[str, float]:
        membership = discovery.space.membership.tolist()
        return {self._table.uids[at]: membership[self._table.look[at]] for at in pattern.members}

    def _record(self, pattern: Pattern, key: str) -> PatternRecord:
        first, last = pattern.status.first_seen, pattern.status.last_seen
        assert first is not None
        assert last is not None
        return PatternRecord(
            id=pattern.id,
            version=pattern.version,
            name=pattern.name,
            namespace=self._settings.namespace,
            feature_set=key,
            centroid=pattern.where.centre.tolist(),
            members=len(pattern.members),
            first_seen=first,
            last_seen=last,
            status=pattern.status.wire(),
        )

    def _retired(self, id_: str) -> PatternRecord:
        return replace(self._records[id_], retired_at=self._now())
