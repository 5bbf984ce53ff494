"""What a simulation came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import RunPhase, StepStatus, WorkflowExecutionStatus
from kubernaut.simulation.diffs import ObjectDiff
from kubernaut.simulation.shadow import Mutation


@dataclass(frozen=True, slots=True)
class Step:
    """How one step came out."""

    name: str
    phase: str
    attempts: int
    reason: str
    message: str
    branch: str
    changed: tuple[str, ...]

    @classmethod
    def of(cls, record: StepStatus) -> Step:
        return cls(
            record.name,
            record.phase.value,
            record.attempt,
            record.reason or "",
            record.message or "",
            record.branch or "",
            tuple(record.changed or ()),
        )


@dataclass(frozen=True, slots=True)
class Radius:
    """How far the changes reach.

    Attributes:
        objects: what steps change themselves.
        reacting: what controllers change in turn.
        gone: pods that are deleted, evicted or replaced.
        made: pods that take their places or are added.
        cluster_scoped: objects among all of these that belong to no namespace.
    """

    objects: int
    reacting: int
    gone: tuple[str, ...]
    made: int
    namespaces: tuple[str, ...]
    cluster_scoped: tuple[str, ...]

    @classmethod
    def of(cls, diffs: tuple[ObjectDiff, ...], mutations: tuple[Mutation, ...]) -> Radius:
        pods = [one for one in diffs if one.object.kind == "Pod"]
        # A StatefulSet's pod is made anew under its name: it is gone all the same.
        again = [one for one in pods if one.anew]
        gone = [str(one.object) for one in pods if one.what == "deleted"] + [str(one.object) for one in again]
        return cls(
            sum(one.by_steps for one in diffs),
            sum(not one.by_steps for one in diffs),
            tuple(sorted(gone)),
            sum(one.what == "created" for one in pods) + len(again),
            tuple(sorted({one.object.namespace for one in diffs} - {""})),
            tuple(sorted(str(one.object) for one in diffs if not one.object.namespace)),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """How a run would go.

    Attributes:
        waits: what the run would wait for without an end in sight, such as a person or a guard; else empty.
        took: how much time passed in the simulation: waits, retries and time-outs, not the work itself.
    """

    workflow: str
    namespace: str
    status: WorkflowExecutionStatus
    steps: tuple[Step, ...]
    skipped: tuple[str, ...]
    diffs: tuple[ObjectDiff, ...]
    mutations: tuple[Mutation, ...]
    assumptions: tuple[str, ...]
    waits: str
    took: timedelta
    radius: Radius

    @property
    def through(self) -> bool:
        """Whether the run would succeed."""
        return not self.waits and self.status.phase is RunPhase.SUCCEEDED

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        status = self.status
        return {
            "workflow": self.workflow,
            "namespace": self.namespace,
            "goesThrough": self.through,
            "phase": status.phase.value,
            "verdict": status.verdict.value if status.verdict else None,
            "reason": status.reason,
            "message": status.message,
            "waitsFor": self.waits or None,
            "simulatedTime": format_duration(self.took),
            "steps": [asdict(one) for one in self.steps],
            "notReached": list(self.skipped),
            "changes": [
                {
                    "object": asdict(one.object),
                    "what": one.what,
                    "by": list(one.by),
                    "fields": [asdict(field) for field in one.fields],
                }
                for one in self.diffs
            ],
            "blastRadius": {
                "objectsChanged": self.radius.objects,
                "objectsReacting": self.radius.reacting,
                "podsGone": list(self.radius.gone),
                "podsMade": self.radius.made,
                "namespaces": list(self.radius.namespaces),
                "clusterScoped": list(self.radius.cluster_scoped),
            },
            "assumptions": list(self.assumptions),
        }
