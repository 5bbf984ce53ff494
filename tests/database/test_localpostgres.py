"""The embedded server: outlives who started it, is found again by its id, leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from localpostgres import LocalPostgres, LocalPostgresError

PACKAGE = Path(__file__).resolve().parents[2] / "hack" / "localpostgres"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run the command line with a state directory of its own."""
    environment = {**os.environ, "KUBERNAUT_STATE": str(tmp_path / "state")}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(PACKAGE), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    yield command
    command("down", "--name", "cli")


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_the_whole_life_of_a_server_on_the_command_line(run: Run, tmp_path: Path) -> None:
    up = run("up", "--name", "cli")
    assert up.returncode == 0, up.stderr
    dsn = up.stdout.strip()
    assert "creating" in up.stderr
    assert run("dsn", "--name", "cli").stdout.strip() == dsn
    await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert run("up", "--name", "cli").stdout.strip() == dsn

    server = LocalPostgres("cli", root=tmp_path / "state" / "postgres")
    family = processes_of(server)
    assert run("stop", "--name", "cli").returncode == 0
    assert all(map(ended, family))
    refused = run("dsn", "--name", "cli")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "does not run" in refused.stderr

    assert run("start", "--name", "cli").stdout.strip() == dsn
    assert await ask(dsn, "SELECT answer FROM kept") == 42
    family = processes_of(server)
    assert run("down", "--name", "cli").returncode == 0
    assert all(map(ended, family))
    assert not (tmp_path / "state").exists()
    assert run("down", "--name", "cli").returncode == 0
    missing = run("start", "--name", "cli")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "bring it up first" in missing.stderr


def processes_of(server: LocalPostgres) -> list[psutil.Process]:
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children(recursive=True)]


def ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_the_server_is_postgres_18_with_pgvector_and_private(server: LocalPostgres) -> None:
    assert str(await ask(server.dsn, "SHOW server_version")).startswith("18.")
    version = str(
        await ask(server.dsn, "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
    )
    assert tuple(map(int, version.split("."))) >= (0, 8, 4)
    assert server.socket_folder.stat().st_mode & 0o077 == 0
    assert await ask(server.dsn, "SHOW listen_addresses") == ""


def test_a_deep_state_folder_gets_a_socket_path_that_fits(tmp_path: Path) -> None:
    server = LocalPostgres("deep", root=tmp_path / ("d" * 100))
    assert len(str(server.socket_folder / ".s.PGSQL.5432.lock")) < 104


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "-x", "x" * 41])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(LocalPostgresError, match="not usable"):
        LocalPostgres(name)
