"""Every action as a dry run at a real API server: the diff is told, and nothing at all is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.rest import Client
from apiserver.test_actions_deployment import two_revisions
from apiserver.test_actions_pod import break_pod, uids
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Action, Done, Risk
from kubernaut.core.errors import ClusterError, Invalid, StepError
from kubernaut.core.naming import child_run
from kubernaut.core.ports import Manifest
from kubernaut.engine.dryrun import DryRunCluster
from localcluster import Cluster
from localrun.audit import AuditLog, Request

REGISTRY = ActionRegistry(installed=False)
_KINDS = {
    "v1": ("pods", "configmaps", "services", "secrets"),
    "apps/v1": ("deployments", "replicasets"),
    API_VERSION: ("workflowexecutions",),
}
PATCH = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "name": "api",
    "patch": {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}, "paused": None}},
}
GIVEN: dict[str, dict[str, Any]] = {
    "collect_diagnostics": {},
    "enable_debug_mode": {"unhealthy": True, "image": "kubernaut.local/pause:1", "wait": False},
    "increase_resources": {"memory": "1.5Gi"},
    "notify_only": {"message": "hello"},
    "patch_resource": PATCH,
    "quarantine_pod": {"unhealthy": True},
    "restart_deployment": {},
    "restart_pod": {"unhealthy": True},
    "rollback_deployment": {},
    "scale_deployment": {"delta": 1},
    "select_objects": {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=api"},
    "set_image": {"image": "kubernaut.local/pause:1", "expect": "kubernaut.local/pause:bad"},
}
TOLD = {
    "enable_debug_mode": "ephemeral container debug-",
    "increase_resources": "{} spec.template.spec.containers[name=app].resources.limits.memory: "
    '"64Mi" -> "1536Mi"',
    "patch_resource": '{} spec.strategy.type: "RollingUpdate" -> "Recreate"',
    "quarantine_pod": 'metadata.labels.app: "api" -> unset',
    "restart_deployment": "{} spec.template.metadata.annotations: unset -> ",
    "restart_pod": "removed, to be made anew by its controller",
    # Whole templates are told by revision and digest.
    "rollback_deployment": '"revision": 2} -> ',
    "scale_deployment": "{} spec.replicas: 2 -> 3",
    "set_image": '{} spec.template.spec.containers[name=app].image: "kubernaut.local/pause:bad" -> ',
}


@pytest.fixture
def audit(cluster: Cluster) -> AuditLog:
    assert cluster.audit_log is not None
    return AuditLog(cluster.audit_log)


def at_rest(place: Place, *, broken: bool = False) -> Manifest:
    """Return a Deployment of two revisions once its controllers have nothing more to write; one pod may be broken."""
    two_revisions(place)
    ready = 2
    if broken:
        break_pod(place, sorted(uids(place))[0])
        ready = 1

    def rested() -> bool:
        found = place.deployment()
        status = found["status"]
        conditions = {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", ())}
        return (
            status["observedGeneration"] == found["metadata"]["generation"]
            and [status.get(name) for name in ("replicas", "updatedReplicas", "readyReplicas")]
            == [2, 2, ready]
            and conditions.get("Progressing") == ("True", "NewReplicaSetAvailable")
            and conditions.get("Available", ("",))[0] == str(not broken)
            and all(
                one["status"].get("observedGeneration") == one["metadata"]["generation"]
                and one["status"]["replicas"] == one["spec"]["replicas"]
                for one in place.items("apps/v1", "replicasets")
            )
            and all(one["status"].get("phase") == "Running" for one in place.items("v1", "pods"))
            and len(place.items("v1", "pods")) == 2
        )

    await_true(rested, "the Deployment does not come to rest")
    return place.deployment()


def everything(place: Place) -> dict[str, Manifest]:
    """Return every object of the namespace that could be changed, as stored."""
    return {
        f"{resource}/{one['metadata']['name']}": one
        for base, resources in _KINDS.items()
        for resource in resources
        for one in place.items(base, resource)
    }


def changes_of(audit: AuditLog, place: Place) -> list[Request]:
    """Return the mutating requests of the namespace's accounts, once the log is up to a request of now."""
    last = f"last-{time.monotonic_ns()}"
    place.create("v1", "configmaps", {"metadata": {"name": last}})
    found: list[Request] = []

    def complete() -> bool:
        found.extend(audit.read())
        return any(request.name == last and request.verb == "create" for request in found)

    await_true(complete, "the audit log does not come up to date")
    place.admin.request("DELETE", place.path("v1", "configmaps", last))
    mine = f"system:serviceaccount:{place.namespace}:repair-"
    return [request for request in found if request.mutates and request.user.startswith(mine)]


async def rehearse(place: Place, action: Action[Any], given: dict[str, Any], target: Manifest) -> Done:
    """Perform an action under a dry run, with just the rights that it says it needs."""
    parameters = action.parameters.model_validate(given)
    context = place.context(target)
    dry = DryRunCluster(place.account(action.rights(context.target, parameters)))
    intent = await action.prepare(dry, context, parameters)
    return await action.perform(dry, place.context(target, intent=intent), parameters)


@pytest.mark.parametrize("name", sorted(GIVEN))
async def test_an_action_tells_what_it_would_change_and_changes_nothing(
    place: Place, audit: AuditLog, name: str
) -> None:
    target = at_rest(place, broken=True)
    action, before = REGISTRY.get(name), everything(place)
    list(audit.read())
    done = await rehearse(place, action, GIVEN[name], target)
    sent = changes_of(audit, place)
    assert everything(place) == before
    assert all(request.dry_run and 200 <= request.code < 300 for request in sent), sent
    if action.risk is Risk.NONE:
        assert not sent
        assert not done.changed
    else:
        assert sent
        told = TOLD[name].replace("{}", f"Deployment {place.namespace}/api:")
        assert any(told in sentence for sentence in done.changed), done.changed


@pytest.mark.parametrize("method", ["evict", "delete"])
async def test_a_pod_is_pinned_and_stays(place: Place, audit: AuditLog, method: str) -> None:
    target = at_rest(place)
    name, before = sorted(uids(place))[0], everything(place)
    list(audit.read())
    done = await rehearse(place, REGISTRY.get("restart_pod"), {"name": name, "method": method}, target)
    (request,) = changes_of(audit, place)
    assert request.dry_run
    assert request.what == ("pods/eviction" if method == "evict" else "pods")
    assert done.outputs == {"pod": name, "uid": before[f"pods/{name}"]["metadata"]["uid"]}
    assert everything(place) == before


async def test_a_run_that_would_be_started_is_not(place: Place, audit: AuditLog) -> None:
    target = two_revisions(place)
    given = {"workflow": "other", "name": child_run("run", "uid", "heal", 1)}
    list(audit.read())
    await rehearse(place, REGISTRY.internal("run_workflow"), given, target)
    (request,) = changes_of(audit, place)
    assert (request.verb, request.dry_run) == ("create", True)
    assert place.items(API_VERSION, "workflowexecutions") == []


async def test_a_disruption_budget_that_would_refuse_is_told(place: Place) -> None:
    target = two_revisions(place)
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "api"}}}
    place.create("policy/v1", "poddisruptionbudgets", {"metadata": {"name": "api"}, "spec": spec})

    def observed() -> bool:
        status = place.get("policy/v1", "poddisruptionbudgets", "api").get("status", {})
        return bool(status.get("expectedPods") == 2)

    await_true(observed, "the disruption budget was not looked at")
    with pytest.raises(StepError, match="disruption budget") as caught:
        await rehearse(place, REGISTRY.get("restart_pod"), {"name": sorted(uids(place))[0]}, target)
    assert caught.value.reason is Reason.PRECONDITION_FAILED


async def test_a_value_that_the_api_server_finds_invalid_is_told(place: Place) -> None:
    target = two_revisions(place)
    given = PATCH | {"patch": {"spec": {"minReadySeconds": -1}}}
    with pytest.raises(Invalid, match=r"would be refused: .*minReadySeconds") as caught:
        await rehearse(place, REGISTRY.get("patch_resource"), given, target)
    assert caught.value.reason is Reason.REJECTED


async def test_a_quota_that_would_refuse_is_told(place: Place) -> None:
    target = at_rest(place)
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "api"}}}
    place.create("v1", "services", service)
    quota = {"metadata": {"name": "no-ports"}, "spec": {"hard": {"services.nodeports": "0"}}}
    place.create("v1", "resourcequotas", quota)
    await_true(
        lambda: "used" in place.get("v1", "resourcequotas", "no-ports").get("status", {}),
        "the quota was not counted",
    )
    given = {"apiVersion": "v1", "kind": "Service", "name": "web", "patch": {"spec": {"type": "NodePort"}}}
    before = everything(place)
    with pytest.raises(ClusterError, match=r"would be refused: .*exceeded quota: no-ports") as caught:
        await rehearse(place, REGISTRY.get("patch_resource"), given, target)
    assert caught.value.reason is Reason.REJECTED
    assert everything(place) == before


@pytest.fixture
def few_replicas(admin: Client, namespace: str) -> Iterator[str]:
    """An admission policy that lets no Deployment of the namespace have more than two replicas."""
    path, name = "/apis/admissionregistration.k8s.io/v1", f"few-{namespace}"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments"],
    }
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [
                {"expression": "object.spec.replicas <= 2", "message": "two replicas are enough"}
            ],
        },
    }
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    for resource, thing in (
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding),
    ):
        assert admin.request("POST", f"{path}/{resource}", thing).ok
    yield name
    for resource in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        admin.request("DELETE", f"{path}/{resource}/{name}")


async def test_an_admission_policy_that_would_refuse_is_told(place: Place, few_replicas: str) -> None:
    target = two_revisions(place)

    def in_force() -> bool:
        path = f"{place.path('apps/v1', 'deployments', 'api')}?dryRun=All"
        body = {"spec": {"replicas": 3}}
        return not place.admin.request("PATCH", path, body, content_type="application/merge-patch+json").ok

    await_true(in_force, "the policy is not in force")
    with pytest.raises(StepError, match=r"would be refused: .*two replicas are enough") as caught:
        await rehearse(place, REGISTRY.get("scale_deployment"), {"delta": 1}, target)
    assert caught.value.reason is Reason.REJECTED
    assert place.deployment()["spec"]["replicas"] == 2
