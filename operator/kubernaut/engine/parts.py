"""What an engine is put together from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from kubernaut.config import Settings
from kubernaut.core.ports import Manifest
from kubernaut.engine.afterlife import Afterlife
from kubernaut.engine.capacities import Capacities
from kubernaut.engine.evidence import AvailabilityEvidence
from kubernaut.engine.guarding import Guarding
from kubernaut.engine.hearing import Hearing
from kubernaut.engine.holds import Gate
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.ownership import Alone, Keeper
from kubernaut.engine.pauses import Pauses
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.runs import RunReconciler
from kubernaut.engine.sweep import SnapshotSweep
from kubernaut.engine.workflows import WorkflowReconciler


@dataclass(frozen=True, slots=True)
class Parts:
    """All of it; what is None is not wanted."""

    settings: Settings
    cluster: OperatorCluster
    runs: RunReconciler
    workflows: WorkflowReconciler
    afterlife: Afterlife
    evidence: AvailabilityEvidence
    gate: Gate
    locks: TargetLocks
    check_policies: Callable[[], Awaitable[list[str]]]
    sweep: SnapshotSweep
    clock: Callable[[], datetime]
    instance: str
    shards: Keeper = field(default_factory=Alone)
    target_key: Callable[[Manifest, Manifest], str | None] = lambda workflow, run: None
    capacities: Capacities | None = None
    guards: Guarding | None = None
    pauses: Pauses | None = None
    hearing: Hearing = field(default_factory=Hearing)
