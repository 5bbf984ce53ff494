"""StatefulSets and DaemonSets: what is other than with Deployments."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest
from unit.actions.builders import container, context, pod, template
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone

KINDS = ("StatefulSet", "DaemonSet")
REGISTRY = ActionRegistry(installed=False)


def workload(kind: str, image: str = "shop/db:1", **spec: Any) -> Manifest:
    more = {"replicas": 3} if kind == "StatefulSet" else {}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "db", "uid": "uid-db"},
        "spec": {
            "selector": {"matchLabels": {"app": "api"}},
            "template": template(container(image=image)),
            **more,
            **spec,
        },
    }


def owned(kind: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": "db", "uid": "uid-db", "controller": True}]


def revision(kind: str, number: int, image: str) -> Manifest:
    """Return a ControllerRevision as its controller writes it."""
    body = {"$patch": "replace", **template(container(image=image))}
    body["metadata"] = {**body["metadata"], "creationTimestamp": None}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": f"db-{number}", "labels": {"app": "api"}, "ownerReferences": owned(kind)},
        "revision": number,
        "data": {"spec": {"template": body}},
    }


def ready_pod(kind: str, number: int) -> Manifest:
    """Return a ready pod of a revision: a StatefulSet's bears the revision's name, a DaemonSet's only its hash."""
    made = pod(f"db-{number}-x")
    hashed = f"db-{number}" if kind == "StatefulSet" else str(number)
    made["metadata"] |= {
        "labels": {"app": "api", "controller-revision-hash": hashed},
        "ownerReferences": owned(kind),
    }
    made["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return made


async def act(cluster: FakeCluster, action: str, kind: str, **given: Any) -> Any:
    found = REGISTRY.get(action)
    target = cluster.find(kind, "db")
    return await found.perform(cluster, context(target), found.parameters.model_validate(given))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_replaced_by_hand_only_is_neither_restarted_nor_rolled_back(kind: str) -> None:
    cluster = FakeCluster().add(
        workload(kind, updateStrategy={"type": "OnDelete"}), revision(kind, 1, "shop/db:0")
    )
    for action in (f"restart_{kind.lower()}", f"rollback_{kind.lower()}"):
        with pytest.raises(StepError, match="update strategy OnDelete") as caught:
            await act(cluster, action, kind)
        assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_a_restart_says_which_pods_a_partition_leaves_out() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    cluster = FakeCluster().add(workload("StatefulSet", updateStrategy=strategy))
    done = await act(cluster, "restart_statefulset", "StatefulSet")
    assert done.message == "the pods from number 2 on (its partition) are being replaced"


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_back_to_the_newest_revision_that_has_a_ready_pod(kind: str) -> None:
    cluster = FakeCluster().add(
        workload(kind, "shop/db:bad"),
        *(
            revision(kind, n, image)
            for n, image in ((1, "shop/db:0"), (2, "shop/db:worse"), (3, "shop/db:bad"))
        ),
        ready_pod(kind, 1),
    )
    action = REGISTRY.get(f"rollback_{kind.lower()}")
    target = cluster.find(kind, "db")
    done = await check_once_and_undone(cluster, action, context(target), action.parameters(), kind, "db")
    assert done.outputs == {"fromRevision": 3, "fromName": "db-3", "toRevision": 1, "seenAvailable": True}


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_ready_pod_it_goes_back_one_revision_and_says_so(kind: str) -> None:
    cluster = FakeCluster().add(
        workload(kind, "shop/db:bad"),
        *(revision(kind, n, image) for n, image in ((1, "shop/db:0"), (2, "shop/db:1"), (3, "shop/db:bad"))),
    )
    done = await act(cluster, f"rollback_{kind.lower()}", kind)
    assert done.outputs["toRevision"] == 2
    assert "never seen available" in done.message
    written = cluster.find(kind, "db")["spec"]["template"]
    assert written["spec"]["containers"][0]["image"] == "shop/db:1"
    assert "$patch" not in written


async def test_the_revision_that_a_stateful_set_had_rolled_out_as_a_whole_counts_as_available() -> None:
    broken = workload("StatefulSet", "shop/db:bad")
    broken["status"] = {"currentRevision": "db-1"}
    cluster = FakeCluster().add(
        broken,
        *(
            revision("StatefulSet", n, image)
            for n, image in ((1, "shop/db:0"), (2, "shop/db:1"), (3, "shop/db:bad"))
        ),
    )
    done = await act(cluster, "rollback_statefulset", "StatefulSet")
    assert done.outputs == {"fromRevision": 3, "fromName": "db-3", "toRevision": 1, "seenAvailable": True}


async def test_a_revision_of_another_workload_is_not_taken() -> None:
    foreign = revision("StatefulSet", 9, "shop/other:1")
    foreign["metadata"]["ownerReferences"][0]["uid"] = "uid-other"
    cluster = FakeCluster().add(workload("StatefulSet"), foreign)
    with pytest.raises(StepError, match="no revision other than the current one") as caught:
        await act(cluster, "rollback_statefulset", "StatefulSet")
    assert caught.value.reason is Reason.NOTHING_TO_ROLL_BACK_TO


async def test_a_stateful_set_that_deletes_volumes_is_not_scaled_down() -> None:
    cluster = FakeCluster().add(
        workload("StatefulSet", persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete"})
    )
    with pytest.raises(StepError, match="deletes the volumes of pods that it scales away") as caught:
        await act(cluster, "scale_statefulset", "StatefulSet", replicas=1)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []
    assert (await act(cluster, "scale_statefulset", "StatefulSet", replicas=5)).acted


async def test_a_stateful_set_is_scaled_once_and_put_back() -> None:
    cluster = FakeCluster().add(workload("StatefulSet"))
    action = REGISTRY.get("scale_statefulset")
    target = cluster.find("StatefulSet", "db")
    given = action.parameters.model_validate({"delta": -1})
    done = await check_once_and_undone(cluster, action, context(target), given, "StatefulSet", "db")
    assert done.outputs == {"before": 3, "replicas": 2}


async def test_a_target_of_another_kind_is_refused_by_name() -> None:
    cluster = FakeCluster().add(workload("DaemonSet"))
    with pytest.raises(StepError, match="not a StatefulSet; name the StatefulSet under"):
        await act(cluster, "restart_statefulset", "DaemonSet")
