"""Ephemeral containers on a real kubelet, in a namespace of the Pod Security Standard `restricted`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from apiserver.acting import Place, actor, await_true
from kubernaut.actions.diagnosis import ephemeral
from kubernaut.actions.registry import ActionRegistry
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import EffectFailed, StepError, Unfinished
from kubernaut.core.ports import Cluster as Port
from kubernaut.core.ports import Manifest
from localcluster import Cluster
from node.placing import placed

DEBUG, DUMP = (ActionRegistry().get(name) for name in ("enable_debug_mode", "create_heap_dump"))
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def place(restricted: Place) -> Place:
    """One that has Pod Security enforced."""
    return restricted


def running_pod(cluster: Cluster, place: Place) -> Manifest:
    """Return a pod that runs, as user 1000, with a process to look at and a volume to write to."""
    app = {
        "name": "app",
        "image": cluster.real_image("busybox"),
        "command": ["sh", "-c", "SECRET_MEMORY=4711 exec sleep 1000"],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "dumps", "mountPath": "/dumps"}],
    }
    spec = {
        "containers": [app],
        "volumes": [{"name": "dumps", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"fsGroup": 1000},
    }
    place.create("v1", "pods", {"metadata": {"name": "api"}, "spec": spec})
    await_true(
        lambda: place.get("v1", "pods", "api").get("status", {}).get("phase") == "Running",
        "it does not run",
        120,
    )
    found = place.get("v1", "pods", "api")
    return {"apiVersion": "v1", "kind": "Pod", **found}


async def begun(place: Place, target: Manifest, action: Any, parameters: Any) -> tuple[Port, StepContext]:
    context = place.context(target)
    account = place.account(action.rights(context.target, parameters))
    return account, replace(context, intent=await action.prepare(account, context, parameters))


async def performed(action: Any, account: Port, context: StepContext, parameters: Any) -> Done:
    async with asyncio.timeout(120):
        while True:
            try:
                done: Done = await action.perform(account, context, parameters)
            except Unfinished:
                await asyncio.sleep(0.2)
            else:
                return done


def executed(cluster: Cluster, place: Place, container: str, *command: str) -> str:
    return cluster.run_kubectl("exec", "-n", place.namespace, "api", "-c", container, "--", *command)


async def processes_are_seen_until_it_ends_by_itself(cluster: Cluster, place: Place) -> None:
    target = running_pod(cluster, place)
    parameters = DEBUG.parameters.model_validate(
        {"image": cluster.real_image("busybox"), "expiresAfter": "1m"}
    )
    account, context = await begun(place, target, DEBUG, parameters)
    done = await performed(DEBUG, account, context, parameters)
    name = str(done.outputs["container"])
    assert done.outputs["seesProcessesOf"] == "app"
    seen = executed(
        cluster,
        place,
        name,
        "sh",
        "-c",
        "tr '\\0' ' ' < /proc/1/cmdline; tr '\\0' ' ' < /proc/1/environ; id -u",
    )
    assert "sleep 1000" in seen
    assert "SECRET_MEMORY=4711" in seen
    assert "1000" in seen.split()
    again = await performed(DEBUG, account, context, parameters)
    assert again.outputs == done.outputs
    pod = place.get("v1", "pods", "api")
    assert len(pod["spec"]["ephemeralContainers"]) == 1
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    await_true(
        lambda: ephemeral.state(place.get("v1", "pods", "api"), name).exit_code == 0, "it did not end", 120
    )
    assert not (await DEBUG.undo(account, context, parameters)).acted


@pytest.fixture(scope="session")
def expiring(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[None]]:
    """The shortest life that a debugging container may have is a minute: it passes beside the other tests."""
    acting = actor(cluster, tmp_path_factory.mktemp("actor"))

    async def expire() -> None:
        async with placed(cluster, acting, {"pod-security.kubernetes.io/enforce": "restricted"}) as place:
            await processes_are_seen_until_it_ends_by_itself(cluster, place)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(asyncio.run, expire())


@pytest.fixture(autouse=True)
def begun_early(expiring: Future[None]) -> None:
    """Begin with the first test here, whichever that is."""


@pytest.mark.late
def test_people_see_the_processes_until_it_ends_by_itself(expiring: Future[None]) -> None:
    expiring.result(180)


async def test_an_image_without_the_tool_fails_the_step(cluster: Cluster, place: Place) -> None:
    target = running_pod(cluster, place)
    given = {"image": cluster.real_image("busybox"), "directory": "/dumps", "command": ["jattach", "$(PID)"]}
    parameters = DUMP.parameters.model_validate(given)
    account, context = await begun(place, target, DUMP, parameters)
    with pytest.raises(StepError, match="jattach"):
        await performed(DUMP, account, context, parameters)


async def test_a_tool_beside_the_process_leaves_its_dump_on_the_volume_once(
    cluster: Cluster, place: Place
) -> None:
    """The tool is a stand-in for one of a runtime: it reads the process, and writes where that one would."""
    target = running_pod(cluster, place)
    script = "cat /proc/$PID/environ > $ROOT$FILE && echo done >> $ROOT/dumps/times"
    parameters = DUMP.parameters.model_validate(
        {
            "image": cluster.real_image("busybox"),
            "directory": "/dumps",
            "extension": "txt",
            "command": ["sh", "-c", script],
        }
    )
    account, context = await begun(place, target, DUMP, parameters)
    first = await performed(DUMP, account, context, parameters)
    assert first == await performed(DUMP, account, context, parameters)
    assert first.outputs["volume"] == "emptyDir/dumps"
    assert "SECRET_MEMORY=4711" in executed(cluster, place, "app", "cat", str(first.outputs["file"]))
    assert executed(cluster, place, "app", "cat", "/dumps/times") == "done\n"


async def test_a_tool_that_fails_is_told_in_its_own_words(cluster: Cluster, place: Place) -> None:
    target = running_pod(cluster, place)
    parameters = DUMP.parameters.model_validate(
        {
            "image": cluster.real_image("busybox"),
            "directory": "/dumps",
            "command": ["sh", "-c", "echo no such process: $(PID); exit 3"],
        }
    )
    account, context = await begun(place, target, DUMP, parameters)
    with pytest.raises(EffectFailed, match="exit code 3: Error: no such process: 1"):
        await performed(DUMP, account, context, parameters)
