"""Stand-ins that keep things in memory: for what rounds decide, not for what Postgres or an API server do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.core.errors import AlreadyExists, Conflict
from kubernaut.history.pages import PatternRecord, RunBatch
from kubernaut.history.records import RunRecord


class MemorySource:
    """Runs in the order they were mirrored."""

    def __init__(self, runs: Iterable[RunRecord] = ()) -> None:
        self.runs = list(runs)

    async def finished_runs_after(
        self, position: int = 0, *, limit: int = 2000, details: bool = False
    ) -> RunBatch[RunRecord]:
        batch = tuple(self.runs[position : position + limit])
        return RunBatch(batch, position + len(batch))


class MemoryStore:
    """What analysis keeps, and how often it was written."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, Any]] = {}
        self.features: dict[str, list[float]] = {}
        self.patterns: dict[str, PatternRecord] = {}
        self.members: dict[str, dict[str, float]] = {}
        self.position = 0
        self.writes = 0

    async def save_feature_set(self, key: str, definition: Mapping[str, Any]) -> None:
        self.writes += 1
        self.sets[key] = dict(definition)

    async def load_feature_set(self, key: str | None = None) -> tuple[str, dict[str, Any]] | None:
        return list(self.sets.items())[-1] if self.sets else None

    async def save_features(self, feature_set: str, rows: Iterable[tuple[str, Sequence[float]]]) -> None:
        self.writes += 1
        self.features.update({uid: list(vector) for uid, vector in rows})

    async def load_patterns(self, *, retired: bool = False) -> list[PatternRecord]:
        return [one for one in self.patterns.values() if retired or one.retired_at is None]

    async def load_members(self, patterns: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        return {id_: self.members[id_] for id_ in (self.members if patterns is None else patterns)}

    async def save_patterns(
        self,
        patterns: Sequence[PatternRecord],
        members: Mapping[str, Mapping[str, float]],
        *,
        position: int | None = None,
    ) -> None:
        self.writes += 1
        self.patterns.update({one.id: one for one in patterns})
        self.members.update({id_: dict(uids) for id_, uids in members.items()})
        self.position = self.position if position is None else position

    async def load_position(self) -> int:
        return self.position

    async def superseded(self) -> bool:
        return False


class MemorySink:
    """DiscoveredPattern objects with resource versions; ``busy`` names objects that others keep writing."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.busy: set[str] = set()
        self.writes = 0

    async def list(self) -> list[DiscoveredPattern]:
        return [DiscoveredPattern.model_validate(one) for one in self.objects.values()]

    async def create(self, pattern: DiscoveredPattern) -> DiscoveredPattern:
        name = pattern.metadata.name
        if name in self.objects:
            raise AlreadyExists(name)
        self.writes += 1
        wire = pattern.wire()
        wire["metadata"] |= {"generation": 1, "resourceVersion": str(self.writes), "uid": f"uid-{name}"}
        self.objects[name] = wire
        return DiscoveredPattern.model_validate(wire)

    async def patch_status(self, pattern: DiscoveredPattern, status: dict[str, Any]) -> None:
        stored = self.objects[pattern.metadata.name]
        if pattern.metadata.name in self.busy or (
            stored["metadata"]["resourceVersion"] != pattern.metadata.resource_version
        ):
            raise Conflict(pattern.metadata.name)
        self.writes += 1
        merged = {**stored.get("status", {}), **status}
        stored["status"] = {name: value for name, value in merged.items() if value is not None}
        stored["metadata"]["resourceVersion"] = str(self.writes)

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.objects[name]["status"]
        return status

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        return next(c for c in self.status(name)["conditions"] if c["type"] == kind)
