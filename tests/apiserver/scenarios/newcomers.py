"""Objects that come and block a Deployment's, or a StatefulSet's, pods. Simulated nodes enforce no NetworkPolicy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from apiserver.acting import Place, await_true, deployment
from apiserver.scenarios.nodes import KEY, NODE, made, name_of, patch_node
from apiserver.scenarios.scenario import Scenario, Where
from apiserver.scenarios.workloads import made as workload_made
from apiserver.scenarios.workloads import staying, write_status
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_WEBHOOKS: Final = "validatingwebhookconfigurations"
_NETWORKING: Final = "networking.k8s.io/v1"


class OwnWebhook(Where):
    """The place's own configuration: such objects belong to no namespace."""

    def read(self, place: Place) -> Manifest:
        return place.get(self.base, self.resource, hook_name(place))


WEBHOOK: Final = (OwnWebhook(_ADMISSION, _WEBHOOKS, "hook"),)


def running(place: Place) -> Manifest:
    place.create("apps/v1", "deployments", deployment())
    return place.settled()


def without_pods(place: Place) -> None:
    for pod in place.items("v1", "pods"):
        path = place.path("v1", "pods", pod["metadata"]["name"])
        assert place.admin.request("DELETE", path, {"gracePeriodSeconds": 0}).ok


def refused(place: Place) -> bool:
    """Whether pods lack, and the Deployment says that none can be made."""
    seen = place.deployment()
    lacks = int(seen.get("status", {}).get("readyReplicas", 0)) < 2
    return lacks and pods.condition(seen, "ReplicaFailure").get("status") == "True"


def set_refused(place: Place) -> bool:
    seen = place.get("apps/v1", "statefulsets", "db")
    told = [one for one in place.items("v1", "events") if one["reason"] == "FailedCreate"]
    return int(seen.get("status", {}).get("readyReplicas", 0)) < 2 and bool(told)


def comes(base: str, resource: str, thing: Manifest) -> Callable[[Place], None]:
    """Another actor creates an object, and the pods are lost: no new ones can be made."""

    def fault(place: Place) -> None:
        place.create(base, resource, thing)
        without_pods(place)

    return fault


def patched(base: str, resource: str, name: str, body: Manifest) -> Callable[[Place], None]:
    def happen(place: Place) -> None:
        place.patch(base, resource, name, body)

    return happen


def quota(count: str) -> Manifest:
    return {"metadata": {"name": "tight", "labels": {"team": "a"}}, "spec": {"hard": {"pods": count}}}


def limits(most: str) -> Manifest:
    spec = {"limits": [{"type": "Container", "max": {"memory": most}}]}
    return {"metadata": {"name": "small"}, "spec": spec}


def hook_name(place: Place) -> str:
    return f"hook-{place.namespace}"


def webhooks(place: Place, policy: str) -> list[dict[str, Any]]:
    """Return a webhook for the place's pods that nobody answers."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return [
        {
            "name": "pods.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/pods"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
            "rules": [rule],
            "failurePolicy": policy,
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
        }
    ]


def hooked(place: Place) -> None:
    name = hook_name(place)
    place.also_delete(_ADMISSION, _WEBHOOKS, name)
    place.create(_ADMISSION, _WEBHOOKS, {"metadata": {"name": name}, "webhooks": webhooks(place, "Fail")})
    # Another API server than the one that stored it hears of it a moment later; here there is one.
    await_true(lambda: not _takes_pods(place), "the webhook is not asked")
    without_pods(place)


def _takes_pods(place: Place) -> bool:
    spec = {"containers": [{"name": "app", "image": "kubernaut.local/pause:1"}]}
    path = place.path("v1", "pods")
    return place.admin.request("POST", path, {"metadata": {"name": "probe"}, "spec": spec}, dryRun="All").ok


def ignored(place: Place) -> None:
    place.patch(_ADMISSION, _WEBHOOKS, hook_name(place), {"webhooks": webhooks(place, "Ignore")})


def cut_off(place: Place) -> None:
    """Another actor forbids all traffic, and the pods are not ready any more."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    place.create(_NETWORKING, "networkpolicies", {"metadata": {"name": "deny-all"}, "spec": spec})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for pod in place.items("v1", "pods"):
        conditions = [
            {**one, "status": "False", "lastTransitionTime": now} if one["type"] == "Ready" else one
            for one in pod["status"]["conditions"]
        ]
        write_status(place, pod, {"conditions": conditions})


def allows_nothing(place: Place) -> bool:
    policies = place.items(_NETWORKING, "networkpolicies")
    return any(not one["spec"].get("ingress") for one in policies)


def pooled(place: Place) -> Manifest:
    made(place, "a")
    selector = {"kubernetes.io/hostname": name_of(place)}
    place.create("apps/v1", "deployments", deployment(nodeSelector=selector))
    return place.settled()


def tainted(place: Place) -> None:
    patch_node(place, {"spec": {"taints": [{"key": KEY, "value": "yes", "effect": "NoSchedule"}]}})
    without_pods(place)


def untainted(place: Place) -> None:
    patch_node(place, {"spec": {"taints": None}})


def without_a_node(place: Place) -> bool:
    return any(
        "taint" in str(pods.condition(pod, "PodScheduled").get("message", "")) for pod in staying(place)
    )


QUOTA: Final = (Where("v1", "resourcequotas", "tight"),)
LIMITS: Final = (Where("v1", "limitranges", "small"),)
POLICY: Final = (Where(_NETWORKING, "networkpolicies", "deny-all"),)

SCENARIOS: Final = (
    Scenario(
        "remove_newcomer",
        {"blockers": ["ResourceQuota"]},
        healthy=running,
        fault=comes("v1", "resourcequotas", quota("0")),
        symptom=refused,
        changes=QUOTA,
        mended=patched("v1", "resourcequotas", "tight", {"spec": {"hard": {"pods": "20"}}}),
        writes=2,
        later=("create resourcequotas",),
        told="that is a quota",
    ),
    Scenario(
        "remove_newcomer",
        {"blockers": ["ResourceQuota"]},
        healthy=workload_made("StatefulSet"),
        fault=comes("v1", "resourcequotas", quota("0")),
        symptom=set_refused,
        changes=QUOTA,
        mended=patched("v1", "resourcequotas", "tight", {"spec": {"hard": {"pods": "20"}}}),
        writes=2,
        later=("create resourcequotas",),
        told="that keeps a StatefulSet from its pods",
    ),
    Scenario(
        "remove_newcomer",
        {"blockers": ["LimitRange"]},
        healthy=running,
        fault=comes("v1", "limitranges", limits("16Mi")),
        symptom=refused,
        changes=LIMITS,
        mended=patched("v1", "limitranges", "small", limits("1Gi")),
        writes=2,
        later=("create limitranges",),
        told="that is a limit",
    ),
    Scenario(
        "remove_newcomer",
        {"blockers": ["ValidatingWebhookConfiguration"]},
        healthy=running,
        fault=hooked,
        symptom=refused,
        changes=WEBHOOK,
        mended=ignored,
        writes=2,
        later=("create validatingwebhookconfigurations.admissionregistration.k8s.io",),
        told="that is a webhook nobody answers",
    ),
    Scenario(
        "remove_newcomer",
        {"blockers": ["NetworkPolicy"]},
        healthy=running,
        fault=cut_off,
        symptom=allows_nothing,
        changes=POLICY,
        mended=patched(
            _NETWORKING, "networkpolicies", "deny-all", {"spec": {"ingress": [{}], "egress": [{}]}}
        ),
        writes=2,
        later=("create networkpolicies.networking.k8s.io",),
        told="that forbids all traffic",
        # Its pods were made unready by the test, and stay so.
        helped=Answer.NO,
    ),
    Scenario(
        "remove_newcomer",
        {"blockers": ["Taint"]},
        healthy=pooled,
        fault=tainted,
        symptom=without_a_node,
        changes=NODE,
        mended=untainted,
        told="that is a taint",
    ),
)
