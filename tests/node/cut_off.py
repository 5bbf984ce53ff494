"""A node whose pods reach nobody on the other one: its kubelet works on, and what runs on it is of no use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario
from apiserver.scenarios.workloads import RESOURCES, settled, staying, where, workload
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest
from localcluster import Cluster
from localcluster.network import Block
from node.shells import SERVES, STAYS, asking


def cut(cluster: Cluster, *, off: bool) -> None:
    """Have the first node drop what is for pods of the second one, or let it through again."""
    assert cluster.state.block is not None
    # Halves of the network are more exact than the route to all of it, and so go first.
    for half in Block(cluster.state.block).second_pods.subnets():
        done = cluster.in_network(["ip", "route", "add" if off else "del", "blackhole", str(half)])
        assert done.returncode == 0, done.stderr


def scenarios(cluster: Cluster, first: str, second: str, cuts: Callable[[], object]) -> tuple[Scenario, ...]:
    """Return workloads on the second node that need a database on the first one; ``cuts`` makes the fault."""
    image = cluster.real_image("busybox")
    given: dict[str, dict[str, Any]] = {
        "Deployment": {"awayFromNode": second},
        "StatefulSet": {"nodeSelector": {"kubernetes.io/hostname": first}},
    }

    def fault(_: Place) -> None:
        cuts()

    def unused(place: Place) -> bool:
        """Whether a pod on the second node is not ready, as its kubelet says: it asks in vain."""
        return any(pod["spec"].get("nodeName") == second and not pods.ready(pod) for pod in staying(place))

    return tuple(
        Scenario(
            "migrate_workload",
            one,
            healthy=dependent(kind, image, first, second),
            fault=fault,
            symptom=unused,
            changes=where(kind),
            told=f"{kind} {next(iter(one))}",
        )
        for kind, one in given.items()
    )


def dependent(kind: str, image: str, first: str, second: str) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        address = database(place, image, first)
        probe = asking(address, 8080)
        thing = workload(kind, image, command=["sh", "-c", STAYS], readinessProbe=probe)
        wish = {"key": "kubernetes.io/hostname", "operator": "In", "values": [second]}
        term = {"weight": 100, "preference": {"matchExpressions": [wish]}}
        thing["spec"]["template"]["spec"] |= {
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}},
            "terminationGracePeriodSeconds": 1,
        }
        place.create("apps/v1", RESOURCES[kind], thing)
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")
        assert {pod["spec"]["nodeName"] for pod in place.items("v1", "pods")} == {first, second}
        return place.get("apps/v1", RESOURCES[kind], "db")

    return healthy


def database(place: Place, image: str, node: str) -> str:
    """Have something on a node that answers; return its address."""
    app = {"name": "app", "image": image, "command": ["sh", "-c", SERVES]}
    spec = {"containers": [app], "nodeName": node, "terminationGracePeriodSeconds": 0}
    place.create("v1", "pods", {"metadata": {"name": "database"}, "spec": spec})
    await_true(lambda: pods.ready(place.get("v1", "pods", "database")), "the database does not run")
    return str(place.get("v1", "pods", "database")["status"]["podIP"])
