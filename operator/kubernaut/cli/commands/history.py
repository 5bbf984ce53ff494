"""`kubernaut history`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.commands.replay import Dsn
from kubernaut.cli.commands.runs import choice
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Output


def history(
    workflow: Annotated[
        str, typer.Option("--workflow", metavar="NAME", help="Only runs of Workflows of this name.")
    ] = "",
    verdict: Annotated[
        str, typer.Option("--verdict", metavar="VERDICT", help="Only runs with this verdict.")
    ] = "",
    since: Annotated[
        str,
        typer.Option("--since", metavar="DURATION", help="Runs created within this, as in 90d or 12h."),
    ] = "30d",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest.")
    ] = 50,
    dsn: Dsn = "",
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NS", help="Only runs of this namespace.")
    ] = "",
    output: Output = Format.TEXT,
) -> int:
    """List past runs as the history keeps them, newest first, also those that have left the cluster.

    Nothing is asked of a cluster. `kubernaut why NAME --dsn DSN` tells all that is known of one of them. With
    `-o json` each run is an object with what it was given, what came of it, and its symptoms: an export.
    """
    from kubernaut.api.execution import Verdict
    from kubernaut.cli.recalling import Wanted, recalled

    known = choice("verdict", verdict, [one.value for one in Verdict])
    return recalled(Wanted(namespace, workflow, known, since, limit, dsn, output))
