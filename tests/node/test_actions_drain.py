"""drain_node and migrate_workload between two kubelets: containers end on one node, and are Ready on the other."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.rest import Client
from kubernaut.actions import pods
from kubernaut.actions.nodes.drain import DrainNode, DrainNodeParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import StepError, Unfinished
from kubernaut.core.ports import Manifest
from localcluster import Cluster
from node import cut_off
from node.placing import side_by_side

DRAIN = DrainNode()
# Ready some seconds after it runs, so that a budget really has something to wait for.
SLOW = ["sh", "-c", "trap 'exit 0' TERM; sleep 2 & wait; touch /tmp/ready; while true; do sleep 0.2; done"]


@pytest.fixture(scope="module", autouse=True)
def other(cluster: Cluster) -> Iterator[str]:
    """Another node, for as long as it is needed: what else is tried here knows of one."""
    name = cluster.second_node()
    yield name
    with Client(cluster.kubeconfig) as admin:
        there = {"fieldSelector": f"spec.nodeName={name}"}
        await_true(
            lambda: not admin.request("GET", "/api/v1/pods", **there).body["items"], f"pods stay on {name}"
        )
    cluster.remove_second_node()


@pytest.fixture
def second(other: str, place: Place) -> Iterator[str]:
    """The second node; open to pods again after the test, and without any of them."""
    yield other
    place.admin.request("DELETE", place.path("apps/v1", "deployments", "api"))
    place.patch("v1", "nodes", other, {"spec": {"unschedulable": None}})
    await_true(lambda: not on(place, other), f"pods stay on {other}")


def deployed(place: Place, cluster: Cluster, node: str, **pod: Any) -> None:
    """Make two pods that would rather be on this node, and wait until they are Ready there."""
    wish = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    term = {"weight": 100, "preference": {"matchExpressions": [wish]}}
    container = {
        "name": "app",
        "image": cluster.real_image("busybox"),
        "command": SLOW,
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
    }
    spec = {
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}},
        "containers": [container],
        "terminationGracePeriodSeconds": 5,
        **pod,
    }
    labels = {"app": "api"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    wanted = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    place.create("apps/v1", "deployments", {"metadata": {"name": "api"}, "spec": wanted})
    place.settled()
    assert len(on(place, node)) == 2


def budget(place: Place, **spec: Any) -> None:
    wanted = {"selector": {"matchLabels": {"app": "api"}}, **spec}
    place.create("policy/v1", "poddisruptionbudgets", {"metadata": {"name": "keep"}, "spec": wanted})

    def counted() -> bool:
        status = place.get("policy/v1", "poddisruptionbudgets", "keep").get("status", {})
        return bool(status.get("currentHealthy") == 2)

    await_true(counted, "the budget was not counted")


def on(place: Place, node: str) -> list[Manifest]:
    return [pod for pod in place.items("v1", "pods") if pod["spec"].get("nodeName") == node]


def closed(place: Place, node: str) -> bool:
    return bool(place.get("v1", "nodes", node)["spec"].get("unschedulable"))


def context(place: Place, target: Manifest) -> StepContext:
    """Each test is a run of its own: the node keeps the marks of former ones."""
    return place.context(target, run_uid=place.namespace)


async def drain(
    place: Place, node: str, first: Callable[[], None] = lambda: None, **given: Any
) -> tuple[Done, list[str]]:
    """Drain as the engine does, call after call; ``first`` is called after the first one that is not the last."""
    target = place.get("v1", "nodes", node) | {"apiVersion": "v1", "kind": "Node"}
    parameters = DrainNodeParameters.model_validate(given)
    account = place.account(DRAIN.rights(context(place, target).target, parameters))
    told: list[str] = []
    while True:
        try:
            done = await DRAIN.perform(account, context(place, target), parameters)
        except Unfinished as error:
            if not told:
                first()
            told.append(str(error))
            assert len(told) < 3000, told[-1]
        else:
            return done, told


@contextmanager
def watched(cluster: Cluster, place: Place, log: Path) -> Iterator[None]:
    """Write down every change of a pod, in the order in which it happened."""
    get = [
        "get",
        "pods",
        f"--namespace={place.namespace}",
        "--watch",
        "--output-watch-events",
        "--output=json",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen([str(cluster.kubectl), *get], env=cluster.client_environment(), stdout=out)
        try:
            await_true(lambda: log.read_text().count('"ADDED"') >= 2, "kubectl does not watch")
            yield
        finally:
            process.terminate()
            process.wait()


def fewest_ready(log: Path) -> int:
    """Return how many pods that were not leaving were Ready, when they were fewest."""
    ready: dict[str, bool] = {}
    counts = []
    text, decoder = log.read_text(), json.JSONDecoder()
    while text := text.lstrip():
        event, end = decoder.raw_decode(text)
        text, pod = text[end:], event["object"]
        known = len(ready)
        gone = event["type"] == "DELETED" or pods.leaving(pod)
        ready[pod["metadata"]["uid"]] = not gone and pods.ready(pod)
        if known >= 2 or len(ready) == 2:
            counts.append(sum(ready.values()))
    return min(counts)


async def test_pods_move_to_the_other_node_and_never_fewer_are_ready_than_their_budget_wants(
    place: Place, cluster: Cluster, second: str, tmp_path: Path
) -> None:
    deployed(place, cluster, second)
    budget(place, maxUnavailable=1)
    before = {pod["metadata"]["uid"] for pod in on(place, second)}
    with watched(cluster, place, tmp_path / "pods.json"):
        done, told = await drain(place, second)
        place.settled()
    assert done.outputs["pods"] == 2
    assert any("is held by PodDisruptionBudget keep" in text for text in told), told[-1]
    assert fewest_ready(tmp_path / "pods.json") == 1
    assert closed(place, second)
    assert not on(place, second)
    moved = on(place, f"{cluster.name}-node")
    assert len(moved) == 2
    assert all(pods.ready(pod) for pod in moved)
    assert not before & {pod["metadata"]["uid"] for pod in moved}


async def test_a_drain_that_fails_midway_opens_the_node_again(
    place: Place, cluster: Cluster, second: str
) -> None:
    deployed(place, cluster, second)
    budget(place, maxUnavailable=1)
    seen: list[bool] = []

    def comes_a_pod_that_must_stay() -> None:
        """Bound to the node past the scheduler, as some tools do."""
        seen.append(closed(place, second))
        container = {"name": "app", "image": cluster.real_image("pause")}
        spec = {"containers": [container], "nodeName": second, "terminationGracePeriodSeconds": 0}
        place.create("v1", "pods", {"metadata": {"name": "alone"}, "spec": spec})

    with pytest.raises(StepError, match="alone has no controller") as caught:
        await drain(place, second, first=comes_a_pod_that_must_stay)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert "pods that were evicted do not come back by themselves" in str(caught.value)
    assert seen == [True]
    assert not closed(place, second)
    place.settled()
    await_true(lambda: pods.ready(place.get("v1", "pods", "alone")), "the pod that must stay does not run")
    # Which it really takes: what was evicted is on the first node, and what is new comes here.
    assert len(on(place, f"{cluster.name}-node")) == 1
    place.patch("apps/v1", "deployments", "api", {"spec": {"replicas": 3}})
    place.settled()
    assert len([pod for pod in on(place, second) if pods.controller_of(pod)]) == 2
    place.admin.request("DELETE", place.path("v1", "pods", "alone"))


async def test_an_undone_drain_opens_the_node_and_evicts_nobody_else(
    place: Place, cluster: Cluster, second: str
) -> None:
    deployed(place, cluster, second)
    await drain(place, second)
    place.settled()
    target = place.get("v1", "nodes", second) | {"apiVersion": "v1", "kind": "Node"}
    parameters = DrainNodeParameters()
    account = place.account(DRAIN.rights(context(place, target).target, parameters))
    moved = {pod["metadata"]["uid"] for pod in on(place, f"{cluster.name}-node")}
    assert (await DRAIN.undo(account, context(place, target), parameters)).acted
    assert not closed(place, second)
    again = await DRAIN.undo(account, context(place, target), parameters)
    assert "was put back before" in again.message
    assert moved == {pod["metadata"]["uid"] for pod in place.items("v1", "pods")}


def test_what_a_node_without_network_keeps_from_its_database_moves_to_the_other(
    cluster: Cluster, acting: Path, kinds: None, other: str
) -> None:
    # All of them are well before the node's network breaks.
    cuts = threading.Barrier(2, lambda: cut_off.cut(cluster, off=True))
    moving = cut_off.scenarios(cluster, f"{cluster.name}-node", other, lambda: cuts.wait(60))
    assert len(moving) == cuts.parties
    try:
        # A simulation takes new pods to get ready, and says so; those that undo brings back there do not.
        with side_by_side(moving, cluster, acting, beyond=("migrate_workload",)) as outcomes:
            for outcome in outcomes.values():
                outcome.result(120)
    finally:
        cut_off.cut(cluster, off=False)
