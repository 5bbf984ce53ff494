"""StatefulSets and DaemonSets: pods of fixed names, and one for each node. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.fields import same
from kubernaut.core.ports import Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import pods, scheduling
from kubernaut.simulation.disruption import ready
from kubernaut.simulation.state import CONTROLLERS, Key, State

_HASH: Final = "controller-revision-hash"
#: what a DaemonSet's pods tolerate beside what their template says
_TOLERATED: Final = tuple(
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
    for name, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)


def stateful_set(state: State, assumptions: Assumptions, key: Key) -> None:
    """Bring a StatefulSet to its pods; one by one where its policy says so, up to the first that is not well."""
    found = state.get(key)
    spec = found["spec"]
    wanted, revision = spec.get("replicas", 1), _revision(state, key, found)
    start = (spec.get("ordinals") or {}).get("start", 0)
    names = [f"{key.name}-{start + at}" for at in range(wanted)]
    there = {pod["metadata"]["name"]: pod for pod in pods.staying(pods.owned(state, found, "", "Pod"))}
    for name in sorted(set(there) - set(names), reverse=True):
        pods.remove(state, there.pop(name))
    ordered = spec.get("podManagementPolicy") != "Parallel"
    for name in names:
        if name not in there:
            made = _made(state, assumptions, found, name, revision)
            if made is None or (ordered and not ready(made)):
                break
    for at in reversed(range(wanted)):
        pod = state.objects.get(Key("", "Pod", key.namespace, names[at]))
        if pod is None or not _updates(found, at + start):
            continue
        if _label(pod) == revision:
            if not ready(pod):
                break
            continue
        pods.remove(state, pod)
        made = _made(state, assumptions, found, names[at], revision)
        if made is None or not ready(made):
            break
    _tell_stateful(state, key, revision)


def daemon_set(state: State, assumptions: Assumptions, key: Key) -> None:
    """Bring a DaemonSet to one pod on each node that takes it."""
    found = state.get(key)
    revision = _revision(state, key, found)
    template = found["spec"]["template"]
    tolerations = [*(template["spec"].get("tolerations") or ()), *_TOLERATED]
    template = {**template, "spec": {**template["spec"], "tolerations": tolerations}}
    probe = {"metadata": {}, "spec": {**template["spec"], "containers": []}}
    nodes = {
        str(node["metadata"]["name"])
        for node in state.all("", "Node")
        if scheduling.refused(state, node, probe) in ("", "Too many pods")
    }
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    update = (found["spec"].get("updateStrategy") or {}).get("type") != "OnDelete"
    for pod in there:
        if _node_of(pod) not in nodes or (update and _label(pod) != revision):
            pods.remove(state, pod)
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    for node in sorted(nodes - {_node_of(pod) for pod in there}):
        name = f"{key.name}-{pods.suffix(f'{key} {node} {revision} {len(state.first)}')}"
        pods.make(state, assumptions, found, template, name, labels={_HASH: revision}, node=node)
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    well = sum(map(ready, there))
    counts = {
        "currentNumberScheduled": len(there),
        "desiredNumberScheduled": len(nodes),
        "numberReady": well,
        "numberAvailable": well,
        "numberUnavailable": len(nodes) - well,
        "updatedNumberScheduled": sum(_label(pod) == revision for pod in there),
    }
    zero = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady")
    _store(state, found, {name: n for name, n in counts.items() if n or name in zero}, counts)


def _node_of(pod: Mapping[str, Any]) -> str:
    """Return the node that a DaemonSet's pod is for, be it there or pending."""
    return str(pod["spec"].get("nodeName") or _wanted_node(pod))


def _wanted_node(pod: Mapping[str, Any]) -> str:
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for one in term.get("matchFields") or ():
            return str(next(iter(one.get("values") or ()), ""))
    return ""


def _made(
    state: State, assumptions: Assumptions, found: Manifest, name: str, revision: str
) -> Manifest | None:
    labels = {
        _HASH: revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": name.rpartition("-")[2],
    }
    return pods.make(state, assumptions, found, found["spec"]["template"], name, labels=labels)


def _label(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(_HASH, ""))


def _revision(state: State, key: Key, found: Mapping[str, Any]) -> str:
    """Return the hash of the newest template: that of the pods of now where the template is as it was."""
    first = state.first.get(key)
    if first is None or same(first["spec"]["template"], found["spec"]["template"]):
        # What it was at first: a template that came back would else have the revision of what was between.
        told = ((first or found).get("status") or {}).get("updateRevision")
        newest = [str(told)] if told and key.kind == "StatefulSet" else []
        if key.kind == "DaemonSet":
            # Its status names no revision; the newest pods of the template as it was have it.
            newest = [_label(pod) for pod in pods.owned(state, found, "", "Pod")][-1:]
        if newest and newest[0]:
            return newest[0]
    text = json.dumps(found["spec"]["template"], sort_keys=True)
    return f"{key.name}-{pods.suffix(text, 10)}" if key.kind == "StatefulSet" else pods.suffix(text, 10)


def _updates(found: Mapping[str, Any], ordinal: int) -> bool:
    strategy = found["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return False
    return ordinal >= int((strategy.get("rollingUpdate") or {}).get("partition", 0))


def _tell_stateful(state: State, key: Key, revision: str) -> None:
    found = state.get(key)
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    well = sum(map(ready, there))
    updated = sum(_label(pod) == revision for pod in there)
    counts: dict[str, Any] = {
        "replicas": len(there),
        "readyReplicas": well,
        "availableReplicas": well,
        "updatedReplicas": updated,
        "currentReplicas": updated,
        "updateRevision": revision,
        "currentRevision": revision if updated == len(there) else None,
    }
    old = found.get("status") or {}
    if counts["currentRevision"] is None:
        counts["currentRevision"] = old.get("currentRevision")
    _store(state, found, {name: n for name, n in counts.items() if n or name == "replicas"}, counts)


def _store(state: State, found: Manifest, status: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    kept = {name: part for name, part in (found.get("status") or {}).items() if name not in known}
    generation = found["metadata"].get("generation", 1)
    state.put({**found, "status": {**kept, **status, "observedGeneration": generation}}, CONTROLLERS)
