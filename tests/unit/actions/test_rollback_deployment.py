"""rollback_deployment: which revision, only its template, forward again."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.actions.workloads.rollback import RollbackDeployment, RollbackParameters
from kubernaut.api.names import marker_annotation
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import ObjectRef, Right
from unit.actions.builders import container, context, deployment, replica_set, template
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

rollback = RollbackDeployment()
NEWEST = RollbackParameters()
FROM = {"fromRevision": 3, "fromName": "api-3"}


def version(number: int) -> dict[str, Any]:
    return template(container(image=f"shop/api:{number}"))


def history(current: int, *available: int, revisions: int = 3, **spec: Any) -> FakeCluster:
    sets = [
        replica_set(number, version(number), available=number in available)
        for number in range(1, revisions + 1)
    ]
    return FakeCluster().add(deployment(pod=version(current), **spec), *sets)


def image(cluster: FakeCluster) -> str:
    pod = cluster.find("Deployment", "api")["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


@pytest.mark.parametrize(
    ("available", "seen", "wanted", "known"),
    [
        ((1, 2), (), 2, True),
        ((1,), (), 1, True),
        ((), (1,), 1, True),
        ((1,), (2,), 2, True),
        ((), (), 2, False),
        ((3,), (), 2, False),
        ((), (3, 99), 2, False),
    ],
)
async def test_the_newest_other_revision_that_was_ever_available_is_taken(
    available: tuple[int, ...], seen: tuple[int, ...], wanted: int, known: bool
) -> None:
    cluster = history(3, *available)
    done = await rollback.perform(cluster, context(seen=[f"uid-rs-{n}" for n in seen]), NEWEST)
    assert image(cluster) == f"shop/api:{wanted}"
    assert done.outputs == {**FROM, "toRevision": wanted, "seenAvailable": known}
    assert ("never seen available" in done.message) is not known


async def test_it_happens_once_and_is_put_forward_again() -> None:
    cluster = history(3, 2)
    done = await check_once_and_undone(cluster, rollback, context(), NEWEST, "Deployment", "api")
    assert image(cluster) == "shop/api:3"
    assert done.outputs == {**FROM, "toRevision": 2, "seenAvailable": True}
    (told,) = done.changed
    assert told.startswith("Deployment shop/api: spec.template: ")


async def test_a_revision_can_be_named() -> None:
    cluster = history(3, 2)
    await rollback.perform(cluster, context(), RollbackParameters(to_revision=1))
    assert image(cluster) == "shop/api:1"


async def test_the_current_revision_named_changes_nothing() -> None:
    cluster = history(3, 2)
    done = await rollback.perform(cluster, context(), RollbackParameters(to_revision=3))
    assert (done.acted, done.message) == (False, "Deployment shop/api is at revision 3 already")
    assert cluster.writes == []


async def test_a_revision_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        StepError, match="no revision 9; other than the current one there are: 2, 1"
    ) as caught:
        await rollback.perform(history(3), context(), RollbackParameters(to_revision=9))
    assert caught.value.reason is Reason.NOTHING_TO_ROLL_BACK_TO


async def test_without_another_revision_nothing_is_done() -> None:
    cluster = history(1, 1, revisions=1)
    with pytest.raises(StepError, match="no revision other than the current one") as caught:
        await rollback.perform(cluster, context(), NEWEST)
    assert caught.value.reason is Reason.NOTHING_TO_ROLL_BACK_TO
    assert cluster.writes == []


async def test_replica_sets_of_others_do_not_count() -> None:
    cluster = history(1, 1, revisions=1)
    stranger = replica_set(2, version(2), available=5)
    stranger["metadata"]["ownerReferences"][0]["uid"] = "another"
    orphan = replica_set(3, version(3), available=5)
    orphan["metadata"].pop("ownerReferences")
    cluster.add(stranger, orphan)
    with pytest.raises(StepError, match="no revision other"):
        await rollback.perform(cluster, context(), NEWEST)


async def test_a_template_whose_replica_set_does_not_exist_yet_is_rolled_back_too() -> None:
    cluster = history(4, 3)
    done = await rollback.perform(cluster, context(), NEWEST)
    assert image(cluster) == "shop/api:3"
    assert done.message == "rolled back from revision unknown to revision 3"


async def test_it_cannot_go_forward_again_to_a_template_that_no_replica_set_holds() -> None:
    cluster = history(4, 3)
    await rollback.perform(cluster, context(), NEWEST)
    with pytest.raises(StepError, match="is gone") as caught:
        await rollback.undo(cluster, context(), NEWEST)
    assert caught.value.reason is Reason.NOTHING_TO_ROLL_BACK_TO


async def test_annotations_and_labels_of_the_deployment_are_left_alone() -> None:
    cluster = history(3)
    stale = marker_annotation("run-1")
    older = replica_set(2, version(2), available=1, **{stale: "stale", "team": "old"})
    cluster.objects.pop(("ReplicaSet", "shop", "api-2"))
    cluster.add(older)
    cluster.edit("Deployment", "api", {"metadata": {"annotations": {"team": "new"}}})
    await rollback.perform(cluster, context(), NEWEST)
    meta = cluster.find("Deployment", "api")["metadata"]
    assert meta["annotations"]["team"] == "new"
    assert meta["annotations"][stale] != "stale"
    assert (
        "pod-template-hash" not in cluster.find("Deployment", "api")["spec"]["template"]["metadata"]["labels"]
    )


async def test_only_what_differs_is_patched_and_added_parts_are_removed() -> None:
    worse = version(3)
    worse["spec"]["containers"][0]["command"] = ["false"]
    worse["spec"]["priorityClassName"] = "high"
    worse["metadata"]["annotations"] = {"config": "bad"}
    cluster = history(3, 2)
    cluster.edit("Deployment", "api", {"spec": {"template": worse}})
    await rollback.perform(cluster, context(), NEWEST)
    ((_, _, body),) = cluster.writes
    assert body["spec"] == {
        "template": {
            "metadata": {"annotations": None},
            "spec": {"containers": [container(image="shop/api:2")], "priorityClassName": None},
        }
    }


async def test_a_newer_template_is_not_overwritten_by_undo() -> None:
    newer = {"spec": {"template": {"spec": {"containers": [container(image="shop/api:4")]}}}}
    await check_undo_refuses(history(3, 2), rollback, context(), NEWEST, newer)


async def test_a_paused_deployment_is_refused() -> None:
    cluster = history(3, 2, paused=True)
    with pytest.raises(StepError, match="is paused"):
        await rollback.perform(cluster, context(), NEWEST)
    assert cluster.writes == []


async def test_the_decision_is_made_anew_after_a_conflict() -> None:
    cluster = history(3, 2)
    fixed = {"spec": {"template": {"spec": {"containers": [container(image="shop/api:2")]}}}}
    cluster.troubles["patch"] = [lambda: cluster.edit("Deployment", "api", fixed)]
    await rollback.perform(cluster, context(seen=["uid-rs-3"]), RollbackParameters(to_revision=2))
    assert cluster.writes == []


async def test_rights_hold_what_is_read() -> None:
    target = ObjectRef("apps/v1", "Deployment", "shop", "api")
    assert Right("list", "apps", "replicasets") in rollback.rights(target, NEWEST)
    cluster = history(3, 2)
    cluster.forbidden.add("list ReplicaSet")
    with pytest.raises(Forbidden, match="list ReplicaSet"):
        await rollback.perform(cluster, context(), NEWEST)
