"""`kubernaut replay`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.forms import Format
from kubernaut.cli.options import Namespace, Output

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn", metavar="DSN", envvar="KUBERNAUT_DSN", show_envvar=True, help="Postgres of the history."
    ),
]


def replay(
    workflow: Annotated[
        str,
        typer.Option("-w", "--workflow", metavar="FILE", help="File with the new Workflow; - is stdin."),
    ],
    since: Annotated[
        str,
        typer.Option("--since", metavar="DURATION", help="Runs that began within this, as in 90d or 12h."),
    ] = "90d",
    of: Annotated[
        str,
        typer.Option("--of", metavar="NAME", help="Runs of this Workflow; the file's own name by default."),
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=100_000, help="List at most so many runs; all are counted.")
    ] = 50,
    fail_on_difference: Annotated[
        bool,
        typer.Option("--fail-on-difference", help="Exit with 2 where any run would have gone otherwise."),
    ] = False,
    dsn: Dsn = "",
    namespace: Namespace = "",
    output: Output = Format.TEXT,
) -> int:
    """Tell which past runs would have gone otherwise under another content of their Workflow.

    Each run of the history is decided again from what was recorded of it, with the operator's own decisions: Same,
    Otherwise with the reasons, or Unknown with the fact that is not recorded. Nothing is asked of a cluster, and
    nothing is written.
    """
    from kubernaut.cli.replaying import Wanted, replayed

    return replayed(Wanted(workflow, since, of, namespace, limit, fail_on_difference, dsn, output))
