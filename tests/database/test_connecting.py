"""A wrong address is told from a server that is away, and the password is never shown."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import asyncpg
import pytest

from database.builders import a_run
from database.conftest import sql
from kubernaut.history.breaker import Breaker
from kubernaut.history.database import Database
from kubernaut.history.errors import (
    AuthenticationFailed,
    BadDsn,
    ConnectionRefused,
    HistoryError,
    HistoryUnavailable,
    Rejected,
    SchemaMismatch,
    UnknownDatabase,
)
from kubernaut.history.repository import Repository
from kubernaut.history.schema import migrate
from kubernaut.history.writer import RunWriter
from localpostgres import LocalPostgres

SECRET = "hunter2-secret"


async def failure(dsn: str) -> HistoryError:
    """Return how opening a database fails."""
    database = Database(dsn)
    with pytest.raises(HistoryError) as caught:
        await database.open()
    await database.close()
    return caught.value


@pytest.fixture
async def asks_for_password(server: LocalPostgres) -> str:
    """The address of a user whom the server asks for a password; the password in it is wrong."""
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    if "careful" not in before:
        rules.write_text("local all careful scram-sha-256\n" + before)
        await sql(server.dsn, "CREATE ROLE careful LOGIN PASSWORD 'right'; SELECT pg_reload_conf()")
    return server.dsn.replace("postgres@", f"careful:{SECRET}@")


async def test_a_wrong_password(asks_for_password: str) -> None:
    error = await failure(asks_for_password)
    assert isinstance(error, AuthenticationFailed)
    assert "careful@" in str(error)
    assert "correct user and password" in str(error)
    assert SECRET not in str(error)


async def test_an_unknown_user(server: LocalPostgres) -> None:
    error = await failure(server.dsn.replace("postgres@", f"nobody-such:{SECRET}@"))
    assert isinstance(error, AuthenticationFailed)
    assert "nobody-such" in str(error)
    assert SECRET not in str(error)


async def test_an_unknown_database(server: LocalPostgres) -> None:
    error = await failure(server.dsn_of("missing"))
    assert isinstance(error, UnknownDatabase)
    assert '"missing" does not exist' in str(error)
    assert "create the database" in str(error)


async def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can listen there meanwhile
        port = taken.getsockname()[1]
        error = await failure(f"postgresql://kubernaut:{SECRET}@127.0.0.1:{port}/history")
    assert isinstance(error, ConnectionRefused)
    assert f"kubernaut@127.0.0.1:{port}/history" in str(error)
    assert SECRET not in str(error)


async def test_a_host_that_does_not_exist() -> None:
    error = await failure(f"postgresql://kubernaut:{SECRET}@no-such-host.invalid/history")
    assert isinstance(error, ConnectionRefused)
    assert "no-such-host.invalid" in str(error)
    assert SECRET not in str(error)


async def test_a_server_that_is_away_is_both_unavailable_and_a_possible_mistake() -> None:
    assert issubclass(ConnectionRefused, HistoryUnavailable)
    assert issubclass(ConnectionRefused, BadDsn)


async def test_a_server_that_hangs_is_given_up(server: LocalPostgres, dsn: str) -> None:
    database = Database(dsn, connect_timeout=0.3, command_timeout=0.3)
    await database.open()
    pid = server.pid
    assert pid is not None
    os.kill(
        pid, signal.SIGSTOP
    )  # the postmaster alone: new connections are accepted by the kernel, never served
    try:
        error = await failure_of_second_connection(database)
        assert isinstance(error, HistoryUnavailable)
        assert "did not answer in time" in str(error)
    finally:
        os.kill(pid, signal.SIGCONT)
        await database.close()


async def failure_of_second_connection(database: Database) -> HistoryError:
    async with database.connection():
        with pytest.raises(HistoryError) as caught:
            async with database.connection():
                raise AssertionError
    return caught.value


async def test_a_query_that_takes_too_long_is_given_up(dsn: str) -> None:
    database = Database(dsn, command_timeout=0.1)
    with pytest.raises(HistoryUnavailable, match="did not answer in time"):
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(30)")
    await database.close()


async def test_a_reader_of_a_database_nobody_migrated_is_told_so(empty_dsn: str) -> None:
    database = Database(empty_dsn, migrating=False)
    with pytest.raises(SchemaMismatch, match="start the operator"):
        await Repository(database).list_runs()
    await database.close()


async def test_connections_broken_by_a_restart_are_replaced(server: LocalPostgres, dsn: str) -> None:
    database = Database(dsn, breaker=Breaker("Postgres", failures=100, pause=0.0))
    await database.open()
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    answers: list[object] = []
    for _ in range(3):
        try:
            async with database.connection() as connection:
                answers.append(await connection.fetchval("SELECT 1"))
        except HistoryUnavailable as error:
            answers.append(error)
    assert answers[-1] == 1
    await database.close()


async def test_connections_to_what_is_the_primary_no_more_are_replaced(
    server: LocalPostgres, empty_dsn: str
) -> None:
    database = Database(empty_dsn, breaker=Breaker("Postgres", failures=100, pause=0.0))
    await migrate(empty_dsn)
    name = empty_dsn.partition("?")[0].rpartition("/")[2]
    at_once = server.dsn_of("postgres")
    await sql(at_once, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await database.open()
    await sql(at_once, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    with pytest.raises(HistoryUnavailable, match="read-only"):
        await RunWriter(database).write([a_run()])
    assert await RunWriter(database).write([a_run()]) == 1
    await database.close()


async def test_a_statement_that_the_server_does_not_know_any_more_is_tried_again(dsn: str) -> None:
    """As behind a pooler, which gives each transaction another of its connections."""
    database = Database(dsn)

    async def asked_of_two() -> None:
        async with database.connection() as connection:
            await connection.fetchval("SELECT $1::integer", 1)
            await connection.execute("DEALLOCATE ALL")
            await connection.fetchval("SELECT $1::integer", 1)

    with pytest.raises(HistoryUnavailable):
        await asked_of_two()
    await database.close()


async def test_a_mistake_in_a_query_opens_no_breaker(dsn: str) -> None:
    database = Database(dsn, breaker=Breaker("Postgres", failures=1, pause=60))
    for _ in range(3):
        with pytest.raises(Rejected):
            async with database.connection() as connection:
                await connection.fetchval("SELECT 1/0")
    assert database.breaker.state == "closed"
    await database.close()


async def test_asyncpgs_own_errors_never_leave_the_package(dsn: str) -> None:
    database = Database(dsn)
    for statement in (
        "SELEC",
        "SELECT 1/0",
        "SELECT * FROM nowhere",
        "SELECT 'x'::int",
        "SELECT nofunction()",
    ):
        with pytest.raises(HistoryError) as caught:
            async with database.connection() as connection:
                await connection.execute(statement)
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
    await database.close()
