"""Jobs, autoscalers, nodes with taints, and the garbage collector. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.kinds import group_of
from kubernaut.core.ports import Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import pods, scheduling
from kubernaut.simulation.state import CONTROLLERS, Key, State

_TOLERANCE: Final = 0.1
#: words of the scheduler about what is not looked at here
_NOT_LOOKED_AT: Final = ("affinity rules", "topology spread", "persistentvolumeclaim", "volume")
_SCALED: Final = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "ReplicaSet")})


def job(state: State, assumptions: Assumptions, key: Key) -> None:
    """Have a Job's pods removed where it is suspended; else assume that it does its work."""
    found = state.get(key)
    spec, status = found["spec"], dict(found.get("status") or {})
    if any(
        one["type"] in ("Complete", "Failed") and one["status"] == "True"
        for one in status.get("conditions") or ()
    ):
        return
    there = pods.staying(pods.owned(state, found, "", "Pod"))
    if spec.get("suspend"):
        for pod in there:
            pods.remove(state, pod)
        kept = [one for one in status.get("conditions") or () if one["type"] != "Suspended"]
        status |= {"active": None, "ready": 0, "conditions": [*kept, {"type": "Suspended", "status": "True"}]}
        state.put({**found, "status": status}, CONTROLLERS)
        return
    name = f"{key.name}-{pods.suffix(str(key))}"
    if not there:
        made = pods.make(state, assumptions, found, spec["template"], name)
        if made is None:
            return
        there = [made]
    if any(not one["spec"].get("nodeName") or pods.failing(state, one) for one in there):
        # What is assumed of its pods says why.
        state.put({**found, "status": {**status, "active": len(there)}}, CONTROLLERS)
        return
    assumptions.say(f"Job {key.namespace}/{key.name} is assumed to succeed at once")
    for one in there:
        ended = {**one.get("status", {}), "phase": "Succeeded", "containerStatuses": _ended(one)}
        state.put({**one, "status": ended}, CONTROLLERS)
    done = spec.get("completions") or spec.get("parallelism") or 1
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": state.stamp}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status |= {
        "succeeded": done,
        "active": None,
        "startTime": status.get("startTime") or state.stamp,
        "completionTime": state.stamp,
        "conditions": conditions,
    }
    state.put({**found, "status": status}, CONTROLLERS)


def _ended(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    terminated = {"exitCode": 0, "reason": "Completed"}
    return [
        {"name": one["name"], "ready": False, "restartCount": 0, "state": {"terminated": terminated}}
        for one in pod["spec"].get("containers") or ()
    ]


def volume_snapshot(state: State, assumptions: Assumptions, key: Key) -> None:
    """Assume that a snapshot of a volume is ready at once."""
    found = state.get(key)
    assumptions.say(f"VolumeSnapshot {key.namespace}/{key.name} is assumed to be ready at once")
    status = {**(found.get("status") or {}), "readyToUse": True, "creationTime": state.stamp}
    state.put({**found, "status": status}, CONTROLLERS)


def debugged(state: State, assumptions: Assumptions, key: Key) -> None:
    """Assume that ephemeral containers that a step added run."""
    pod = state.get(key)
    status = pod.get("status") or {}
    told = list(status.get("ephemeralContainerStatuses") or ())
    known = {one["name"] for one in told}
    added = [one for one in pod["spec"].get("ephemeralContainers") or () if one["name"] not in known]
    if not added:
        return
    assumptions.say(f"debugging containers of {key} are assumed to run")
    running = {"running": {"startedAt": state.stamp}}
    told += [{"name": one["name"], "image": one.get("image", ""), "state": running} for one in added]
    state.put({**pod, "status": {**status, "ephemeralContainerStatuses": told}}, CONTROLLERS)


def autoscaler(state: State, assumptions: Assumptions, found: Manifest, *, bounds: bool) -> Key | None:
    """Keep what an autoscaler scales within its bounds; return what it scaled, if anything.

    Args:
        bounds: whether a step changed the autoscaler itself: then what its metrics asked for last counts, too.
    """
    meta, spec = found["metadata"], found["spec"]
    scaled = spec["scaleTargetRef"]
    key = Key(
        group_of(scaled.get("apiVersion", "apps/v1")), scaled["kind"], meta["namespace"], scaled["name"]
    )
    target = state.objects.get(key)
    if target is None or (key.group, key.kind) not in _SCALED:
        return None
    now = target["spec"].get("replicas", 1)
    if now == 0:
        assumptions.say(f"HorizontalPodAutoscaler {meta['name']} leaves {key} alone while it has 0 replicas")
        return None
    asked_for = _wanted(found, now) if bounds else now
    wanted = min(max(asked_for, spec.get("minReplicas", 1)), spec["maxReplicas"])
    if asked_for != now:
        assumptions.say(f"the metrics of HorizontalPodAutoscaler {meta['name']} stay as it saw them last")
    if wanted != now:
        assumptions.say(f"HorizontalPodAutoscaler {meta['name']} scales {key} from {now} to {wanted}")
        state.put({**target, "spec": {**target["spec"], "replicas": wanted}}, CONTROLLERS)
        return key
    first = state.first.get(key)
    asked = (found.get("status") or {}).get("desiredReplicas")
    changed = first is not None and first["spec"].get("replicas", 1) != now
    if changed and isinstance(asked, int) and asked != now and spec.get("metrics") is not None:
        assumptions.say(
            f"HorizontalPodAutoscaler {meta['name']} wanted {asked} replicas of {key}; it may scale back to that: "
            "what its metrics will be is not known"
        )
    return None


def _wanted(found: Manifest, now: int) -> int:
    """Return how many replicas the metrics as told last ask for; as many as there are where they do not tell."""
    status = found.get("status") or {}
    count, most = status.get("currentReplicas", now), 0
    used = {
        one["resource"]["name"]: (one["resource"].get("current") or {}).get("averageUtilization")
        for one in status.get("currentMetrics") or ()
        if one.get("type") == "Resource"
    }
    for metric in found["spec"].get("metrics") or ():
        of = metric.get("resource") or {}
        target, current = (of.get("target") or {}).get("averageUtilization"), used.get(of.get("name"))
        if not target or current is None:
            return now
        ratio = current / target
        # Within a tenth nothing is done, as by default.
        most = max(most, count if abs(ratio - 1) <= _TOLERANCE else math.ceil(count * ratio))
    return most or now


def taints(state: State, node: Mapping[str, Any]) -> None:
    """Remove the pods that a node's NoExecute taints drive out."""
    for pod in list(state.all("", "Pod")):
        if pod["spec"].get("nodeName") == node["metadata"]["name"] and scheduling.driven_out(node, pod):
            pods.remove(state, pod)


def pending(state: State, assumptions: Assumptions) -> None:
    """Place pending pods anew, once there may be room for them."""
    for pod in list(state.all("", "Pod")):
        if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            continue
        if why := _kept_by_more(pod):
            assumptions.say(f"{Key.at(pod)} stays Pending: {why}")
            continue
        node, _ = scheduling.place(state, pod)
        if node:
            pods.settle(state, assumptions, pod)


def _kept_by_more(pod: Mapping[str, Any]) -> str:
    """Return why the scheduler could not place a pod, where that is among what is not looked at here."""
    for one in (pod.get("status") or {}).get("conditions") or ():
        told = str(one.get("message", "")).lower()
        if one.get("type") == "PodScheduled" and any(word in told for word in _NOT_LOOKED_AT):
            return told
    return ""


def garbage(state: State) -> bool:
    """Remove what belongs to nothing any more, and pods whose grace is over; True where something went."""
    removed = False
    for key, one in list(state.objects.items()):
        if one is None:
            continue
        meta = one["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and key.kind == "Pod":
            pods.remove(state, one)
            removed = True
            continue
        owners = {owner.get("uid") for owner in meta.get("ownerReferences") or ()}
        if owners and owners <= state.gone and not meta.get("deletionTimestamp"):
            state.remove(key, CONTROLLERS)
            removed = True
    return removed
