"""Runs whose target is a node: allowed by a label, pinned by UID, one at a time from all namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.resources import WORKFLOW, create, smallest
from apiserver.rest import MERGE_PATCH
from e2e.world import REPAIR, Place, Run, World, condition, steps, until
from kubernaut.actions.nodes.node import takes_pods
from kubernaut.api.names import LABEL_CLUSTER_SCOPED
from localcluster.local import kwok_node

ROLES = "/apis/rbac.authorization.k8s.io/v1"
RULES = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["list"]},
]
HOLD = "kubernaut.test/hold"
CORDON: dict[str, Any] = {"name": "cordon", "action": "cordon_node", "with": {"minSchedulable": 0}}


class Node:
    """A simulated node of one test."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.path = f"/api/v1/nodes/{name}"

    def create(self) -> None:
        answer = self.world.admin.request("POST", "/api/v1/nodes", kwok_node(self.name, tainted=False))
        assert answer.ok, answer
        until("the node is ready", lambda: takes_pods(self.get()))

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.world.admin.request("GET", self.path).body
        return found

    def delete(self) -> None:
        self.world.admin.request("DELETE", self.path)

    @property
    def cordoned(self) -> bool:
        return bool(self.get()["spec"].get("unschedulable"))


def label(place: Place, value: str | None) -> None:
    body = {"metadata": {"labels": {LABEL_CLUSTER_SCOPED: value}}}
    path = f"/api/v1/namespaces/{place.namespace}"
    answer = place.world.admin.request("PATCH", path, body, content_type=MERGE_PATCH)
    assert answer.ok, answer
    # Admission knows namespaces by a watch.
    probe = smallest(WORKFLOW, "probe", target={"apiVersion": "v1", "kind": "Node", "name": "n1"})
    until(
        "admission knows the label",
        lambda: (
            create(place.world.admin, WORKFLOW, place.namespace, probe, dryRun="All").ok is (value == "true")
        ),
    )


def platform(world: World) -> Place:
    """Return a namespace that may act beyond itself, with an account that may repair nodes."""
    place = world.place(deployment=False)
    label(place, "true")
    name = f"nodes-{place.namespace}"
    subject = {"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    role = {"metadata": {"name": name}, "rules": RULES}
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    for resource, manifest in (("clusterroles", role), ("clusterrolebindings", binding)):
        answer = world.admin.request("POST", f"{ROLES}/{resource}", manifest)
        assert answer.ok, answer
    place.await_right(place.account, {"namespace": "", "verb": "patch", "resource": "nodes"}, True)
    return place


def on_node(place: Place, node: Node, *steps_: dict[str, Any], **spec: Any) -> None:
    target = {"apiVersion": "v1", "kind": "Node", "name": node.name}
    place.workflow(*steps_, target=target, **spec)


@pytest.fixture
def node(world: World, request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(world, f"own-{abs(hash(request.node.name)) % 10**8}")
    node.create()
    yield node
    node.delete()


def test_a_run_on_a_node_pins_it_acts_once_and_verifies(world: World, node: Node) -> None:
    place = platform(world)
    verify = {"expect": ["target.spec.unschedulable"], "timeout": "30s"}
    on_node(place, node, CORDON, verify=verify)
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Remediated")
    uid = node.get()["metadata"]["uid"]
    assert status["target"] == {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": uid}
    assert steps(status)["cordon"]["changed"] == [f"Node {node.name}: spec.unschedulable: unset -> true"]
    patches = [r for r in world.requests() if r.mutates and r.user == place.account and r.resource == "nodes"]
    assert [(r.verb, r.name, r.has_precondition) for r in patches] == [("patch", node.name, True)]


def test_what_a_run_did_to_a_node_is_put_back(world: World, node: Node) -> None:
    place = platform(world)
    fails = {
        "name": "fails",
        "dependsOn": ["cordon"],
        "action": "untaint_node",
        "with": {"key": "x", "name": "no-such-node"},
    }
    on_node(place, node, CORDON, fails, onFailure="Rollback")
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Failed", "RolledBack")
    assert not node.cordoned


def test_without_the_label_a_run_that_got_there_does_nothing(world: World, node: Node) -> None:
    place = platform(world)
    on_node(place, node, {"name": "wait", "wait": {"duration": "4s"}}, {**CORDON, "dependsOn": ["wait"]})
    early, late = place.run("early"), None
    early.step_is("wait", "Waiting")
    label(place, None)
    late = place.run("late")
    status = early.end()
    assert steps(status)["cordon"]["reason"] == "BeyondNamespace"
    assert late.end()["reason"] == "BeyondNamespace"
    assert not node.cordoned


def test_runs_of_two_namespaces_on_one_node_take_turns(world: World, node: Node) -> None:
    first, second = platform(world), platform(world)
    gate = {"name": "gate", "wait": {"until": "has(target.metadata.labels.go)"}, "timeout": "2m"}
    on_node(first, node, gate)
    on_node(second, node, gate)
    holder = first.run()
    holder.step_is("gate", "Waiting")
    waiter: Run = second.run()
    told = waiter.held("TargetBusy")
    assert told.startswith(f"Node {node.name} is being repaired by run {first.namespace}/run.")
    body = {"metadata": {"labels": {"go": "yes"}}}
    assert world.admin.request("PATCH", node.path, body, content_type=MERGE_PATCH).ok
    assert holder.end()["phase"] == waiter.end()["phase"] == "Succeeded"
    assert condition(holder.versions()[-1], "Stalled").get("status") != "True"


def test_a_node_that_was_made_anew_is_not_touched(world: World, node: Node) -> None:
    place = platform(world)
    on_node(place, node, {"name": "wait", "wait": {"duration": "3s"}}, {**CORDON, "dependsOn": ["wait"]})
    run = place.run()
    run.step_is("wait", "Waiting")
    node.delete()
    until("the node is gone", lambda: world.admin.request("GET", node.path).status == 404)
    node.create()
    status = run.end()
    assert steps(status)["cordon"]["reason"] == "TargetReplaced"
    assert not node.cordoned


class Load:
    """Pods of a Deployment on a node; once evicted they stay, ending, until the test lets each go."""

    def __init__(self, place: Place, node: Node, replicas: int) -> None:
        self.place = place
        self.node = node
        pod = {
            "metadata": {"labels": {"app": "load"}, "finalizers": [HOLD]},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node.name},
                "containers": [{"name": "app", "image": "kubernaut.local/pause:1"}],
                "terminationGracePeriodSeconds": 0,
            },
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "load"}}, "template": pod}
        place.create("Deployment", {"metadata": {"name": "load"}, "spec": spec})
        until("all pods run", lambda: len(self.pods()) == replicas)

    def pods(self) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{self.place.namespace}/pods"
        found = self.place.world.admin.request("GET", path).body["items"]
        return [pod for pod in found if pod["spec"].get("nodeName") and pod["status"]["phase"] == "Running"]

    def ending(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods() if "deletionTimestamp" in pod["metadata"]]

    def let_go(self, name: str) -> None:
        path = f"/api/v1/namespaces/{self.place.namespace}/pods/{name}"
        body = {"metadata": {"finalizers": None}}
        assert self.place.world.admin.request("PATCH", path, body, content_type=MERGE_PATCH).ok

    def let_all_go(self) -> None:
        for name in self.ending():
            self.let_go(name)

    def evicted(self) -> list[str]:
        found = [r for r in self.place.world.requests() if r.subresource == "eviction" and r.code < 300]
        return [r.name for r in found if r.namespace == self.place.namespace]


def drain(**more: Any) -> dict[str, Any]:
    return {"name": "drain", "action": "drain_node", "with": {"minSchedulable": 0, "parallelism": 1}, **more}


def at(run: Run, progress: str) -> dict[str, Any]:
    """Return the drain's record once it tells that it is so far."""
    found = run.wait(
        lambda r: steps(r.get("status", {})).get("drain", {}).get("progress") == progress,
        f"it is at {progress}",
    )
    return steps(found["status"])["drain"]


def test_a_drain_tells_how_far_it_is_and_goes_on_after_the_operator_was_killed(
    world: World, node: Node
) -> None:
    place = platform(world)
    load = Load(place, node, 3)
    on_node(place, node, drain(timeout="2m"))
    run = place.run()
    record = at(run, "0/3")
    assert (record["phase"], record["reason"], record["attempt"]) == ("Waiting", "InProgress", 1)
    assert f"0 of 3 pods have left Node {node.name}; ending: {place.namespace}/" in record["message"]
    load.let_all_go()
    at(run, "1/3")
    world.operator.kill()
    load.let_all_go()
    world.restart_operator()
    at(run, "2/3")
    until("the last pod is evicted", load.ending)
    load.let_all_go()
    status = run.end()
    assert (status["phase"], steps(status)["drain"]["attempt"]) == ("Succeeded", 1)
    assert steps(status)["drain"]["outputs"] == {"pods": 3, "staying": 0}
    assert node.cordoned
    assert len(load.evicted()) == len(set(load.evicted())) == 3


def test_a_drain_that_is_not_done_in_time_is_put_back(world: World, node: Node) -> None:
    place = platform(world)
    load = Load(place, node, 2)
    on_node(place, node, drain(timeout="3s"))
    status = place.run().end()
    record = steps(status)["drain"]
    assert (status["phase"], record["reason"]) == ("Failed", "StepTimeout")
    assert "is as it was before the step; pods that were evicted do not come back" in record["message"]
    assert not node.cordoned
    assert len(load.evicted()) == 1
    load.let_all_go()


def test_a_drain_that_is_cancelled_is_put_back(world: World, node: Node) -> None:
    place = platform(world)
    load = Load(place, node, 2)
    on_node(place, node, drain(timeout="2m"))
    run = place.run()
    at(run, "0/2")
    assert node.cordoned
    run.control(cancel=True)
    status = run.end()
    assert (status["phase"], steps(status)["drain"]["reason"]) == ("Cancelled", "Cancelled")
    assert not node.cordoned
    load.let_all_go()
