"""run_job on a real node: exit codes, logs, Secrets, and Jobs that are stopped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import RUN
from kubernaut.actions.jobs.job_spec import RunJobParameters
from kubernaut.actions.jobs.run_job import RunJob
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import EffectFailed
from kubernaut.core.ports import Cluster as Port
from kubernaut.core.ports import ObjectRef
from localcluster import Cluster

pytestmark = pytest.mark.usefixtures("kinds")
run = RunJob()


@pytest.fixture
def place(restricted: Place) -> Place:
    """One that has Pod Security enforced."""
    return restricted


def wanted(cluster: Cluster, script: str, **more: Any) -> RunJobParameters:
    given = {"image": cluster.real_image("busybox"), "command": ["sh", "-c", script], "runAsUser": 1000}
    return RunJobParameters.model_validate(given | more)


def begun(place: Place, parameters: RunJobParameters) -> tuple[Port, StepContext]:
    """Return an account with just the rights that are told, and a step of a run that exists."""
    owner = place.create(API_VERSION, "workflowexecutions", RUN)
    target = place.create("v1", "configmaps", {"metadata": {"name": "settings"}})
    target |= {"apiVersion": "v1", "kind": "ConfigMap"}
    account = place.account(run.rights(ObjectRef.of(target), parameters))
    context = place.context(
        target,
        run_uid=owner["metadata"]["uid"],
        account="repair-1",
        deadline=datetime.now(UTC) + timedelta(minutes=3),
    )
    return account, context


async def performed(place: Place, parameters: RunJobParameters) -> Done:
    """Run a Job to its end, as the engine does."""
    account, context = begun(place, parameters)
    first = await run.perform(account, context, parameters)
    assert first.awaits is not None
    async with asyncio.timeout(120):
        async for seen in account.watch(first.awaits):
            if seen is None or run.ended(seen):
                break
    assert len(place.items("batch/v1", "jobs")) == 1
    return await run.perform(account, replace(context, intent={"uid": first.awaits.uid}), parameters)


async def test_its_exit_code_and_log_are_kept_and_secrets_come_by_reference(
    cluster: Cluster, place: Place
) -> None:
    secret = {"metadata": {"name": "db"}, "stringData": {"password": "canary-7"}}
    place.create("v1", "secrets", secret)
    env = [
        {"name": "LEVEL", "value": "info"},
        {"name": "DB_PASSWORD", "secretKeyRef": {"name": "db", "key": "password"}},
    ]
    script = (
        'echo "level $LEVEL, ${#DB_PASSWORD} characters, user $(id -u)"; ls /var/run/secrets 2>&1 || true'
    )
    done = await performed(place, wanted(cluster, script, env=env))
    (pod,) = place.items("v1", "pods")
    assert (done.outputs["exitCode"], done.outputs["pod"]) == (0, pod["metadata"]["name"])
    told = str(done.outputs["log"])
    assert told.startswith("level info, 8 characters, user 1000\n")
    assert "No such file" in told, "a token was mounted"
    assert "canary-7" not in repr((done, place.items("batch/v1", "jobs")))
    assert pod["spec"]["serviceAccountName"] == "repair-1"


async def test_a_script_that_fails_runs_once_and_tells_how(cluster: Cluster, place: Place) -> None:
    with pytest.raises(EffectFailed, match="with exit code 3") as caught:
        await performed(place, wanted(cluster, "echo disk full; exit 3"))
    assert caught.value.reason is Reason.JOB_FAILED
    assert (caught.value.outputs["exitCode"], caught.value.outputs["log"]) == (3, "disk full\n")
    assert len(place.items("v1", "pods")) == 1


async def test_an_image_that_would_run_as_root_never_does(cluster: Cluster, place: Place) -> None:
    parameters = wanted(cluster, "echo ran", runAsUser=None, activeDeadlineSeconds=3)
    with pytest.raises(EffectFailed, match="DeadlineExceeded") as caught:
        await performed(place, parameters)
    assert caught.value.outputs["exitCode"] is None


async def test_a_job_that_is_stopped_leaves_no_pod(cluster: Cluster, place: Place) -> None:
    parameters = wanted(cluster, "trap exit TERM; sleep 1000 & wait")
    account, context = begun(place, parameters)
    first = await run.perform(account, context, parameters)
    assert first.awaits is not None

    def running() -> bool:
        return [pod["status"].get("phase") for pod in place.items("v1", "pods")] == ["Running"]

    await_true(running, "the Job's pod does not run")
    step = replace(context, intent={"uid": first.awaits.uid})
    assert (await run.undo(account, step, parameters)).acted
    await_true(lambda: not place.items("v1", "pods"), "the pod was left behind")
    assert not place.items("batch/v1", "jobs")
    assert not (await run.undo(account, step, parameters)).acted
