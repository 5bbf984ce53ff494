"""backup_data: one snapshot for each attempt, waited for, kept once it is ready."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions.storage.backup_data import BackupData, BackupDataParameters, snapshot_ref
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Awaits, StepContext
from kubernaut.core.errors import EffectFailed, NotFound, StepError
from kubernaut.core.ports import Manifest, Right
from unit.actions.builders import context
from unit.actions.fake import FakeCluster, Lost

backup = BackupData()
HERE = context()
NAME = snapshot_ref(HERE).name
READY = {
    "readyToUse": True,
    "boundVolumeSnapshotContentName": "snapcontent-1",
    "creationTime": "2026-03-01T12:00:05Z",
    "restoreSize": "1Gi",
}


def claim(phase: str = "Bound", **meta: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "shop", **meta},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": phase},
    }


def wanted(**given: Any) -> BackupDataParameters:
    return BackupDataParameters.model_validate({"name": "data", **given})


def a_cluster(**more: Any) -> FakeCluster:
    return FakeCluster(**more).add(claim())


async def created(cluster: FakeCluster) -> StepContext:
    """Return the context of the step once the engine has stored what it waits for."""
    done = await backup.perform(cluster, HERE, wanted())
    assert done.awaits is not None
    return replace(HERE, intent={"uid": done.awaits.uid, "name": done.awaits.name})


def snapshots(cluster: FakeCluster) -> list[str]:
    return [what for verb, what, _ in cluster.writes if verb == "create"]


@pytest.mark.parametrize("landed", [True, False])
async def test_one_snapshot_is_created_though_answers_are_lost(landed: bool) -> None:
    cluster = a_cluster(troubles={"create": [Lost(landed)]})
    first = await backup.perform(cluster, HERE, wanted(snapshotClass="fast"))
    again = await backup.perform(cluster, HERE, wanted(snapshotClass="fast"))
    assert (first.acted, first.awaits, first.changed) == (True, again.awaits, again.changed)
    assert snapshots(cluster) == [f"VolumeSnapshot shop/{NAME}"]
    made = cluster.find("VolumeSnapshot", NAME)
    assert made["spec"] == {
        "source": {"persistentVolumeClaimName": "data"},
        "volumeSnapshotClassName": "fast",
    }
    assert "ownerReferences" not in made["metadata"]


async def test_each_attempt_has_its_own_snapshot() -> None:
    cluster = a_cluster()
    await created(cluster)
    await backup.perform(cluster, replace(HERE, attempt=2), wanted())
    assert len(set(snapshots(cluster))) == 2


async def test_what_the_controller_fills_in_does_not_make_it_somebody_elses() -> None:
    cluster = a_cluster()
    await created(cluster)
    cluster.edit("VolumeSnapshot", NAME, {"spec": {"volumeSnapshotClassName": "default"}})
    assert (await backup.perform(cluster, HERE, wanted())).awaits is not None
    assert await backup.recall(cluster, HERE, wanted()) is not None


async def test_it_waits_until_the_snapshot_is_ready_whatever_the_driver_says_meanwhile() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    cluster.edit_status("VolumeSnapshot", NAME, {"readyToUse": False, "error": {"message": "busy"}})
    done = await backup.perform(cluster, step, wanted())
    assert done.awaits is not None
    assert "its driver says: busy" in done.message
    assert not backup.ended(cluster.find("VolumeSnapshot", NAME))
    cluster.edit_status("VolumeSnapshot", NAME, READY)
    assert backup.ended(cluster.find("VolumeSnapshot", NAME))
    assert isinstance(backup, Awaits)


async def test_what_it_is_and_when_it_was_taken_is_kept() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    cluster.edit_status("VolumeSnapshot", NAME, READY)
    done = await backup.perform(cluster, step, wanted())
    assert (done.acted, done.awaits) == (True, None)
    assert done.outputs == {
        "snapshot": NAME,
        "uid": cluster.find("VolumeSnapshot", NAME)["metadata"]["uid"],
        "content": "snapcontent-1",
        "takenAt": "2026-03-01T12:00:05Z",
        "restoreSize": "1Gi",
    }


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (claim("Pending"), "is Pending, not Bound"),
        (claim("Lost"), "is Lost, not Bound"),
        (claim(deletionTimestamp="2026-03-01T11:00:00Z"), "is being deleted"),
    ],
)
async def test_a_claim_without_a_volume_is_refused(one: Manifest, told: str) -> None:
    cluster = FakeCluster().add(one)
    with pytest.raises(StepError, match=told) as caught:
        await backup.perform(cluster, HERE, wanted())
    assert (caught.value.reason, cluster.writes) == (Reason.PRECONDITION_FAILED, [])


async def test_a_claim_that_is_not_there_is_told() -> None:
    with pytest.raises(NotFound):
        await backup.perform(FakeCluster(), HERE, wanted())


async def test_somebody_elses_snapshot_of_that_name_is_left_alone() -> None:
    cluster = a_cluster()
    theirs = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "spec": {}}
    cluster.add({**theirs, "metadata": {"name": NAME}})
    with pytest.raises(StepError, match="was not created by this attempt"):
        await backup.perform(cluster, HERE, wanted())
    assert not (await backup.undo(cluster, HERE, wanted())).acted
    assert cluster.writes == []


async def test_a_snapshot_that_was_deleted_before_it_was_ready_fails_the_step() -> None:
    cluster = a_cluster()
    step = await created(cluster)
    cluster.drop("VolumeSnapshot", NAME)
    with pytest.raises(EffectFailed, match="was deleted by somebody"):
        await backup.perform(cluster, step, wanted())
    assert len(snapshots(cluster)) == 1


async def test_undo_keeps_what_is_ready_and_deletes_what_is_not() -> None:
    cluster = a_cluster(linger=False)
    step = await created(cluster)
    cluster.edit_status("VolumeSnapshot", NAME, {"readyToUse": False, "error": {"message": "busy"}})
    done = await backup.undo(cluster, step, wanted())
    assert (done.acted, "busy" in done.message) == (True, True)
    assert not (await backup.undo(cluster, step, wanted())).acted
    other = a_cluster()
    step = await created(other)
    other.edit_status("VolumeSnapshot", NAME, READY)
    done = await backup.undo(other, step, wanted())
    assert (done.acted, "kept" in done.message) == (False, True)
    assert other.find("VolumeSnapshot", NAME)["status"] == READY


@pytest.mark.parametrize("landed", [True, False])
async def test_once_its_name_is_taken_a_late_create_takes_no_snapshot(landed: bool) -> None:
    cluster = a_cluster(troubles={"create": [Lost(landed)]})
    assert not (await backup.fence(cluster, HERE, wanted())).acted
    with pytest.raises(StepError, match="was not created by this attempt"):
        await backup.perform(cluster, HERE, wanted())
    (stub,) = (body for verb, _, body in cluster.writes if verb == "create")
    assert "persistentVolumeClaimName" not in stub["spec"]["source"]
    assert stub["metadata"]["ownerReferences"][0]["kind"] == "WorkflowExecution"


async def test_a_snapshot_that_was_quicker_than_the_fence_is_found() -> None:
    cluster = a_cluster()
    await created(cluster)
    done = await backup.fence(cluster, HERE, wanted())
    assert done.acted
    assert done.awaits is not None


def test_rights() -> None:
    what = ("snapshot.storage.k8s.io", "volumesnapshots")
    assert backup.rights(None, wanted()) == (
        Right("get", "", "persistentvolumeclaims", ("data",)),
        *(Right(verb, *what, ()) for verb in ("create", "get", "list", "watch", "delete")),
    )
