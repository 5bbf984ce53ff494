"""repair_database: the pinned volumes and pod of one broken replica, and never what the database rests on."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.actions.databases.repair_database import RepairDatabase, RepairDatabaseParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Forbidden, StepError
from kubernaut.core.ports import ObjectRef, Right
from unit.actions.builders import context
from unit.actions.databases import NAMES, claim, cnpg, failover, lapsed, lead, lock, patroni, told
from unit.actions.fake import FakeCluster, Lost

action = RepairDatabase()
BROKEN = ("db-1", "db-3")


def wanted(**parameters: Any) -> RepairDatabaseParameters:
    return RepairDatabaseParameters.model_validate({"name": "db"} | parameters)


def broken(manager: str) -> FakeCluster:
    if manager == "Patroni":
        return patroni(db_2=told(state="start failed"))
    return cnpg(BROKEN)


async def prepared(cluster: FakeCluster, **parameters: Any) -> Any:
    return await action.prepare(cluster, context(), wanted(**parameters))


def deleted(cluster: FakeCluster) -> list[str]:
    return [ref for verb, ref, _ in cluster.writes if verb == "delete"]


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("linger", [True, False])
@pytest.mark.parametrize("manager", ["CloudNativePG", "Patroni"])
async def test_claim_and_pod_of_the_broken_one_go_once_the_claim_first(
    manager: str, linger: bool, landed: bool
) -> None:
    cluster, parameters = broken(manager), wanted(manager=manager)
    cluster.linger = linger
    intent = await action.prepare(cluster, context(), parameters)
    assert intent is not None
    assert intent["instance"] == "db-2"
    cluster.troubles["delete"] = [Lost(landed)]
    step = context(intent=intent)
    first = await action.perform(cluster, step, parameters)
    assert first == await action.perform(cluster, step, parameters)
    assert first.outputs == {"instance": "db-2", "claims": ["pgdata-db-2"]}
    assert deleted(cluster) == ["PersistentVolumeClaim shop/pgdata-db-2", "Pod shop/db-2"]


async def test_what_was_made_anew_meanwhile_is_never_touched() -> None:
    cluster = cnpg(BROKEN)
    intent = await prepared(cluster)
    for kind, name in (("PersistentVolumeClaim", "pgdata-db-2"), ("Pod", "db-2")):
        cluster.edit(kind, name, {"metadata": {"uid": "another"}})
    assert (await action.perform(cluster, context(intent=intent), wanted())).acted
    assert cluster.writes == []


@pytest.mark.parametrize("manager", ["CloudNativePG", "Patroni"])
async def test_where_all_are_well_nothing_is_done(manager: str) -> None:
    cluster = cnpg() if manager == "CloudNativePG" else patroni()
    parameters = wanted(manager=manager)
    intent = await action.prepare(cluster, context(), parameters)
    done = await action.perform(cluster, context(intent=intent), parameters)
    assert (done.acted, done.outputs) == (False, {"instance": "", "claims": []})
    assert set(done.outputs) == set(action.outputs)


@pytest.mark.parametrize(
    ("cluster", "parameters", "said"),
    [
        (cnpg(BROKEN), {"instance": "db-1"}, "db-1 is the primary"),
        (cnpg(BROKEN), {"instance": "db-3"}, "db-3 is well"),
        (cnpg(BROKEN), {"instance": "db-9"}, "there is no instance db-9"),
        (cnpg(("db-3",)), {"instance": "db-2"}, "a new replica could not be cloned"),
        (cnpg(("db-3",)), {}, "a new replica could not be cloned"),
        (cnpg(BROKEN, targetPrimary="db-2"), {"instance": "db-2"}, "from db-1 to db-2 is under way"),
        (patroni(lapsed(), db_2=told(state="stopped")), {"manager": "Patroni"}, "its lock was last renewed"),
        (patroni(lead(**lock("")), db_2=told(state="stopped")), {"manager": "Patroni"}, "nobody leads"),
        (
            patroni(db_2=told(state="stopped")).add(failover(member="db-2")),
            {"manager": "Patroni"},
            "is asked for already",
        ),
        (patroni(), {"manager": "Patroni", "instance": "db-1"}, "db-1 is the primary"),
    ],
)
async def test_what_the_database_rests_on_is_refused(
    cluster: FakeCluster, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepError, match=said) as caught:
        await prepared(cluster, **parameters)
    assert caught.value.reason is Reason.PRECONDITION_FAILED


@pytest.mark.parametrize("after", [0, 1])
async def test_all_is_asked_again_before_each_deletion(after: int) -> None:
    cluster = cnpg(BROKEN)
    intent = await prepared(cluster)

    def recovered() -> None:
        found = cluster.find("Cluster", "db")["status"]
        cluster.edit_status("Cluster", "db", {**found, "instancesStatus": {"healthy": list(NAMES)}})

    if after:
        cluster.troubles["delete"] = [recovered]
    else:
        recovered()
    with pytest.raises(StepError, match="db-2 is well"):
        await action.perform(cluster, context(intent=intent), wanted())
    assert len(deleted(cluster)) == after


async def test_a_database_that_was_made_anew_is_left() -> None:
    cluster = cnpg(BROKEN)
    intent = await prepared(cluster)
    cluster.edit("Cluster", "db", {"metadata": {"uid": "another"}})
    with pytest.raises(StepError) as caught:
        await action.perform(cluster, context(intent=intent), wanted())
    assert caught.value.reason is Reason.TARGET_REPLACED
    assert cluster.writes == []


async def test_an_instance_without_a_pod_loses_its_claims_alone() -> None:
    cluster = cnpg(BROKEN)
    cluster.drop("Pod", "db-2")
    labels = {"cnpg.io/cluster": "db", "cnpg.io/instanceName": "db-2"}
    cluster.add(claim("pgdata-db-2-wal", **labels), claim("backups"))
    intent = await prepared(cluster, instance="db-2")
    await action.perform(cluster, context(intent=intent), wanted())
    assert deleted(cluster) == [
        "PersistentVolumeClaim shop/pgdata-db-2",
        "PersistentVolumeClaim shop/pgdata-db-2-wal",
    ]


async def test_claims_that_others_share_stay() -> None:
    cluster = broken("Patroni").add(claim("backups"))
    intent = await prepared(cluster, manager="Patroni")
    assert intent["claims"] == [{"name": "pgdata-db-2", "uid": "uid-claim-pgdata-db-2"}]


async def test_a_missing_right_is_told_and_nothing_is_lost_that_was_not_pinned() -> None:
    cluster = cnpg(BROKEN)
    intent = await prepared(cluster)
    cluster.forbidden.add("delete PersistentVolumeClaim")
    with pytest.raises(Forbidden):
        await action.perform(cluster, context(intent=intent), wanted())
    assert cluster.writes == []


def test_rights() -> None:
    target = ObjectRef("postgresql.cnpg.io/v1", "Cluster", "shop", "db")
    assert action.rights(target, RepairDatabaseParameters.model_validate({"instance": "db-2"})) == (
        Right("get", "postgresql.cnpg.io", "clusters", ("db",)),
        Right("list", "", "pods"),
        Right("list", "", "persistentvolumeclaims"),
        Right("get", "", "persistentvolumeclaims"),
        Right("delete", "", "persistentvolumeclaims"),
        Right("get", "", "pods", ("db-2",)),
        Right("delete", "", "pods", ("db-2",)),
    )


async def test_undo_says_that_nothing_comes_back() -> None:
    cluster = cnpg()
    assert not (await action.undo(cluster, context(), wanted())).acted
    assert cluster.requests == []
