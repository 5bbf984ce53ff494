"""One real Postgres per test session (and worker), one migrated database per test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from localpostgres import LocalPostgres

from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.schema import migrate

_NUMBERS = itertools.count()
# Nothing here outlives the session, and a crash of Postgres loses nothing that the kernel has.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


async def sql(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def server() -> Iterator[LocalPostgres]:
    """A running server; a test that stops it starts it again."""
    with tempfile.TemporaryDirectory(prefix="kubernaut-db-") as folder:
        server = LocalPostgres.up("tests", root=Path(folder), settings=_FAST)
        try:
            asyncio.run(_make_template(server))
            yield server
        finally:
            server.down()


async def _make_template(server: LocalPostgres) -> None:
    await sql(server.dsn_of("postgres"), "CREATE DATABASE migrated")
    await migrate(server.dsn_of("migrated"))


async def _new_database(server: LocalPostgres, template: str) -> str:
    name = f"test_{next(_NUMBERS)}"
    await sql(server.dsn_of("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.dsn_of(name)


@pytest.fixture
async def empty_dsn(server: LocalPostgres) -> str:
    """The address of a database with nothing in it."""
    return await _new_database(server, "template0")


@pytest.fixture
async def dsn(server: LocalPostgres) -> str:
    """The address of a migrated database."""
    return await _new_database(server, "migrated")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A migrated database behind a breaker that probes often."""
    database = Database(dsn, breaker=Breaker("Postgres", failures=3, pause=0.1))
    yield database
    await database.close()
