"""Completion as shells and kubectl ask for it; both by the variables that the shells' own scripts use."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import typer

_NAME: Final = "kubernaut"
_ASK: Final = "_KUBERNAUT_COMPLETE"
#: bits of kubectl's protocol: offer no files, or do where nothing else is offered
NO_FILES, FILES = 4, 0

#: What stands on the PATH as `kubectl_complete-kubernaut`, for kubectl looks for a program of that name.
FOR_KUBECTL: Final = '#!/bin/sh\nexec kubectl-kubernaut __complete "$@"\n'


def script(command: Any, shell: str) -> str:
    """Return what a shell has to read so that it completes `kubernaut`, the whole command."""
    return FOR_KUBECTL if shell == "kubectl" else _printed(command, {_ASK: f"source_{shell}"}).strip() + "\n"


def complete(command: Any, words: Sequence[str]) -> int:
    """Answer kubectl: a candidate a line, maybe with a tab and what it is, then a line with the directive.

    Args:
        command: `kubernaut`, the whole command.
        words: what was typed after `kubectl kubernaut`; the last is what is to be completed, maybe empty.
    """
    *before, last = words or [""]
    offered = ""
    # Whatever goes wrong here would be printed into somebody's prompt.
    with contextlib.suppress(Exception):
        typed = shlex.join([_NAME, *before]) + " " + (shlex.quote(last) if last else "")
        asked = {
            _ASK: "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_ARGS": typed,
        }
        offered = _printed(command, asked).strip()
    files = not offered and _takes_file(command, before)
    typer.echo("\n".join(filter(None, [offered, f":{FILES if files else NO_FILES}"])))
    return 0


def _printed(command: Any, variables: Mapping[str, str]) -> str:
    printed = io.StringIO()
    with _environment(variables), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        command.main([], prog_name=_NAME)
    return printed.getvalue()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _takes_file(command: Any, before: Sequence[str]) -> bool:
    """Whether what is typed next may be a file: the value of such an option, or an argument."""
    typed = getattr(command, "commands", {}).get(before[0]) if before else None
    files = [one for one in getattr(typed, "params", ()) if one.metavar == "FILE"]
    return any(one.param_type_name == "argument" or before[-1] in one.opts for one in files)
