"""Migrations: Alembic renders them to SQL, one transaction under an advisory lock runs them."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from kubernaut.history.dsn import check, describe
from kubernaut.history.errors import SchemaMismatch
from kubernaut.history.failures import translated

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision, so that a start which finds it needs neither Alembic nor SQLAlchemy in memory.
HEAD = "0007"
MIGRATION_LOCK = 7239104580
MONTHS_AHEAD = 2
log = logging.getLogger(__name__)


def _config(buffer: io.StringIO) -> Config:
    from alembic.config import Config  # here, not above: it brings SQLAlchemy, which only a migration needs

    config = Config(output_buffer=buffer, attributes={"buffer": buffer})
    config.set_main_option("script_location", "kubernaut.history:migrations")
    return config


def known_revisions() -> list[str]:
    """Return the revisions this version knows, oldest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config(io.StringIO()))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def render(current: str, wanted: str) -> str:
    """Return the SQL that leads from one revision to another; either may be ``base``."""
    from alembic import command

    revisions = ["base", *known_revisions()]
    buffer = io.StringIO()
    move = command.upgrade if revisions.index(wanted) > revisions.index(current) else command.downgrade
    move(_config(buffer), f"{current}:{wanted}", sql=True)
    return buffer.getvalue()


async def migrate(dsn: str, wanted: str = "head", *, timeout: float = 10.0) -> None:
    """Bring the schema to a revision; several may do so at once. Does nothing where it is there already.

    Args:
        dsn: address of the database.
        wanted: ``head``, ``base``, or a revision.
        timeout: seconds to connect in.

    Raises:
        HistoryUnavailable, BadDsn: as they say.
        SchemaMismatch: the schema is newer than this version knows.
        MissingPrivilege, ExtensionMissing: what has to be granted or installed.
    """
    where = describe(check(dsn))
    with translated(where):
        connection = await asyncpg.connect(dsn, timeout=timeout)
        try:
            async with connection.transaction():
                await _migrate(connection, wanted, where)
        finally:
            await connection.close(timeout=timeout)


async def _migrate(connection: Any, wanted: str, where: str) -> None:
    # Who waits longer for another operator's migration, or for a table in use, is told and tries again.
    await connection.execute("SET LOCAL lock_timeout = '60s'")
    # What the role's queries are bounded by is too short for an index on all runs.
    await connection.execute(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
    )
    await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
    current = await _current(connection)
    target = HEAD if wanted == "head" else wanted
    if current != target:
        if current not in ("base", *await asyncio.to_thread(known_revisions)):
            raise SchemaMismatch(
                f"Postgres at {where} has schema revision {current}, this version knows up to {HEAD}: "
                "it was migrated by a newer Kubernaut; run that version, or migrate down with it first"
            )
        # Asked first: IF NOT EXISTS wants the right to create it even where it exists.
        if await connection.fetchval("SELECT to_regnamespace('kubernaut')") is None:
            await connection.execute("CREATE SCHEMA kubernaut")
        script = await asyncio.to_thread(render, current, target)
        await connection.execute(script)
        if target == "base":
            await connection.execute("DROP TABLE kubernaut.alembic_version")
        log.info("migrated Postgres at %s from schema revision %s to %s", where, current, target)
    if target != "base":
        await ensure_months(connection, months_ahead(datetime.now(UTC)))


async def _current(connection: Any) -> str:
    if await connection.fetchval("SELECT to_regclass('kubernaut.alembic_version')") is None:
        return "base"
    version = await connection.fetchval("SELECT version_num FROM kubernaut.alembic_version")
    return version or "base"


def month_of(moment: datetime) -> date:
    """Return the first day (UTC) of the month a moment lies in."""
    return moment.astimezone(UTC).date().replace(day=1)


def months_ahead(now: datetime, count: int = MONTHS_AHEAD) -> list[date]:
    """Return this month and some to come."""
    first = month_of(now)
    months = [first]
    for _ in range(count):
        last = months[-1]
        months.append(date(last.year + last.month // 12, last.month % 12 + 1, 1))
    return months


async def ensure_months(connection: Any, months: Iterable[date]) -> None:
    """Make the partitions of these months where they are missing."""
    for month in sorted(set(months)):
        await connection.execute("SELECT kubernaut.ensure_month($1)", month)
