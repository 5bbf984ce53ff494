"""`kubernaut completion`, and what kubectl asks."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Who can be told how to complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    KUBECTL = "kubectl"


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or kubectl.")],
) -> int:
    """Print what makes a shell complete `kubernaut`; or kubectl, `kubectl kubernaut`.

    For kubectl this is a program: it has to be on the PATH as `kubectl_complete-kubernaut`.
    """
    from kubernaut.cli.shells import script

    sys.stdout.write(script(context.find_root().command, shell.value))
    return 0
