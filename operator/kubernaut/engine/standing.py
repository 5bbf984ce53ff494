"""What is known of runs, for those who share things out: who is whose, who is over, who goes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kubernaut.core.features import Feature
from kubernaut.engine.keys import Heartbeat, RunKey, WorkflowKey
from kubernaut.engine.known import Known
from kubernaut.engine.live import LiveRun
from kubernaut.engine.queue import Rank

# Beyond what a Workflow can ask for: that workers work is seen at once, and finished runs wait for live ones.
_BEAT: Final = Rank(1001)
_FINISHED: Final = -1001


class RunStanding:
    """Answers from what this replica knows."""

    def __init__(self, known: Known, off: Callable[[], frozenset[Feature]]) -> None:
        self._known = known
        self._off = off

    def ours(self, uid: str) -> bool:
        """Whether a run is live and this replica's to drive, right now."""
        live = self._live(uid)
        return live is not None and live.lease() is None

    def over(self, uid: str) -> bool:
        """Whether a run is certainly over."""
        return self._known.over(uid)

    def step_over(self, uid: str, step: str) -> bool:
        """Whether it is stored that a step has ended, of a run that this replica drives."""
        live = self._live(uid)
        return live is not None and any(
            record.name == step and record.phase.final for record in live.stored.steps
        )

    def rank(self, key: object) -> Rank:
        """Return where a key waits for a worker: by the priority of its run's Workflow, and its namespace."""
        if isinstance(key, RunKey):
            live = self._known.live.get(key)
            if live is None:
                return Rank(_FINISHED, key.namespace)
            return Rank(0 if Feature.PRIORITIES in self._off() else self._priority(live), key.namespace)
        if isinstance(key, Heartbeat):
            return _BEAT
        return Rank(0, getattr(key, "namespace", ""))

    def _priority(self, live: LiveRun) -> int:
        if live.plan is not None:
            return live.plan.spec.priority
        name = live.execution.spec.workflow_ref.name
        manifest = self._known.workflows.get(WorkflowKey(live.key.namespace, name))
        found = manifest["spec"].get("priority", 0) if manifest is not None else 0
        return found if isinstance(found, int) else 0

    def _live(self, uid: str) -> LiveRun | None:
        key = self._known.key_of(uid)
        live = self._known.live.get(key) if key is not None else None
        return live if live is not None and live.uid == uid else None
