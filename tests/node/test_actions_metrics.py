"""Actions that go by use: kubelets measure it, metrics-server serves it, an autoscaler scales by it."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.acting import Place, await_true
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.action import Done
from kubernaut.core.ports import Manifest
from kubernaut.core.quantity import Quantity
from localcluster import Cluster

REGISTRY = ActionRegistry()
BUSY = "trap 'exit 0' TERM; while true; do :; done"
# dd has read 40 MiB and waits for somebody to take them.
HOLDS = "trap 'exit 0' TERM; dd if=/dev/zero bs=40M count=2 2>/dev/null | sleep 10000 & wait"
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def measured(cluster: Cluster) -> None:
    """The kubelets' measurements are served."""
    cluster.metrics()


def deploy(place: Place, cluster: Cluster, name: str, script: str, resources: Manifest) -> None:
    container = {
        "name": "app",
        "image": cluster.real_image("busybox"),
        "command": ["sh", "-c", script],
        "resources": resources,
    }
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    place.create("apps/v1", "deployments", {"metadata": {"name": name}, "spec": spec})
    place.settled(name)


async def act(place: Place, target: Manifest, name: str, /, **given: Any) -> Done:
    """Perform an action as an account with just the rights that it declares; twice is once."""
    action = REGISTRY.get(name)
    parameters = action.parameters.model_validate(given)
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    done = await action.perform(account, context, parameters)
    again = await action.perform(account, context, parameters)
    assert (again.acted, again.outputs) == (done.acted, done.outputs)
    return done


async def test_an_autoscaler_that_load_holds_at_its_maximum_gets_a_higher_one(
    place: Place, cluster: Cluster
) -> None:
    deploy(place, cluster, "busy", BUSY, {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m"}})
    half = {"type": "Utilization", "averageUtilization": 50}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
        "minReplicas": 1,
        "maxReplicas": 2,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": half}}],
    }
    scaler = ("autoscaling/v2", "horizontalpodautoscalers")
    place.create(*scaler, {"metadata": {"name": "busy"}, "spec": spec})

    def held() -> bool:
        """Whether the autoscaler has measured that it wants more than it may have."""
        status = place.get(*scaler, "busy").get("status", {})
        found = {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", [])}
        limited = found.get("ScalingLimited") == ("True", "TooManyReplicas")
        return limited and status.get("currentReplicas") == 2

    await_true(held, "load does not scale the Deployment to the maximum")
    place.settled("busy")
    (metric,) = place.get(*scaler, "busy")["status"]["currentMetrics"]
    assert metric["resource"]["current"]["averageUtilization"] > 50
    target = place.get(*scaler, "busy")
    done = await act(place, target, "update_hpa", maxDelta=1, onlyIfLimited=True)
    assert done.acted, done.message
    assert done.outputs["now"] == {"min": 1, "max": 3}

    def followed() -> bool:
        return bool(place.deployment("busy").get("status", {}).get("readyReplicas") == 3)

    await_true(followed, "the autoscaler does not use its new maximum")


async def test_a_container_asks_for_what_a_kubelet_saw_it_use(place: Place, cluster: Cluster) -> None:
    deploy(place, cluster, "holds", HOLDS, {"requests": {"memory": "256Mi", "cpu": "100m"}})

    def seen() -> int:
        items = place.items("metrics.k8s.io/v1beta1", "pods")
        used = [one["usage"]["memory"] for item in items for one in item["containers"]]
        return max((int(Quantity.parse(text).value) for text in used), default=0)

    await_true(lambda: seen() > 35 * MIB, "the memory that it holds was not measured")
    before = place.items("v1", "pods")[0]["metadata"]["uid"]
    target = place.deployment("holds")
    done = await act(
        place,
        target,
        "optimize_resources",
        minPods=1,
        minAgeSeconds=0,
        maxReduction=0.9,
        cpu=False,
        margin=1.5,
    )
    assert done.acted, done.message
    used, resources = done.outputs["usage"], done.outputs["resources"]
    assert isinstance(used, dict)
    assert isinstance(resources, dict)
    measured = Quantity.parse(str(used["memory"])).value
    assert 40 * MIB <= measured <= 60 * MIB
    asked = resources["requests"]
    assert isinstance(asked, dict)
    assert asked["cpu"] == "100m"
    # Rounded up to whole MiB twice: what was used, and what is asked for.
    assert abs(Quantity.parse(str(asked["memory"])).value - measured * 3 / 2) <= 2 * MIB
    place.settled("holds")
    (pod,) = [one for one in place.items("v1", "pods") if not one["metadata"].get("deletionTimestamp")]
    assert pod["metadata"]["uid"] != before
    assert pod["spec"]["containers"][0]["resources"]["requests"] == asked
