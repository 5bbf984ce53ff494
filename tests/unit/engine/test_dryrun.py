"""Dry runs: every change is only checked, a refusal is told as one, and a lost answer leaves no doubt."""

from __future__ import annotations

import copy

import pytest

from kubernaut.actions.workloads.scale import ScaleDeployment, ScaleWorkloadParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done
from kubernaut.core.errors import (
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    StepError,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.ports import ObjectRef
from kubernaut.core.run import Hold
from kubernaut.engine.dryrun import DryRunCluster, as_dry_run
from kubernaut.engine.gated import GatedCluster
from kubernaut.engine.live import LiveRun
from kubernaut.engine.reach import Reach
from unit.actions.builders import context, deployment
from unit.actions.fake import FakeCluster
from unit.engine.world import World

REF = ObjectRef("apps/v1", "Deployment", "shop", "api", "uid-deployment-api")
SCALE, FIVE = ScaleDeployment(), ScaleWorkloadParameters(replicas=5)


async def test_an_action_tells_its_diff_and_changes_nothing() -> None:
    cluster = FakeCluster().add(deployment())
    before = copy.deepcopy(cluster.objects)
    done = as_dry_run(await SCALE.perform(DryRunCluster(cluster), context(), FIVE))
    assert done.changed == ("Deployment shop/api: spec.replicas: 2 -> 5",)
    assert not done.acted
    assert done.message.startswith("dry run, nothing was changed: ")
    assert cluster.objects == before
    assert (cluster.writes, cluster.requests[-1]) == ([], "dry-run Deployment api")


async def test_every_kind_of_change_is_a_dry_run() -> None:
    cluster = FakeCluster().add(deployment())
    dry, before = DryRunCluster(cluster), copy.deepcopy(cluster.objects)
    version = cluster.find("Deployment", "api")["metadata"]["resourceVersion"]
    await dry.patch(REF, {"spec": {"replicas": 3}}, resource_version=version)
    await dry.patch(REF, {"status": {"replicas": 3}}, resource_version=version, subresource="status")
    await dry.create(deployment("other") | {"metadata": {"name": "other", "namespace": "shop"}})
    await dry.delete(REF, uid=REF.uid)
    await dry.evict(REF, uid=REF.uid)
    assert {request.split()[0] for request in cluster.requests} == {"dry-run"}
    assert cluster.objects == before


@pytest.mark.parametrize(
    "error",
    [
        Invalid("replicas: must be at least 0", status=422),
        Forbidden("may not patch deployments", status=403),
        ClusterError("exceeded quota", status=403, reason=Reason.REJECTED),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_api_server_refuses_is_told_as_what_would_be_refused(error: ClusterError) -> None:
    cluster = FakeCluster(troubles={"dry-run": [error]}).add(deployment())
    with pytest.raises(type(error), match=f"the change would be refused: {error}") as caught:
        await SCALE.perform(DryRunCluster(cluster), context(), FIVE)
    assert (caught.value.reason, caught.value.status) == (error.reason, error.status)


@pytest.mark.parametrize("error", [Unavailable("away"), TooManyRequests("slow down", status=429)])
async def test_a_server_that_is_away_refuses_nothing(error: ClusterError) -> None:
    cluster = FakeCluster(troubles={"dry-run": [error]}).add(deployment())
    with pytest.raises(type(error)) as caught:
        await SCALE.perform(DryRunCluster(cluster), context(), FIVE)
    assert "would be refused" not in str(caught.value)
    assert caught.value.transient


async def test_a_lost_answer_leaves_no_doubt() -> None:
    cluster = FakeCluster(troubles={"dry-run": [UnknownOutcome("lost")]}).add(deployment())
    with pytest.raises(Unavailable):
        await SCALE.perform(DryRunCluster(cluster), context(), FIVE)


async def test_a_conflict_is_read_and_decided_anew() -> None:
    cluster = FakeCluster(troubles={"dry-run": [Conflict("changed", status=409)]}).add(deployment())
    done = await SCALE.perform(DryRunCluster(cluster), context(), FIVE)
    assert done.changed
    assert cluster.requests.count("dry-run Deployment api") == 2


async def test_what_changes_nothing_anyway_is_told_as_it_is() -> None:
    done = Done(False, "nothing to do")
    assert as_dry_run(done) is done


STOPPED = Hold(Reason.STOPPED, "Acting is stopped: stopped by ann: too noisy.")


def dry_run(world: World) -> LiveRun:
    world.workflow({"name": "one", "action": "scale_deployment", "with": {"replicas": 5}})
    world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.edit("WorkflowExecution", "run", {"spec": {"dryRun": True}})
    return world.take_up()


@pytest.mark.looptime
async def test_a_stop_ends_acting_and_no_dry_run() -> None:
    world = World()
    world.hold = STOPPED
    await world.reconciler().reconcile(dry_run(world))
    assert world.stored()["phase"] == "Succeeded"
    assert world.stored()["steps"][0]["changed"] == ["Deployment shop/web: spec.replicas: 1 -> 5"]
    assert "patch Deployment shop/web" not in world.cluster.written()


@pytest.mark.looptime
@pytest.mark.parametrize("reason", [Reason.POLICIES_MISSING, Reason.LEASE_LOST])
async def test_whatever_else_holds_runs_holds_dry_runs_too(reason: Reason) -> None:
    world = World()
    world.hold = Hold(reason, "not now")
    await world.reconciler().reconcile(dry_run(world))
    assert world.stored().get("phase", "Pending") == "Pending"
    assert "dry-run Deployment web" not in world.cluster.requests


async def test_during_a_stop_nothing_but_the_dry_requests_of_a_dry_run_is_sent() -> None:
    cluster = FakeCluster().add(deployment())
    version = cluster.find("Deployment", "api")["metadata"]["resourceVersion"]
    body = {"spec": {"replicas": 3}}
    beyond = Reach(cluster).demand
    dry, real = (GatedCluster(cluster, lambda: STOPPED, "shop", beyond, dry=dry) for dry in (True, False))
    await dry.patch(REF, body, resource_version=version, dry_run=True)
    for gated, only_checked in ((dry, False), (real, True), (real, False)):
        with pytest.raises(StepError, match="was not sent: Acting is stopped"):
            await gated.patch(REF, body, resource_version=version, dry_run=only_checked)
        with pytest.raises(StepError, match="was not sent: Acting is stopped"):
            await gated.apply(deployment(), uid="u", resource_version="1", manager="m", dry_run=only_checked)
        with pytest.raises(StepError, match="was not sent: Acting is stopped"):
            await gated.create(deployment("other"), dry_run=only_checked)
        with pytest.raises(StepError, match="was not sent: Acting is stopped"):
            await gated.delete(REF, uid=REF.uid, dry_run=only_checked)
        with pytest.raises(StepError, match="was not sent: Acting is stopped"):
            await gated.evict(REF, uid=REF.uid, dry_run=only_checked)
    assert cluster.requests == ["dry-run Deployment api"]
