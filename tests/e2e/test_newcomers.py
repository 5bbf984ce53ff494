"""A quota comes and keeps a Deployment from its pods: a run takes it away, and puts it back if it is rolled back."""

from __future__ import annotations

from typing import Any

from e2e.websteps import acting
from e2e.world import Place, World, condition, steps, until

RULES = [
    {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["list", "get", "delete", "create"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get"]},
]
REMOVE: dict[str, Any] = {
    "name": "remove",
    "action": "remove_newcomer",
    "with": {"blockers": ["ResourceQuota"]},
}


def quotas(place: Place) -> str:
    return f"/api/v1/namespaces/{place.namespace}/resourcequotas"


def quota(place: Place) -> dict[str, Any] | None:
    answer = place.world.admin.request("GET", f"{quotas(place)}/nothing")
    return answer.body if answer.ok else None


def blocked(world: World) -> Place:
    """Return a place whose Deployment lost its pod when a quota came, and gets no other one."""
    place = world.place()
    place.create("Role", {"metadata": {"name": "remove"}, "rules": RULES})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "remove"}
    subject = {"kind": "ServiceAccount", "name": "kubernaut-repair", "namespace": place.namespace}
    place.create("RoleBinding", {"metadata": {"name": "remove"}, "roleRef": reference, "subjects": [subject]})
    place.await_right(place.account, {"verb": "delete", "resource": "resourcequotas"}, True)
    until("web has its pod", lambda: place.get("Deployment", "web")["status"].get("readyReplicas"))
    thing = {"metadata": {"name": "nothing", "labels": {"team": "a"}}, "spec": {"hard": {"pods": "0"}}}
    assert world.admin.request("POST", quotas(place), thing).ok
    pods = f"/api/v1/namespaces/{place.namespace}/pods"
    one = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "app", "image": "a:1"}]}}
    until("the quota is in force", lambda: world.admin.request("POST", pods, one, dryRun="All").status == 403)
    for pod in world.admin.request("GET", pods).body["items"]:
        path = f"{pods}/{pod['metadata']['name']}"
        assert world.admin.request("DELETE", path, {"gracePeriodSeconds": 0}).ok
    until(
        "web says that it gets no pod",
        lambda: condition(place.get("Deployment", "web"), "ReplicaFailure").get("status") == "True",
    )
    return place


def test_it_is_removed_and_the_pods_come(world: World) -> None:
    place = blocked(world)
    verify = {"expect": ["has(target.status.readyReplicas) && target.status.readyReplicas == 1"]}
    place.workflow(REMOVE, verify=verify)
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Remediated")
    step = steps(status)["remove"]
    assert step["outputs"]["removed"] == f"ResourceQuota {place.namespace}/nothing"
    assert "it is exceeded" in step["outputs"]["why"]
    assert quota(place) is None


def test_a_run_that_is_rolled_back_makes_it_anew(world: World) -> None:
    place = blocked(world)
    former = quota(place)
    assert former is not None
    fails = acting("fail", "remove", patch={"metadata": {"labels": {"x": "y"}}}, expect={"spec.replicas": 9})
    place.workflow(REMOVE, fails, onFailure="Rollback")
    status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Failed", "RolledBack")
    back = quota(place)
    assert back is not None
    assert (back["spec"], back["metadata"]["labels"]) == (former["spec"], former["metadata"]["labels"])
    assert back["metadata"]["uid"] != former["metadata"]["uid"]
