"""The process around a command: its name, its errors, its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import Abort, TyperException

from kubernaut.cli import shells
from kubernaut.cli.errors import CliError, Exit
from kubernaut.core.errors import ClusterError, KubernautError


def run(arguments: Sequence[str] | None) -> int:
    """Run the command; every failure becomes one sentence, a fix and an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from kubernaut.cli.app import app

    command = typer.main.get_command(app)
    if given[:1] == ["__complete"]:
        return shells.complete(command, given[1:])
    try:
        result = command.main(given, prog_name=_name(), standalone_mode=False)
        sys.stdout.flush()
        return int(result or Exit.OK)
    except TyperException as error:
        return _usage(error)
    except (CliError, KubernautError) as error:
        return _failed(error)
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`); what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


def _name() -> str:
    called = Path(sys.argv[0]).name
    return "kubectl kubernaut" if called.startswith("kubectl-kubernaut") else "kubernaut"


def _usage(error: TyperException) -> int:
    from kubernaut.cli.output import complain

    context: Any = getattr(error, "ctx", None)
    fix = f"See `{context.command_path} --help`." if context is not None else ""
    complain(error.format_message(), fix)
    return Exit.BAD_INPUT


def _failed(error: CliError | KubernautError) -> int:
    from kubernaut.cli.errors import told
    from kubernaut.cli.output import complain

    if isinstance(error, ClusterError):
        error = told(error)
    if isinstance(error, CliError):
        complain(error.message, error.fix)
        return error.code
    complain(str(error))
    return Exit.BAD_INPUT
