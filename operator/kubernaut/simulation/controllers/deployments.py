"""Deployments and ReplicaSets: a rollout, followed until nothing moves any more. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.fields import same
from kubernaut.core.ports import Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import pods
from kubernaut.simulation.disruption import ready, share
from kubernaut.simulation.state import CONTROLLERS, Key, State

HASH: Final = "pod-template-hash"
_REVISION: Final = "deployment.kubernetes.io/revision"
_ROUNDS: Final = 200


def deployment(state: State, assumptions: Assumptions, key: Key) -> None:
    """Bring a Deployment to where its rollout ends, or gets stuck."""
    for _ in range(_ROUNDS):
        found = state.get(key)
        sets = pods.owned(state, found, "apps", "ReplicaSet")
        new = next((one for one in sets if _same_template(one, found)), None)
        if new is None:
            if found["spec"].get("paused"):
                break
            new = _make(state, found, sets)
            sets = [*sets, new]
        elif not found["spec"].get("paused"):
            _revised(state, found, new, sets)
        before = [state.get(Key.at(one)) for one in sets]
        _move(state, found, new, [one for one in sets if one is not new])
        for one in sets:
            replica_set(state, assumptions, Key.at(one))
        if all(now is old for now, old in zip([state.get(Key.at(one)) for one in sets], before, strict=True)):
            break
    _tell(state, key)


def replica_set(state: State, assumptions: Assumptions, key: Key) -> None:
    """Bring a ReplicaSet to its number of pods, as far as quotas allow."""
    found = state.get(key)
    pods.release(state, found)
    wanted = found["spec"].get("replicas", 1)
    for at in range(_ROUNDS * 10):
        there = pods.staying(pods.owned(state, found, "", "Pod"))
        if len(there) > wanted:
            for pod in pods.order_of_removal(there)[: len(there) - wanted]:
                pods.remove(state, pod)
        elif len(there) < wanted:
            name = f"{key.name}-{pods.suffix(f'{key} {len(state.first)} {at}')}"
            if pods.make(state, assumptions, found, found["spec"]["template"], name) is None:
                break
        else:
            break
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    well = sum(map(ready, there))
    status = {
        "replicas": len(there),
        "fullyLabeledReplicas": len(there),
        "readyReplicas": well,
        "availableReplicas": well,
        "observedGeneration": found["metadata"].get("generation", 1),
    }
    kept = {name: part for name, part in (found.get("status") or {}).items() if name not in status}
    state.put(
        {**found, "status": {**kept, **{k: v for k, v in status.items() if v or k == "replicas"}}},
        CONTROLLERS,
    )


def _same_template(one: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return same(_bare(one["spec"]["template"]), _bare(found["spec"]["template"]))


def _bare(template: Mapping[str, Any]) -> dict[str, Any]:
    meta = dict(template.get("metadata") or {})
    meta.pop("creationTimestamp", None)
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    meta["annotations"] = meta.get("annotations") or {}
    return {**template, "metadata": meta}


def _make(state: State, found: Mapping[str, Any], sets: list[Manifest]) -> Manifest:
    meta, spec = found["metadata"], found["spec"]
    told = pods.suffix(json.dumps(_bare(spec["template"]), sort_keys=True), 10)
    template = {
        **spec["template"],
        "metadata": {
            **(spec["template"].get("metadata") or {}),
            "labels": {**((spec["template"].get("metadata") or {}).get("labels") or {}), HASH: told},
        },
    }
    selector = spec["selector"]
    return state.add(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{told}",
                "namespace": meta["namespace"],
                "labels": template["metadata"]["labels"],
                "annotations": {_REVISION: str(_newest(sets) + 1)},
                "ownerReferences": [pods.reference(found)],
            },
            "spec": {
                "replicas": 0,
                "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: told}},
                "template": template,
            },
        },
        CONTROLLERS,
    )


def _newest(sets: list[Manifest]) -> int:
    return max((_revision(one) for one in sets), default=0)


def _revision(one: Mapping[str, Any]) -> int:
    text = (one["metadata"].get("annotations") or {}).get(_REVISION, "0")
    return int(text) if text.isdigit() else 0


def _revised(state: State, found: Mapping[str, Any], new: Manifest, sets: list[Manifest]) -> None:
    """Give the ReplicaSet of the newest template the highest revision, as after a rollback."""
    if _revision(new) == _newest(sets):
        return
    given = {**(new["metadata"].get("annotations") or {}), _REVISION: str(_newest(sets) + 1)}
    state.put({**new, "metadata": {**new["metadata"], "annotations": given}}, CONTROLLERS)


def _scale(state: State, one: Mapping[str, Any], replicas: int) -> None:
    found = state.get(Key.at(one))
    state.put({**found, "spec": {**found["spec"], "replicas": max(0, replicas)}}, CONTROLLERS)


def _replicas(state: State, one: Mapping[str, Any]) -> int:
    return int(state.get(Key.at(one))["spec"].get("replicas", 1))


def _available(state: State, one: Mapping[str, Any]) -> int:
    return sum(map(ready, pods.staying(pods.owned(state, one, "", "Pod"))))


def _move(state: State, found: Mapping[str, Any], new: Manifest, old: list[Manifest]) -> None:
    """Do one round of a rollout."""
    spec = found["spec"]
    wanted = spec.get("replicas", 1)
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        for one in old:
            _scale(state, one, 0)
        _scale(state, new, wanted)
        return
    surge, unavailable = _limits(spec, wanted)
    total = sum(_replicas(state, one) for one in (*old, new))
    now = _replicas(state, new)
    if spec.get("paused"):
        _scale(state, new, wanted - (total - now))
        return
    if now > wanted:
        _scale(state, new, wanted)
    elif now < wanted and total < wanted + surge:
        _scale(state, new, now + min(wanted + surge - total, wanted - now))
        return
    least = wanted - unavailable
    now, well = _replicas(state, new), _available(state, new)
    may = total - least - max(0, now - well)
    for one in old:
        ill = _replicas(state, one) - _available(state, one)
        cut = max(0, min(ill, may))
        if cut:
            _scale(state, one, _replicas(state, one) - cut)
            may -= cut
    spare = sum(_available(state, one) for one in (*old, new)) - least
    for one in old:
        cut = max(0, min(spare, may, _replicas(state, one)))
        if cut:
            _scale(state, one, _replicas(state, one) - cut)
            spare, may = spare - cut, may - cut


def _limits(spec: Mapping[str, Any], wanted: int) -> tuple[int, int]:
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge, unavailable = rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%")
    most, least = share(surge, wanted, math.ceil), share(unavailable, wanted, math.floor)
    return (most, least) if most or least else (0, 1)


def _tell(state: State, key: Key) -> None:
    """Write the Deployment's status as its controller does in the end."""
    found = state.get(key)
    sets = pods.owned(state, found, "apps", "ReplicaSet")
    new = next((one for one in sets if _same_template(one, found)), None)
    there = sum(len(pods.staying(pods.owned(state, one, "", "Pod"))) for one in sets)
    well = sum(_available(state, one) for one in sets)
    updated = len(pods.staying(pods.owned(state, new, "", "Pod"))) if new is not None else 0
    wanted = found["spec"].get("replicas", 1)
    counts = {
        "replicas": there,
        "updatedReplicas": updated,
        "readyReplicas": well,
        "availableReplicas": well,
        "unavailableReplicas": max(0, max(wanted, there) - well),
    }
    meta, old = found["metadata"], found.get("status") or {}
    _, unavailable = _limits(found["spec"], wanted)
    done = updated == wanted == there == well
    conditions = [
        one for one in old.get("conditions") or () if one["type"] not in ("Available", "Progressing")
    ]
    conditions += [
        {"type": "Available", "status": "True" if well >= wanted - unavailable else "False"},
        {
            "type": "Progressing",
            "status": "True",
            "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
        },
    ]
    kept = {name: part for name, part in old.items() if name not in counts}
    status = {
        **kept,
        **{name: count for name, count in counts.items() if count},
        "observedGeneration": meta.get("generation", 1),
        "conditions": conditions,
    }
    annotations = meta.get("annotations") or {}
    if new is not None:
        annotations = {**annotations, _REVISION: str(_revision(new))}
    state.put({**found, "metadata": {**meta, "annotations": annotations}, "status": status}, CONTROLLERS)
