"""`kubernaut stop` and `kubernaut start`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Output, Why

By = Annotated[str, typer.Option("--by", metavar="WHO", help="Who says so; your own name by default.")]
SystemNamespace = Annotated[
    str,
    typer.Option(
        "-n", "--namespace", metavar="NS", help="Where the operator lives; kubernaut-system by default."
    ),
]


def stop(
    reason: Why = "",
    by: By = "",
    namespace: SystemNamespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Stop all acting in the cluster, within 2 seconds, also without Postgres.

    Waits up to 2 seconds for the operator to say that it saw it. Exits 6 where nobody did: the switch stays thrown
    and an operator that starts later obeys it.
    """
    from kubernaut.cli.switching import throw

    return throw(False, reason, by, namespace, kubeconfig, context, output)


def start(
    reason: Why = "",
    by: By = "",
    namespace: SystemNamespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Let the operator act again after `stop`."""
    from kubernaut.cli.switching import throw

    return throw(True, reason, by, namespace, kubeconfig, context, output)
