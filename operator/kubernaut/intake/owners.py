"""Which real object an alert is about: found by its labels, and by the owners of what these name.

Everything is read as the Workflow's account, so an alert makes nobody see what the account may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from kubernaut.api.reach import namespace_of
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Manifest, ObjectRef

MOST_OWNERS: Final = 6
APPS: Final = "apps/v1"
#: labels that name an object, as kube-state-metrics and the kubelet give them; the most telling first
NAMED_BY: Final = (
    ("pod", "v1", "Pod"),
    ("replicaset", APPS, "ReplicaSet"),
    ("deployment", APPS, "Deployment"),
    ("statefulset", APPS, "StatefulSet"),
    ("daemonset", APPS, "DaemonSet"),
    ("job_name", "batch/v1", "Job"),
    ("cronjob", "batch/v1", "CronJob"),
    ("horizontalpodautoscaler", "autoscaling/v2", "HorizontalPodAutoscaler"),
    ("persistentvolumeclaim", "v1", "PersistentVolumeClaim"),
    ("node", "v1", "Node"),
)
# A scrape configuration without honorLabels puts its own labels in the place of those that a metric has.
_PREFIXES: Final = ("exported_", "")
# What stands before the last part of a pod's name is the name of what made it, but for a DaemonSet's and a
# StatefulSet's own name, which may hold anything.
_POD: Final = re.compile(r"^(?P<owner>.+)-[a-z0-9]+$")
_POD_OWNERS: Final = ((APPS, "ReplicaSet"), (APPS, "StatefulSet"), (APPS, "DaemonSet"), ("batch/v1", "Job"))


class Reads(Protocol):
    """The part of a cluster that is needed."""

    async def get(self, ref: ObjectRef) -> Manifest: ...


class Unresolved(StepError):
    """There is no object that an alert could be about; says what was looked at."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The kind of object that a Workflow repairs."""

    api_version: str
    kind: str

    def same(self, api_version: str, kind: str) -> bool:
        """Whether an object is of it, in whatever version."""
        return kind == self.kind and api_version.rpartition("/")[0] == self.api_version.rpartition("/")[0]


async def owner_of(reads: Reads, wanted: Wanted, namespace: str, labels: Mapping[str, str]) -> Manifest:
    """Return the object of the wanted kind that the alert's labels name, or that owns what they name.

    Raises:
        Unresolved: no label names an object, or none of its owners is of this kind.
        ClusterError: something can't be read, by its reason.
    """
    tried: list[str] = []
    for ref in _named(wanted, namespace, labels):
        found = await _climb(reads, wanted, ref, tried)
        if found is not None:
            return found
    if not tried:
        names = ", ".join(label for label, _, _ in NAMED_BY)
        raise Unresolved(f"no label of the alert names an object; those that do are: {names}")
    raise Unresolved(f"no {wanted.kind} owns what the alert names: {'; '.join(tried[:4])}")


def _named(wanted: Wanted, namespace: str, labels: Mapping[str, str]) -> Iterator[ObjectRef]:
    """Yield what the labels name, the very kind that is wanted first."""
    found = [
        ObjectRef(api_version, kind, namespace_of(api_version, kind, namespace), name)
        for label, api_version, kind in NAMED_BY
        if (name := next((labels[p + label] for p in _PREFIXES if labels.get(p + label)), ""))
    ]
    found.sort(key=lambda ref: not wanted.same(ref.api_version, ref.kind))
    # A pod's node is where it runs, and no repair of it is one of the pod.
    if any(ref.kind != "Node" for ref in found) and wanted.kind != "Node":
        found = [ref for ref in found if ref.kind != "Node"]
    yield from found


async def _climb(reads: Reads, wanted: Wanted, ref: ObjectRef, tried: list[str]) -> Manifest | None:
    """Go from an object to its owners until one is wanted."""
    for _ in range(MOST_OWNERS):
        try:
            found = await reads.get(ref)
        except NotFound:
            tried.append(f"{ref.kind} {ref.name} is gone")
            return await _of_gone_pod(reads, wanted, ref, tried) if ref.kind == "Pod" else None
        if wanted.same(ref.api_version, ref.kind):
            return found
        above = _above(found, ref)
        if above is None:
            tried.append(f"{ref.kind} {ref.name} belongs to no {wanted.kind}")
            return None
        ref = above
    tried.append(f"{ref.kind} {ref.name} has too many owners above it")
    return None


async def _of_gone_pod(reads: Reads, wanted: Wanted, pod: ObjectRef, tried: list[str]) -> Manifest | None:
    """Find what made a pod that is gone already, by the name that it gave it."""
    match = _POD.match(pod.name)
    if match is None:
        return None
    for api_version, kind in _POD_OWNERS:
        ref = ObjectRef(api_version, kind, pod.namespace, match["owner"])
        try:
            found = await _climb(reads, wanted, ref, [])
        except StepError:
            # What the account may not look at is no answer, and no reason not to look at the others.
            continue
        if found is not None:
            return found
    tried.append(f"nothing is left of what may have made {pod.name}")
    return None


def _above(found: Manifest, ref: ObjectRef) -> ObjectRef | None:
    """Return the object's controller; for an autoscaler what it scales."""
    if ref.kind == "HorizontalPodAutoscaler":
        scaled = found["spec"]["scaleTargetRef"]
        return ObjectRef(scaled.get("apiVersion", APPS), scaled["kind"], ref.namespace, scaled["name"])
    owners = found["metadata"].get("ownerReferences") or []
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return None
    place = namespace_of(owner["apiVersion"], owner["kind"], ref.namespace)
    return ObjectRef(owner["apiVersion"], owner["kind"], place, owner["name"])
