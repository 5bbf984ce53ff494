"""One Kubernetes Event for a finished run; its name is fixed, so it is there once however often it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kubernaut.api.base import format_time
from kubernaut.api.execution import RunPhase
from kubernaut.api.names import API_VERSION, MANAGER
from kubernaut.core.naming import MAX_NAME
from kubernaut.core.ports import Manifest
from kubernaut.engine.live import LiveRun

# So many Events of good runs in a row are written however fast they come.
BURST: Final = 25


class EventBudget:
    """Says which Events are worth their write: all of runs that went wrong; of good ones so many a second.

    A token bucket, as client-go's Event recorder has one: what a storm of good runs did is in their statuses and in
    the history, and an Event each would fill the list of them just when people look at it.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._clock = clock
        self._left = float(BURST)
        self._at = clock()

    def admits(self, event: Manifest) -> bool:
        """Whether an Event is to be written; one of a good run takes its share of the budget."""
        if event["type"] != "Normal":
            return True
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, BURST)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def finished_event(live: LiveRun, now: datetime, instance: str) -> Manifest:
    """Return the Event (events.k8s.io/v1) that says how a run ended."""
    status = live.status
    good = status.phase is RunPhase.SUCCEEDED
    claim, target = status.workflow, status.target
    what = f"{target.kind} {target.name}" if target else "no target"
    by = claim.name if claim else live.execution.spec.workflow_ref.name
    verdict = status.verdict.value if status.verdict else status.phase.value
    note = f"{verdict}: {by} on {what}, steps {status.progress or '0/0'}. {status.message or ''}".strip()
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": _name(live), "namespace": live.key.namespace},
        "eventTime": format_time(now),
        "type": "Normal" if good else "Warning",
        "reason": (status.reason or verdict)[:128],
        "action": "Remediate",
        "note": note[:1000],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "WorkflowExecution",
            "namespace": live.key.namespace,
            "name": live.key.name,
            "uid": live.uid,
        },
        "reportingController": f"kubernaut.io/{MANAGER}",
        "reportingInstance": instance[:128],
    }


def _name(live: LiveRun) -> str:
    tail = f".{live.uid[:13]}.done"
    return live.key.name[: MAX_NAME - len(tail)].rstrip("-.") + tail
