"""failover_database with Patroni at work: asked once, the other member leads, and nothing written is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from apiserver.acting import Place, await_true
from apiserver.patroni import SCOPE, members
from apiserver.rest import Client
from apiserver.scenarios.scenario import mutations
from kubernaut.actions.databases.failover_database import FailoverDatabase, FailoverDatabaseParameters
from kubernaut.cluster.client import ApiConnection
from localcluster import Cluster

action = FailoverDatabase()


@pytest.fixture
async def place(cluster: Cluster, admin: Client, namespace: str) -> AsyncIterator[Place]:
    async with await ApiConnection.load(cluster.kubeconfig) as connection:
        yield Place(admin, namespace, connection)


async def test_the_member_that_is_asked_to_leads_once_and_keeps_what_was_written(
    cluster: Cluster, place: Place
) -> None:
    with members(cluster, place) as patroni:
        patroni.start("db-1")
        await_true(lambda: patroni.leader() == "db-1", "db-1 does not lead")
        patroni.start("db-2")
        await_true(lambda: patroni.told("db-2").get("state") == "streaming", "db-2 does not follow")
        await execute(patroni.dsn("db-1"), "CREATE TABLE kept AS SELECT 4711 AS number")

        parameters = FailoverDatabaseParameters.model_validate({"manager": "Patroni", "name": SCOPE})
        target = {"apiVersion": "v1", "kind": "Pod", **place.get("v1", "pods", "db-1")}
        context = place.context(target)
        account = place.account(action.rights(context.target, parameters))
        well = await action.prepare(account, context, parameters)
        assert not (await action.perform(account, replace(context, intent=well), parameters)).acted

        for former, next_one in (("db-1", "db-2"), ("db-2", "db-1")):
            anyway = parameters.model_copy(update={"only_if_failing": False})
            step = place.context(target, step=f"from-{former}")
            await_true(lambda: follows(patroni.told(next_one)), f"{next_one} does not follow")  # noqa: B023
            step = replace(step, intent=await action.prepare(account, step, anyway))
            first = await action.perform(account, step, anyway)
            assert first.outputs == {"from": former, "to": next_one}
            await_true(lambda: patroni.leader() == next_one, f"{next_one} does not lead")  # noqa: B023
            await_true(lambda: not asked(place), "Patroni does not take away what was asked")
            sent = mutations(place)
            again = await action.perform(account, step, anyway)
            assert (again.acted, again.outputs) == (True, first.outputs)
            assert mutations(place) == sent
            assert patroni.leader() == next_one
            await_true(lambda: patroni.told(next_one)["role"] == "primary", "it does not tell")  # noqa: B023
            assert await value(patroni.dsn(next_one), "SELECT number FROM kept") == 4711
            assert await value(patroni.dsn(next_one), "SELECT pg_is_in_recovery()") is False


def follows(told: object) -> bool:
    return isinstance(told, dict) and (told.get("state"), told.get("role")) == ("streaming", "replica")


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
