"""Probes: whether an effect is there and helped, by what the cluster shows, and Unknown where it shows nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions.objects import resource_of
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import marker_annotation
from kubernaut.core.acted import ask
from kubernaut.core.action import Action, Done, StepContext
from kubernaut.core.marker import Signer, Unchecked
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.probing import Answer, Listing
from unit.actions.builders import (
    container,
    context,
    deployment,
    node,
    pod,
    replica_set,
    running,
    template,
    waiting,
    workload,
)
from unit.actions.fake import FakeCluster

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN
REGISTRY = ActionRegistry(installed=False)


def made(name: str, given: Mapping[str, Any]) -> tuple[Action[Any], Any]:
    action = REGISTRY.get(name)
    return action, action.parameters.model_validate(dict(given))


class Step:
    """A step as the engine has it: prepared, performed, undone, and probed in between."""

    def __init__(
        self, cluster: FakeCluster, name: str, target: Manifest | None = None, /, **given: Any
    ) -> None:
        self.cluster = cluster
        self.action, self.parameters = made(name, given)
        self.context: StepContext = context(target)

    async def prepare(self) -> Step:
        intent = await self.action.prepare(self.cluster, self.context, self.parameters)
        self.context = replace(self.context, intent=intent)
        return self

    async def perform(self) -> Done:
        done = await self.action.perform(self.cluster, self.context, self.parameters)
        self.context = replace(self.context, done=done)
        return done

    async def undo(self) -> Done:
        return await self.action.undo(self.cluster, self.context, self.parameters)

    async def told(self) -> tuple[Answer, Answer]:
        probed = await ask(self.action, self.cluster, self.context, self.parameters)
        return probed.happened, probed.helped

    async def evidence(self) -> str:
        return (await ask(self.action, self.cluster, self.context, self.parameters)).evidence


def well(cluster: FakeCluster, kind: str = "Deployment", name: str = "api", replicas: int = 2) -> None:
    generation = cluster.find(kind, name)["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    cluster.edit_status(kind, name, {"observedGeneration": generation, **counts})


# What is marked


async def test_a_marked_change_is_there_once_made_and_helped_once_the_workload_fares_well() -> None:
    cluster = FakeCluster().add(deployment(replicas=2))
    step = Step(cluster, "scale_deployment", replicas=3, autoscaler="Ignore")
    assert await step.told() == (NO, NO)
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    cluster.edit_status("Deployment", "api", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3})
    assert await step.told() == (YES, NO)
    well(cluster, replicas=3)
    assert await step.told() == (YES, YES)
    assert await step.evidence() == (
        "Deployment shop/api carries the mark of step repair (spec.replicas); Deployment shop/api: all of 3 replicas "
        "fare well (status)"
    )
    await step.undo()
    assert await step.told() == (NO, NO)
    assert "was put back" in await step.evidence()


@pytest.mark.parametrize("how", ["made anew", "being deleted"])
async def test_a_target_that_went_since_says_nothing_of_whether_it_helped(how: str) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop", "uid": "u"},
    }
    cluster = FakeCluster().add(deployment(replicas=2), config)
    step = Step(
        cluster, "patch_resource", apiVersion="v1", kind="ConfigMap", name="c", patch={"data": {"a": "b"}}
    )
    await step.perform()
    well(cluster)
    assert await step.told() == (YES, YES)
    changed = {"uid": "another"} if how == "made anew" else {"deletionTimestamp": "2026-03-01T00:00:00Z"}
    cluster.find("Deployment", "api")["metadata"].update(changed)
    assert await step.told() == (YES, UNKNOWN)
    assert how in await step.evidence()


async def test_what_somebody_changed_since_is_told_and_not_judged() -> None:
    cluster = FakeCluster().add(deployment(replicas=2))
    step = Step(cluster, "scale_deployment", replicas=3, autoscaler="Ignore")
    await step.perform()
    cluster.edit("Deployment", "api", {"spec": {"replicas": 5}})
    well(cluster, replicas=5)
    assert await step.told() == (YES, UNKNOWN)
    assert "spec.replicas was changed since" in await step.evidence()


async def test_a_mark_that_went_says_nothing_of_a_step_that_is_known_to_have_acted() -> None:
    cluster = FakeCluster().add(deployment())
    step = Step(cluster, "scale_deployment", replicas=3, autoscaler="Ignore")
    await step.perform()
    cluster.edit("Deployment", "api", {"metadata": {"annotations": {marker_annotation("run-1"): None}}})
    assert await step.told() == (UNKNOWN, UNKNOWN)
    step.context = replace(step.context, done=None)
    assert await step.told() == (NO, NO)
    cluster.drop("Deployment", "api")
    assert await step.told() == (NO, NO)


async def test_an_object_that_was_made_anew_is_without_the_change_for_certain() -> None:
    cluster = FakeCluster().add(deployment())
    step = Step(cluster, "scale_deployment", replicas=3, autoscaler="Ignore")
    await step.perform()
    cluster.drop("Deployment", "api")
    assert await step.told() == (UNKNOWN, UNKNOWN)
    again = deployment()
    again["metadata"]["uid"] = "another"
    cluster.add(again)
    assert await step.told() == (NO, NO)
    assert await step.evidence() == "Deployment shop/api was made anew since, without the change"


async def test_a_forged_mark_and_a_refused_read_are_unknown_and_say_so() -> None:
    cluster = FakeCluster().add(deployment())
    step = Step(cluster, "scale_deployment", replicas=3, autoscaler="Ignore")
    await step.perform()
    step.context = replace(step.context, signer=Signer(b"another"))
    assert await step.told() == (UNKNOWN, UNKNOWN)
    assert "did not sign" in await step.evidence()
    # Who has no key takes the signature for good.
    step.context = replace(step.context, signer=Unchecked(b""))
    assert (await step.told())[0] is YES
    cluster.forbidden.add("get Deployment")
    assert await step.told() == (UNKNOWN, UNKNOWN)
    assert "lacks verb get" in await step.evidence()


async def test_a_rollback_is_known_by_the_digest_of_its_template() -> None:
    good, bad = template(container(image="shop/api:1")), template(container(image="shop/api:2"))
    cluster = FakeCluster().add(deployment(pod=bad), replica_set(1, good, available=1), replica_set(2, bad))
    step = Step(cluster, "rollback_deployment")
    await step.perform()
    well(cluster)
    assert await step.told() == (YES, YES)
    cluster.edit("Deployment", "api", {"spec": {"template": bad}})
    assert await step.told() == (YES, UNKNOWN)


async def test_what_has_no_status_of_its_own_is_judged_by_the_runs_target() -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"a": "1"}}
    cluster = FakeCluster().add(deployment(), settings)
    step = Step(cluster, "restore_configmap", cluster.find("Deployment", "api"), name="s", values={"a": "2"})
    await step.perform()
    assert (await step.told())[0] is YES
    well(cluster)
    assert await step.told() == (YES, YES)
    alone = Step(cluster, "restore_configmap", cluster.find("ConfigMap", "s"), values={"a": "2"})
    assert await alone.told() == (YES, UNKNOWN)


@pytest.mark.parametrize(
    ("name", "spec", "given"),
    [
        ("cordon_node", {}, {"minSchedulable": 0}),
        ("uncordon_node", {"unschedulable": True}, {}),
        ("taint_node", {}, {"key": "a.b/c", "minSchedulable": 0}),
        ("untaint_node", {"taints": [{"key": "a.b/c", "effect": "NoSchedule"}]}, {"key": "a.b/c"}),
    ],
)
async def test_a_node_is_helped_as_long_as_the_field_is_as_set(
    name: str, spec: dict[str, Any], given: dict[str, Any]
) -> None:
    cluster = FakeCluster().add(node(**spec))
    step = Step(cluster, name, cluster.find("Node", "n1", ""), **given)
    assert await step.told() == (NO, NO)
    await step.perform()
    assert await step.told() == (YES, YES)
    others = [{"key": "other", "effect": "NoSchedule"}]
    cluster.edit(
        "Node",
        "n1",
        {"spec": {"taints": [*cluster.find("Node", "n1", "")["spec"].get("taints", []), *others]}},
        "",
    )
    assert await step.told() == (YES, YES)
    back = {"unschedulable": spec.get("unschedulable"), "taints": spec.get("taints")}
    cluster.edit("Node", "n1", {"spec": back}, "")
    assert await step.told() == (YES, UNKNOWN)


async def test_a_drain_helped_once_no_pod_is_left_that_has_to_leave() -> None:
    one = pod("api-1")
    one["spec"]["nodeName"] = "n1"
    cluster = FakeCluster(linger=False).add(node(), one)
    step = Step(cluster, "drain_node", cluster.find("Node", "n1", ""), minSchedulable=0)
    await step.perform()
    assert await step.told() == (YES, YES)
    cluster.add(one)
    assert await step.told() == (YES, NO)


async def test_a_cronjob_is_helped_by_its_field_alone() -> None:
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"schedule": "* * * * *"},
    }
    cluster = FakeCluster().add(cron)
    step = Step(cluster, "suspend_cronjob", cluster.find("CronJob", "c"))
    await step.perform()
    assert await step.told() == (YES, YES)
    cluster.edit("CronJob", "c", {"spec": {"suspend": False}})
    assert await step.told() == (YES, UNKNOWN)


async def test_a_claim_is_helped_once_its_capacity_is_there() -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "d"},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
    }
    cluster = FakeCluster().add(claim)
    step = Step(cluster, "expand_pvc", cluster.find("PersistentVolumeClaim", "d"), size="2Gi")
    await step.perform()
    assert await step.told() == (YES, NO)
    cluster.edit_status("PersistentVolumeClaim", "d", {"phase": "Bound", "capacity": {"storage": "2Gi"}})
    assert await step.told() == (YES, YES)


async def test_an_autoscaler_is_not_helped_while_its_maximum_holds_it_back() -> None:
    def scaling(reason: str, replicas: int) -> Manifest:
        held = {"type": "ScalingLimited", "status": "True", "reason": reason}
        able = [{"type": one, "status": "True"} for one in ("AbleToScale", "ScalingActive")]
        return {"observedGeneration": 9, "currentReplicas": replicas, "conditions": [*able, held]}

    spec = {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    meta = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}}
    cluster = FakeCluster().add({**meta, "spec": spec})
    step = Step(cluster, "update_hpa", cluster.find("HorizontalPodAutoscaler", "h"), maxReplicas=5)
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    cluster.edit_status("HorizontalPodAutoscaler", "h", scaling("TooManyReplicas", 5))
    assert await step.told() == (YES, NO)
    cluster.edit_status("HorizontalPodAutoscaler", "h", scaling("DesiredWithinRange", 4))
    assert await step.told() == (YES, YES)


async def test_a_rotation_is_there_where_the_secret_and_every_workload_carry_the_mark() -> None:
    uses = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "key"}}}]
    cluster = FakeCluster().add(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}, "data": {"key": "b2xk"}},
        deployment(pod=template(container(env=uses))),
    )
    step = Step(
        cluster, "rotate_secrets", cluster.find("Secret", "k"), keys=["key"], restart=[{"name": "api"}]
    )
    assert await step.told() == (NO, NO)
    await step.perform()
    well(cluster)
    assert await step.told() == (YES, YES)
    told = await step.evidence()
    assert "b2xk" not in told
    assert cluster.find("Secret", "k")["data"]["key"] not in told
    cluster.edit("Deployment", "api", {"metadata": {"annotations": {marker_annotation("run-1"): None}}})
    assert await step.told() == (UNKNOWN, UNKNOWN)
    step.context = replace(step.context, done=None)
    assert await step.told() == (NO, NO)


# What is gone


async def test_a_pod_is_restarted_once_its_uid_is_gone_and_that_helped_once_the_target_fares_well() -> None:
    cluster = FakeCluster(linger=False).add(
        deployment(), pod("api-1", waiting("CrashLoopBackOff"), ready=False)
    )
    target = cluster.find("Deployment", "api")
    step = await Step(cluster, "restart_pod", target, unhealthy=True).prepare()
    assert await step.told() == (NO, NO)
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    well(cluster)
    assert await step.told() == (YES, YES)
    again = pod("api-1", running())
    again["metadata"]["uid"] = "another"
    cluster.add(again)
    assert await step.told() == (YES, YES)


async def test_a_pod_that_is_quarantined_carries_the_mark_and_its_own_health_proves_nothing() -> None:
    one = pod("api-1")
    rs = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "api-1", "uid": "uid-rs-1"},
        "spec": {"selector": {"matchLabels": {"app": "api"}}},
    }
    cluster = FakeCluster().add(one, rs, deployment())
    step = await Step(cluster, "quarantine_pod", cluster.find("Pod", "api-1")).prepare()
    assert await step.told() == (NO, NO)
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    step.context = replace(step.context, target=ObjectRef("apps/v1", "Deployment", "shop", "api"))
    well(cluster)
    assert await step.told() == (YES, YES)
    await step.undo()
    assert await step.told() == (NO, NO)


async def test_a_job_is_deleted_once_its_uid_is_gone_and_whether_that_helped_is_unknown() -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {}}
    cluster = FakeCluster(linger=False).add(job)
    step = await Step(cluster, "delete_job", cluster.find("Job", "j")).prepare()
    assert await step.told() == (NO, NO)
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    assert (await step.evidence()).startswith("gone, by UID: Job shop/j; ")


async def test_cleaning_up_is_there_once_all_that_was_chosen_is_gone() -> None:
    old = [pod(f"old-{at}", phase="Failed", controlled=False, startTime="x") for at in range(2)]
    for one in old:
        one["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        one["status"] = {"phase": "Failed"}
    cluster = FakeCluster(linger=False).add(*old)
    step = await Step(cluster, "cleanup_storage").prepare()
    cluster.drop("Pod", "old-0")
    assert await step.told() == (NO, NO)
    assert await step.evidence() == "still there, by UID: Pod shop/old-1"
    await step.perform()
    assert await step.told() == (YES, UNKNOWN)


async def test_what_undo_made_anew_is_not_gone_any_more() -> None:
    quota: Manifest = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "0"}},
    }
    cluster = FakeCluster(linger=False).add(quota, deployment())
    given = {"apiVersion": "v1", "kind": "ResourceQuota", "name": "q"}
    step = await Step(cluster, "delete_resource", cluster.find("Deployment", "api"), **given).prepare()
    assert await step.told() == (NO, NO)
    await step.perform()
    well(cluster)
    assert await step.told() == (YES, YES)
    await step.undo()
    assert await step.told() == (NO, NO)
    step.context = replace(step.context, signer=Unchecked(b""))
    assert await step.told() == (NO, NO)
    cluster.drop("ResourceQuota", "q")
    other = copy.deepcopy(quota)
    other["metadata"]["uid"] = "somebody else's"
    cluster.add(other)
    assert (await step.told())[0] is YES


# What was created, and what nothing tells of


async def test_a_job_of_the_step_helped_once_it_has_completed_and_is_unknown_once_it_is_gone() -> None:
    cluster = FakeCluster().add(deployment())
    step = Step(cluster, "run_job", image="tools:1", tailLines=0)
    assert await step.told() == (NO, NO)
    done = await step.perform()
    assert done.awaits is not None
    assert await step.told() == (YES, UNKNOWN)
    for kind, helped in (("Complete", YES), ("Failed", NO)):
        cluster.edit_status("Job", done.awaits.name, {"conditions": [{"type": kind, "status": "True"}]})
        assert await step.told() == (YES, helped)
    cluster.drop("Job", done.awaits.name)
    assert await step.told() == (UNKNOWN, UNKNOWN)


async def test_an_ephemeral_container_is_there_under_its_name_and_helps_while_it_runs() -> None:
    cluster = FakeCluster().add(pod("api-1"))
    step = Step(cluster, "enable_debug_mode", cluster.find("Pod", "api-1"), image="busybox:1", wait=False)
    await step.prepare()
    assert await step.told() == (NO, NO)
    done = await step.perform()
    assert await step.told() == (YES, UNKNOWN)
    for state, helped in (({"running": {}}, YES), ({"terminated": {"exitCode": 0}}, NO)):
        told = [{"name": done.outputs["container"], "state": state}]
        cluster.edit_status("Pod", "api-1", {"phase": "Running", "ephemeralContainerStatuses": told})
        assert await step.told() == (YES, helped)
    step.context = replace(step.context, signer=Unchecked(b""))
    assert (await step.told())[0] is YES
    cluster.drop("Pod", "api-1")
    assert await step.told() == (UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("http_request", {"url": "https://example.com"}),
        ("silence_alert", {"matchers": [{"name": "alertname", "value": "A"}], "duration": "5m"}),
        ("notify_only", {"message": "hello"}),
        ("select_objects", {"apiVersion": "v1", "kind": "Pod", "labelSelector": "a=b"}),
        ("collect_diagnostics", {}),
    ],
)
async def test_of_what_leaves_nothing_on_the_cluster_nothing_is_claimed_and_nothing_read(
    name: str, given: dict[str, Any]
) -> None:
    cluster = FakeCluster()
    step = Step(cluster, name, **given)
    assert await step.told() == (UNKNOWN, UNKNOWN)
    assert cluster.requests == []


# All of them

_INTENT: Mapping[str, Any] = {
    "name": "it", "uid": "u", "secret": "", "digest": "", "objects": ["Pod/it/u"], "revision": 2, "to": "b",
    "at": "x",
    "instance": "b", "pod": "u", "claims": [{"name": "c", "uid": "u"}], "apiVersion": "v1", "kind": "ResourceQuota",
    "namespace": "shop",
}  # fmt: skip


@pytest.mark.parametrize("action", list(REGISTRY), ids=lambda one: one.name)
async def test_a_probe_reads_no_more_than_the_action_may_and_its_page_says_what(action: Action[Any]) -> None:
    parameters = action.parameters.model_validate(getattr(action, "example", {}))
    api_version, kind = getattr(action, "workload", ("apps/v1", "Deployment"))
    target = workload("Deployment") | {"apiVersion": api_version, "kind": kind}
    target = node() if action.name.endswith("_node") else target
    of_step = replace(context(target), intent=_INTENT)
    given = {(one.verb, one.group, one.resource) for one in action.rights(of_step.target, parameters)}
    for look in action.looks_at(of_step, parameters):
        verb = "list" if isinstance(look, Listing) else "get"
        group = look.api_version.rpartition("/")[0]
        is_target = isinstance(look, ObjectRef) and replace(look, uid="") == replace(of_step.target, uid="")
        assert is_target or (verb, group, resource_of(look.kind)) in given, look
    assert (type(action).probe.__doc__ or "").count("Unknown") + (type(action).probe.__doc__ or "").count(
        "helped"
    )
