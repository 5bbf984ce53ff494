"""Faults of nodes. Each scenario has two simulated nodes of its own, so that no other test is disturbed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from apiserver.acting import Place, await_true, deployment
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.scenario import Lost, Scenario, Where
from kubernaut.actions import pods
from kubernaut.actions.nodes.node import takes_pods
from kubernaut.api.reasons import Reason
from kubernaut.core.ports import Manifest
from localcluster.local import kwok_node

KEY: Final = "example.com/broken-disk"
_POOL: Final = "kubernaut.test/pool"
_probes = itertools.count(1)


def name_of(place: Place, which: str = "a") -> str:
    return f"{which}-{place.namespace}"


class OwnNode(Where):
    """The place's own node, without the taints that the node controller writes as it sees fit."""

    def read(self, place: Place) -> Manifest:
        found = node(place)
        taints = found["spec"].pop("taints", [])
        own = [taint for taint in taints if not taint["key"].startswith("node.kubernetes.io/")]
        return {**found, "spec": {**found["spec"], **({"taints": own} if own else {})}}


NODE: Final = (OwnNode("v1", "nodes", "a"),)


def node(place: Place, which: str = "a") -> Manifest:
    return place.get("v1", "nodes", name_of(place, which))


def made(place: Place, which: str) -> Manifest:
    """Make a node of this place; return it once it is ready, and is not written any more for having been made."""
    name = name_of(place, which)
    manifest = kwok_node(name, tainted=False)
    manifest["metadata"]["labels"][_POOL] = place.namespace
    place.create("v1", "nodes", manifest)
    place.also_delete("v1", "nodes", name)
    await_true(lambda: _settled(node(place, which)), f"node {name} did not become ready")
    return node(place, which)


def _settled(found: Manifest) -> bool:
    """Whether a node takes pods, and each controller that writes new nodes has done so."""
    meta = found["metadata"]
    told = "node.alpha.kubernetes.io/ttl" in (meta.get("annotations") or {})
    return takes_pods(found) and told and "beta.kubernetes.io/os" in meta["labels"]


def two_nodes(place: Place) -> Manifest:
    """Return the one of two nodes that a fault is for."""
    first = made(place, "a")
    made(place, "b")
    return first


def patch_node(place: Place, body: Manifest) -> None:
    place.patch("v1", "nodes", name_of(place), body)


def sicken(place: Place) -> None:
    """The disk of the node is broken, as a node problem detector would tell."""
    broken = {"type": "DiskBroken", "status": "True", "reason": "IoErrors", "message": "sda: I/O error"}
    path = f"{place.path('v1', 'nodes', name_of(place))}/status"
    conditions = [*node(place)["status"]["conditions"], broken]
    answer = place.admin.request(
        "PATCH", path, {"status": {"conditions": conditions}}, content_type=MERGE_PATCH
    )
    assert answer.ok, answer


def sick(place: Place) -> bool:
    return pods.condition(node(place), "DiskBroken").get("status") == "True"


def takes_a_pod(place: Place) -> bool:
    """Whether the scheduler puts a new pod on the node that could run nowhere else."""
    name = f"probe-{next(_probes)}"
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": name_of(place)},
        "containers": [{"name": "app", "image": "kubernaut.local/pause:1"}],
        "terminationGracePeriodSeconds": 0,
    }
    place.create("v1", "pods", {"metadata": {"name": name}, "spec": spec})
    await_true(
        lambda: bool(pods.condition(place.get("v1", "pods", name), "PodScheduled")),
        f"the scheduler did not look at pod {name}",
    )
    taken = bool(place.get("v1", "pods", name)["spec"].get("nodeName"))
    place.admin.request("DELETE", place.path("v1", "pods", name))
    return taken


def takes_pods_though_sick(place: Place) -> bool:
    return sick(place) and takes_a_pod(place)


def pods_are_refused(place: Place) -> bool:
    return not takes_a_pod(place)


def cordon(place: Place) -> None:
    patch_node(place, {"spec": {"unschedulable": True}})


def uncordon(place: Place) -> None:
    patch_node(place, {"spec": {"unschedulable": None}})


def taint(effect: str = "NoSchedule") -> Callable[[Place], None]:
    def fault(place: Place) -> None:
        patch_node(place, {"spec": {"taints": [{"key": KEY, "effect": effect}]}})

    return fault


def untaint(place: Place) -> None:
    patch_node(place, {"spec": {"taints": None}})


def running_there(place: Place) -> list[Manifest]:
    """Return the pods of the Deployment that are on the node and stay there."""
    return [
        pod
        for pod in place.items("v1", "pods")
        if pod["spec"].get("nodeName") == name_of(place) and "deletionTimestamp" not in pod["metadata"]
    ]


def with_pods(replicas: int = 2, **spec: Any) -> Callable[[Place], Manifest]:
    """Have a Deployment whose pods are all on the node, and could all be on the other one."""

    def healthy(place: Place) -> Manifest:
        first = made(place, "a")
        pool = {"nodeSelector": {_POOL: place.namespace}, **spec}
        place.create("apps/v1", "deployments", deployment(replicas=replicas, **pool))
        place.settled()
        made(place, "b")
        return first

    return healthy


def pods_run_though_sick(place: Place) -> bool:
    return sick(place) and bool(running_there(place))


def unplugged(place: Place) -> None:
    """The node leaves the cluster."""
    path = place.path("v1", "nodes", name_of(place))
    assert place.admin.request("DELETE", path).ok
    await_true(lambda: place.admin.request("GET", path).status == 404, "the node does not go")


def replaced(place: Place) -> None:
    """A new machine joins under the node's name."""
    unplugged(place)
    made(place, "a")


CORDON: Final = Scenario(
    "cordon_node",
    {},
    healthy=two_nodes,
    fault=sicken,
    symptom=takes_pods_though_sick,
    changes=NODE,
    mended=cordon,
)
SCENARIOS: Final = (
    CORDON,
    Scenario(
        "uncordon_node",
        {},
        healthy=two_nodes,
        fault=cordon,
        symptom=pods_are_refused,
        changes=NODE,
        mended=uncordon,
    ),
    replace(CORDON, action="taint_node", given={"key": KEY}, mended=taint()),
    Scenario(
        "taint_node",
        {"key": KEY, "effect": "NoExecute"},
        healthy=with_pods(),
        fault=sicken,
        symptom=pods_run_though_sick,
        changes=NODE,
        mended=taint("NoExecute"),
        told="evicting",
    ),
    Scenario(
        "drain_node",
        {},
        healthy=with_pods(),
        fault=sicken,
        symptom=pods_run_though_sick,
        changes=NODE,
        lost={
            "the node": Lost(unplugged, Reason.NOT_FOUND),
            "the node that was meant": Lost(replaced, Reason.TARGET_REPLACED),
        },
        # The cordon, and one eviction for each pod.
        writes=3,
    ),
    Scenario(
        "untaint_node",
        {"key": KEY},
        healthy=two_nodes,
        fault=taint(),
        symptom=pods_are_refused,
        changes=NODE,
        mended=untaint,
    ),
)
