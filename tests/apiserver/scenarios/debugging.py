"""A pod that fails and nobody looks at: a container beside it, and its heap on a volume."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario, Where
from apiserver.scenarios.workloads import GOOD, made, not_ready, settled, staying, workload, write_status
from kubernaut.actions import pods
from kubernaut.core.ports import Manifest

_ROUNDS: Final = 400
_running_kubelets: set[asyncio.Task[None]] = set()


def ephemeral(pod: Manifest) -> list[Manifest]:
    found: list[Manifest] = pod["spec"].get("ephemeralContainers") or []
    return found


def kubelet(place: Place, state: dict[str, Any]) -> None:
    """Have ephemeral containers told of as a kubelet would: a simulated node runs none."""

    async def tell() -> None:
        for _ in range(_ROUNDS):
            for pod in place.items("v1", "pods"):
                if ephemeral(pod):
                    told = [
                        {"name": one["name"], "image": GOOD, "imageID": "", "ready": False, "restartCount": 0}
                        | {"state": state}
                        for one in ephemeral(pod)
                    ]
                    write_status(place, pod, {"ephemeralContainerStatuses": told})
                    return
            await asyncio.sleep(0.05)

    task = asyncio.get_running_loop().create_task(tell())
    _running_kubelets.add(task)
    task.add_done_callback(_running_kubelets.discard)


def one_fails(state: dict[str, Any]) -> Any:
    """Return a fault: the first pod is no longer ready, and nothing will make it so."""

    def fault(place: Place) -> None:
        pod = min(staying(place), key=lambda one: str(one["metadata"]["name"]))
        conditions = [
            {**one, "status": "False"} if one["type"] == "Ready" else one
            for one in pod["status"]["conditions"]
        ]
        write_status(place, pod, {"conditions": conditions})
        kubelet(place, state)

    return fault


def nobody_looks(place: Place) -> bool:
    """Whether a pod is not ready and has nothing beside it."""
    return any(not pods.ready(pod) and not ephemeral(pod) for pod in staying(place))


def mended(place: Place) -> None:
    for pod in staying(place):
        conditions = [
            {**one, "status": "True"} if one["type"] == "Ready" else one
            for one in pod["status"]["conditions"]
        ]
        write_status(place, pod, {"conditions": conditions})
    await_true(lambda: not not_ready(place), "the pods are not ready again")


def with_a_volume(place: Place) -> Manifest:
    thing = workload("Deployment", volumeMounts=[{"name": "dumps", "mountPath": "/dumps"}])
    thing["spec"]["template"]["spec"]["volumes"] = [{"name": "dumps", "emptyDir": {}}]
    place.create("apps/v1", "deployments", thing)
    await_true(lambda: settled(place, "Deployment"), "Deployment db was not rolled out")
    return place.get("apps/v1", "deployments", "db")


SCENARIOS: Final = (
    Scenario(
        "enable_debug_mode",
        {"unhealthy": True, "image": GOOD},
        healthy=made("Deployment"),
        fault=one_fails({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
        symptom=nobody_looks,
        changes=(Where("apps/v1", "deployments", "db"),),
        undoes=False,
        mended=mended,
    ),
    Scenario(
        "create_heap_dump",
        {"unhealthy": True, "image": GOOD, "directory": "/dumps", "command": ["dump", "$(PID)", "$(FILE)"]},
        healthy=with_a_volume,
        fault=one_fails({"terminated": {"exitCode": 0, "reason": "Completed"}}),
        symptom=nobody_looks,
        changes=(Where("apps/v1", "deployments", "db"),),
        undoes=False,
        mended=mended,
    ),
)
