"""The `diagnostics` command."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.errors import CliError
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Namespace, Output, RunName

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn", metavar="DSN", envvar="KUBERNAUT_DSN", show_envvar=True, help="Postgres of the history."
    ),
]
Keys = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="FILE",
        envvar="KUBERNAUT_ENCRYPTION_KEYS",
        show_envvar=True,
        help="The keys that the operator encrypts with.",
    ),
]


def diagnostics(
    run: RunName,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="Its step; needed where several kept something.")
    ] = "",
    dsn: Dsn = "",
    keys: Keys = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show what `collect_diagnostics` kept of a run: objects, warnings, who changed what, whole logs.

    RUN is a name or a uid; a uid needs no cluster. It takes the history's address and its keys: kubectl -n
    kubernaut-system get secret shows those who may see it.
    """
    if not dsn or not keys:
        raise CliError(
            "diagnostics are kept in the history, encrypted: its address and its keys are needed",
            "Give --dsn (or KUBERNAUT_DSN) and --keys (or KUBERNAUT_ENCRYPTION_KEYS).",
        )
    from kubernaut.cli.bundles import tell

    return tell(run, step, dsn, keys, namespace, kubeconfig, context, output)
