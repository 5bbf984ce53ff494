"""Faults of what containers ask for, beside what they use; the scheduler is real, the usage another actor's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.metrics import measure, serve_metrics
from apiserver.scenarios.scenario import Scenario
from apiserver.scenarios.workloads import RESOURCES, made, settled, staying, where, workload
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest

_FITTING: Final = {"requests": {"memory": "60Mi"}}
# More than any node has.
_MUCH: Final = {"requests": {"memory": "900Gi"}}


def measured(kind: str) -> Callable[[Place], Manifest]:
    def healthy(place: Place) -> Manifest:
        serve_metrics(place)
        found: Manifest = made(kind, resources=_FITTING)(place)
        for pod in staying(place):
            measure(place, pod, memory="50Mi", cpu="10m")
        return found

    return healthy


def asks_for(kind: str, resources: dict[str, Any]) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        template = workload(kind, resources=resources)["spec"]["template"]
        place.patch("apps/v1", RESOURCES[kind], "db", {"spec": {"template": template}})

    return change


def finds_no_place(place: Place) -> bool:
    """Whether the scheduler has found no node for a pod."""
    found = (pods.condition(pod, "PodScheduled") for pod in staying(place))
    return any(one.get("reason") == "Unschedulable" for one in found)


def mended(kind: str) -> Callable[[Place], None]:
    def mend(place: Place) -> None:
        asks_for(kind, _FITTING)(place)
        await_true(lambda: settled(place, kind), f"{kind} db was not rolled out")

    return mend


SCENARIOS: Final = tuple(
    Scenario(
        "optimize_resources",
        # The pods were just made, and one is missing; a request of that size is mended in one step here.
        {"cpu": False, "minAgeSeconds": 0, "minPods": 1, "maxReduction": 1},
        healthy=measured(kind),
        fault=asks_for(kind, _MUCH),
        symptom=finds_no_place,
        changes=where(kind),
        mended=mended(kind),
        told=kind,
    )
    for kind in ("Deployment", "StatefulSet")
)
