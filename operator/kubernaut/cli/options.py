"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.completing import contexts, namespaces, runs, workflows
from kubernaut.cli.forms import Format

_CLUSTER = "Cluster"

Namespace = Annotated[
    str,
    typer.Option(
        "-n",
        "--namespace",
        metavar="NS",
        help="Namespace; the context's by default.",
        autocompletion=namespaces,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Look into all namespaces.")]
Kubeconfig = Annotated[
    str,
    typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig; KUBECONFIG or ~/.kube/config by default."),
]
Context = Annotated[
    str,
    typer.Option(
        "--context",
        metavar="NAME",
        help="Context of the kubeconfig; its current one by default.",
        autocompletion=contexts,
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to print it.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="Give up waiting after this, as in 90s or 10m.")
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who ask later.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of the run (a WorkflowExecution).", autocompletion=runs)
]
WorkflowName = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Name of the Workflow.", autocompletion=workflows)
]
Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        metavar="DSN",
        envvar="KUBERNAUT_DSN",
        show_envvar=True,
        help="Postgres of the history, for runs that are gone from the cluster.",
    ),
]
