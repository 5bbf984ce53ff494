"""Which of a run's dependent writes a request is.

A run's writes depend on each other in this order: the finalizer is put on, the snapshot kept, the claim stored, a
before-image kept, an effect had, progress and the end stored, an Event written, the run mirrored to Postgres, the
finalizer taken off.
"""

from __future__ import annotations

import json
from enum import StrEnum

from faults.wire import Exchange


class Stage(StrEnum):
    """One of a run's dependent writes."""

    FINALIZER = "finalizer put on"
    SNAPSHOT = "snapshot kept"
    CLAIM = "claim stored"
    IMAGE = "before-image kept in a Secret"
    EFFECT = "effect on a Deployment"
    EVICTION = "pod evicted"
    DELETION = "pod deleted"
    START = "run started by a step"
    JOB = "Job created by a step"
    PROGRESS = "progress stored"
    END = "end stored"
    EVENT = "Event written"
    MIRROR = "run committed to Postgres"
    RELEASE = "finalizer taken off"
    OTHER = "another write"


_BY_REQUEST = {
    "POST controllerrevisions": Stage.SNAPSHOT,
    "POST secrets": Stage.IMAGE,
    "PATCH deployments": Stage.EFFECT,
    "POST pods/eviction": Stage.EVICTION,
    "DELETE pods": Stage.DELETION,
    "POST workflowexecutions": Stage.START,
    "POST jobs": Stage.JOB,
    "POST events": Stage.EVENT,
}


class Stages:
    """Tells the stage of mutating requests, from what was seen of each run before."""

    def __init__(self) -> None:
        self._claimed: set[str] = set()

    def of(self, exchange: Exchange) -> Stage:
        """Return the stage of a mutating request."""
        match exchange.what:
            case "PATCH workflowexecutions":
                meta = json.loads(exchange.body).get("metadata") or {}
                return Stage.FINALIZER if meta.get("finalizers") else Stage.RELEASE
            case "PATCH workflowexecutions/status":
                return self._of_status(exchange)
            case what:
                return _BY_REQUEST.get(what, Stage.OTHER)

    def _of_status(self, exchange: Exchange) -> Stage:
        status = json.loads(exchange.body).get("status") or {}
        run = exchange.path.split("?")[0]
        if status.get("finishedAt"):
            self._claimed.discard(run)
            return Stage.END
        if run in self._claimed:
            return Stage.PROGRESS
        self._claimed.add(run)
        return Stage.CLAIM
