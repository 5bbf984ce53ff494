"""The pool of connections, behind a breaker; migrates at first contact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgvector.asyncpg import register_vector

from kubernaut.history.breaker import Breaker
from kubernaut.history.dsn import check, describe
from kubernaut.history.failures import translated
from kubernaut.history.schema import migrate

# asyncpg has no types of its own that mypy could read.
Connection = Any


class Database:
    """One database. It may be away when this is made, and come and go later.

    Args:
        dsn: its address.
        migrating: whether to migrate at first contact; readers leave that to the operator.
        connections: at most so many at once.
        connect_timeout, command_timeout: seconds.
        read_only: have Postgres refuse whatever would write.
        breaker: opened by failures; by default three in a row, probing every 5 s.

    Raises:
        InvalidDsn: the address can't be read.
    """

    def __init__(
        self,
        dsn: str,
        *,
        migrating: bool = True,
        connections: int = 4,
        connect_timeout: float = 5.0,
        command_timeout: float = 60.0,
        read_only: bool = False,
        breaker: Breaker | None = None,
    ) -> None:
        self._dsn = check(dsn)
        self.where = describe(dsn)
        self.breaker = breaker or Breaker(f"Postgres at {self.where}")
        self._migrating = migrating
        self._connections = connections
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._settings = {"application_name": "kubernaut", "timezone": "UTC"}
        if read_only:
            self._settings["default_transaction_read_only"] = "on"
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connect now, and migrate. Not needed: the first use does it.

        Raises:
            BadDsn, HistoryUnavailable, SchemaMismatch, MissingPrivilege, ExtensionMissing: as they say.
        """
        async with self.connection():
            pass

    async def close(self) -> None:
        """Close all connections; those in use are given a second to end."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; whatever fails in the body comes out as a HistoryError."""
        async with self.breaker.guard():
            with translated(self.where):
                pool = await self._opened()
                try:
                    async with pool.acquire(timeout=self._connect_timeout) as connection:
                        yield connection
                except asyncpg.ReadOnlySQLTransactionError:
                    # It leads to what is the primary no more; a new one may find the server that is.
                    await pool.expire_connections()
                    raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection for one transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                if self._migrating:
                    await migrate(self._dsn, timeout=self._connect_timeout)
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=self._connections,
                    timeout=self._connect_timeout,
                    command_timeout=self._command_timeout,
                    init=_prepare,
                    server_settings=self._settings,
                )
            return self._pool


async def _prepare(connection: Connection) -> None:
    schema = await connection.fetchval(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'"
    )
    if schema is not None:
        await register_vector(connection, schema=schema)
