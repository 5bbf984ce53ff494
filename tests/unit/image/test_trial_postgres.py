"""The entrypoint of the Postgres to try Kubernaut out with: what it asks of the programs of Postgres."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from image import trial_postgres

Called = list[tuple[list[str], str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """The programs that were called, with what they were given; initdb leaves a server behind."""
    found: Called = []

    def run(command: list[str], *, input: str, **_: Any) -> None:
        found.append((list(command), input))
        if command[0] == "initdb":
            data = Path(command[command.index("--pgdata") + 1])
            data.mkdir()
            for name in ("PG_VERSION", "postgresql.conf"):
                (data / name).touch()

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "execvp", lambda program, command: found.append((command, "")))
    return found


def env(folder: Path, **more: str) -> dict[str, str]:
    given = {"POSTGRES_USER": "kubernaut", "POSTGRES_DB": "history", "POSTGRES_PASSWORD": "it's"}
    return {"PGDATA": str(folder / "data"), **given, **more}


def test_a_server_is_made_whole_or_not_at_all_and_then_only_started(tmp_path: Path, called: Called) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "broken-off").touch()
    trial_postgres.main(env(tmp_path))
    assert [command[0] for command, _ in called] == ["initdb", *["postgres"] * 5]
    assert [given for _, given in called if given] == [
        'CREATE ROLE "kubernaut"\n',
        'CREATE DATABASE "history" OWNER "kubernaut"\n',
        "CREATE EXTENSION vector\n",
        "ALTER ROLE \"kubernaut\" LOGIN PASSWORD 'it''s'\n",
    ]
    assert called[-1][0] == ["postgres", "-D", str(tmp_path / "data")]
    assert "scram-sha-256" in (tmp_path / "data" / "pg_hba.conf").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_each_start_sets_the_password_that_is_given_and_closes_a_folder_that_was_opened(
    tmp_path: Path, called: Called
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o770)
    (data / "PG_VERSION").touch()
    trial_postgres.main(env(tmp_path, POSTGRES_PASSWORD="another"))
    assert [given for _, given in called if given] == ["ALTER ROLE \"kubernaut\" LOGIN PASSWORD 'another'\n"]
    assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "wrong", [{"POSTGRES_PASSWORD": ""}, {"POSTGRES_PASSWORD": "two\nlines"}, {"PGDATA": ""}]
)
def test_what_can_not_be_used_is_named(tmp_path: Path, called: Called, wrong: dict[str, str]) -> None:
    with pytest.raises(trial_postgres.Refused, match=f"{next(iter(wrong))} must be given"):
        trial_postgres.main(env(tmp_path, **wrong))
    assert called == []
