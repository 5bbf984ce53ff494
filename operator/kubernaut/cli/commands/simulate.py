"""`kubernaut simulate`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.completing import workflows
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Dsn, Kubeconfig, Namespace, Output

Keys = Annotated[
    str,
    typer.Option(
        "--keys",
        metavar="FILE",
        envvar="KUBERNAUT_ENCRYPTION_KEYS",
        show_envvar=True,
        help="The keys that the operator encrypts with: what it remembers counts then, with --dsn.",
    ),
]
SaveState = Annotated[
    str,
    typer.Option("--save-state", metavar="FILE", help="Write what was read, for --state; without Secrets."),
]


def simulate(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW",
            help="Name of a Workflow of the cluster or the state; or a file that holds one, as in ./flow.yaml.",
            autocompletion=workflows,
        ),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="NAME=VALUE", help="A parameter of the run; may be repeated."),
    ] = None,
    state: Annotated[
        str,
        typer.Option(
            "--state", metavar="FILE", help="Use this List of objects instead of a cluster; - is stdin."
        ),
    ] = "",
    save_state: SaveState = "",
    server: Annotated[
        bool,
        typer.Option(
            "--server",
            help="Have the API server check each change, too: as a dry run, as the Workflow's account.",
        ),
    ] = False,
    dsn: Dsn = "",
    keys: Keys = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show what a run would do, without doing it: every step, on a copy of the cluster's state.

    Objects are read with your own account, once each, and changed only in the copy. Prints each change, what
    controllers would do in turn, which rights are needed, how far it reaches, and what had to be assumed; see
    docs/simulator.md for what is modelled. With --dsn the history says how long such runs took and how they ended;
    with --keys, too, restore_last_known_good finds what is remembered. Guards count the runs of the cluster.
    Exits 2 where the run would not succeed.
    """
    from kubernaut.cli.errors import CliError
    from kubernaut.cli.place import within
    from kubernaut.cli.simulating import Wanted, in_cluster, in_state, of_file

    wanted = Wanted(workflow, tuple(param or ()), save_state, server, dsn, output, keys)
    if not state:
        # A file that is not there is told before a cluster that is not.
        given = of_file(workflow)
        where = namespace or (given.metadata.namespace if given is not None else "")
        return within(kubeconfig, context, where, lambda place: in_cluster(place, wanted, given))
    if server or save_state:
        flag = "--server" if server else "--save-state"
        raise CliError(f"{flag} needs a cluster, and --state uses none", "Leave one of both out.")
    return in_state(state, namespace, wanted, of_file(workflow))
