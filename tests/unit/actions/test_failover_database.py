"""failover_database: a fit replica is asked to lead, once, and only while the lead is what was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.databases.failover_database import FailoverDatabase, FailoverDatabaseParameters
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import Conflict, Forbidden, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import NOW, context
from unit.actions.databases import (
    EPOCH,
    NAMES,
    cnpg,
    cnpg_cluster,
    failover,
    lapsed,
    lead,
    lock,
    patroni,
    told,
)
from unit.actions.fake import FakeCluster, Lost

action = FailoverDatabase()
FAILING = ("db-2", "db-3")


def wanted(**parameters: Any) -> FailoverDatabaseParameters:
    return FailoverDatabaseParameters.model_validate({"name": "db"} | parameters)


def of_patroni(**parameters: Any) -> FailoverDatabaseParameters:
    return wanted(manager="Patroni", **parameters)


async def begun(cluster: FakeCluster, parameters: Any, **more: Any) -> tuple[StepContext, Mapping[str, Any]]:
    intent = await action.prepare(cluster, context(), parameters)
    assert intent is not None
    cluster.requests.clear()
    # The step may be performed long after it was prepared, by another process.
    return replace(context(intent=intent, **more), now=NOW + timedelta(seconds=7)), intent


async def performed(cluster: FakeCluster, parameters: Any) -> Done:
    step, _ = await begun(cluster, parameters)
    return await action.perform(cluster, step, parameters)


def status(cluster: FakeCluster) -> Manifest:
    found: Manifest = cluster.find("Cluster", "db")["status"]
    return found


def asked_of(cluster: FakeCluster, kind: str = "Endpoints") -> dict[str, str]:
    found: dict[str, str] = cluster.find(kind, "db-failover")["metadata"]["annotations"]
    return {key: value for key, value in found.items() if "kubernaut.io/" not in key}


@pytest.mark.parametrize("landed", [True, False])
async def test_cnpg_the_target_is_written_once_as_its_own_tool_does(landed: bool) -> None:
    cluster = cnpg(FAILING)
    step, intent = await begun(cluster, wanted())
    cluster.troubles["patch"] = [Lost(landed)]
    first = await action.perform(cluster, step, wanted())
    again = await action.perform(cluster, step, wanted())
    assert (first, again.acted) == (again, True)
    assert first.outputs == {"from": "db-1", "to": "db-2"}
    assert first.changed == ("Cluster shop/db: status.targetPrimary: db-1 -> db-2",)
    ((verb, ref, body),) = cluster.writes
    assert (verb, ref) == ("patch", "Cluster shop/db")
    assert body == {
        "status": {
            "targetPrimary": "db-2",
            "targetPrimaryTimestamp": intent["at"],
            "phase": "Switchover in progress",
            "phaseReason": "Switching over to db-2",
        }
    }
    assert cluster.find("Cluster", "db")["metadata"]["generation"] == 1


async def test_cnpg_once_its_manager_has_followed_it_is_still_known_as_done() -> None:
    cluster = cnpg(FAILING)
    step, _ = await begun(cluster, wanted())
    await action.perform(cluster, step, wanted())
    cluster.edit_status("Cluster", "db", {**status(cluster), "currentPrimary": "db-2"})
    assert (await action.perform(cluster, step, wanted())).acted
    assert len(cluster.writes) == 1


@pytest.mark.parametrize(
    "moved",
    [
        {
            "targetPrimary": "db-2",
            "currentPrimary": "db-2",
            "targetPrimaryTimestamp": "2026-03-01T12:00:03.000000Z",
        },
        {
            "targetPrimary": "db-3",
            "currentPrimary": "db-3",
            "targetPrimaryTimestamp": "2026-03-01T12:00:03.000000Z",
        },
        {"targetPrimary": "pending", "targetPrimaryTimestamp": "2026-03-01T12:00:03.000000Z"},
        {"targetPrimaryTimestamp": "2026-03-01T12:00:03.000000Z"},
    ],
)
async def test_cnpg_where_others_changed_the_lead_since_nothing_is_done(moved: dict[str, str]) -> None:
    cluster = cnpg(FAILING)
    step, _ = await begun(cluster, wanted())
    cluster.troubles["patch"] = [Conflict("changed", status=409)]
    cluster.edit_status("Cluster", "db", {**status(cluster), **moved})
    with pytest.raises(StepError) as caught:
        await action.perform(cluster, step, wanted())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_cnpg_one_that_was_made_anew_is_another_database() -> None:
    cluster = cnpg(FAILING)
    step, _ = await begun(cluster, wanted())
    cluster.edit("Cluster", "db", {"metadata": {"uid": "another"}})
    with pytest.raises(StepError) as caught:
        await action.perform(cluster, step, wanted())
    assert caught.value.reason is Reason.TARGET_REPLACED


async def test_cnpg_an_outcome_that_stays_unknown_is_told_as_such() -> None:
    cluster = cnpg(FAILING)
    step, _ = await begun(cluster, wanted())
    cluster.troubles["patch"] = [Lost(landed=False)]
    cluster.troubles["get"] = [None, Forbidden("no", status=403)]
    with pytest.raises(UnknownOutcome):
        await action.perform(cluster, step, wanted())


@pytest.mark.parametrize("make", [cnpg, patroni], ids=["CloudNativePG", "Patroni"])
async def test_a_primary_that_is_well_goes_on_leading_unless_it_is_told_not_to(make: Any) -> None:
    parameters = wanted(manager="Patroni" if make is patroni else "CloudNativePG")
    cluster = make()
    done = await performed(cluster, parameters)
    assert (done.acted, done.outputs) == (False, {"from": "db-1", "to": ""})
    assert cluster.writes == []
    anyway = parameters.model_copy(update={"only_if_failing": False})
    assert (await performed(cluster, anyway)).outputs == {"from": "db-1", "to": "db-2"}


@pytest.mark.parametrize("make", [cnpg, patroni], ids=["CloudNativePG", "Patroni"])
async def test_a_primary_that_has_recovered_meanwhile_goes_on_leading(make: Any) -> None:
    parameters = wanted(manager="Patroni" if make is patroni else "CloudNativePG")
    cluster = cnpg(FAILING) if make is cnpg else patroni(lapsed())
    step, _ = await begun(cluster, parameters)
    if make is cnpg:
        cluster.edit_status("Cluster", "db", {**status(cluster), "instancesStatus": {"healthy": list(NAMES)}})
    else:
        cluster.edit("Endpoints", "db", {"metadata": {"annotations": lock()}})
    with pytest.raises(StepError, match="is well again"):
        await action.perform(cluster, step, parameters)
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"instancesStatus": {"healthy": []}}, "does not count it as healthy"),
        ({"instancesReportedState": {n: {"timeLineID": 2} for n in NAMES}}, "on timeline 2, not 3"),
        ({"targetPrimary": "db-3"}, "from db-1 to db-3 is under way"),
        ({"instanceNames": ["db-1"]}, "it has no replica"),
    ],
)
async def test_cnpg_where_no_replica_can_take_over_it_says_why(state: dict[str, Any], said: str) -> None:
    cluster = cnpg(FAILING, **state)
    with pytest.raises(StepError, match=said) as caught:
        await action.prepare(cluster, context(), wanted(onlyIfFailing=False))
    assert caught.value.reason is Reason.PRECONDITION_FAILED


@pytest.mark.parametrize("fenced", ['["db-2", "db-3"]', '["*"]'])
async def test_cnpg_a_fenced_instance_does_not_take_over(fenced: str) -> None:
    cluster = cnpg(FAILING)
    cluster.edit("Cluster", "db", {"metadata": {"annotations": {"cnpg.io/fencedInstances": fenced}}})
    with pytest.raises(StepError, match="fenced off"):
        await action.prepare(cluster, context(), wanted())


async def test_cnpg_pods_decide_too_and_a_named_candidate_is_kept() -> None:
    cluster = cnpg(FAILING)
    cluster.find("Pod", "db-2")["status"]["conditions"][0]["status"] = "False"
    assert (await performed(cluster, wanted())).outputs["to"] == "db-3"
    for pod, said in (
        ("db-2", "its pod is not ready"),
        ("db-1", "db-1 is no replica"),
        ("db-9", "no replica"),
    ):
        with pytest.raises(StepError, match=said):
            await action.prepare(cnpg_with_bad_pod(), context(), wanted(candidate=pod))


def cnpg_with_bad_pod() -> FakeCluster:
    cluster = cnpg(FAILING)
    cluster.find("Pod", "db-2")["status"]["conditions"][0]["status"] = "False"
    return cluster


async def test_cnpg_a_replica_cluster_is_led_from_elsewhere() -> None:
    cluster = cnpg(FAILING)
    cluster.edit("Cluster", "db", {"spec": {"replica": {"enabled": True}}})
    with pytest.raises(StepError, match="led from elsewhere"):
        await action.prepare(cluster, context(), wanted())


@pytest.mark.parametrize("landed", [True, False])
async def test_patroni_is_asked_by_a_new_object_once(landed: bool) -> None:
    cluster = patroni(lapsed())
    step, _ = await begun(cluster, of_patroni())
    cluster.troubles["create"] = [Lost(landed)]
    first = await action.perform(cluster, step, of_patroni())
    assert asked_of(cluster) == {"leader": "db-1", "member": "db-2"}
    assert cluster.find("Endpoints", "db-failover")["metadata"]["labels"] == {
        "application": "patroni",
        "cluster-name": "db",
    }
    # Who leads acts on it and takes the annotations away.
    cluster.edit("Endpoints", "db-failover", {"metadata": {"annotations": {"leader": None, "member": None}}})
    cluster.edit("Endpoints", "db", {"metadata": {"annotations": lock("db-2", transitions="5")}})
    assert await action.perform(cluster, step, of_patroni()) == first
    assert asked_of(cluster) == {}
    assert len(cluster.writes) == 1


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("kind", ["Endpoints", "ConfigMap"])
async def test_patroni_is_asked_by_the_object_that_is_there_once(kind: str, landed: bool) -> None:
    parameters = of_patroni(patroniObjects=kind)
    cluster = patroni(lead(kind, **lock(renewed=NOW - timedelta(hours=1)))).add(failover(kind))
    step, _ = await begun(cluster, parameters)
    cluster.troubles["patch"] = [Lost(landed)]
    first = await action.perform(cluster, step, parameters)
    assert asked_of(cluster, kind) == {"leader": "db-1", "member": "db-2"}
    cluster.edit(kind, "db-failover", {"metadata": {"annotations": {"leader": None, "member": None}}})
    again = await action.perform(cluster, step, parameters)
    assert (again.acted, again.outputs) == (True, first.outputs)
    assert asked_of(cluster, kind) == {}
    assert len(cluster.writes) == 1


async def test_patroni_where_nobody_leads_only_the_candidate_is_named() -> None:
    cluster = patroni(lead(**lock("")), db_1=told())
    assert (await performed(cluster, of_patroni())).outputs == {"from": "", "to": "db-1"}
    assert asked_of(cluster) == {"member": "db-1"}


@pytest.mark.parametrize(
    ("members", "parameters", "said"),
    [
        (
            {"db_2": told(at=1), "db_3": told(at=2)},
            {"maxLagBytes": 100},
            "db-2: it is 4999 bytes behind, at most 100",
        ),
        ({"db_2": told(state="starting"), "db_3": "{}"}, {}, "db-2: it is starting, not running"),
        ({"db_2": told(tags={"nofailover": True}), "db_3": "not json"}, {}, "nofailover"),
        ({"db_2": told(timeline=2), "db_3": ""}, {}, "on timeline 2, not 3"),
        ({"db_2": told(xlog_location=None), "db_3": ""}, {}, "how far it is behind is not known"),
        ({"db_2": told(leads=True), "db_3": ""}, {}, "it says that it leads"),
    ],
)
async def test_patroni_where_no_replica_can_take_over_it_says_why(
    members: dict[str, str], parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepError, match=said):
        await action.prepare(patroni(lapsed(), **members), context(), of_patroni(**parameters))


async def test_patroni_the_one_that_is_least_behind_takes_over() -> None:
    cluster = patroni(lapsed(), db_2=told(at=4000), db_3=told(at=4900))
    assert (await performed(cluster, of_patroni())).outputs["to"] == "db-3"


async def test_patroni_what_is_asked_for_already_is_not_asked_over() -> None:
    cluster = patroni(lapsed()).add(failover(leader="db-1", member="db-3"))
    with pytest.raises(StepError, match="from db-1 to db-3 is asked for already"):
        await action.prepare(cluster, context(), of_patroni())


@pytest.mark.parametrize("there", [True, False])
async def test_patroni_a_lead_that_has_moved_since_is_left(there: bool) -> None:
    cluster = patroni(lapsed())
    if there:
        cluster.add(failover())
    step, _ = await begun(cluster, of_patroni())
    cluster.edit("Endpoints", "db", {"metadata": {"annotations": lock("db-3", transitions="5")}})
    with pytest.raises(StepError, match="the lead has changed since"):
        await action.perform(cluster, step, of_patroni())
    assert cluster.writes == []


async def test_patroni_an_object_that_another_created_meanwhile_is_not_taken_for_ours() -> None:
    cluster = patroni(lapsed())
    step, _ = await begun(cluster, of_patroni())
    cluster.troubles["create"] = [lambda: cluster.add(failover(member="db-3"))]
    with pytest.raises(StepError) as caught:
        await action.perform(cluster, step, of_patroni())
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert asked_of(cluster) == {"member": "db-3"}


async def test_a_database_that_is_not_there_is_told() -> None:
    for parameters in (wanted(), of_patroni()):
        with pytest.raises(NotFound):
            await action.prepare(FakeCluster(), context(), parameters)


async def test_undo_leaves_the_lead_where_it_is() -> None:
    cluster = cnpg()
    assert not (await action.undo(cluster, context(), wanted())).acted
    assert cluster.requests == []


def test_rights_name_the_objects() -> None:
    target = ObjectRef("postgresql.cnpg.io/v1", "Cluster", "shop", "db")
    assert action.rights(target, FailoverDatabaseParameters()) == (
        Right("get", "postgresql.cnpg.io", "clusters", ("db",)),
        Right("list", "", "pods"),
        Right("patch", "postgresql.cnpg.io", "clusters/status", ("db",)),
    )
    assert action.rights(None, of_patroni(patroniObjects="ConfigMap")) == (
        Right("get", "", "configmaps", ("db-leader", "db-failover")),
        Right("list", "", "pods"),
        Right("patch", "", "configmaps", ("db-failover",)),
        Right("create", "", "configmaps"),
    )


@pytest.mark.parametrize(
    "bad",
    [{"manager": "Stolon"}, {"maxLagBytes": -1}, {"scopeLabel": "a b"}, {"candidate": "X"}, {"what": 1}],
)
def test_bad_input_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        wanted(**bad)


def test_the_recorded_cluster_is_one_of_three() -> None:
    assert cnpg_cluster()["status"]["targetPrimaryTimestamp"] == EPOCH
