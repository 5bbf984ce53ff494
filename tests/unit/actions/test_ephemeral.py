"""enable_debug_mode and create_heap_dump: one ephemeral container in the pinned pod, under the step's own name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.diagnosis.create_heap_dump import CreateHeapDump, CreateHeapDumpParameters
from kubernaut.actions.diagnosis.enable_debug_mode import EnableDebugMode, EnableDebugModeParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Conflict, EffectFailed, StepError, Unfinished
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import container, context, deployment, pod, running, waiting
from unit.actions.fake import FakeCluster, Lost

debug, dump = EnableDebugMode(), CreateHeapDump()
TOOL = ["jattach", "$(PID)", "dumpheap", "$(FILE)"]
PINNED = {"name": "api-1", "uid": "uid-pod-api-1"}
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "dumps"}}


def wanted(**parameters: Any) -> EnableDebugModeParameters:
    return EnableDebugModeParameters.model_validate({"name": "api-1", "image": "busybox:1.37"} | parameters)


def dumped(**parameters: Any) -> CreateHeapDumpParameters:
    given = {"name": "api-1", "image": "tools/jattach:2", "directory": "/dumps/heap", "command": TOOL}
    return CreateHeapDumpParameters.model_validate(given | parameters)


def with_volume(volume: dict[str, Any] | None = None, **mount: Any) -> Manifest:
    made = pod()
    mounts = [{"name": "data", "mountPath": "/dumps", **mount}, {"name": "root", "mountPath": "/x"}]
    made["spec"] |= {"containers": [container(volumeMounts=mounts)], "volumes": [volume or CLAIM]}
    return made


def added(cluster: FakeCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.find("Pod", "api-1")["spec"].get("ephemeralContainers") or []
    return found


def tell(cluster: FakeCluster, state: dict[str, Any]) -> None:
    """Write the last ephemeral container's state, as the kubelet."""
    status = cluster.find("Pod", "api-1")["status"]
    told = [{"name": added(cluster)[-1]["name"], "state": state}]
    cluster.edit_status("Pod", "api-1", {**status, "ephemeralContainerStatuses": told})


@pytest.mark.parametrize("landed", [True, False])
async def test_it_is_put_there_once_and_is_done_when_it_runs(landed: bool) -> None:
    cluster = FakeCluster().add(pod())
    cluster.troubles["patch"] = [Lost(landed)]
    with pytest.raises(Unfinished, match="not running yet"):
        await debug.perform(cluster, context(intent=PINNED), wanted())
    tell(cluster, {"running": {"startedAt": "2026-03-01T12:00:01Z"}})
    first = await debug.perform(cluster, context(intent=PINNED), wanted())
    assert first == await debug.perform(cluster, context(intent=PINNED), wanted())
    assert first.acted
    (made,) = added(cluster)
    assert len(cluster.writes) == 1
    assert made["name"] == first.outputs["container"]
    assert made["targetContainerName"] == first.outputs["seesProcessesOf"] == "app"
    assert first.outputs["attach"] == f"kubectl exec -it -n shop api-1 -c {made['name']} -- sh"
    assert made["command"] == ["sleep", "1800"]
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


async def test_another_step_or_run_or_attempt_has_a_container_of_its_own() -> None:
    cluster = FakeCluster().add(pod())
    for one in (
        context(intent=PINNED),
        context(intent=PINNED, step="again"),
        context(intent=PINNED, run="run-2"),
        replace(context(intent=PINNED), attempt=2),
    ):
        await debug.perform(cluster, one, wanted(wait=False))
    names = {one["name"] for one in added(cluster)}
    assert len(names) == 4
    assert all(len(name) <= 63 for name in names)


async def test_one_that_another_writer_made_meanwhile_is_left_and_the_pod_read_again() -> None:
    cluster = FakeCluster().add(pod())
    other = {"name": "theirs", "image": "x"}
    cluster.troubles["patch"] = [
        lambda: cluster.edit("Pod", "api-1", {"spec": {"ephemeralContainers": [other]}}),
        Conflict("changed", status=409),
    ]
    await debug.perform(cluster, context(intent=PINNED), wanted(wait=False))
    assert added(cluster)[0]["name"] == "theirs"
    assert len(added(cluster)) == 2


async def test_it_runs_as_the_user_whose_processes_it_shall_see() -> None:
    made = pod()
    made["spec"] |= {"securityContext": {"runAsUser": 1000}}
    for own, asked, user in (
        (None, {}, 1000),
        (2000, {}, 2000),
        (2000, {"runAsUser": 3000}, 3000),
        (0, {}, 1000),
    ):
        made["spec"]["containers"] = [container(securityContext={} if own is None else {"runAsUser": own})]
        cluster = FakeCluster().add(made)
        await debug.perform(cluster, context(intent=PINNED), wanted(wait=False, **asked))
        assert added(cluster)[0]["securityContext"]["runAsUser"] == user


async def test_beside_a_container_that_does_not_run_it_stands_alone() -> None:
    cluster = FakeCluster().add(pod("api-1", waiting("CrashLoopBackOff", restarts=3)))
    done = await debug.perform(cluster, context(intent=PINNED), wanted(wait=False))
    assert "targetContainerName" not in added(cluster)[0]
    assert done.outputs["seesProcessesOf"] == ""


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"waiting": {"reason": "InvalidImageName", "message": "no"}}, "InvalidImageName: no"),
        (
            {"terminated": {"exitCode": 127, "reason": "StartError", "message": "no sleep"}},
            "StartError: no sleep",
        ),
    ],
)
async def test_one_that_can_not_run_fails_the_step(state: dict[str, Any], said: str) -> None:
    cluster = FakeCluster().add(pod())
    with pytest.raises(Unfinished):
        await debug.perform(cluster, context(intent=PINNED), wanted())
    tell(cluster, state)
    with pytest.raises(StepError, match=said) as caught:
        await debug.perform(cluster, context(intent=PINNED), wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    tell(cluster, {"waiting": {"reason": "ErrImagePull", "message": "registry is away"}})
    with pytest.raises(Unfinished, match="ErrImagePull"):
        await debug.perform(cluster, context(intent=PINNED), wanted())


async def test_one_that_has_ended_at_its_time_was_done() -> None:
    cluster = FakeCluster().add(pod())
    with pytest.raises(Unfinished):
        await debug.perform(cluster, context(intent=PINNED), wanted())
    tell(cluster, {"terminated": {"exitCode": 0, "reason": "Completed"}})
    assert (await debug.perform(cluster, context(intent=PINNED), wanted())).acted


@pytest.mark.parametrize("action", [debug, dump], ids=lambda action: action.name)
async def test_a_pod_that_is_gone_replaced_or_going_is_not_touched(action: Any) -> None:
    parameters = wanted() if action is debug else dumped()
    there = with_volume()
    changes: tuple[Manifest | None, ...] = (
        None,
        {"metadata": {"uid": "another"}},
        {"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}},
        {"status": {"phase": "Succeeded"}},
    )
    for change in changes:
        cluster = FakeCluster().add(there)
        if change is None:
            cluster.drop("Pod", "api-1")
        else:
            cluster.edit("Pod", "api-1", change)
        with pytest.raises(StepError) as caught:
            await action.perform(cluster, context(intent=PINNED), parameters)
        assert caught.value.reason in (Reason.TARGET_REPLACED, Reason.PRECONDITION_FAILED)
        assert cluster.writes == []


async def test_where_every_pod_is_healthy_nothing_is_done() -> None:
    target = deployment()
    cluster = FakeCluster().add(target, pod())
    given = EnableDebugModeParameters.model_validate({"unhealthy": True, "image": "busybox:1"})
    intent = await debug.prepare(cluster, context(target), given)
    done = await debug.perform(cluster, context(target, intent=intent), given)
    assert not done.acted
    assert set(done.outputs) == set(debug.outputs)
    assert cluster.writes == []


async def test_an_unknown_container_is_refused_before_anything_is_pinned() -> None:
    with pytest.raises(StepError, match="has no container db; it has app"):
        await debug.prepare(FakeCluster().add(pod()), context(), wanted(container="db"))


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"image": "busybox"}, "image"),
        ({"image": "registry:5000/busybox"}, "image"),
        ({"image": "busybox:latest"}, "image"),
        ({"expiresAfter": "59s"}, "expiresAfter"),
        ({"expiresAfter": "9h"}, "expiresAfter"),
        ({"runAsUser": 0}, "runAsUser"),
        ({"unhealthy": True}, ""),
    ],
)
def test_bad_input_is_refused_and_named(parameters: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        wanted(**parameters)
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [field]


def test_rights_are_on_the_pod_that_is_known() -> None:
    assert debug.rights(None, wanted()) == (
        Right("get", "", "pods", ("api-1",)),
        Right("patch", "", "pods/ephemeralcontainers", ("api-1",)),
    )


async def test_undo_says_that_it_can_not_be_removed() -> None:
    cluster = FakeCluster().add(pod())
    done = await debug.undo(cluster, context(intent=PINNED), wanted())
    assert not done.acted
    assert "can't be removed" in done.message
    assert cluster.requests == []


async def test_a_heap_goes_to_a_file_of_the_steps_own_on_a_volume() -> None:
    cluster = FakeCluster().add(with_volume())
    intent = await dump.prepare(cluster, context(), dumped())
    assert intent == PINNED
    with pytest.raises(Unfinished):
        await dump.perform(cluster, context(intent=PINNED), dumped())
    (made,) = added(cluster)
    file = f"/dumps/heap/{made['name']}.hprof"
    assert made["env"] == [
        {"name": "PID", "value": "1"},
        {"name": "FILE", "value": file},
        {"name": "ROOT", "value": "/proc/1/root"},
    ]
    assert made["command"] == TOOL
    tell(cluster, {"running": {}})
    with pytest.raises(Unfinished, match="at work"):
        await dump.perform(cluster, context(intent=PINNED), dumped())
    tell(cluster, {"terminated": {"exitCode": 0}})
    done = await dump.perform(cluster, context(intent=PINNED), dumped())
    assert (done.outputs["file"], done.outputs["volume"]) == (file, "claim/dumps")
    assert len(cluster.writes) == 1
    assert set(done.outputs) == set(dump.outputs)


async def test_a_tool_that_fails_fails_the_step_with_what_it_said() -> None:
    cluster = FakeCluster().add(with_volume())
    with pytest.raises(Unfinished):
        await dump.perform(cluster, context(intent=PINNED), dumped())
    tell(cluster, {"terminated": {"exitCode": 1, "reason": "Error", "message": "no space left\n"}})
    with pytest.raises(EffectFailed, match="exit code 1: Error: no space left") as caught:
        await dump.perform(cluster, context(intent=PINNED), dumped())
    assert caught.value.outputs["pod"] == "api-1"


@pytest.mark.parametrize(
    ("there", "parameters", "said"),
    [
        (with_volume(), {"directory": "/tmp"}, "mounts no volume at /tmp"),
        (with_volume(), {"directory": "/dumpster"}, "mounts no volume"),
        (with_volume(readOnly=True), {}, "read-only"),
        (with_volume({"name": "data", "configMap": {"name": "x"}}), {}, "kind configMap"),
        (with_volume({"name": "data", "emptyDir": {"medium": "Memory"}}), {}, "emptyDir of memory"),
    ],
)
async def test_where_a_dump_can_not_go_is_refused(there: Manifest, parameters: Any, said: str) -> None:
    cluster = FakeCluster().add(there)
    for attempt in (
        dump.prepare(cluster, context(), dumped(**parameters)),
        dump.perform(cluster, context(intent=PINNED), dumped(**parameters)),
    ):
        with pytest.raises(StepError, match=said) as caught:
            await attempt
        assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_an_empty_dir_is_named_as_such_and_a_container_that_does_not_run_has_no_heap() -> None:
    there = with_volume({"name": "data", "emptyDir": {}})
    cluster = FakeCluster().add(there)
    with pytest.raises(Unfinished):
        await dump.perform(cluster, context(intent=PINNED), dumped())
    tell(cluster, {"terminated": {"exitCode": 0}})
    assert (await dump.perform(cluster, context(intent=PINNED), dumped())).outputs[
        "volume"
    ] == "emptyDir/data"
    there["status"]["containerStatuses"] = [waiting("CrashLoopBackOff")]
    with pytest.raises(StepError, match="does not run"):
        await dump.perform(FakeCluster().add(there), context(intent=PINNED), dumped())


@pytest.mark.parametrize(
    "directory", ["dumps", "/dumps/../etc", "/dumps//x", "/", "/dumps/./x", "/dumps/a b"]
)
def test_odd_directories_are_refused(directory: str) -> None:
    with pytest.raises(ValidationError):
        dumped(directory=directory)


def test_nothing_in_a_container_can_come_from_a_secret() -> None:
    made = dump.plan(with_volume(), "x", "/dumps/x.hprof", dumped())
    assert "secret" not in json.dumps(made).lower()
    assert ObjectRef.of(with_volume()).name == "api-1"
    assert running()["ready"]
