"""On which node a pod goes: cordons, taints, node selectors, required node affinity, requests. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from kubernaut.core.selectors import meets
from kubernaut.simulation.admission import amount, resources
from kubernaut.simulation.state import State

_KEEPS_AWAY: Final = ("NoSchedule", "NoExecute")
_OVER: Final = ("Succeeded", "Failed")
#: stands for the node of a pod where nodes can't be read
NOT_KNOWN: Final = "(not known)"


def place(state: State, pod: Mapping[str, Any]) -> tuple[str, str]:
    """Return the node for a pod, the one with the most room; or nothing, and why none takes it."""
    if ("", "Node") in state.unread:
        return NOT_KNOWN, ""
    why: dict[str, int] = {}
    best: tuple[Fraction, str] | None = None
    nodes = list(state.all("", "Node"))
    for node in nodes:
        refusal = refused(state, node, pod)
        if refusal:
            why[refusal] = why.get(refusal, 0) + 1
            continue
        free = room(state, node)
        rank = (-free.get("cpu", Fraction(0)), str(node["metadata"]["name"]))
        best = rank if best is None or rank < best else best
    if best is not None:
        return best[1], ""
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(why.items())) or "there are no nodes"
    return "", f"0/{len(nodes)} nodes are available: {told}"


def refused(state: State, node: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """Return why a node does not take a pod, or nothing."""
    spec = pod["spec"]
    if away := kept_away(node, spec):
        return away
    if not selected(node, spec):
        return "didn't match Pod's node affinity/selector"
    if ports := _ports(spec):
        for other in state.all("", "Pod"):
            there = other["spec"].get("nodeName") == node["metadata"]["name"]
            if (
                there
                and (other.get("status") or {}).get("phase") not in _OVER
                and ports & _ports(other["spec"])
            ):
                return "didn't have free ports for the requested pod ports"
    free = room(state, node)
    for name, wanted in {**resources(pod, "requests"), "pods": Fraction(1)}.items():
        if wanted and name in free and free[name] < wanted:
            return "Too many pods" if name == "pods" else f"Insufficient {name}"
    return ""


def kept_away(node: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Return which taint of a node keeps pods of a spec away, or nothing."""
    for taint in _taints(node):
        if taint.get("effect") in _KEEPS_AWAY and not tolerated(spec, taint):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "were unschedulable"
            return f"had untolerated taint {taint['key']}"
    return ""


def _ports(spec: Mapping[str, Any]) -> set[tuple[str, Any]]:
    """Return the ports of a node that a pod takes for itself; addresses are not told apart."""
    return {
        (str(port.get("protocol", "TCP")), port["hostPort"])
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def tolerated(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a pod's spec tolerates a taint."""
    for one in spec.get("tolerations") or ():
        if one.get("effect") not in (None, "", taint.get("effect")):
            continue
        if one.get("operator") == "Exists":
            if one.get("key") in (None, "", taint["key"]):
                return True
        elif one.get("key") == taint["key"] and (one.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def driven_out(node: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a NoExecute taint of its node drives a pod out."""
    return any(
        taint.get("effect") == "NoExecute" and not tolerated(pod["spec"], taint)
        for taint in (node.get("spec") or {}).get("taints") or ()
    )


def not_modelled(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a pod asks of the scheduler that is not looked at."""
    spec = pod["spec"]
    affinity = spec.get("affinity") or {}
    if affinity.get("podAffinity") or affinity.get("podAntiAffinity"):
        yield "affinity between pods is"
    if spec.get("topologySpreadConstraints"):
        yield "topology spread constraints are"
    if spec.get("priorityClassName"):
        yield "preemption by priority is"
    if any(one.get("persistentVolumeClaim") or one.get("ephemeral") for one in spec.get("volumes") or ()):
        yield "where volumes can be mounted is"


def room(state: State, node: Mapping[str, Any]) -> dict[str, Fraction]:
    """Return what is left of a node's allocatable resources."""
    given = (node.get("status") or {}).get("allocatable") or {}
    free = {name: amount(text) for name, text in given.items()}
    for pod in state.all("", "Pod"):
        here = pod["spec"].get("nodeName") == node["metadata"]["name"]
        if here and (pod.get("status") or {}).get("phase") not in _OVER:
            for name, used in {**resources(pod, "requests"), "pods": Fraction(1)}.items():
                if name in free:
                    free[name] -= used
    return free


def _taints(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = node.get("spec") or {}
    yield from spec.get("taints") or ()
    if spec.get("unschedulable"):
        yield {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def selected(node: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a node has the labels that a pod's spec asks for."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    names = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(meets(one, labels) for one in term.get("matchExpressions") or ())
        and all(meets(one, names) for one in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )
