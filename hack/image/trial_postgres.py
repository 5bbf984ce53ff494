"""Entrypoint of the image ``kubernaut-postgres``: makes the server where its folder is empty, then becomes it.

Standard library only: it is copied into the image as a program. It is told by variables of the same names as those of
Docker's official image of Postgres: ``PGDATA``, ``POSTGRES_USER``, ``POSTGRES_DB``, ``POSTGRES_PASSWORD``. Other than
there the user owns the database and is no superuser, and gets the password that is given at each start, not only at
the first one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SUPERUSER = "postgres"
#: of errors the words are logged, never the statement: one holds the password
_ONE_USER = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic")
_CONFIGURATION = """
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'
log_timezone = 'UTC'
timezone = 'UTC'
"""
#: whoever is in the container may be anyone; who comes from outside needs a password
_ADMITTED = "local all all trust\nhost all all all scram-sha-256\n"


class Refused(Exception):
    """It can't be started; says what to change."""


def main(env: Mapping[str, str] = os.environ) -> None:
    """Make the server where there is none, set the password, become the server.

    Raises:
        Refused: a variable is missing or can't be used.
        subprocess.CalledProcessError: a program of Postgres failed; it has said why.
    """
    data = Path(_given(env, "PGDATA"))
    user, database, password = (_given(env, f"POSTGRES_{name}") for name in ("USER", "DB", "PASSWORD"))
    if not (data / "PG_VERSION").exists():
        _make(data, user, database)
    # A kubelet that makes a volume writable for a group opens this folder too, which Postgres takes for a mistake.
    data.chmod(0o700)
    statement(data, "postgres", f"ALTER ROLE {_name(user)} LOGIN PASSWORD {_text(password)}")
    sys.stdout.flush()
    os.execvp("postgres", ["postgres", "-D", str(data)])


def _make(data: Path, user: str, database: str) -> None:
    """Make the server in a folder beside, and rename it into place: what was broken off begins anew."""
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    _program(
        *("initdb", "--pgdata", str(fresh), "--username", _SUPERUSER, "--encoding=UTF8"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"),
    )
    (fresh / "pg_hba.conf").write_text(_ADMITTED)
    with (fresh / "postgresql.conf").open("a") as file:
        file.write(_CONFIGURATION)
    statement(fresh, "postgres", f"CREATE ROLE {_name(user)}")
    statement(fresh, "postgres", f"CREATE DATABASE {_name(database)} OWNER {_name(user)}")
    statement(fresh, database, "CREATE EXTENSION vector")
    fresh.rename(data)


def statement(data: Path, database: str, text: str) -> None:
    """Run one statement in a server that is down and stays it: nobody can connect meanwhile."""
    _program("postgres", "--single", "-D", str(data), *_ONE_USER, database, given=f"{text}\n")


def _program(*command: str, given: str = "") -> None:
    subprocess.run(command, input=given, text=True, stdout=subprocess.DEVNULL, check=True)


def _given(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value or not value.isprintable():
        raise Refused(f"{name} must be given, and be one line: set it on the container")
    return value


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def run(arguments: Sequence[str]) -> int:
    """Return 1 with one explanation on stderr; where all goes well it does not return."""
    if arguments:
        print(f"it takes no arguments, but was given {' '.join(arguments)!r}", file=sys.stderr)
        return 2
    try:
        main()
    except Refused as error:
        print(error, file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} failed with {error.returncode}; what it said is above", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
