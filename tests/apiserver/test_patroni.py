"""failover_database with Patroni at work: asked once, the other member leads, and nothing written is lost."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from apiserver.acting import Place, await_true
from apiserver.patroni import SCOPE, Patroni, members
from apiserver.scenarios.scenario import mutations
from kubernaut.actions.databases.failover_database import FailoverDatabase, FailoverDatabaseParameters
from kubernaut.core.ports import Cluster as Port
from localcluster import Cluster

action = FailoverDatabase()


async def test_the_member_that_is_asked_to_leads_once_and_keeps_what_was_written(
    cluster: Cluster, place: Place
) -> None:
    with members(cluster, place) as patroni:
        patroni.start("db-1")
        await_true(lambda: patroni.leader() == "db-1", "db-1 does not lead")
        patroni.start("db-2")
        await_following(patroni, "db-2")
        await execute(patroni.dsn("db-1"), "CREATE TABLE kept AS SELECT 4711 AS number")

        parameters = FailoverDatabaseParameters.model_validate({"manager": "Patroni", "name": SCOPE})
        context = place.context({"apiVersion": "v1", "kind": "Pod", **place.get("v1", "pods", "db-1")})
        account = place.account(action.rights(context.target, parameters))
        well = await action.prepare(account, context, parameters)
        assert not (await action.perform(account, replace(context, intent=well), parameters)).acted

        # The first asks by an object that is not there yet, the second by that one.
        for former, successor in (("db-1", "db-2"), ("db-2", "db-1")):
            await_following(patroni, successor)
            await hand_over(patroni, place, account, former, successor)


async def hand_over(patroni: Patroni, place: Place, account: Port, former: str, successor: str) -> None:
    given = {"manager": "Patroni", "name": SCOPE, "onlyIfFailing": False}
    parameters = FailoverDatabaseParameters.model_validate(given)
    target = {"apiVersion": "v1", "kind": "Pod", **place.get("v1", "pods", former)}
    step = place.context(target, step=f"from-{former}")
    step = replace(step, intent=await action.prepare(account, step, parameters))
    first = await action.perform(account, step, parameters)
    assert first.outputs == {"from": former, "to": successor}
    await_true(lambda: patroni.leader() == successor, f"{successor} does not lead")
    await_true(lambda: not asked(place), "Patroni does not take away what was asked")
    sent = mutations(place)
    again = await action.perform(account, step, parameters)
    assert (again.acted, again.outputs) == (True, first.outputs)
    assert mutations(place) == sent
    await_true(lambda: patroni.told(successor)["role"] == "primary", "it does not tell that it leads")
    assert patroni.leader() == successor
    assert await value(patroni.dsn(successor), "SELECT number FROM kept") == 4711
    assert await value(patroni.dsn(successor), "SELECT pg_is_in_recovery()") is False


def await_following(patroni: Patroni, name: str) -> None:
    def follows() -> bool:
        told = patroni.told(name)
        return (told.get("role"), told.get("replication_state")) == ("replica", "streaming")

    await_true(follows, f"{name} does not follow: {patroni.told(name)}")


def asked(place: Place) -> bool:
    found = place.get("v1", "endpoints", f"{SCOPE}-failover")["metadata"].get("annotations") or {}
    return bool(found.get("member"))


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        found: object = await connection.fetchval(query)
    finally:
        await connection.close()
    return found
