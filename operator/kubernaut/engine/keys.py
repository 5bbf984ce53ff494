"""Keys of the queue."""

from __future__ import annotations

from typing import NamedTuple


class RunKey(NamedTuple):
    """A WorkflowExecution."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class WorkflowKey(NamedTuple):
    """A Workflow; not equal to a run of the same name."""

    namespace: str
    name: str
    kind: str = "Workflow"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Departure(NamedTuple):
    """A run that left the watch on live runs: it was deleted, or somebody else ended it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Heartbeat(NamedTuple):
    """Nothing to do, but to show that workers work."""

    number: int
