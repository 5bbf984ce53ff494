"""expand_pvc against the API server's own admission; backup_data where no driver makes the snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from apiserver.acting import Place
from apiserver.scenarios.storage import bound, write_status
from apiserver.snapshots import SNAPSHOTS, serve_snapshots
from kubernaut.actions.storage.backup_data import BackupData, BackupDataParameters
from kubernaut.actions.storage.expand_pvc import ExpandPvc, ExpandPvcParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import Manifest, Right

expand = ExpandPvc()
READ_CLASSES = Right("get", "storage.k8s.io", "storageclasses")


async def acted(place: Place, claim: Manifest, *more: Right, **parameters: Any) -> Any:
    given = ExpandPvcParameters.model_validate(parameters)
    context = place.context(claim)
    account = place.account([*expand.rights(context.target, given), *more])
    return await expand.perform(account, context, given)


def asked(place: Place) -> Any:
    claim = place.get("v1", "persistentvolumeclaims", "data")
    return claim["spec"]["resources"]["requests"]["storage"]


async def test_a_class_that_does_not_allow_it_is_named_where_the_account_may_read_it(place: Place) -> None:
    claim = bound(place, growing=False)
    with pytest.raises(
        StepError, match=f"its StorageClass {place.namespace}-disk does not allow it"
    ) as caught:
        await acted(place, claim, READ_CLASSES, size="2Gi")
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert asked(place) == "1Gi"


async def test_the_api_server_s_own_refusal_is_told_where_it_may_not(place: Place) -> None:
    claim = bound(place, growing=False)
    with pytest.raises(
        StepError, match="the storageclass that provisions the pvc must support resize"
    ) as caught:
        await acted(place, claim, size="2Gi")
    assert caught.value.reason is Reason.REJECTED
    assert asked(place) == "1Gi"


async def test_a_factor_asks_for_whole_gibibytes_and_never_for_less(place: Place) -> None:
    claim = bound(place)
    done = await acted(place, claim, READ_CLASSES, factor=1.1)
    assert done.outputs == {"before": "1Gi", "size": "2Gi", "capacity": "1Gi"}
    assert asked(place) == "2Gi"
    again = place.context(claim, run_uid="another-run")
    less = ExpandPvcParameters(size="1Gi")
    account = place.account(expand.rights(again.target, less))
    assert not (await expand.perform(account, again, less)).acted
    assert asked(place) == "2Gi"


async def test_an_expansion_that_waits_for_a_pod_is_told_and_not_added_to(place: Place) -> None:
    claim = bound(place)
    await acted(place, claim, size="2Gi")
    waiting = {"type": "FileSystemResizePending", "status": "True"}
    write_status(place, "v1", "persistentvolumeclaims", "data", {"conditions": [waiting]})
    again = place.context(claim, run_uid="another-run")
    more = ExpandPvcParameters.model_validate({"factor": 2})
    account = place.account(expand.rights(again.target, more))
    with pytest.raises(
        StepError, match="FileSystemResizePending: its file system grows when a node mounts it"
    ):
        await expand.perform(account, again, more)
    assert asked(place) == "2Gi"


async def test_a_claim_that_is_not_bound_is_not_expanded(place: Place) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "no-such-class",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    claim = place.create("v1", "persistentvolumeclaims", {"metadata": {"name": "data"}, "spec": spec})
    with pytest.raises(StepError, match="is Pending, not Bound") as caught:
        await acted(place, claim, size="2Gi")
    assert caught.value.reason is Reason.PRECONDITION_FAILED


async def test_a_snapshot_that_is_not_ready_is_deleted_by_undo_and_by_nothing_less(place: Place) -> None:
    serve_snapshots(place)
    context = place.context(bound(place))
    backup, given = BackupData(), BackupDataParameters(name="data")
    rights = backup.rights(context.target, given)
    step = replace(context, done=await backup.perform(place.account(rights), context, given))
    (made,) = place.items(SNAPSHOTS, "volumesnapshots")
    (deletes,) = (right for right in rights if right.verb == "delete")
    with pytest.raises(Forbidden, match="add verb delete on volumesnapshots"):
        await backup.undo(place.account(set(rights) - {deletes}), step, given)
    assert [one["metadata"]["uid"] for one in place.items(SNAPSHOTS, "volumesnapshots")] == [
        made["metadata"]["uid"]
    ]
    assert (await backup.undo(place.account(rights), step, given)).acted
    assert place.items(SNAPSHOTS, "volumesnapshots") == []
