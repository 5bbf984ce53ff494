"""The account that is shipped for a namespace uses all of its Role, in real runs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from e2e.feed import Manifest
from e2e.websteps import acting
from e2e.world import Place, phases, steps, until, web

KINDS = ("Deployment", "StatefulSet", "DaemonSet")
READY = "has(object.status.readyReplicas) && object.status.readyReplicas > 0"
MERGE = "application/merge-patch+json"
PATHS = {kind: f"/apis/apps/v1/namespaces/{{}}/{kind.lower()}s" for kind in KINDS}


def workload(kind: str, name: str) -> Manifest:
    made = web()
    made["kind"] = kind
    made["metadata"]["name"] = name
    labels = {"app": name, "all": "yes"}
    made["metadata"]["labels"] = labels
    made["spec"]["selector"] = {"matchLabels": {"app": name}}
    made["spec"]["template"]["metadata"]["labels"] = labels
    if kind == "DaemonSet":
        del made["spec"]["replicas"]
    if kind == "StatefulSet":
        made["spec"]["serviceName"] = name
    return made


def settled(place: Place, kind: str) -> Manifest:
    """Return a workload of two revisions, as its controller has seen them."""
    path, name = PATHS[kind].format(place.namespace), kind.lower()
    answer = place.world.admin.request("POST", path, workload(kind, name))
    assert answer.ok, answer

    def observed() -> Any:
        seen = place.world.admin.request("GET", f"{path}/{name}").body
        told = seen.get("status", {}).get("observedGeneration")
        return seen if told == seen["metadata"]["generation"] else None

    until(f"{name} has a revision", observed)
    newer = {"spec": {"template": {"metadata": {"annotations": {"newer": "yes"}}}}}
    content = "application/merge-patch+json"
    assert place.world.admin.request("PATCH", f"{path}/{name}", newer, content_type=content).ok
    seen: Manifest = until(f"{name} has another revision", observed)
    return seen


def of_kind(kind: str) -> list[Manifest]:
    """Return steps that read, list, watch and patch a workload, and roll it back; one after the other."""
    ref = {"apiVersion": "apps/v1", "kind": kind, "name": kind.lower()}
    low = kind.lower()
    patch = {"metadata": {"annotations": {"example.com/seen": "yes"}}}
    return [
        {
            "name": f"wait-{low}",
            "wait": {"object": ref, "until": "has(object.metadata.annotations.go)"},
            "timeout": "2m",
        },
        {"name": f"patch-{low}", "action": "patch_resource", "with": {**ref, "patch": patch}},
        {
            "name": f"each-{low}",
            "forEach": {
                "select": {"apiVersion": "apps/v1", "kind": kind, "labelSelector": "all=yes"},
                "template": "tell",
            },
        },
        {"name": f"back-{low}", "action": f"rollback_{low}", "with": {"name": low}},
    ]


def test_the_role_that_is_shipped_is_used_as_a_whole(place: Place) -> None:
    for kind in KINDS:
        settled(place, kind)
    place.workflow({"name": "tell", "action": "notify_only", "with": {"message": "x"}}, name="other")
    pod = {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=deployment"}
    watched = {"apiVersion": "v1", "kind": "Pod", "name": "statefulset-0"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"}
    tell = {"name": "told", "action": "notify_only", "with": {"message": "=item.name"}}
    chain: list[Manifest] = [
        {"name": "ready", "wait": {"object": deployment, "until": READY}, "timeout": "3m"},
        {"name": "look", "action": "collect_diagnostics"},
        *(step for kind in KINDS for step in of_kind(kind)),
        {
            "name": "watch",
            "wait": {"object": watched, "until": "has(object.metadata.annotations.go)"},
            "timeout": "2m",
        },
        {"name": "each-pod", "forEach": {"select": pod, "template": "tell"}},
        {"name": "delete", "action": "restart_pod", "with": {"name": "statefulset-0", "method": "delete"}},
        {"name": "evict", "forEach": {"select": pod, "template": "restart"}},
        {"name": "scale", "action": "scale_deployment", "with": {"replicas": 2}},
        {"name": "sub", "workflow": {"name": "other"}, "timeout": "2m"},
        acting("last", patch={"metadata": {"annotations": {"example.com/last": "yes"}}}),
    ]
    for before, step in pairwise(chain):
        step["dependsOn"] = [before["name"]]
    evict = {"name": "out", "action": "restart_pod", "with": {"name": "=item.name"}}
    templates = [{"name": "tell", "steps": [tell]}, {"name": "restart", "steps": [evict]}]
    place.workflow(*chain, templates=templates)
    run = place.run()
    run.wait(lambda r: phases(r.get("status", {})).get("ready") == "Succeeded", "a pod is ready", 180)
    mark = {"metadata": {"annotations": {"go": "yes"}}}
    for kind in KINDS:
        run.step_is(f"wait-{kind.lower()}", "Waiting")
        path = f"{PATHS[kind].format(place.namespace)}/{kind.lower()}"
        assert place.world.admin.request("PATCH", path, mark, content_type="application/merge-patch+json").ok
    run.step_is("watch", "Waiting")
    path = f"/api/v1/namespaces/{place.namespace}/pods/statefulset-0"
    until(
        "the pod is marked",
        lambda: place.world.admin.request("PATCH", path, mark, content_type=MERGE).ok,
        120,
    )
    status = run.end(180)
    assert status["phase"] == "Succeeded", steps(status)


def test_a_subflow_that_takes_too_long_is_cancelled_with_the_rights_of_the_role(place: Place) -> None:
    place.workflow({"name": "long", "wait": {"duration": "5m"}}, name="other")
    place.workflow({"name": "sub", "workflow": {"name": "other"}, "timeout": "1s"})
    status = place.run().end()
    assert steps(status)["sub"]["reason"] == "StepTimeout"
