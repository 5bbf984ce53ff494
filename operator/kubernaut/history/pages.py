"""Paging by key and the shapes that questions to the history are answered in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of an answer; ``next`` goes into the next question, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class RunBatch(Generic[T]):
    """Runs in the order they reached the history; ``position`` goes into the next question.

    The position moves only past runs that were returned, and no run can later appear before it.
    """

    runs: tuple[T, ...]
    position: int


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; None means any. ``since`` is compared with the time of creation."""

    namespace: str | None = None
    workflow: str | None = None
    verdict: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class DurationStatistics:
    """How long runs of a Workflow took: seconds; median with a 95 % interval (order statistics), 90th percentile."""

    runs: int
    median_seconds: float
    lower_seconds: float
    upper_seconds: float
    p90_seconds: float


@dataclass(frozen=True, slots=True)
class Durations:
    """How long ``runs`` earlier runs took, in seconds: their 10th, 50th and 90th percentile, interpolated."""

    runs: int
    p10_seconds: float
    median_seconds: float
    p90_seconds: float


@dataclass(frozen=True, slots=True)
class PatternRecord:
    """A pattern as it is kept between two analyses.

    Attributes:
        id: stable identity, survives re-clustering.
        feature_set: key of the feature set that ``centroid`` belongs to.
        members: how many runs.
        status: what was learned, as plain JSON.
    """

    id: str
    version: int
    name: str
    namespace: str
    feature_set: str
    centroid: Sequence[float]
    members: int
    first_seen: datetime
    last_seen: datetime
    status: Mapping[str, Any] = field(default_factory=dict)
    retired_at: datetime | None = None
