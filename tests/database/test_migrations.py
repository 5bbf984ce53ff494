"""The schema: up, down, by several at once, and refusals that say what to do."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from database.conftest import sql
from kubernaut.history.errors import MissingPrivilege, SchemaMismatch
from kubernaut.history.schema import HEAD, MIGRATION_LOCK, known_revisions, migrate, months_ahead, render

_CATALOGUE = """
SELECT 'relation', c.relname, c.relkind::text, coalesce(pg_get_partkeydef(c.oid), ''),
       coalesce(pg_get_expr(c.relpartbound, c.oid), '')
FROM pg_class c WHERE c.relnamespace = 'kubernaut'::regnamespace AND c.relkind <> 'i'
UNION ALL
SELECT 'column', c.relname, a.attname,
       format_type(a.atttypid, a.atttypmod) || a.attnotnull::text || a.attstorage::text,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'kubernaut'::regnamespace AND c.relkind <> 'i'
      AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'kubernaut'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), ''
FROM pg_constraint WHERE connamespace = 'kubernaut'::regnamespace
UNION ALL
SELECT 'function', proname, md5(prosrc), '', '' FROM pg_proc WHERE pronamespace = 'kubernaut'::regnamespace
ORDER BY 1, 2, 3, 4, 5
"""


async def catalogue(dsn: str) -> list[tuple[str, ...]]:
    """Return everything that the schema consists of."""
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(_CATALOGUE)]
    finally:
        await connection.close()


async def test_up_down_and_up_again_ends_where_it_began(empty_dsn: str) -> None:
    await migrate(empty_dsn)
    first = await catalogue(empty_dsn)
    assert {"runs", "steps", "bundles", "patterns", "run_features"} <= {row[1] for row in first}
    await migrate(empty_dsn, "base")
    assert await catalogue(empty_dsn) == []
    await migrate(empty_dsn)
    assert await catalogue(empty_dsn) == first


async def test_every_single_step_can_be_undone(empty_dsn: str) -> None:
    states = []
    revisions = known_revisions()
    for revision in revisions:
        await migrate(empty_dsn, revision)
        states.append(await catalogue(empty_dsn))
    for revision, state in zip(reversed(revisions), reversed(states), strict=True):
        await migrate(empty_dsn, revision)
        assert await catalogue(empty_dsn) == state


def test_the_revision_a_start_looks_for_is_the_newest_one() -> None:
    assert known_revisions()[-1] == HEAD


def test_sql_is_rendered_as_written() -> None:
    assert "%%" not in render("base", HEAD)


def test_the_command_of_the_upgrade_page_takes_the_schema_back(empty_dsn: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "upgrade.md").read_text()
    found = re.search(r"python3 -c \\\n +'([^']+)' (\d+)$", page, re.MULTILINE)
    assert found
    assert found[2] in known_revisions()

    async def migrated() -> None:
        await migrate(empty_dsn)

    async def revision() -> Any:
        connection = await asyncpg.connect(empty_dsn)
        try:
            return await connection.fetchval("SELECT version_num FROM kubernaut.alembic_version")
        finally:
            await connection.close()

    asyncio.run(migrated())
    command = [sys.executable, "-c", found[1], found[2]]
    subprocess.run(command, env={**os.environ, "KUBERNAUT_DSN": empty_dsn}, check=True)
    assert asyncio.run(revision()) == found[2]


async def test_several_operators_can_start_at_once(empty_dsn: str) -> None:
    await asyncio.gather(*(migrate(empty_dsn) for _ in range(6)))
    await migrate(empty_dsn)
    assert len([row for row in await catalogue(empty_dsn) if row[:2] == ("relation", "alembic_version")]) == 1


async def test_a_migration_may_last_longer_than_the_statements_of_its_user(empty_dsn: str) -> None:
    """As long as it takes to wait for another operator's, which holds the lock."""
    joint = "&" if "?" in empty_dsn else "?"
    other = await asyncpg.connect(empty_dsn)
    try:
        await other.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        migration = asyncio.create_task(migrate(f"{empty_dsn}{joint}statement_timeout=100"))
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' "
            "AND datname = current_database() AND clock_timestamp() - query_start > interval '200ms'"
        )
        async with asyncio.timeout(30):
            while not migration.done() and not await other.fetchval(waits):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        await other.close()
    await migration
    assert "runs" in {row[1] for row in await catalogue(empty_dsn)}


async def test_a_schema_newer_than_this_version_is_left_alone(empty_dsn: str) -> None:
    await migrate(empty_dsn)
    await sql(empty_dsn, "UPDATE kubernaut.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match=r"9999.*newer Kubernaut"):
        await migrate(empty_dsn)


async def test_a_migration_that_fails_changes_nothing(empty_dsn: str) -> None:
    await sql(empty_dsn, "CREATE SCHEMA kubernaut; CREATE TABLE kubernaut.seen_available (uid text)")
    before = await catalogue(empty_dsn)
    with pytest.raises(Exception, match="seen_available"):
        await migrate(empty_dsn)
    assert await catalogue(empty_dsn) == before


async def test_a_user_without_rights_is_told_which(empty_dsn: str) -> None:
    await sql(empty_dsn, "CREATE ROLE guest LOGIN")
    with pytest.raises(MissingPrivilege, match=r"guest@.*permission denied for database.*grant"):
        await migrate(empty_dsn.replace("postgres@", "guest@"))


async def test_a_user_without_special_rights_can_migrate_a_schema_of_its_own(empty_dsn: str) -> None:
    await sql(empty_dsn, "CREATE ROLE owner LOGIN; CREATE SCHEMA kubernaut AUTHORIZATION owner")
    await sql(empty_dsn, "CREATE EXTENSION vector")
    await migrate(empty_dsn.replace("postgres@", "owner@"))


async def test_partitions_are_there_before_their_month_begins(dsn: str) -> None:
    tables = {row[1] for row in await catalogue(dsn) if row[0] == "relation"}
    for month in months_ahead(datetime.now(UTC)):
        assert {f"runs_{month:%Y_%m}", f"steps_{month:%Y_%m}"} <= tables


def test_months_ahead_pass_the_end_of_the_year() -> None:
    months = months_ahead(datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    assert months == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
