"""What a workload suffers from, as statuses and Events tell: pods refused, pods without a node, pods not ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.core.ports import Manifest

# Times of the API server are cut to whole seconds.
_CUT: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pod that could not be created: what the API server said, and since when."""

    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """How soon before the fault something has to have come.

    Attributes:
        onset: when the fault began, where that is told; else each piece of evidence has its own time.
    """

    length: timedelta
    onset: datetime | None = None

    def fits(self, appeared: datetime, seen: Sequence[datetime]) -> datetime | None:
        """Return the earliest onset that something may have brought about; None where it came too early or after."""
        times = sorted(seen) if self.onset is None else [self.onset]
        return next((at for at in times if at - self.length <= appeared <= at + _CUT), None)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a workload suffers from.

    Attributes:
        labels: of its pods, as its template has them.
        refusals: of pods that are to be created.
        pending: pods that the scheduler finds no node for because of a taint, and since when.
        unready: since when pods, or the workload as a whole, are not ready.
    """

    labels: Mapping[str, str]
    refusals: Sequence[Refusal]
    pending: Sequence[tuple[Manifest, datetime]]
    unready: Sequence[datetime]


def trouble(workload: Manifest, events: Sequence[Manifest], of_it: Sequence[Manifest]) -> Trouble:
    """Read what a workload suffers from.

    Args:
        events: Events of the namespace about pods that could not be created, where the workload's kind does not say
            so in its status.
        of_it: its pods.
    """
    staying = [pod for pod in of_it if not pods.leaving(pod)]
    return Trouble(
        labels=((workload["spec"]["template"].get("metadata") or {}).get("labels")) or {},
        refusals=[*_by_status(workload), *_by_events(workload, events)],
        pending=list(_pending(staying)),
        unready=list(_unready(workload, staying)),
    )


def moment(text: str | None) -> datetime | None:
    """Return a time as the API server writes it; None where there is none."""
    return datetime.fromisoformat(text) if text else None


def _by_status(workload: Manifest) -> Iterator[Refusal]:
    failure = pods.condition(workload, "ReplicaFailure")
    at = moment(failure.get("lastTransitionTime"))
    if failure.get("status") == "True" and at is not None:
        yield Refusal(str(failure.get("message", "")), at)


def _by_events(workload: Manifest, events: Sequence[Manifest]) -> Iterator[Refusal]:
    uid = workload["metadata"]["uid"]
    if not _too_few(workload):
        return
    for event in events:
        first = moment(event.get("firstTimestamp") or event.get("eventTime"))
        if event.get("involvedObject", {}).get("uid") == uid and first is not None:
            yield Refusal(str(event.get("message", "")), first)


def _too_few(workload: Manifest) -> bool:
    """Whether a StatefulSet or DaemonSet has fewer pods than it is meant to have; Events outlive what they tell."""
    status, spec = workload.get("status") or {}, workload["spec"]
    if workload["kind"] == "DaemonSet":
        return int(status.get("currentNumberScheduled") or 0) < int(status.get("desiredNumberScheduled") or 0)
    return int(status.get("replicas") or 0) < int(spec.get("replicas", 1))


def _pending(staying: Sequence[Manifest]) -> Iterator[tuple[Manifest, datetime]]:
    for pod in staying:
        scheduled = pods.condition(pod, "PodScheduled")
        at = moment(scheduled.get("lastTransitionTime"))
        told = "untolerated taint" in str(scheduled.get("message", ""))
        if scheduled.get("status") == "False" and told and at is not None:
            yield pod, at


def _unready(workload: Manifest, staying: Sequence[Manifest]) -> Iterator[datetime]:
    told: list[tuple[Mapping[str, Any], str]] = [(pods.condition(workload, "Available"), "False")]
    told += [(pods.condition(pod, "Ready"), "False") for pod in staying]
    for condition, bad in told:
        at = moment(condition.get("lastTransitionTime"))
        if condition.get("status") == bad and at is not None:
            yield at
