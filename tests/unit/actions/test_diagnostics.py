"""collect_diagnostics: symptoms that do not hang on the moment, and a digest that stays small."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from kubernaut.actions.diagnosis import symptoms
from kubernaut.actions.diagnosis.collect_diagnostics import (
    MAX_DIGEST,
    MAX_LOG_TAIL,
    CollectDiagnostics,
    CollectDiagnosticsParameters,
    bounded,
)
from kubernaut.actions.diagnosis.symptoms import Sample
from kubernaut.core.errors import Forbidden, Invalid, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef
from unit.actions.builders import NOW, context, deployment, ended, pod, running, waiting, warning
from unit.actions.fake import FakeCluster

collect = CollectDiagnostics()
LATELY = "2026-03-01T11:59:50Z"
CRASH: dict[str, Any] = {"exitCode": 3, "reason": "Error"}
KILLED: dict[str, Any] = {"exitCode": 137, "reason": "OOMKilled"}
FINISHED: dict[str, Any] = {"exitCode": 0, "reason": "Completed"}


def failed(condition: str, reason: str) -> dict[str, Any]:
    return {"type": condition, "status": "False", "reason": reason}


def found(target: Manifest, *pods: Manifest, events: tuple[Manifest, ...] = ()) -> list[str]:
    return symptoms.symptoms(Sample(target, pods, events, NOW))


def sick(*statuses: dict[str, Any], **more: Any) -> Manifest:
    return pod("api-1", *statuses, ready=False, **more)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (sick(waiting("CrashLoopBackOff", restarts=4, **CRASH)), ["CrashLoopBackOff", "ExitCode3"]),
        (sick(ended(restarts=4, **CRASH)), ["CrashLoopBackOff", "ExitCode3"]),
        (pod("api-1", running(restarts=4, since=LATELY, **CRASH)), ["CrashLoopBackOff", "ExitCode3"]),
        (sick(waiting("CrashLoopBackOff", restarts=4, **KILLED)), ["CrashLoopBackOff", "OOMKilled"]),
        (sick(ended(restarts=4, **KILLED)), ["CrashLoopBackOff", "OOMKilled"]),
        (sick(waiting("CrashLoopBackOff", restarts=1, **FINISHED)), ["CrashLoopBackOff", "ExitCode0"]),
        (sick(ended(**CRASH)), ["ExitCode3"]),
        (sick(waiting("ImagePullBackOff")), ["ImagePullBackOff"]),
        (sick(waiting("ErrImagePull")), ["ImagePullBackOff"]),
        (sick(waiting("InvalidImageName")), ["InvalidImageName"]),
        (sick(waiting("CreateContainerConfigError")), ["CreateContainerConfigError"]),
        (sick(waiting("RunContainerError", restarts=2, exitCode=128, reason="StartError")),
         ["CrashLoopBackOff", "RunContainerError", "StartError"]),
        (sick(running(ready=False)), ["ReadinessFailing"]),
        (sick(waiting("ContainerCreating")), ["Unavailable"]),
        (sick(phase="Failed", reason="Evicted", containerStatuses=[]), ["Evicted"]),
        (
            sick(phase="Pending", conditions=(failed("PodScheduled", "Unschedulable"),), containerStatuses=[]),
            ["Unschedulable"],
        ),
        (pod("api-1", running(restarts=4, since="2026-03-01T08:00:00Z", **CRASH)), []),
        (pod("api-1"), []),
    ],
)  # fmt: skip
def test_symptoms_of_a_pod(one: Manifest, expected: list[str]) -> None:
    assert found(deployment(replicas=1), one) == expected


def test_a_crashing_init_container_counts() -> None:
    one = sick(waiting("PodInitializing"))
    one["status"]["initContainerStatuses"] = [waiting("CrashLoopBackOff", restarts=2, name="init", **CRASH)]
    assert found(deployment(replicas=1), one) == ["CrashLoopBackOff", "ExitCode3"]


def test_an_init_container_that_did_its_work_is_no_symptom() -> None:
    one = pod("api-1")
    done = ended(restarts=1, name="init", exitCode=0, reason="Completed") | {"ready": True}
    one["status"]["initContainerStatuses"] = [done]
    assert found(deployment(replicas=1), one) == []


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (deployment(replicas=0), ["ScaledToZero"]),
        (deployment(replicas=0, paused=True), ["Paused", "ScaledToZero"]),
        (deployment(replicas=1), ["Unavailable"]),
        (
            deployment()
            | {"status": {"conditions": [failed("Progressing", "ProgressDeadlineExceeded")]}},
            ["ProgressDeadlineExceeded"],
        ),
        (
            deployment()
            | {"status": {"conditions": [{**failed("ReplicaFailure", "FailedCreate"), "status": "True"}]}},
            ["FailedCreate"],
        ),
    ],
)  # fmt: skip
def test_symptoms_of_a_deployment_without_pods(target: Manifest, expected: list[str]) -> None:
    assert found(target) == expected


def test_warnings_count_only_about_pods_that_are_not_ready() -> None:
    well, ill = pod("well"), sick(running(ready=False)) | {}
    events = (
        warning("Unhealthy", "Liveness probe failed: timeout", ill),
        warning("FailedMount", "no such volume", well),
        warning("BackOff", "Back-off restarting", ill),
    )
    assert found(deployment(), well, ill, events=events) == ["LivenessFailing", "ReadinessFailing"]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (waiting("ContainerCreating"), ["FailedMount"]),
        (waiting("ImagePullBackOff"), ["ImagePullBackOff"]),
        (waiting("ErrImagePull"), ["ImagePullBackOff"]),
        (running(ready=False), ["ReadinessFailing"]),
    ],
)
def test_a_volume_that_came_late_is_no_symptom_once_it_is_there(
    container: Manifest, expected: list[str]
) -> None:
    ill = sick(container)
    late = warning("FailedMount", 'configmap "kube-root-ca.crt" not found', ill)
    assert found(deployment(replicas=1), ill, events=(late,)) == expected


def test_symptoms_are_sorted_single_and_at_most_sixteen() -> None:
    many = [pod(f"p{n}", waiting(f"Reason{n:02}"), ready=False) for n in range(30)]
    many += [pod("again", waiting("Reason03"), ready=False)]
    random.Random(7).shuffle(many)
    result = found(deployment(), *many)
    assert result == [f"Reason{n:02}" for n in range(16)]


def scene(**log: Any) -> tuple[FakeCluster, Manifest]:
    target = deployment(replicas=2)
    ill = sick(waiting("CrashLoopBackOff", restarts=4, **CRASH))
    cluster = FakeCluster().add(target, pod("api-0"), ill, warning("BackOff", "Back-off restarting app", ill))
    cluster.log_texts["api-1/app/previous"] = log.get("text", "starting\nboom\n")
    return cluster, target


async def outputs_of(cluster: FakeCluster, target: Manifest, **parameters: Any) -> Any:
    given = CollectDiagnosticsParameters.model_validate(parameters)
    done = await collect.perform(cluster, context(target), given)
    assert not done.acted
    assert cluster.writes == []
    return dict(done.outputs)


async def test_the_digest_says_what_others_rely_on() -> None:
    outputs = await outputs_of(*scene())
    assert outputs == {
        "symptoms": ["CrashLoopBackOff", "ExitCode3"],
        "restarts": 4,
        "pods": 2,
        "ready": 1,
        "desired": 2,
        "summary": "Deployment shop/api: CrashLoopBackOff, ExitCode3; 1 of 2 pods ready, restarted 4 times",
        "owners": ["ReplicaSet/api-1", "Deployment/api"],
        "warnings": ["Pod/api-1: BackOff: Back-off restarting app"],
        "logOf": "api-1/app (previous)",
        "logTail": "starting\nboom\n",
        "bundle": "not kept: there is no history",
    }
    assert set(outputs) <= set(collect.outputs)


async def test_what_logs_and_warnings_call_a_secret_is_not_told() -> None:
    cluster, target = scene(text="starting\ndb_password=hunter2\nboom\n")
    (ill,) = [one for one in await cluster.list("v1", "Pod", "shop") if one["metadata"]["name"] == "api-1"]
    cluster.add(warning("Failed", "can't pull https://shop:hunter2@registry.example.com/api", ill))
    outputs = await outputs_of(cluster, target)
    assert outputs["logTail"] == "starting\ndb_password=***\nboom\n"
    assert "Pod/api-1: Failed: can't pull https://***@registry.example.com/api" in outputs["warnings"]
    assert "hunter2" not in json.dumps(outputs)


async def test_pods_that_leave_do_not_count() -> None:
    cluster, target = scene()
    cluster.find("Pod", "api-1")["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    cluster.log_texts["api-0/app"] = ""
    outputs = await outputs_of(cluster, target)
    assert (outputs["pods"], outputs["restarts"], outputs["symptoms"]) == (1, 0, ["Unavailable"])


@pytest.mark.parametrize("text", ["x" * 50_000, "é\n" * 20_000, "\x00\x01" * 9000, '"\\' * 9000])
async def test_the_digest_stays_within_four_kibibytes(text: str) -> None:
    outputs = await outputs_of(*scene(text=text))
    assert len(json.dumps(outputs).encode()) <= MAX_DIGEST
    assert len(json.dumps(outputs["logTail"]).encode()) <= MAX_LOG_TAIL + 2
    assert len(outputs["logTail"]) > 100
    assert text.endswith(outputs["logTail"])


def test_what_can_be_spared_goes_first() -> None:
    kept = bounded({"summary": "s", "warnings": ["w" * 5000], "logTail": "tail", "symptoms": ["A"]})
    assert set(kept) >= {"summary", "symptoms"}
    assert "warnings" not in kept


@pytest.mark.parametrize(
    "error", [Invalid("previous terminated container not found"), Unavailable("node is away")]
)
async def test_a_log_that_can_not_be_had_does_not_fail_the_step(error: Exception) -> None:
    outputs = await outputs_of(*scene(text=error))
    assert outputs["logOf"] == f"api-1/app: could not be read: {error}"
    assert "logTail" not in outputs


async def test_no_log_is_asked_for_where_no_container_was_started() -> None:
    target = deployment(replicas=1)
    cluster = FakeCluster().add(target, sick(waiting("ErrImagePull")))
    outputs = await outputs_of(cluster, target)
    assert "logTail" not in outputs
    assert not any(request.startswith("log ") for request in cluster.requests)


@pytest.mark.parametrize(
    ("refused", "without"), [("log Pod", {"logs": False}), ("list Event", {"events": False})]
)
async def test_a_missing_right_fails_the_step_unless_it_is_not_asked_for(refused: str, without: Any) -> None:
    cluster, target = scene()
    cluster.forbidden.add(refused)
    with pytest.raises(Forbidden, match=refused):
        await outputs_of(cluster, target)
    assert (await outputs_of(cluster, target, **without))["symptoms"] == ["CrashLoopBackOff", "ExitCode3"]


async def test_a_pod_and_a_kind_without_pods_can_be_targets() -> None:
    cluster, _ = scene()
    outputs = await outputs_of(cluster, cluster.find("Pod", "api-1"))
    assert (outputs["pods"], outputs["desired"], outputs["owners"]) == (
        1,
        1,
        ["Pod/api-1", "ReplicaSet/api-1"],
    )
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop", "uid": "u"},
    }
    outputs = await outputs_of(cluster.add(config), config)
    assert (outputs["symptoms"], outputs["pods"], outputs["desired"]) == ([], 0, 0)


async def test_the_rollout_is_told() -> None:
    cluster, target = scene()
    status = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}
    cluster.edit("Deployment", "api", {"status": status, "spec": {"x": 1}})
    outputs = await outputs_of(cluster, target)
    assert outputs["rollout"] == {"observed": False, "updated": 1, "available": 1, "progressing": ""}


def test_rights_follow_what_is_asked_for() -> None:
    target = ObjectRef("apps/v1", "Deployment", "shop", "api")
    all_of = [str(right) for right in collect.rights(target, CollectDiagnosticsParameters())]
    assert all_of == ["get deployments.apps", "list pods", "list events", "get pods/log"]
    less = CollectDiagnosticsParameters(logs=False, events=False)
    assert [str(right) for right in collect.rights(target, less)] == ["get deployments.apps", "list pods"]
