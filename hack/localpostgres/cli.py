"""The command line: progress goes to stderr, the DSN is the last line on stdout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from localpostgres.server import LocalPostgres, LocalPostgresError

_COMMANDS = {
    "up": "create the server where it is missing, start it, print its DSN",
    "down": "stop the server and remove all its data",
    "dsn": "print the DSN of a running server",
    "stop": "stop the server at once, as a crash would; its data stays",
    "start": "start a server that was stopped, print its DSN",
}


def _say(text: str) -> None:
    print(f"postgres: {text}", file=sys.stderr, flush=True)


def _run(command: str, name: str) -> None:
    server = LocalPostgres(name, say=_say)
    match command:
        case "up":
            server.create()
            server.start()
        case "start":
            server.start()
        case "stop":
            server.stop()
        case "down":
            server.down()
        case _:
            server.check_running()
    if command in ("up", "start", "dsn"):
        print(server.dsn)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="localpostgres", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in _COMMANDS.items():
        parser_of = commands.add_parser(command, help=text)
        parser_of.add_argument("--name", default="default", help="which server (default: default)")
    given = parser.parse_args(arguments)
    try:
        _run(given.command, given.name)
    except LocalPostgresError as error:
        _say(str(error))
        return 1
    return 0
