"""Faults of autoscalers, which the real controller of HorizontalPodAutoscalers sees and answers."""

from __future__ import annotations

from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.metrics import measure, serve_metrics
from apiserver.scenarios.scenario import Scenario, Where
from apiserver.scenarios.workloads import made, staying
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest

_AUTOSCALER: Final = ("autoscaling/v2", "horizontalpodautoscalers", "db")
_RESOURCES: Final = {"requests": {"memory": "64Mi"}}


def autoscaler(most: int) -> Manifest:
    """Return an autoscaler that wants each pod to use half of the memory it asks for."""
    half = {"type": "Utilization", "averageUtilization": 50}
    return {
        "metadata": {"name": "db"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "db"},
            "minReplicas": 2,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": half}}],
        },
    }


def autoscaled(place: Place) -> Manifest:
    serve_metrics(place)
    made("Deployment", resources=_RESOURCES)(place)
    for pod in staying(place):
        measure(place, pod, memory="32Mi", cpu="10m")
    place.create("autoscaling/v2", "horizontalpodautoscalers", autoscaler(2))
    await_true(lambda: limited_for(place, "DesiredWithinRange"), "the autoscaler does not scale")
    return place.get(*_AUTOSCALER)


def limited_for(place: Place, reason: str) -> bool:
    """Whether the autoscaler says why, or why not, it is held back."""
    return bool(pods.condition(place.get(*_AUTOSCALER), "ScalingLimited").get("reason") == reason)


def load_rises(place: Place) -> None:
    for pod in staying(place):
        name = pod["metadata"]["name"]
        used = [{"name": "app", "usage": {"memory": "64Mi", "cpu": "10m"}}]
        place.patch("metrics.k8s.io/v1beta1", "pods", name, {"containers": used})


def held_back(place: Place) -> bool:
    return limited_for(place, "TooManyReplicas")


def raised(place: Place) -> None:
    place.patch(*_AUTOSCALER, {"spec": {"maxReplicas": 6}})


_GIVEN: Final[dict[str, Any]] = {"maxDelta": 4, "onlyIfLimited": True}
SCENARIOS: Final = (
    Scenario(
        "update_hpa",
        _GIVEN,
        healthy=autoscaled,
        fault=load_rises,
        symptom=held_back,
        changes=(Where(*_AUTOSCALER),),
        mended=raised,
    ),
)
