"""Workflows of which a run met another manager that undoes what was changed: said in their conditions for a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from kubernaut.api.guards import Oscillation
from kubernaut.api.reasons import Reason
from kubernaut.core.ports import Manifest
from kubernaut.engine.keys import WorkflowKey

MOST: Final = 10_000


class Fights:
    """Filled from finished runs as they are listed and watched, so it survives restarts and needs no write.

    Attributes:
        workflow: a Workflow as it is known.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.workflow: Callable[[WorkflowKey], Manifest | None] = lambda key: None
        self._ended: dict[WorkflowKey, tuple[datetime, str]] = {}

    def see(self, manifest: Manifest) -> WorkflowKey | None:
        """Take note of a run as read; return its Workflow where it met such a manager, and that is news."""
        status = manifest.get("status") or {}
        if status.get("reason") != Reason.UNDONE_BY_ANOTHER.value or not status.get("finishedAt"):
            return None
        key = WorkflowKey(manifest["metadata"]["namespace"], manifest["spec"]["workflowRef"]["name"])
        at = datetime.fromisoformat(status["finishedAt"])
        known = self._ended.get(key)
        if at + self._cooldown(key) <= self._clock() or (known is not None and known[0] >= at):
            return None
        if len(self._ended) >= MOST:
            del self._ended[next(iter(self._ended))]
        self._ended[key] = at, f"Run {manifest['metadata']['name']}: {status.get('message') or ''}"
        return key

    def told(self, key: WorkflowKey) -> str:
        """Return what to say of a Workflow now, or nothing."""
        return self._ended[key][1] if self.left(key) is not None else ""

    def left(self, key: WorkflowKey) -> float | None:
        """Return after how many seconds nothing is to be said of a Workflow any more; None where nothing is."""
        known = self._ended.get(key)
        if known is None:
            return None
        seconds = (known[0] + self._cooldown(key) - self._clock()).total_seconds()
        if seconds <= 0:
            del self._ended[key]
            return None
        return seconds + 0.05

    def _cooldown(self, key: WorkflowKey) -> timedelta:
        manifest = self.workflow(key) or {}
        declared = ((manifest.get("spec") or {}).get("guards") or {}).get("oscillation") or {}
        try:
            return Oscillation.model_validate(declared).cooldown
        except ValidationError:
            return Oscillation().cooldown
