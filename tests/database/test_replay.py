"""What a replay reads: runs in the order in which they began, each content once, and never a write."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from database.builders import MOMENT, a_run
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli import main
from kubernaut.core.content import content_hash
from kubernaut.history.begun import BegunRuns, Chosen
from kubernaut.history.database import Database
from kubernaut.history.errors import HistoryError
from kubernaut.history.facts import content_of
from kubernaut.history.retention import Retention
from kubernaut.history.schema import migrate
from kubernaut.history.writer import RunWriter

SPEC = WorkflowSpec.from_wire(
    {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "steps": [{"name": "scale", "action": "scale_deployment", "with": {"replicas": 2}}],
    }
)
DIGEST = content_hash(SPEC)
CHOSEN = Chosen("shop", "repair", MOMENT - timedelta(days=90), MOMENT + timedelta(days=90))
FACTS: dict[str, Any] = {"approvals": [], "interventions": [], "targetApiVersion": "apps/v1"}


def begun(number: int, **more: Any) -> Any:
    """Return a run that began so many minutes later, and did nothing."""
    at = MOMENT + timedelta(minutes=number)
    values: dict[str, Any] = {
        "uid": f"run-{number:04}",
        "name": f"run-{number}",
        "workflow": "repair",
        "content_hash": DIGEST,
        "created_at": at,
        "started_at": at,
        "finished_at": at,
        "steps": (),
        "facts": FACTS,
        "content": content_of(SPEC),
    }
    return a_run(**{**values, **more})


async def test_runs_come_in_the_order_in_which_they_began_page_after_page(database: Database) -> None:
    runs = [begun(at) for at in range(23)]
    late = begun(100, started_at=MOMENT + timedelta(minutes=3, seconds=30), created_at=MOMENT)
    others = [begun(200, workflow="other"), begun(201, namespace="bank"), begun(202, dry_run=True)]
    await RunWriter(database).write([*reversed(runs), late, *others])
    found = [run.uid async for page in BegunRuns(database).pages(CHOSEN, 5) for run in page]
    expected = [run.uid for run in runs]
    assert found == [*expected[:4], late.uid, *expected[4:]]


async def test_a_content_is_kept_once_and_facts_come_back(database: Database) -> None:
    await RunWriter(database).write([begun(1), begun(2)])
    await RunWriter(database).write([begun(3), begun(4, content_hash="other", content=None)])
    runs = BegunRuns(database)
    kept = await runs.content(DIGEST)
    assert kept is not None
    assert content_hash(WorkflowSpec.from_wire(kept)) == DIGEST
    assert await runs.content("other") is None
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kubernaut.contents") == 1
    (page,) = [page async for page in runs.pages(CHOSEN)]
    assert page[0].facts == FACTS


async def test_a_content_goes_with_the_last_month_of_runs_that_followed_it(database: Database) -> None:
    old, new = begun(1), begun(2, created_at=MOMENT + timedelta(days=40))
    gone = begun(3, content_hash="gone", content={"steps": []})
    await RunWriter(database).write([old, new, gone])
    await Retention(database, timedelta(days=10), lambda: datetime(2026, 4, 20, tzinfo=UTC)).once()
    assert await BegunRuns(database).content(DIGEST) is not None
    assert await BegunRuns(database).content("gone") is None


async def test_rows_of_an_earlier_version_have_no_facts(empty_dsn: str) -> None:
    await migrate(empty_dsn, "0005")
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("SELECT kubernaut.ensure_month('2026-03-01')")
    await connection.execute(
        "INSERT INTO kubernaut.runs (uid, created_at, revision, position, namespace, name, workflow, trigger, phase, "
        "started_at, symptoms, parameters) VALUES ('old', $1, 1, 1, 'shop', 'old', 'repair', 'Manual', 'Failed', $1, "
        "'{}', '{}')",
        MOMENT,
    )
    await connection.close()
    await migrate(empty_dsn)
    database = Database(empty_dsn, read_only=True, migrating=False)
    (page,) = [page async for page in BegunRuns(database).pages(CHOSEN)]
    await database.close()
    assert page[0].facts is None


async def test_postgres_itself_refuses_a_replay_that_would_write(dsn: str) -> None:
    database = Database(dsn, migrating=False, read_only=True)
    with pytest.raises(HistoryError, match="read-only"):
        async with database.connection() as connection:
            await connection.execute("DELETE FROM kubernaut.contents")
    await database.close()


# The command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The Workflow that the runs followed, with another number."""
    made = tmp_path / "new.yaml"
    spec = SPEC.wire()
    spec["parameters"] = [{"name": "size", "type": "integer", "required": True}]
    manifest = {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "repair"},
        "spec": spec,
    }
    made.write_text(yaml.safe_dump(manifest))
    return made


def stored(dsn: str, *runs: Any) -> None:
    async def store() -> None:
        database = Database(dsn)
        await RunWriter(database).write(runs)
        await database.close()

    asyncio.run(store())


def written(dsn: str) -> Any:
    """Return all that is stored."""

    async def ask() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            tables = ("runs", "steps", "contents", "bundles", "patterns", "known_good")
            return [await connection.fetch(f"SELECT * FROM kubernaut.{table} ORDER BY 1") for table in tables]
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_the_command_counts_all_lists_some_and_changes_nothing(
    dsn: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(dsn, *(begun(at, parameters={}) for at in range(5)))
    before = written(dsn)
    arguments = ["replay", "-w", str(file), "--since", "3650d", "--dsn", dsn, "-o", "json", "--limit", "2"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"] == {"runs": 5, "same": 0, "otherwise": 5, "unknown": 0}
    assert found["reasons"] == [{"kind": "Refused", "what": "its parameters are refused", "runs": 5}]
    assert (len(found["otherwise"]), found["notListed"]) == (2, 3)
    assert "'size'" in found["otherwise"][0]["differences"][0]["told"]
    assert main([*arguments, "--fail-on-difference"]) == 2
    assert main(arguments[:7]) == 0
    assert "5 runs of Workflow shop/repair" in capsys.readouterr().out
    assert written(dsn) == before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--since", "often"], 1, "'often' is not a duration"),
        (["--since", "0d"], 1, "is no time at all"),
        (["--of", "nobody"], 4, "no run of a Workflow 'nobody'"),
        (["--dsn", "postgresql://nobody@127.0.0.1:1/none"], 3, "the history can't be read"),
        (["--dsn", "what?"], 1, ""),
        (["-w", "missing.yaml"], 1, "there is no file missing.yaml"),
    ],
)
def test_bad_input_is_told_with_what_to_do(
    dsn: str, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert main(["replay", "-w", str(file), "--dsn", dsn, *arguments]) == code
    err = capsys.readouterr().err
    assert told in err
    assert "Fix:" in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n", "holds no Workflow"),
        ("apiVersion: kubernaut.io/v1alpha1\nkind: Workflow\nmetadata: {name: x}\nspec: {}\n", "spec"),
        ("- [", ""),
    ],
)
def test_what_is_no_workflow_is_refused(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    assert main(["replay", "-w", str(bad), "--dsn", dsn]) == 1
    assert told in capsys.readouterr().err
