"""`kubernaut features`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.commands.switch import SystemNamespace
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Output

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]...",
        help="What to set: FEATURE=on, FEATURE=off, or capacity.RESOURCE=NUMBER; nothing to only look.",
    ),
]


def features(
    settings: Settings = None,
    namespace: SystemNamespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show which features are on and how much there is of named resources, or set them.

    The operator takes it up within a second, without a restart. To stop everything, use `stop`.
    """
    from kubernaut.cli.featuring import look_or_set

    return look_or_set(settings or [], namespace, kubeconfig, context, output)
