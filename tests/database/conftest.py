"""One real Postgres per test session (and worker), with one migrated database that each test finds empty."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from database.keyfile import Keys
from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.encryption import KeyRing
from kubernaut.history.schema import migrate
from localpostgres import LocalPostgres

_PREFIX = "kubernaut-db-"
_NUMBERS = itertools.count()
# Nothing here has to outlive the machine. Commits stay synchronous: a killed server must not lose them.
_FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


async def sql(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


_EMPTY = """
DELETE FROM kubernaut.runs; DELETE FROM kubernaut.steps; DELETE FROM kubernaut.bundles;
DELETE FROM kubernaut.seen_available; DELETE FROM kubernaut.patterns; DELETE FROM kubernaut.feature_sets;
DELETE FROM kubernaut.analysis; DELETE FROM kubernaut.known_good; DELETE FROM kubernaut.declarations;
DELETE FROM kubernaut.contents;
"""


def _remove_orphans() -> None:
    """Take away servers of sessions that were killed: a server outlives whoever started it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            owner = int((folder / "owner").read_text())
        except (OSError, ValueError):
            continue  # just being made, or somebody else's
        if not psutil.pid_exists(owner):
            LocalPostgres("tests", root=folder).down()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[LocalPostgres]:
    """A running server; a test that stops it starts it again."""
    _remove_orphans()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        (Path(folder) / "owner").write_text(str(os.getpid()))
        server = LocalPostgres.up("tests", root=Path(folder), settings=_FAST)
        try:
            asyncio.run(migrate(server.dsn))
            yield server
        finally:
            server.down()


@pytest.fixture
async def empty_dsn(server: LocalPostgres) -> str:
    """The address of a database with nothing in it, not even a schema."""
    name = f"test_{next(_NUMBERS)}"
    await sql(server.dsn_of("postgres"), f"CREATE DATABASE {name}")
    return server.dsn_of(name)


@pytest.fixture
async def dsn(server: LocalPostgres) -> str:
    """The address of a migrated database without rows."""
    await sql(server.dsn, _EMPTY)
    return server.dsn


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A migrated database behind a breaker that probes often."""
    database = Database(dsn, breaker=Breaker("Postgres", failures=3, pause=0.1))
    yield database
    await database.close()


@pytest.fixture
def file(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def keys(file: Keys) -> KeyRing:
    return file.ring
