"""`kubernaut features` and `kubernaut capacities`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.commands.switch import SystemNamespace
from kubernaut.cli.errors import CliError
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Output

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]...",
        help="What to set: FEATURE=on, FEATURE=off, or capacity.RESOURCE=NUMBER; nothing to only look. "
        "on FEATURE... and off FEATURE... say the same.",
    ),
]


def features(
    settings: Settings = None,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Take the entries of these NAMEs away, or without a name those of all features."
        ),
    ] = False,
    namespace: SystemNamespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show which features are on and how much there is of named resources, or set them.

    The operator takes it up within a second, without a restart. To stop everything, use `stop`.
    """
    from kubernaut.cli.featuring import look_or_set

    given = settings or []
    if given and given[0] in ("on", "off"):
        if len(given) == 1:
            raise CliError(f"{given[0]} needs the name of a feature", f"Write it as in {given[0]} rollback.")
        given = [f"{name}={given[0]}" for name in given[1:]]
    return look_or_set(given, reset, namespace, kubeconfig, context, output)


def capacities(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RESOURCE=NUMBER]...", help="What to set; nothing to only look."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Have one of these RESOURCEs again, or without a name of each.")
    ] = False,
    namespace: SystemNamespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show how much there is of named resources and which Workflows take of them, or set it.

    Of a resource without an entry there is one; of one with 0 nobody gets any. All runs in the cluster share it.
    """
    from kubernaut.cli.rationing import look_or_set

    return look_or_set(settings or [], reset, namespace, kubeconfig, context, output)
