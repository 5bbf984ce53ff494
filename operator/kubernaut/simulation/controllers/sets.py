"""StatefulSets and DaemonSets: pods of fixed names, and one for each node. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.fields import same
from kubernaut.core.ports import Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import pods, scheduling
from kubernaut.simulation.disruption import ready, share
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
    if _complete(state, assumptions, found, names, there, revision):
        for name in sorted(set(there) - set(names), reverse=True):
            pods.remove(state, there.pop(name))
        _update(state, assumptions, found, names, revision)
    _tell_stateful(state, key, revision)


def _complete(
    state: State,
    assumptions: Assumptions,
    found: Manifest,
    names: list[str],
    there: dict[str, Manifest],
    revision: str,
) -> bool:
    """Make the pods that are missing; return whether what comes next is done, for which all may have to be ready."""
    meta, ordered = found["metadata"], found["spec"].get("podManagementPolicy") != "Parallel"
    for name in names:
        pod = there.get(name)
        if pod is None:
            left = state.objects.get(Key("", "Pod", meta["namespace"], name))
            if left is not None and (left.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                pods.remove(state, left)
            pod = _made(state, assumptions, found, name, revision)
        if ordered and pod is None:
            return False
        if ordered and pod is not None and not ready(pod):
            told = f"{meta['namespace']}/{meta['name']} does nothing else while its pod {name} is not ready"
            assumptions.say(f"StatefulSet {told} (OrderedReady)")
            return False
    return True


def _update(state: State, assumptions: Assumptions, found: Manifest, names: list[str], revision: str) -> None:
    """Replace pods of another revision, the last one first, up to the first that does not get ready."""
    start = (found["spec"].get("ordinals") or {}).get("start", 0)
    for at in reversed(range(len(names))):
        pod = state.objects.get(Key("", "Pod", found["metadata"]["namespace"], names[at]))
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


def daemon_set(state: State, assumptions: Assumptions, key: Key) -> None:
    """Bring a DaemonSet to one pod on each node that takes it, as many at a time as its strategy says."""
    found = state.get(key)
    revision = _revision(state, key, found)
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    takes, keeps = _nodes(state, found, there)
    for pod in there:
        if _node_of(pod) not in takes | keeps:
            pods.remove(state, pod)
    for node in sorted(takes - {_node_of(pod) for pod in there}):
        _made_on(state, assumptions, found, node, revision)
    if (found["spec"].get("updateStrategy") or {}).get("type") != "OnDelete":
        _replace(state, assumptions, found, takes, revision)
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    well = sum(map(ready, there))
    wanted = len(takes | keeps)
    counts = {
        "currentNumberScheduled": len({_node_of(pod) for pod in there}),
        "desiredNumberScheduled": wanted,
        "numberReady": well,
        "numberAvailable": well,
        "numberUnavailable": max(0, wanted - well),
        "updatedNumberScheduled": sum(_label(pod) == revision for pod in there),
    }
    zero = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady")
    _store(state, found, {name: n for name, n in counts.items() if n or name in zero}, counts)


def _nodes(state: State, found: Manifest, there: list[Manifest]) -> tuple[set[str], set[str]]:
    """Return the nodes that a DaemonSet's pods go to, and those beside on which they only stay."""
    here = {_node_of(pod) for pod in there}
    if ("", "Node") in state.unread:
        return here, set()
    spec = _tolerant(found["spec"]["template"])["spec"]
    takes, keeps = set(), set()
    for node in state.all("", "Node"):
        name = str(node["metadata"]["name"])
        # How much room there is, is for the scheduler to say, once the pod is made.
        if not scheduling.selected(node, spec):
            continue
        if not scheduling.kept_away(node, spec):
            takes.add(name)
        elif name in here and not scheduling.driven_out(node, {"spec": spec}):
            keeps.add(name)
    return takes, keeps


def _tolerant(template: Mapping[str, Any]) -> Manifest:
    spec = template["spec"]
    tolerations = [*(spec.get("tolerations") or ()), *_TOLERATED]
    return {**template, "spec": {**spec, "tolerations": tolerations}}


def _replace(state: State, assumptions: Assumptions, found: Manifest, nodes: set[str], revision: str) -> None:
    """Replace pods of another revision, until as many as may be are not available."""
    rolling = (found["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", 0), len(nodes), math.ceil)
    most = surge or share(rolling.get("maxUnavailable", 1), len(nodes), math.ceil)
    there = {_node_of(pod): pod for pod in pods.staying(pods.owned(state, found, "", "Pod"))}
    ill = [node for node in sorted(there) if _label(there[node]) != revision and not ready(there[node])]
    away = sum(_label(pod) == revision and not ready(pod) for pod in there.values())
    for node in [*ill, *(one for one in sorted(there) if one not in ill)]:
        old = there[node]
        if node not in nodes or _label(old) == revision:
            continue
        if ready(old) and away >= most:
            break
        if not surge or not ready(old):
            pods.remove(state, old)
        made = _made_on(state, assumptions, found, node, revision)
        if made is None or not ready(made):
            away += 1
        elif surge and ready(old):
            pods.remove(state, old)


def _made_on(
    state: State, assumptions: Assumptions, found: Manifest, node: str, revision: str
) -> Manifest | None:
    """Create a pod that the scheduler can bind to this node only."""
    template = _tolerant(found["spec"]["template"])
    affinity = template["spec"].get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    only = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    of_nodes = {**(affinity.get("nodeAffinity") or {}), required: {"nodeSelectorTerms": [only]}}
    template["spec"]["affinity"] = {**affinity, "nodeAffinity": of_nodes}
    meta = found["metadata"]
    name = f"{meta['name']}-{pods.suffix(f'{meta} {node} {revision} {len(state.first)}')}"
    return pods.make(state, assumptions, found, template, name, labels={_HASH: revision}, placed=node)


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
