"""The process around a command: its name, its errors, its exit code."""

from __future__ import annotations

import io
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
    _prepare_streams()
    try:
        code = _result(command, given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard(sys.stdout, sys.stderr)
        return Exit.CUT_OFF
    except OSError as error:
        # Told only now, for nothing else may have gone wrong: what was asked for may be done.
        _discard(sys.stdout)
        return _failed(_unwritten(error))


def _result(command: Any, given: Sequence[str]) -> int:
    try:
        _demand_text(given)
        return int(command.main(list(given), prog_name=_name(), standalone_mode=False) or Exit.OK)
    except TyperException as error:
        return _usage(error)
    except (CliError, KubernautError) as error:
        return _failed(error)
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except SystemExit as ended:
        # Typer ends the process with 1 where a pipe is broken, which here means bad input.
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        raise


def _prepare_streams() -> None:
    """Have something to write to, whatever the process was given, that takes every character."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the same
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _demand_text(given: Sequence[str]) -> None:
    """Raise CliError where an argument is no text; names of files may be any bytes."""
    for one in given:
        try:
            one.encode()
        except UnicodeEncodeError:
            if not Path(one).exists():
                raise CliError(
                    f"the argument {one!a} is not UTF-8 text", "Write it in UTF-8; see `locale`."
                ) from None


def _discard(*streams: Any) -> None:
    """Have what is left in the buffers go nowhere: it must not raise again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _unwritten(error: OSError) -> CliError:
    what = f"{error.filename}: " if error.filename else ""
    return CliError(
        f"not all could be read or written: {what}{error.strerror or error}",
        "If something was to be changed, it may be done all the same: look before you try again.",
    )


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
