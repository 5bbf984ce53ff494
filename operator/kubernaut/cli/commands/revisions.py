"""The commands on the revisions of a Workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from kubernaut.cli.commands.runs import duration
from kubernaut.cli.errors import CliError
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Namespace, Output, RunName, Timeout, WorkflowName

To = Annotated[
    str,
    typer.Option("--to", metavar="REVISION", help="A number, the first digits of a content hash, or latest."),
]


def revisions(
    workflow: WorkflowName,
    other: Annotated[
        str,
        typer.Argument(
            metavar="[OTHER]", help="With --diff: the revision to compare with; else the current."
        ),
    ] = "",
    which: Annotated[str, typer.Option("--show", metavar="REVISION", help="Print the content of one.")] = "",
    diff: Annotated[
        str,
        typer.Option("--diff", metavar="REVISION", help="Show what differs from OTHER, or from the current."),
    ] = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """List the revisions of a Workflow: each content that is kept, and how many live runs follow it.

    A revision is named by its number, by the first digits of its content hash, or latest. As in
    `kubernaut revisions crash-loop --diff 2 4`.
    """
    if which and diff:
        raise CliError("--show and --diff don't go together", "Give one of them.")
    if other and not diff:
        raise CliError(f"OTHER ({other!r}) needs --diff", "Write it as in --diff 2 4.")
    if diff and output.for_programs:
        raise CliError(f"--diff can't be combined with -o {output.value}", f"Use --show -o {output.value}.")
    from kubernaut.cli import revisions as work
    from kubernaut.cli.place import Place, within
    from kubernaut.cli.revising import LATEST

    async def done(place: Place) -> int:
        if which:
            return await work.show_revision(place, workflow, which, output)
        if diff:
            return await work.compare(place, workflow, diff, other or LATEST)
        return await work.list_revisions(place, workflow, output)

    return within(kubeconfig, context, namespace, done)


def rollback(
    workflow: WorkflowName,
    to: To,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, only show it.")] = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Write an earlier revision back into a Workflow, and show what that changes.

    Runs that live go on with what they began with. Needs what changing the Workflow needs: the verb `impersonate` on
    the ServiceAccount it acts as.
    """
    from kubernaut.cli import revisions as work
    from kubernaut.cli.place import within

    return within(
        kubeconfig, context, namespace, lambda place: work.roll_back(place, workflow, to, dry_run, output)
    )


def migrate(
    name: RunName,
    to: To,
    pause: Annotated[bool, typer.Option("--pause", help="Pause the run first, where it is not.")] = False,
    timeout: Timeout = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Have a paused run follow another revision of its Workflow, and tell what became of it.

    The operator moves it where every step that was begun is declared there as here. Exits 2 where it refuses, and 6
    where it said nothing within --timeout (10s by default). The run stays paused.
    """
    limit = duration(timeout) or timedelta(seconds=10)
    from kubernaut.cli.migrating import migrate as work
    from kubernaut.cli.place import within

    return within(kubeconfig, context, namespace, lambda place: work(place, name, to, pause, limit))
