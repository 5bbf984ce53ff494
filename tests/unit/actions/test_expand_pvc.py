"""expand_pvc."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.storage.expand_pvc import ExpandPvc, ExpandPvcParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context
from unit.actions.fake import FakeCluster, Lost

expand = ExpandPvc()


def claim(size: str = "10Gi", capacity: str | None = None, phase: str = "Bound", **status: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "shop", "uid": "uid-claim"},
        "spec": {"storageClassName": "disk", "resources": {"requests": {"storage": size}}},
        "status": {"phase": phase, "capacity": {"storage": capacity or size}, **status},
    }


def storage_class(**more: Any) -> Manifest:
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    return {**kind, "metadata": {"name": "disk", "namespace": "", "uid": "uid-disk"}, **more}


HERE = context(claim())
GROWING = storage_class(allowVolumeExpansion=True)


def asked(cluster: FakeCluster) -> Any:
    return cluster.find("PersistentVolumeClaim", "data")["spec"]["resources"]["requests"]["storage"]


async def acted(cluster: FakeCluster, **parameters: Any) -> Done:
    return await expand.perform(cluster, HERE, ExpandPvcParameters.model_validate(parameters))


async def refusal(cluster: FakeCluster, **parameters: Any) -> str:
    before = asked(cluster)
    with pytest.raises(StepError) as caught:
        await acted(cluster, **parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert asked(cluster) == before
    assert cluster.writes == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "parameters", "after"),
    [
        ("10Gi", {"size": "20Gi"}, "20Gi"),
        ("10Gi", {"factor": 1.5}, "15Gi"),
        ("10Gi", {"factor": 1.01}, "11Gi"),
        ("100Mi", {"factor": 1.001}, "101Mi"),
        ("10Gi", {"factor": 3, "maxSize": "25Gi"}, "25Gi"),
        ("5G", {"factor": 2}, "10Gi"),
        ("1Gi", {"size": "1536Mi"}, "1536Mi"),
    ],
)
async def test_more_is_asked_for_once_though_the_answer_was_lost(
    before: str, parameters: dict[str, Any], after: str
) -> None:
    cluster = FakeCluster().add(claim(before), GROWING)
    cluster.troubles["patch"] = [Lost(landed=True)]
    first, again = await acted(cluster, **parameters), await acted(cluster, **parameters)
    assert asked(cluster) == after
    assert (first.acted, again.acted, first.outputs) == (True, True, again.outputs)
    assert first.outputs == {"before": before, "size": after, "capacity": before}
    assert len(cluster.writes) == 1


@pytest.mark.parametrize("size", ["10Gi", "5Gi"])
async def test_a_claim_that_is_large_enough_is_never_made_smaller(size: str) -> None:
    cluster = FakeCluster().add(claim("10Gi"), GROWING)
    done = await acted(cluster, size=size)
    assert (done.acted, cluster.writes, done.outputs["size"]) == (False, [], "10Gi")


async def test_undo_changes_nothing_and_says_why() -> None:
    cluster = FakeCluster().add(claim(), GROWING)
    await acted(cluster, size="20Gi")
    done = await expand.undo(cluster, HERE, ExpandPvcParameters(size="20Gi"))
    assert not done.acted
    assert "can't be made smaller" in done.message
    assert len(cluster.writes) == 1


async def test_the_cap_is_never_exceeded() -> None:
    cluster = FakeCluster().add(claim("100Gi"), GROWING)
    assert "may be expanded to 100Gi at most" in await refusal(cluster, factor=2)


async def test_a_class_that_does_not_allow_it_is_named() -> None:
    cluster = FakeCluster().add(claim(), storage_class())
    assert "its StorageClass disk does not allow it" in await refusal(cluster, size="20Gi")


@pytest.mark.parametrize("forbidden", [True, False])
async def test_a_class_that_can_not_be_read_is_left_to_the_api_server(forbidden: bool) -> None:
    cluster = FakeCluster().add(claim())
    if forbidden:
        cluster.forbidden.add("get StorageClass")
    assert (await acted(cluster, size="20Gi")).acted


async def test_a_claim_without_a_class_is_left_to_the_api_server() -> None:
    one = claim()
    del one["spec"]["storageClassName"]
    assert (await acted(FakeCluster().add(one), size="20Gi")).acted


@pytest.mark.parametrize("phase", ["Pending", "Lost"])
async def test_a_claim_that_is_not_bound_is_not_expanded(phase: str) -> None:
    assert f"is {phase}, not Bound" in await refusal(
        FakeCluster().add(claim(phase=phase), GROWING), size="20Gi"
    )


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ([], "its storage driver has not said anything about it yet"),
        ([{"type": "Resizing", "status": "True"}], "Resizing: its storage driver is growing it"),
        ([{"type": "FileSystemResizePending", "status": "True"}], "restart the pod that uses it"),
    ],
)
async def test_an_expansion_that_is_under_way_is_told_and_not_added_to(conditions: Any, told: str) -> None:
    cluster = FakeCluster().add(claim("20Gi", "10Gi", conditions=conditions), GROWING)
    assert told in await refusal(cluster, factor=2)
    done = await acted(cluster, size="20Gi")
    assert not done.acted
    assert told in done.message


async def test_a_condition_that_is_over_does_not_matter() -> None:
    over = [{"type": "Resizing", "status": "False"}]
    assert (await acted(FakeCluster().add(claim(conditions=over), GROWING), factor=2)).acted


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "exactly one of size and factor"),
        ({"size": "2Gi", "factor": 2}, "exactly one of size and factor"),
        ({"size": "200Gi"}, "size 200Gi is above maxSize 100Gi"),
        ({"size": "much"}, "is not a quantity"),
        ({"size": "0"}, "less than a byte"),
        ({"factor": 1}, "greater than 1"),
        ({"factor": 11}, "less than or equal to 10"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ExpandPvcParameters.model_validate(parameters)


def test_rights_name_the_claim_and_nothing_of_the_whole_cluster() -> None:
    target = ObjectRef("v1", "PersistentVolumeClaim", "shop", "data")
    assert expand.rights(target, ExpandPvcParameters(size="1Gi")) == (
        Right("get", "", "persistentvolumeclaims", ("data",)),
        Right("patch", "", "persistentvolumeclaims", ("data",)),
    )
