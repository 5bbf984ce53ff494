"""Pods that controllers make and delete, and whether they get well. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from kubernaut.core.errors import AlreadyExists, ClusterError
from kubernaut.core.fields import same
from kubernaut.core.ports import Manifest
from kubernaut.core.selectors import matches
from kubernaut.simulation import admission
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import scheduling
from kubernaut.simulation.disruption import ready
from kubernaut.simulation.state import CONTROLLERS, Key, State

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_BY_CONFIGURATION: Final = "CreateContainerConfigError"
#: what a container waits for that a new pod with the same image, or the same environment, would wait for too
_STAYS: Final = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", _BY_CONFIGURATION})
_OVER: Final = ("Succeeded", "Failed")


def owned(state: State, owner: Mapping[str, Any], group: str, kind: str) -> list[Manifest]:
    """Return what an object controls, oldest first."""
    meta = owner["metadata"]
    found = [
        one
        for one in state.all(group, kind, meta["namespace"])
        if any(
            reference.get("uid") == meta["uid"] and reference.get("controller")
            for reference in one["metadata"].get("ownerReferences") or ()
        )
    ]
    return sorted(found, key=lambda one: str(one["metadata"].get("creationTimestamp", "")))


def release(state: State, owner: Mapping[str, Any]) -> None:
    """Let go of pods whose labels are no longer those that their controller looks for."""
    for pod in owned(state, owner, "", "Pod"):
        meta = pod["metadata"]
        if not matches(owner["spec"].get("selector"), meta.get("labels") or {}):
            kept = [one for one in meta["ownerReferences"] if one.get("uid") != owner["metadata"]["uid"]]
            state.put({**pod, "metadata": {**meta, "ownerReferences": kept or None}}, CONTROLLERS)


def staying(pods: list[Manifest]) -> list[Manifest]:
    """Return the pods that are neither on their way out nor over."""
    return [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and (pod.get("status") or {}).get("phase") not in _OVER
    ]


def suffix(text: str, length: int = 5) -> str:
    """Return letters as in the names that controllers generate; the same text gives the same ones."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


def make(
    state: State,
    assumptions: Assumptions,
    owner: Mapping[str, Any],
    template: Mapping[str, Any],
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    placed: str = "",
) -> Manifest | None:
    """Create a pod of a template and have it scheduled; None where a quota does not allow it.

    Args:
        placed: the only node it can go to, where it is made for one.
    """
    meta, given = owner["metadata"], template.get("metadata") or {}
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**(given.get("labels") or {}), **(labels or {})},
            "annotations": given.get("annotations"),
            "ownerReferences": [reference(owner)],
        },
        "spec": {**template["spec"]},
        "status": {"phase": "Pending"},
    }
    try:
        pod = state.add(admission.created(state, pod), CONTROLLERS)
    except AlreadyExists:
        return None
    except ClusterError as error:
        assumptions.say(f"{owner['kind']} {meta['namespace']}/{meta['name']} can't create a pod: {error}")
        return None
    return settle(state, assumptions, pod, placed)


def reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference by which an object belongs to its controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def settle(state: State, assumptions: Assumptions, pod: Manifest, placed: str = "") -> Manifest:
    """Have a pending pod scheduled where a node takes it, and started."""
    meta, node = pod["metadata"], pod["spec"].get("nodeName") or ""
    for what in scheduling.not_modelled(pod):
        assumptions.say(f"{what} not looked at when pods are placed")
    if not node:
        node, why = scheduling.place(state, pod)
        if not node:
            assumptions.say(f"a pod of {_of(pod)} stays Pending: {why}")
            status = {
                "phase": "Pending",
                "conditions": [_condition("PodScheduled", False, "Unschedulable", why)],
            }
            return state.put({**pod, "status": status}, CONTROLLERS)
    node = placed if placed and node == scheduling.NOT_KNOWN else node
    stuck = failing(state, pod)
    if stuck:
        assumptions.say(f"a new pod of {_of(pod)} does not get ready: {stuck}")
    else:
        assumptions.say(f"new pods of {_of(pod)} are assumed to get ready")
    status = {
        "phase": "Pending" if stuck else "Running",
        "startTime": state.stamp,
        "conditions": [
            _condition("PodScheduled", True),
            _condition("Ready", not stuck),
            _condition("ContainersReady", not stuck),
        ],
        "containerStatuses": [
            _container(state, one, not stuck) for one in pod["spec"].get("containers") or ()
        ],
    }
    spec = {**pod["spec"], "nodeName": node}
    return state.put({**pod, "metadata": meta, "spec": spec, "status": status}, CONTROLLERS)


def remove(state: State, pod: Mapping[str, Any]) -> None:
    """Delete a pod as its controller."""
    state.remove(Key.at(pod), CONTROLLERS)


def failing(state: State, pod: Mapping[str, Any]) -> str:
    """Return why containers of a pod won't start, as pods that are alike show; else nothing."""
    for key, first in {**state.objects, **state.first}.items():
        if key.kind != "Pod" or key.namespace != pod["metadata"]["namespace"] or first is None:
            continue
        theirs = {one.get("name"): one for one in first["spec"].get("containers") or ()}
        for status in (first.get("status") or {}).get("containerStatuses") or ():
            waiting = ((status.get("state") or {}).get("waiting") or {}).get("reason")
            container = theirs.get(status.get("name"))
            if waiting not in _STAYS or container is None:
                continue
            if any(_fails_alike(state, pod, first, one, container, waiting) for one in _containers(pod)):
                return f"{waiting} of image {container.get('image')}, as in pod {key.name}"
    return ""


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(pod["spec"].get("containers") or ())


def _fails_alike(
    state: State,
    pod: Mapping[str, Any],
    other: Mapping[str, Any],
    container: Mapping[str, Any],
    theirs: Mapping[str, Any],
    why: str,
) -> bool:
    """Whether a container would wait for what one of another pod waits for."""
    if why == _BY_CONFIGURATION:
        # It is what its environment is taken from that is not there, unless a step has changed that.
        same_sources = all(same(container.get(name), theirs.get(name)) for name in ("env", "envFrom"))
        return same_sources and not _touched(state, pod, _sources(container))
    if container.get("image") != theirs.get("image"):
        return False
    secrets = [spec.get("imagePullSecrets") or [] for spec in (pod["spec"], other["spec"])]
    named = {("Secret", str(one.get("name"))) for one in secrets[0]}
    return same(*secrets) and not _touched(state, pod, named)


def _sources(container: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the ConfigMaps and Secrets that a container's environment is taken from."""
    given = [one.get("valueFrom") or {} for one in container.get("env") or ()]
    found: set[tuple[str, str]] = set()
    for kind, words in (
        ("ConfigMap", ("configMapKeyRef", "configMapRef")),
        ("Secret", ("secretKeyRef", "secretRef")),
    ):
        for one in (*given, *(container.get("envFrom") or ())):
            found |= {(kind, str(one[word].get("name"))) for word in words if one.get(word)}
    return found


def _touched(state: State, pod: Mapping[str, Any], named: set[tuple[str, str]]) -> bool:
    namespace = pod["metadata"]["namespace"]
    return any(Key("", kind, namespace, name) in state.touched for kind, name in named)


def order_of_removal(pods: list[Manifest]) -> list[Manifest]:
    """Return pods as a ReplicaSet removes them.

    Not scheduled ones first, then those that do not run, are not ready, cost least, share their node with most of
    the others, and are the newest.
    """
    on = Counter(pod["spec"].get("nodeName") for pod in pods)

    def rank(pod: Manifest) -> tuple[Any, ...]:
        meta, node = pod["metadata"], pod["spec"].get("nodeName")
        created = "".join(chr(0x10FFFF - ord(one)) for one in str(meta.get("creationTimestamp", "")))
        runs = (pod.get("status") or {}).get("phase") == "Running"
        return bool(node), runs, ready(pod), _cost(meta), -on[node], created

    return sorted(pods, key=rank)


def _cost(meta: Mapping[str, Any]) -> int:
    try:
        return int((meta.get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", 0))
    except ValueError:
        return 0


def _of(pod: Mapping[str, Any]) -> str:
    owner = next(iter(pod["metadata"].get("ownerReferences") or ()), None)
    name = pod["metadata"]["namespace"]
    return f"{owner['kind']} {name}/{owner['name']}" if owner else f"{name}/{pod['metadata']['name']}"


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> dict[str, str]:
    found = {"type": kind, "status": "True" if holds else "False"}
    return {**found, **({"reason": reason, "message": message} if reason else {})}


def _container(state: State, container: Mapping[str, Any], well: bool) -> dict[str, Any]:
    where = {"running": {"startedAt": state.stamp}} if well else {"waiting": {"reason": "ContainerCreating"}}
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "ready": well,
        "restartCount": 0,
        "state": where,
    }
