"""collect_diagnostics on real containers: the same words at every moment of the same trouble, and real logs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from apiserver.acting import Place, await_true
from kubernaut.actions import pods
from kubernaut.actions.diagnosis import symptoms
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.ports import Manifest, ObjectRef
from localcluster import Cluster

COLLECT = ActionRegistry().get("collect_diagnostics")
PROBE: dict[str, Any] = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


MISSING_KEY = {"configMapKeyRef": {"name": "nowhere", "key": "x"}}
FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "crash": (shell("echo starting; echo boom; exit 3"), ["CrashLoopBackOff", "ExitCode3"]),
    "ends": (shell("echo done"), ["CrashLoopBackOff", "ExitCode0"]),
    "memory": (
        {"command": ["tail", "/dev/zero"], "resources": {"limits": {"memory": "16Mi"}}},
        ["CrashLoopBackOff", "OOMKilled"],
    ),
    "image": ({"image": "kubernaut.local/no-such-image:1"}, ["ImagePullBackOff"]),
    "config": (
        shell("sleep 1000", env=[{"name": "X", "valueFrom": MISSING_KEY}]),
        ["CreateContainerConfigError"],
    ),
    "readiness": (shell("sleep 1000", readinessProbe=PROBE), ["ReadinessFailing"]),
    "unschedulable": (
        shell("sleep 1000", resources={"requests": {"memory": "4Ti"}}),
        ["Unschedulable"],
    ),
}


def broken(cluster: Cluster, name: str) -> Manifest:
    container = {"name": "app", "image": cluster.real_image("busybox"), **FAULTS[name][0]}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


async def pod_of(place: Place, name: str) -> ObjectRef:
    while True:
        found = await place.connection.own().list("v1", "Pod", place.namespace, label_selector=f"app={name}")
        if found:
            return ObjectRef.of(found[0])
        await asyncio.sleep(0.05)


async def samples(place: Place, target: Manifest, ref: ObjectRef, expected: list[str]) -> list[list[str]]:
    """Return the symptoms at every change of the pod, from when they are first as expected until it went round."""
    told: list[list[str]] = []
    rounds: int | None = None
    async for pod in place.connection.own().watch(ref):
        assert pod is not None, "the pod is gone"
        found = symptoms.symptoms(symptoms.Sample(target, [pod], [], datetime.now(UTC)))
        restarts = pods.restarts(pod)
        if rounds is None and found == expected:
            rounds = restarts
        if rounds is not None:
            told.append(found)
            goes_round = bool({"CrashLoopBackOff"} & set(expected))
            if not goes_round or restarts >= rounds + 2:
                break
    return told


async def seen(cluster: Cluster, place: Place, name: str) -> tuple[list[list[str]], dict[str, Any]]:
    """Break a Deployment; return its symptoms at every moment, and what the action says of it in the end."""
    target = place.create("apps/v1", "deployments", broken(cluster, name))
    async with asyncio.timeout(180):
        told = await samples(place, target, await pod_of(place, name), FAULTS[name][1])
    context = place.context({"apiVersion": "apps/v1", "kind": "Deployment", **target})
    account = place.account(COLLECT.rights(context.target, COLLECT.parameters()))
    done = await COLLECT.perform(account, context, COLLECT.parameters())
    return told, dict(done.outputs)


async def test_the_same_trouble_has_the_same_symptoms_at_every_moment(cluster: Cluster, place: Place) -> None:
    found = await asyncio.gather(*(seen(cluster, place, name) for name in FAULTS))
    for (name, (_, expected)), (told, outputs) in zip(FAULTS.items(), found, strict=True):
        assert told, name
        assert all(one == expected for one in [*told, outputs["symptoms"]]), (name, told, outputs)
    outputs = {name: one for name, (_, one) in zip(FAULTS, found, strict=True)}
    assert outputs["crash"]["logTail"] == "starting\nboom\n"
    assert outputs["crash"]["restarts"] >= 2
    assert any("BackOff" in warning for warning in outputs["crash"]["warnings"])
    assert "logTail" not in outputs["image"]


@dataclass
class Kept:
    """Keeps the last bundle in memory."""

    content: bytes = b""

    def refusal(self) -> str:
        return ""

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        self.content = content
        return ""


async def test_all_that_can_be_seen_is_kept_without_what_is_secret(cluster: Cluster, place: Place) -> None:
    script = "echo starting as $DB_PASSWORD; echo token=4711-of-a-log; exit 3"
    variable = {"name": "DB_PASSWORD", "value": "hunter2-of-a-variable"}
    app = {"name": "app", "image": cluster.real_image("busybox"), **shell(script, env=[variable])}
    thing = broken(cluster, "crash")
    thing["spec"]["template"]["spec"]["containers"] = [app]
    target = place.create("apps/v1", "deployments", thing)
    await pod_of(place, "crash")

    def crashes_again() -> bool:
        return any(one.get("reason") == "BackOff" for one in place.items("v1", "events"))

    await_true(crashes_again, "it does not crash again")
    keeper = Kept()
    context = place.context({"apiVersion": "apps/v1", "kind": "Deployment", **target})
    account = place.account(COLLECT.rights(context.target, COLLECT.parameters()))
    done = await COLLECT.perform(account, replace(context, keeper=keeper), COLLECT.parameters())
    content = json.loads(keeper.content)
    assert done.outputs["bundle"] == f"{len(keeper.content)} bytes are kept"
    previous = next(one for one in content["logs"] if one["previous"])
    assert previous["text"] == "starting as ***\ntoken=***\n"
    assert [one["kind"] for one in content["owners"]] == ["ReplicaSet"]
    assert any(one["reason"] == "BackOff" for one in content["events"])
    assert {"kubelet"} <= {one["by"] for one in content["changes"]}
    for secret in ("hunter2-of-a-variable", "4711-of-a-log"):
        assert secret not in keeper.content.decode()
        assert secret not in json.dumps(dict(done.outputs))
