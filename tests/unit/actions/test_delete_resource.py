"""delete_resource: the pinned object, once, kept first where undo can make it anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.generic.delete_resource import DeleteResource, DeleteResourceParameters
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError, UnknownOutcome
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import context, deployment, pod
from unit.actions.fake import FakeCluster, Lost
from unit.actions.jobs import job
from unit.actions.once import content
from unit.actions.test_patch_resource import FORBIDDEN_KINDS

delete = DeleteResource()
POLICY: Manifest = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {
        "name": "deny",
        "namespace": "shop",
        "uid": "uid-1",
        "labels": {"team": "a"},
        "annotations": {"why": "test", "step.kubernaut.io/other-run": "{}"},
        "managedFields": [{"manager": "kubectl"}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    "status": {"conditions": []},
}


def wanted(of: Manifest = POLICY, **parameters: Any) -> DeleteResourceParameters:
    given = {"apiVersion": of["apiVersion"], "kind": of["kind"], "name": of["metadata"]["name"]}
    return DeleteResourceParameters.model_validate(given | parameters)


def with_meta(of: Manifest = POLICY, **meta: Any) -> Manifest:
    return {**of, "metadata": {**of["metadata"], **meta}}


async def begun(cluster: FakeCluster, parameters: DeleteResourceParameters) -> Any:
    return context(intent=await delete.prepare(cluster, context(), parameters))


async def deleted(cluster: FakeCluster, parameters: DeleteResourceParameters | None = None) -> Any:
    parameters = parameters or wanted()
    step = await begun(cluster, parameters)
    await delete.perform(cluster, step, parameters)
    return step


def verbs(cluster: FakeCluster) -> list[tuple[str, str]]:
    return [(verb, what.partition(" ")[0]) for verb, what, _ in cluster.writes]


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_it_is_kept_deleted_and_made_anew_once_though_answers_are_lost(verb: str, landed: bool) -> None:
    cluster = FakeCluster(linger=False, troubles={"delete": [Lost(landed)]}).add(POLICY)
    before = content(cluster.find("NetworkPolicy", "deny"))
    step = await begun(cluster, wanted())
    first = await delete.perform(cluster, step, wanted())
    again = await delete.perform(cluster, step, wanted())
    assert (first.acted, first.outputs, first.changed) == (again.acted, again.outputs, again.changed)
    assert first.outputs["uid"] == "uid-1"
    assert verbs(cluster) == [("create", "Secret"), ("delete", "NetworkPolicy")]
    cluster.troubles["create"] = [Lost(landed)]
    assert (await delete.undo(cluster, step, wanted())).acted
    assert (await delete.undo(cluster, step, wanted())).acted
    assert verbs(cluster)[2:] == [("create", "NetworkPolicy")]
    back = cluster.find("NetworkPolicy", "deny")
    assert content(back) == before
    assert back["metadata"]["uid"] != "uid-1"
    assert "managedFields" not in back["metadata"]
    assert "step.kubernaut.io/other-run" not in back["metadata"]["annotations"]


async def test_a_lost_answer_to_keeping_it_leaves_it_where_it_is() -> None:
    cluster = FakeCluster(troubles={"create": [Lost(landed=True)]}).add(POLICY)
    step = await begun(cluster, wanted())
    with pytest.raises(StepError, match="may not be stored") as caught:
        await delete.perform(cluster, step, wanted())
    assert caught.value.transient
    assert (await delete.perform(cluster, step, wanted())).acted
    assert verbs(cluster) == [("create", "Secret"), ("delete", "NetworkPolicy")]


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
async def test_what_becomes_of_what_it_owns_is_said(propagation: str) -> None:
    cluster = FakeCluster().add(POLICY)
    await deleted(cluster, wanted(propagation=propagation))
    assert cluster.writes[-1] == ("delete", "NetworkPolicy shop/deny", propagation)


async def test_what_was_changed_since_it_was_looked_at_is_left_alone() -> None:
    cluster = FakeCluster().add(POLICY)
    step = await begun(cluster, wanted())
    cluster.edit("NetworkPolicy", "deny", {"spec": {"policyTypes": ["Egress"]}})
    with pytest.raises(StepError, match="was changed since the step looked at it") as caught:
        await delete.perform(cluster, step, wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_status_that_moves_does_not_matter() -> None:
    cluster = FakeCluster().add(POLICY)
    step = await begun(cluster, wanted())
    cluster.edit_status("NetworkPolicy", "deny", {"conditions": [{"type": "Accepted"}]})
    assert (await delete.perform(cluster, step, wanted())).acted


async def test_expected_values_are_looked_at_right_before_it_is_deleted() -> None:
    parameters = wanted(expect={"metadata.labels.team": "a"}, irreversible="Allow")
    owned = with_meta(finalizers=["example.com/x"])
    cluster = FakeCluster().add(owned)
    step = await begun(cluster, parameters)
    relabel = {"metadata": {"labels": {"team": "b"}}}
    cluster.troubles["delete"] = [lambda: cluster.edit("NetworkPolicy", "deny", relabel)]
    with pytest.raises(
        StepError, match=r'metadata\.labels\.team is "b", but "a" is expected; nothing was done'
    ):
        await delete.perform(cluster, step, parameters)
    with pytest.raises(StepError, match='but "a" is expected'):
        await begun(cluster, parameters)
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (pod(controlled=False), "a Pod is more than its declaration"),
        (job(), "a Job is more than its declaration"),
        (with_meta(finalizers=["example.com/x"]), "it has finalizers"),
        (
            with_meta(ownerReferences=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}]),
            "it belongs to Deployment api",
        ),
        (
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": "db", "namespace": "shop"},
                "spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}},
            },
            "its volumes go with it",
        ),
    ],
)
async def test_what_can_not_be_made_anew_is_deleted_only_where_that_is_allowed(
    of: Manifest, told: str
) -> None:
    cluster = FakeCluster(linger=False).add(of)
    with pytest.raises(StepError, match=told) as caught:
        await begun(cluster, wanted(of))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    parameters = wanted(of, irreversible="Allow")
    step = await deleted(cluster, parameters)
    assert verbs(cluster) == [("delete", of["kind"])]
    assert not (await delete.undo(cluster, step, parameters)).acted
    assert len(cluster.writes) == 1


@pytest.mark.parametrize("irreversible", ["Refuse", "Allow"])
async def test_what_belongs_to_a_run_is_left_to_it(irreversible: str) -> None:
    owner = {"apiVersion": API_VERSION, "kind": "WorkflowExecution", "name": "heal-7", "uid": "u"}
    cluster = FakeCluster().add(with_meta(ownerReferences=[owner]))
    with pytest.raises(StepError, match="belongs to WorkflowExecution heal-7 and goes with it"):
        await begun(cluster, wanted(irreversible=irreversible))


async def test_undo_leaves_alone_what_somebody_else_made_since() -> None:
    cluster = FakeCluster(linger=False).add(POLICY)
    step = await deleted(cluster)
    cluster.add(with_meta(uid="theirs"))
    with pytest.raises(StepError, match="another NetworkPolicy shop/deny was created since") as caught:
        await delete.undo(cluster, step, wanted())
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert cluster.find("NetworkPolicy", "deny")["metadata"]["uid"] == "theirs"


async def test_undo_waits_for_an_object_that_is_still_going() -> None:
    cluster = FakeCluster(linger=True).add(POLICY)
    step = await deleted(cluster)
    with pytest.raises(StepError, match="is still being deleted") as caught:
        await delete.undo(cluster, step, wanted())
    assert caught.value.transient
    cluster.drop("NetworkPolicy", "deny")
    assert (await delete.undo(cluster, step, wanted())).acted


async def test_undo_of_what_was_not_deleted_does_nothing() -> None:
    cluster = FakeCluster(forbidden={"delete NetworkPolicy"}).add(POLICY)
    step = await begun(cluster, wanted())
    with pytest.raises(Forbidden):
        await delete.perform(cluster, step, wanted())
    done = await delete.undo(cluster, step, wanted())
    assert (done.acted, done.message) == (False, "NetworkPolicy shop/deny was not deleted")


@pytest.mark.parametrize("tamper", ["gone", "changed"])
async def test_undo_believes_only_what_the_step_kept(tamper: str) -> None:
    cluster = FakeCluster(linger=False).add(POLICY)
    step = await deleted(cluster)
    secret = step.intent["secret"]
    if tamper == "gone":
        cluster.drop("Secret", secret)
    else:
        cluster.edit("Secret", secret, {"data": {"images": "e30="}})
    with pytest.raises(StepError, match="is gone" if tamper == "gone" else "does not hold"):
        await delete.undo(cluster, step, wanted())
    assert ("NetworkPolicy", "shop", "deny") not in cluster.objects


async def test_values_are_kept_in_the_secret_alone() -> None:
    secretive = deployment()
    secretive["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "canary"}]
    cluster = FakeCluster(linger=False).add(secretive)
    step = await begun(cluster, wanted(secretive))
    done = await delete.perform(cluster, step, wanted(secretive))
    assert "canary" not in repr((step.intent, done))


async def test_a_mark_can_not_be_carried_to_another_object() -> None:
    cluster = FakeCluster(linger=False).add(POLICY)
    step = await deleted(cluster)
    await delete.undo(cluster, step, wanted())
    back = copy.deepcopy(cluster.find("NetworkPolicy", "deny"))
    other = FakeCluster(linger=False).add(with_meta(name="allow"))
    theirs = await deleted(other, wanted(with_meta(name="allow")))
    other.add(with_meta(back, name="allow"))
    with pytest.raises(StepError, match="was created since"):
        await delete.undo(other, theirs, wanted(with_meta(name="allow")))


async def test_a_name_that_stays_in_doubt_is_an_unknown_outcome() -> None:
    cluster = FakeCluster(linger=False).add(POLICY)
    step = await deleted(cluster)
    cluster.troubles["create"] = [Lost(landed=False)] * 10
    with pytest.raises(UnknownOutcome):
        await delete.undo(cluster, step, wanted())


@pytest.mark.parametrize(("version", "kind"), FORBIDDEN_KINDS)
def test_kinds_that_rule_others_are_refused(version: str, kind: str) -> None:
    with pytest.raises(ValidationError, match="is not touched by a step"):
        DeleteResourceParameters.model_validate({"apiVersion": version, "kind": kind, "name": "x"})


@pytest.mark.parametrize(
    "given", [{"expect": {"spec..x": 1}}, {"propagation": "Never"}, {"irreversible": True}, {"force": True}]
)
def test_parameters_that_do_not_fit_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        wanted(**given)


def test_rights_to_keep_it_are_needed_where_it_may_be_kept() -> None:
    check: Callable[..., tuple[Right, ...]] = delete.rights
    own = tuple(Right(verb, "networking.k8s.io", "networkpolicies", ("deny",)) for verb in ("get", "delete"))
    assert check(None, wanted())[:2] == own
    assert [str(right) for right in check(None, wanted())[2:]] == [
        "create secrets",
        "get secrets",
        "create networkpolicies.networking.k8s.io",
    ]
    assert len(check(None, wanted(pod(), irreversible="Allow"))) == 2
