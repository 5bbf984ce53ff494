"""Which real object an alert is about, by its labels and by owners."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.errors import Forbidden
from kubernaut.core.ports import Manifest
from kubernaut.intake.owners import Unresolved, Wanted, owner_of
from unit.actions.fake import FakeCluster

DEPLOYMENT = Wanted("apps/v1", "Deployment")


def made(kind: str, name: str, owner: tuple[str, str] | None = None, **spec: Any) -> Manifest:
    version = {"Pod": "v1", "Node": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}.get(kind, "apps/v1")
    if kind == "HorizontalPodAutoscaler":
        version = "autoscaling/v2"
    meta: dict[str, Any] = {"name": name}
    if kind == "Node":
        meta["namespace"] = ""
    if owner is not None:
        group = "batch/v1" if owner[0] in ("Job", "CronJob") else "apps/v1"
        meta["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Other", "name": "not-the-controller"},
            {"apiVersion": group, "kind": owner[0], "name": owner[1], "controller": True},
        ]
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster().add(
        made("Deployment", "web"),
        made("ReplicaSet", "web-5f7", ("Deployment", "web")),
        made("Pod", "web-5f7-abcde", ("ReplicaSet", "web-5f7")),
        made("StatefulSet", "db"),
        made("Pod", "db-0", ("StatefulSet", "db")),
        made("CronJob", "nightly"),
        made("Job", "nightly-1", ("CronJob", "nightly")),
        made("Pod", "nightly-1-xyz12", ("Job", "nightly-1")),
        made("Pod", "alone"),
        made(
            "HorizontalPodAutoscaler",
            "web",
            scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        ),
        made("Node", "node-1"),
    )


@pytest.mark.parametrize(
    ("wanted", "labels", "name"),
    [
        (DEPLOYMENT, {"pod": "web-5f7-abcde"}, "web"),
        (DEPLOYMENT, {"deployment": "web"}, "web"),
        (DEPLOYMENT, {"replicaset": "web-5f7"}, "web"),
        (DEPLOYMENT, {"horizontalpodautoscaler": "web"}, "web"),
        (DEPLOYMENT, {"pod": "kube-state-metrics-0", "exported_pod": "web-5f7-abcde"}, "web"),
        (DEPLOYMENT, {"pod": "web-5f7-abcde", "node": "node-1"}, "web"),
        # The pod is gone, and what made it is not.
        (DEPLOYMENT, {"pod": "web-5f7-zzzzz"}, "web"),
        (Wanted("apps/v1", "StatefulSet"), {"pod": "db-0"}, "db"),
        (Wanted("apps/v1", "StatefulSet"), {"pod": "db-7"}, "db"),
        (Wanted("batch/v1", "CronJob"), {"pod": "nightly-1-xyz12"}, "nightly"),
        (Wanted("batch/v1", "CronJob"), {"job_name": "nightly-1"}, "nightly"),
        (Wanted("v1", "Pod"), {"pod": "web-5f7-abcde"}, "web-5f7-abcde"),
        (Wanted("v1", "Node"), {"pod": "web-5f7-abcde", "node": "node-1"}, "node-1"),
    ],
)
async def test_the_object_is_found(
    cluster: FakeCluster, wanted: Wanted, labels: dict[str, str], name: str
) -> None:
    found = await owner_of(cluster, wanted, "shop", labels)
    assert (found["kind"], found["metadata"]["name"]) == (wanted.kind, name)


@pytest.mark.parametrize(
    ("wanted", "labels", "told"),
    [
        (DEPLOYMENT, {"instance": "10.0.0.1"}, "no label of the alert names an object"),
        (DEPLOYMENT, {"job": "web"}, "no label of the alert names an object"),
        (DEPLOYMENT, {"pod": "alone"}, "Pod alone belongs to no Deployment"),
        (DEPLOYMENT, {"pod": "db-0"}, "StatefulSet db belongs to no Deployment"),
        (DEPLOYMENT, {"pod": "nothing-like-it"}, "Pod nothing-like-it is gone"),
        (Wanted("v1", "Node"), {"pod": "web-5f7-abcde"}, "Deployment web belongs to no Node"),
    ],
)
async def test_what_has_no_owner_of_that_kind_says_what_was_looked_at(
    cluster: FakeCluster, wanted: Wanted, labels: dict[str, str], told: str
) -> None:
    with pytest.raises(Unresolved, match=told):
        await owner_of(cluster, wanted, "shop", labels)


async def test_what_the_account_may_not_read_is_told(cluster: FakeCluster) -> None:
    cluster.forbidden.add("get Pod")
    with pytest.raises(Forbidden):
        await owner_of(cluster, DEPLOYMENT, "shop", {"pod": "web-5f7-abcde"})


async def test_owners_in_a_circle_come_to_an_end() -> None:
    cluster = FakeCluster().add(
        made("ReplicaSet", "a", ("ReplicaSet", "b")), made("ReplicaSet", "b", ("ReplicaSet", "a"))
    )
    with pytest.raises(Unresolved, match="too many owners"):
        await owner_of(cluster, DEPLOYMENT, "shop", {"replicaset": "a"})
