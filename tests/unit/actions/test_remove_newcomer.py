"""remove_newcomer: exactly one suspect, shown to block, guarded, removed once, made anew."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.remove_newcomer import RemoveNewcomer, RemoveNewcomerParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import NOW, context, deployment, node, pod, workload
from unit.actions.fake import FakeCluster, Lost
from unit.actions.once import content

remove = RemoveNewcomer()
EXCEEDED = (
    'pods "api-1-x" is forbidden: exceeded quota: tight, requested: pods=1, used: pods=0, limited: pods=0'
)
FAULT = "2026-03-01T11:50:00Z"
CAME = "2026-03-01T11:45:00Z"


def wanted(*blockers: str, **more: Any) -> RemoveNewcomerParameters:
    return RemoveNewcomerParameters.model_validate(more | ({"blockers": blockers} if blockers else {}))


def refused(message: str = EXCEEDED, at: str = FAULT) -> Manifest:
    """Return a Deployment whose pods can't be made."""
    told = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {**deployment(), "status": {"conditions": [{**told, "lastTransitionTime": at}]}}


def came(kind: str, name: str, spec: Any, when: str = CAME, **meta: Any) -> Manifest:
    api_version = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
    full = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "creationTimestamp": when, **meta}
    return {"apiVersion": api_version, "kind": kind, "metadata": full, "spec": spec}


def quota(name: str = "tight", pods: str = "0", **meta: Any) -> Manifest:
    return came("ResourceQuota", name, {"hard": {"pods": pods}}, **meta)


def limits(name: str = "small", **limit: Any) -> Manifest:
    return came("LimitRange", name, {"limits": [{"type": "Container", **limit}]})


def policy(name: str = "deny", when: str = CAME, **spec: Any) -> Manifest:
    return came("NetworkPolicy", name, {"podSelector": {}, "policyTypes": ["Ingress"], **spec}, when)


def unready(name: str = "api-1", at: str = FAULT) -> Manifest:
    made = pod(name, ready=False)
    made["status"]["conditions"][0]["lastTransitionTime"] = at
    return made


def webhook(policy: str = "Fail", **meta: Any) -> Manifest:
    full = {"name": "hook", "namespace": "", "uid": "uid-hook", "creationTimestamp": CAME, **meta}
    hooks = [{"name": "pods.example.com", "failurePolicy": policy}]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": full,
        "webhooks": hooks,
    }


TAINT = {"key": "example.com/broken", "value": "yes", "effect": "NoSchedule"}


def tainted(*taints: Any, name: str = "n1", when: str = CAME) -> Manifest:
    made = node(name, taints=list(taints) or [TAINT])
    managed = {
        "manager": "kubectl",
        "operation": "Update",
        "time": when,
        "fieldsV1": {"f:spec": {"f:taints": {}}},
    }
    made["metadata"] |= {"managedFields": [managed]}
    return made


def pending(name: str = "api-1", **spec: Any) -> Manifest:
    made = pod(name, ready=False)
    message = "0/3 nodes are available: 3 node(s) had untolerated taint(s)."
    told = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    made["status"]["conditions"] = [{**told, "lastTransitionTime": FAULT}]
    made["spec"] |= spec
    return made


async def begun(
    cluster: FakeCluster, parameters: RemoveNewcomerParameters, target: Manifest | None = None
) -> StepContext:
    step = context(target or deployment())
    return replace(step, intent=await remove.prepare(cluster, step, parameters))


async def done(
    cluster: FakeCluster, parameters: RemoveNewcomerParameters, target: Manifest | None = None
) -> Done:
    return await remove.perform(cluster, await begun(cluster, parameters, target), parameters)


async def fails(cluster: FakeCluster, parameters: RemoveNewcomerParameters) -> StepError:
    with pytest.raises(StepError) as caught:
        await done(cluster, parameters)
    assert cluster.writes == []
    return caught.value


def verbs(cluster: FakeCluster) -> list[tuple[str, str]]:
    return [(verb, what.partition(" ")[0]) for verb, what, _ in cluster.writes]


def the_same(cluster: FakeCluster) -> bool:
    return not cluster.writes


@pytest.mark.parametrize("landed", [True, False])
async def test_it_is_kept_removed_and_made_anew_once_though_answers_are_lost(landed: bool) -> None:
    cluster = FakeCluster(linger=False, troubles={"delete": [Lost(landed)]}).add(refused(), quota())
    before = content(cluster.find("ResourceQuota", "tight"))
    step = await begun(cluster, wanted())
    first = await remove.perform(cluster, step, wanted())
    again = await remove.perform(cluster, step, wanted())
    assert (first.acted, first.outputs) == (again.acted, again.outputs)
    assert first.outputs["removed"] == "ResourceQuota shop/tight"
    assert verbs(cluster) == [("create", "Secret"), ("delete", "ResourceQuota")]
    cluster.troubles["create"] = [Lost(landed)]
    assert (await remove.undo(cluster, step, wanted())).acted
    assert (await remove.undo(cluster, step, wanted())).acted
    assert verbs(cluster)[2:] == [("create", "ResourceQuota")]
    assert content(cluster.find("ResourceQuota", "tight")) == before


BLOCKING: list[tuple[str, list[Manifest]]] = [
    ("ResourceQuota", [refused(), quota()]),
    (
        "ResourceQuota",
        [refused('pods "a" is forbidden: failed quota: tight: must specify limits.cpu for: app'), quota()],
    ),
    (
        "LimitRange",
        [
            refused('pods "a" is forbidden: maximum memory usage per Container is 16Mi, but limit is 64Mi'),
            limits(max={"memory": "16Mi"}),
        ],
    ),
    (
        "LimitRange",
        [
            refused('pods "a" is forbidden: [minimum cpu usage per Container is 1, but request is 10m, x]'),
            limits(min={"cpu": "1"}),
        ],
    ),
    (
        "LimitRange",
        [
            refused("requests: Invalid value: must be less than or equal to memory limit of 16Mi"),
            limits(default={"memory": "16Mi"}),
        ],
    ),
    ("NetworkPolicy", [deployment(), unready(), policy()]),
    (
        "NetworkPolicy",
        [
            deployment(),
            unready(),
            policy(policyTypes=["Egress", "Ingress"], egress=[]),
            policy("old", "2026-01-01T00:00:00Z"),
        ],
    ),
    (
        "ValidatingWebhookConfiguration",
        [
            refused('Internal error occurred: failed calling webhook "pods.example.com": Post "https://x"'),
            webhook(),
        ],
    ),
    ("Taint", [deployment(), pending(), tainted()]),
]


@pytest.mark.parametrize(("blocker", "objects"), BLOCKING)
async def test_what_is_shown_to_block_and_came_just_before_is_removed(
    blocker: str, objects: list[Manifest]
) -> None:
    cluster = FakeCluster(linger=False).add(*objects)
    found = await done(cluster, wanted(blocker))
    assert found.acted
    assert found.outputs["removed"]
    assert cluster.writes[-1][0] == ("patch" if blocker == "Taint" else "delete")


HARMLESS: list[tuple[str, list[Manifest]]] = [
    # Nothing is refused.
    ("ResourceQuota", [deployment(), quota()]),
    # Another one is named, or one that was widened since.
    ("ResourceQuota", [refused(), quota("other")]),
    ("ResourceQuota", [refused(), quota(pods="20")]),
    # It came too long before the fault, or after it.
    ("ResourceQuota", [refused(), quota(creationTimestamp="2026-03-01T10:00:00Z")]),
    ("ResourceQuota", [refused(), quota(creationTimestamp="2026-03-01T11:55:00Z")]),
    # It is going already.
    ("ResourceQuota", [refused(), quota(deletionTimestamp="2026-03-01T11:56:00Z")]),
    (
        "LimitRange",
        [refused("maximum memory usage per Container is 16Mi, but"), limits(max={"memory": "1Mi"})],
    ),
    ("LimitRange", [refused("maximum memory usage per Container is 16Mib"), limits(max={"memory": "16Mi"})]),
    # The pods are ready; it selects others; it allows all; one before it restricts the same.
    ("NetworkPolicy", [deployment(), pod(), policy()]),
    ("NetworkPolicy", [deployment(), unready(), policy(podSelector={"matchLabels": {"app": "other"}})]),
    ("NetworkPolicy", [deployment(), unready(), policy(ingress=[{}])]),
    ("NetworkPolicy", [deployment(), unready(), policy(), policy("old", "2026-01-01T00:00:00Z")]),
    # It is ignored; it denies, and so does its work.
    (
        "ValidatingWebhookConfiguration",
        [refused('failed calling webhook "pods.example.com": x'), webhook("Ignore")],
    ),
    (
        "ValidatingWebhookConfiguration",
        [refused('admission webhook "pods.example.com" denied the request: no'), webhook()],
    ),
    # The pods tolerate it, or want another node; it says how the node fares.
    ("Taint", [deployment(), pending(tolerations=[{"key": TAINT["key"], "operator": "Exists"}]), tainted()]),
    ("Taint", [deployment(), pending(nodeSelector={"disk": "fast"}), tainted()]),
    ("Taint", [deployment(), pending(), tainted({**TAINT, "key": "node.kubernetes.io/not-ready"})]),
    ("Taint", [deployment(), pending(), tainted({**TAINT, "effect": "PreferNoSchedule"})]),
    ("Taint", [deployment(), unready(), tainted()]),
]


@pytest.mark.parametrize(("blocker", "objects"), HARMLESS)
async def test_what_is_not_shown_to_block_is_left_alone(blocker: str, objects: list[Manifest]) -> None:
    cluster = FakeCluster().add(*objects)
    found = await done(cluster, wanted(blocker))
    assert not found.acted
    assert found.outputs["removed"] == ""
    assert the_same(cluster)
    step = await begun(cluster, wanted(blocker))
    assert not (await remove.undo(cluster, step, wanted(blocker))).acted


async def test_several_suspects_are_named_and_none_is_removed() -> None:
    cluster = FakeCluster().add(deployment(), unready(), policy("one"), policy("two"))
    error = await fails(cluster, wanted())
    assert error.reason is Reason.SEVERAL_SUSPECTS
    assert "NetworkPolicy shop/one" in str(error)
    assert "NetworkPolicy shop/two" in str(error)


async def test_suspects_of_different_kinds_are_several_too() -> None:
    cluster = FakeCluster().add(refused(), quota(), unready(), policy())
    assert (await fails(cluster, wanted())).reason is Reason.SEVERAL_SUSPECTS


async def test_the_same_taint_on_two_nodes_are_two_suspects() -> None:
    cluster = FakeCluster().add(deployment(), pending(), tainted(), tainted(name="n2"))
    assert (await fails(cluster, wanted("Taint"))).reason is Reason.SEVERAL_SUSPECTS


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "maker", "uid": "u"}
GUARDED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"labels": {"kubernaut.io/protected": "true"}}, {}, "protected"),
    ({"annotations": {"kubernaut.io/protected": ""}}, {}, "protected"),
    ({"labels": {"team": "security"}}, {"keepLabels": {"team": "security"}}, "keepLabels"),
    ({"labels": {"team": "security"}}, {"keepLabels": {"team": ""}}, "keepLabels"),
    ({"ownerReferences": [OWNER]}, {}, "belongs to ConfigMap maker"),
    ({"finalizers": ["example.com/wait"]}, {}, "finalizers"),
    ({}, {"maxAge": "5m"}, "maxAge"),
]


@pytest.mark.parametrize(("meta", "given", "why"), GUARDED)
async def test_what_is_guarded_stays_though_it_is_the_only_suspect(
    meta: dict[str, Any], given: dict[str, Any], why: str
) -> None:
    cluster = FakeCluster().add(refused(), quota(**meta))
    error = await fails(cluster, wanted(**given))
    assert error.reason is Reason.PRECONDITION_FAILED
    assert why in str(error)


async def test_what_says_that_it_is_not_protected_may_go() -> None:
    cluster = FakeCluster().add(refused(), quota(labels={"kubernaut.io/protected": "false", "team": "b"}))
    assert (await done(cluster, wanted(keepLabels={"team": "a"}))).acted


async def test_in_a_system_namespace_nothing_is_removed() -> None:
    step = replace(context(deployment()), namespace="kube-system")
    with pytest.raises(StepError, match="kube-system"):
        await remove.prepare(FakeCluster().add(refused(), quota()), step, wanted())


async def test_the_onset_that_is_given_counts_instead_of_what_is_seen() -> None:
    cluster = FakeCluster().add(refused(), quota(creationTimestamp="2026-03-01T09:00:00Z"))
    assert not (await done(cluster, wanted())).acted
    assert (await done(cluster, wanted(onset="2026-03-01T09:30:00Z"))).acted


async def test_a_policy_that_only_callers_feel_is_found_where_the_onset_is_told() -> None:
    cluster = FakeCluster(linger=False).add(deployment(), pod(), policy())
    assert not (await done(cluster, wanted())).acted
    assert (await done(cluster, wanted(onset="2026-03-01T11:50:00Z"))).acted


async def test_what_no_longer_blocks_right_before_is_left_alone() -> None:
    cluster = FakeCluster().add(refused(), quota())
    step = await begun(cluster, wanted())
    cluster.edit_status("Deployment", "api", {"conditions": []})
    with pytest.raises(StepError, match="no longer is what blocks"):
        await remove.perform(cluster, step, wanted())
    assert cluster.writes == []


async def test_what_was_changed_since_is_left_alone() -> None:
    cluster = FakeCluster().add(refused(), quota())
    step = await begun(cluster, wanted())
    cluster.edit("ResourceQuota", "tight", {"metadata": {"labels": {"team": "b"}}})
    with pytest.raises(StepError, match="changed since the step looked at it"):
        await remove.perform(cluster, step, wanted())
    assert cluster.writes == []


async def test_one_that_was_made_anew_under_its_name_is_not_touched() -> None:
    cluster = FakeCluster(linger=False).add(refused(), quota())
    step = await begun(cluster, wanted())
    cluster.drop("ResourceQuota", "tight")
    cluster.add(quota(uid="uid-of-another"))
    assert (await remove.perform(cluster, step, wanted())).acted
    assert cluster.find("ResourceQuota", "tight")["metadata"]["uid"] == "uid-of-another"
    with pytest.raises(StepError) as caught:
        await remove.undo(cluster, step, wanted())
    assert caught.value.reason is Reason.CHANGED_SINCE


async def test_of_a_stateful_set_events_tell_what_is_refused() -> None:
    target = {**workload("StatefulSet"), "status": {"replicas": 0}}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop"},
        "reason": "FailedCreate",
        "message": EXCEEDED,
        "firstTimestamp": FAULT,
        "involvedObject": {"uid": target["metadata"]["uid"]},
    }
    cluster = FakeCluster(linger=False).add(target, event, quota())
    assert (await done(cluster, wanted(), target)).acted
    well = {**target, "status": {"replicas": 2}}
    cluster = FakeCluster(linger=False).add(well, event, quota())
    assert not (await done(cluster, wanted(), well)).acted


async def test_a_taint_is_taken_off_and_put_back_once_and_others_stay() -> None:
    other = {"key": "example.com/gpu", "effect": "NoSchedule"}
    tolerant = pending(tolerations=[{"key": "example.com/gpu", "operator": "Exists"}])
    cluster = FakeCluster(troubles={"patch": [Lost(landed=True)]}).add(
        deployment(), tolerant, tainted(TAINT, other)
    )
    before = copy.deepcopy(cluster.find("Node", "n1", "")["spec"]["taints"])
    step = await begun(cluster, wanted("Taint"))
    first = await remove.perform(cluster, step, wanted("Taint"))
    again = await remove.perform(cluster, step, wanted("Taint"))
    assert (first.acted, first.outputs) == (again.acted, again.outputs)
    assert cluster.find("Node", "n1", "")["spec"]["taints"] == [other]
    assert verbs(cluster) == [("patch", "Node")]
    assert (await remove.undo(cluster, step, wanted("Taint"))).acted
    assert (await remove.undo(cluster, step, wanted("Taint"))).acted
    after = cluster.find("Node", "n1", "")["spec"]["taints"]
    assert sorted(after, key=lambda one: one["key"]) == sorted(before, key=lambda one: one["key"])
    assert verbs(cluster) == [("patch", "Node")] * 2


async def test_a_taint_that_got_another_value_is_left_alone() -> None:
    cluster = FakeCluster().add(deployment(), pending(), tainted())
    step = await begun(cluster, wanted("Taint"))
    cluster.edit("Node", "n1", {"spec": {"taints": [{**TAINT, "value": "no"}]}}, "")
    with pytest.raises(StepError, match="has not the taint"):
        await remove.perform(cluster, step, wanted("Taint"))
    assert cluster.writes == []


async def test_after_its_run_has_ended_no_late_patch_takes_a_taint_off() -> None:
    cluster = FakeCluster().add(deployment(), pending(), tainted())
    step = await begun(cluster, wanted("Taint"))
    assert not (await remove.fence(cluster, step, wanted("Taint"))).acted
    with pytest.raises(StepError) as caught:
        await remove.perform(cluster, step, wanted("Taint"))
    assert caught.value.reason is Reason.FENCED


def test_only_what_may_be_removed_needs_rights() -> None:
    target = None
    asked = remove.rights(target, wanted("ResourceQuota"))
    assert {right.resource for right in asked} == {"deployments", "resourcequotas", "secrets"}
    nodes = remove.rights(target, wanted("Taint"))
    assert {(right.verb, right.resource) for right in nodes} == {
        ("get", "deployments"),
        ("list", "pods"),
        ("list", "nodes"),
        ("get", "nodes"),
        ("patch", "nodes"),
    }
    sets = remove.rights(target, wanted("ResourceQuota", kind="StatefulSet"))
    assert Right("list", "", "events", ()) in sets


@pytest.mark.parametrize(
    "given",
    [
        {"blockers": []},
        {"blockers": ["Secret"]},
        {"blockers": ["Taint", "Taint"]},
        {"window": "10s"},
        {"window": "200h"},
        {"maxAge": "200h"},
        {"onset": "yesterday"},
    ],
)
def test_parameters_that_can_not_be_meant_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RemoveNewcomerParameters.model_validate(given)


def test_the_times_of_these_tests_are_within_the_default_window() -> None:
    assert NOW.isoformat() == "2026-03-01T12:00:00+00:00"
    assert wanted().window == timedelta(hours=1)
