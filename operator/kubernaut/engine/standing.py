"""What is known of runs, for those who share things out: who is whose, who is over, who goes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from kubernaut.api.execution import WorkflowExecutionStatus
from kubernaut.core.features import Feature
from kubernaut.engine.finished import FinishedRun
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

    def awaited(self, run: FinishedRun) -> bool:
        """Whether the run that started a finished one may still have to see how it ended.

        Only what is stored counts: what a run knows beyond that is lost with the operator.
        """
        if run.parent is None:
            return False
        uid, step = run.parent
        status = self._stored(uid)
        if status is None:
            return not self._known.over(uid)
        record = next((one for one in status.steps if one.name == step), None)
        if record is None:
            return True
        return not record.phase.final and (record.intent or {}).get("uid", run.uid) == run.uid

    def _stored(self, uid: str) -> WorkflowExecutionStatus | None:
        """Return what is stored of a live run as far as that is known here, whoever drives it; None of any other."""
        live, key = self._live(uid), self._known.key_of(uid)
        if live is not None:
            return live.stored
        other = self._known.others.get(key) if key is not None else None
        if other is None:
            return None
        try:
            return WorkflowExecutionStatus.model_validate((other.manifest or {}).get("status") or {})
        except ValidationError:
            return WorkflowExecutionStatus()

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
