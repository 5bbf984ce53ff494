"""`kubernaut history`: past runs, also those that have left the cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from database.builders import a_run
from kubernaut.cli import main
from kubernaut.history.database import Database
from kubernaut.history.writer import RunWriter

History = Callable[..., str]


@pytest.fixture
def history(dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> History:
    """Ask for past runs; returns what was printed."""
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)

    def told(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        found = main(["history", *arguments, *(() if "--dsn" in arguments else ("--dsn", dsn))])
        out, err = capsys.readouterr()
        assert found == code, err
        return out if code == 0 and "-o" in arguments else out + err

    return told


def stored(dsn: str, count: int) -> None:
    """Store runs, one each hour back from now; every third did not help, every second is in another namespace."""

    def one(number: int) -> Any:
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=number)
        return a_run(
            uid=f"uid-{number}",
            name=f"run-{number}",
            namespace="shop" if number % 2 else "bank",
            workflow="grow",
            created_at=at,
            started_at=at,
            finished_at=at + timedelta(seconds=8),
            phase="Succeeded" if number % 3 else "Failed",
            verdict="Remediated" if number % 3 else "NotFixed",
            symptoms=("CrashLoopBackOff",),
            steps=(),
        )

    async def store() -> None:
        database = Database(dsn)
        await RunWriter(database).write([one(number) for number in range(count)])
        await database.close()

    asyncio.run(store())


def names(told: str) -> list[str]:
    return [one["name"] for one in json.loads(told)["runs"]]


def test_past_runs_are_listed_newest_first_and_narrowed(dsn: str, history: History) -> None:
    stored(dsn, 12)
    assert names(history("-o", "json")) == [f"run-{number}" for number in range(12)]
    assert names(history("-o", "json", "-n", "shop", "--verdict", "notfixed")) == ["run-3", "run-9"]
    assert names(history("-o", "json", "--since", "150m")) == ["run-0", "run-1", "run-2"]
    assert names(history("-o", "json", "--workflow", "other")) == []
    lines = history("-n", "shop").splitlines()
    assert lines[0].split() == ["NAME", "WORKFLOW", "PHASE", "VERDICT", "TARGET", "TOOK", "AGE"]
    assert lines[1].split()[:4] == ["run-1", "grow", "Succeeded", "Remediated"]
    assert "CrashLoopBackOff" in history("-o", "wide")


def test_more_than_a_page_is_read_and_what_is_left_out_is_said(dsn: str, history: History) -> None:
    stored(dsn, 620)
    found = json.loads(history("-o", "json", "--limit", "610"))
    assert (len(found["runs"]), found["more"]) == (610, True)
    assert "There are more than these 2" in history("--limit", "2")
    assert json.loads(history("-o", "json", "--limit", "1000"))["more"] is False


def test_an_export_has_what_came_of_a_run_and_nothing_of_the_databases_own(
    dsn: str, history: History
) -> None:
    stored(dsn, 1)
    (run,) = json.loads(history("-o", "json"))["runs"]
    assert (run["verdict"], run["symptoms"]) == ("NotFixed", ["CrashLoopBackOff"])
    assert run["finishedAt"] > run["startedAt"]
    assert not {"facts", "content", "revision", "steps"} & set(run)


def test_what_is_not_understood_or_can_not_be_read_is_said_with_what_to_do(
    dsn: str, history: History
) -> None:
    assert "NotFixed" in history("--verdict", "Splendid", code=1)
    assert "90d" in history("--since", "soon", code=1)
    assert "which history is not said" in history("--dsn", "", code=1)
    assert "no such run" in history("--workflow", "nobody")
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    assert "can't be read" in history("--dsn", nobody, code=3)
