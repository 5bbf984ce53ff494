"""Faults of nodes that hurt a workload.

The nodes are simulated and the scheduler is real; a taint keeps all other pods off them. That a node's network is
broken is seen from its pods, whose status another actor writes as the node's kubelet would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario
from apiserver.scenarios.workloads import RESOURCES, settled, staying, wedged, where, workload
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest

_BROKEN, _SOUND = "pool-broken", "pool-sound"
_POOL, _SIDE = "kubernaut.local/pool", "kubernaut.local/side"
_TAINT: Final = {"key": _POOL, "value": "moving", "effect": "NoSchedule"}


def node(name: str) -> Manifest:
    resources = {"cpu": "32", "memory": "256Gi", "pods": "1000"}
    labels = {"kubernetes.io/hostname": name, _POOL: "moving", _SIDE: name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels},
        "spec": {"taints": [_TAINT]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def join(place: Place, name: str) -> None:
    """Have a node in the cluster, once it takes pods."""
    answer = place.admin.request("POST", place.path("v1", "nodes"), node(name))
    assert answer.ok or answer.status == 409, answer

    def takes_pods() -> bool:
        found = place.get("v1", "nodes", name)
        return pods.ready(found) and found["spec"].get("taints") == [_TAINT]

    await_true(takes_pods, f"node {name} takes no pods")


def leave(place: Place, name: str) -> None:
    path = place.path("v1", "nodes", name)
    place.admin.request("DELETE", path)
    await_true(lambda: place.admin.request("GET", path).status == 404, f"node {name} does not go")


def pooled(kind: str) -> Callable[[Place], Manifest]:
    """Make a workload whose pods are all on one node, and then another node that could take them."""

    def healthy(place: Place) -> Manifest:
        leave(place, _SOUND)
        join(place, _BROKEN)
        made = workload(kind)
        made["spec"]["template"]["spec"] |= {
            "nodeSelector": {_POOL: "moving"},
            "tolerations": [{"key": _POOL, "operator": "Exists"}],
        }
        place.create("apps/v1", RESOURCES[kind], made)
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
        join(place, _SOUND)
        return place.get("apps/v1", RESOURCES[kind], "db")

    return healthy


def suffers(place: Place) -> bool:
    """Whether a pod that is not ready is on the broken node."""
    return any(pod["spec"].get("nodeName") == _BROKEN and not pods.ready(pod) for pod in staying(place))


def moved(kind: str) -> Callable[[Place], None]:
    """Another actor has moved the workload by its own means."""

    def mend(place: Place) -> None:
        spec = {"nodeSelector": {"kubernetes.io/hostname": _SOUND}}
        place.patch("apps/v1", RESOURCES[kind], "db", {"spec": {"template": {"spec": spec}}})
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
        await_true(lambda: len(place.items("v1", "pods")) == len(staying(place)), "pods are still leaving")

    return mend


_GIVEN: Final[dict[str, dict[str, Any]]] = {
    "Deployment": {"awayFromNode": _BROKEN},
    "StatefulSet": {"nodeSelector": {_SIDE: _SOUND}},
}
SCENARIOS: Final = tuple(
    Scenario(
        "migrate_workload",
        given,
        healthy=pooled(kind),
        fault=wedged,
        symptom=suffers,
        changes=where(kind),
        mended=moved(kind),
        told=f"{kind} {next(iter(given))}",
    )
    for kind, given in _GIVEN.items()
)
