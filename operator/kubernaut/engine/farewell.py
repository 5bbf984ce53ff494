"""What is said, once, of a run that has ended: metrics, a line of the log, and an Event where there is room."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from kubernaut.core.errors import ClusterError
from kubernaut.core.features import Feature
from kubernaut.engine.events import EventBudget, finished_event
from kubernaut.engine.gauges import count_run
from kubernaut.engine.holds import Gate
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import OperatorCluster
from kubernaut.metrics import EVENTS_WITHHELD, NO_VERDICT, RUN_SECONDS, RUNS_FINISHED, WRITES

log = logging.getLogger(__name__)


class Farewell:
    """Says what became of runs.

    Args:
        instance: the name of this replica, as Events tell it.
        event_rate: Events of good runs a second.
    """

    def __init__(
        self,
        cluster: OperatorCluster,
        gate: Gate,
        clock: Callable[[], datetime],
        instance: str,
        event_rate: float,
    ) -> None:
        self._cluster = cluster
        self._gate = gate
        self._clock = clock
        self._instance = instance
        self._events = EventBudget(event_rate)

    async def say(self, live: LiveRun) -> None:
        """Say how a run has ended; what can't be written is logged."""
        status = live.stored
        verdict = status.verdict.value if status.verdict else NO_VERDICT
        RUNS_FINISHED.labels(status.phase.value, verdict).inc()
        count_run(f"{live.key.namespace}/{live.execution.spec.workflow_ref.name}", verdict)
        if status.started_at and status.finished_at:
            RUN_SECONDS.labels(verdict).observe((status.finished_at - status.started_at).total_seconds())
        log.info(
            "run finished",
            extra={
                "run": str(live.key),
                "uid": live.uid,
                "phase": status.phase.value,
                "verdict": verdict,
            },
        )
        if not self._gate.on(Feature.EVENTS):
            return
        event = finished_event(live, self._clock(), self._instance)
        if not self._events.admits(event):
            EVENTS_WITHHELD.inc()
            return
        try:
            WRITES.labels("event").inc()
            await self._cluster.create_event(event)
        except ClusterError as error:
            log.warning("the Event could not be written", extra={"run": str(live.key), "error": str(error)})
