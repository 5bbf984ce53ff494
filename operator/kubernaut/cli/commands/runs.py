"""The commands that start and follow runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from kubernaut.cli import completing
from kubernaut.cli.errors import CliError
from kubernaut.cli.forms import Format
from kubernaut.cli.options import (
    AllNamespaces,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    RunName,
    Timeout,
    Why,
    WorkflowName,
)

Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--param", "--set", metavar="NAME=VALUE", help="A parameter of the Workflow; may be repeated."
    ),
]

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-p", "--param", metavar="NAME=VALUE", help="Another value for a parameter; may be repeated."
    ),
]
Named = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the new run; else made up.")]
Watched = Annotated[bool, typer.Option("-w", "--watch", help="Show how it goes, to its end.")]
Waited = Annotated[bool, typer.Option("--wait", help="Wait for its end, showing only that.")]


def run(
    workflow: WorkflowName,
    param: Parameters = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; have the API server check every change.")
    ] = False,
    name: Named = "",
    reason: Why = "",
    watch_it: Watched = False,
    wait: Waited = False,
    timeout: Timeout = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Start a run of a Workflow.

    Parameters are checked here first, against the Workflow. With --dry-run the API server checks every change and
    stores none; the run tells what would change. With --watch or --wait the exit code says how the run ended: 0 it
    succeeded, 2 it failed or did not help, 6 it did not end within --timeout.
    """
    how = _follow(watch_it, wait, timeout, output)
    from kubernaut.cli import launching
    from kubernaut.cli.place import within

    wanted = launching.Wanted(workflow, tuple(param or ()), name, reason, dry_run)
    return within(
        kubeconfig, context, namespace, lambda place: launching.start(place, wanted, launching.Follow(*how))
    )


def retry(
    run: RunName,
    values: Changes = None,
    name: Named = "",
    reason: Why = "",
    watch_it: Watched = False,
    wait: Waited = False,
    timeout: Timeout = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Try a failed or cancelled run again from where it failed, as a new run.

    The new run has the same Workflow and parameters, but for those given by --set, and takes over the steps that were
    done and are declared as before.
    """
    how = _follow(watch_it, wait, timeout, output)
    from kubernaut.cli import launching
    from kubernaut.cli.place import within

    wanted = launching.Wanted(run, tuple(values or ()), name, reason)
    return within(
        kubeconfig, context, namespace, lambda place: launching.retry(place, wanted, launching.Follow(*how))
    )


def _follow(
    watch: bool, wait: bool, timeout: str, form: Format
) -> tuple[bool, bool, timedelta | None, Format]:
    """Return how to follow a run that is started. Raises CliError where the options don't go together."""
    limit = duration(timeout)
    if limit is not None and not (watch or wait):
        raise CliError("--timeout needs --watch or --wait", "Add one of them.")
    if watch and form.for_programs:
        raise CliError(f"--watch can't be combined with -o {form.value}", f"Use --wait -o {form.value}.")
    return watch, wait, limit, form


def watch(
    name: RunName,
    timeout: Timeout = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
) -> int:
    """Show how a run goes, to its end.

    In a terminal a table that is redrawn, elsewhere one line for each change. The exit code says how the run ended:
    0 it succeeded, 2 it failed or did not help, 6 it did not end within --timeout.
    """
    limit = duration(timeout)
    from kubernaut.cli import work
    from kubernaut.cli.place import within

    return within(kubeconfig, context, namespace, lambda place: work.watched(place, name, limit))


def status(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run; without it all are listed.", autocompletion=completing.runs
        ),
    ] = "",
    workflow: Annotated[
        str,
        typer.Option(
            "--workflow",
            metavar="NAME",
            help="Only runs of this Workflow.",
            autocompletion=completing.workflows,
        ),
    ] = "",
    phase: Annotated[str, typer.Option("--phase", metavar="PHASE", help="Only runs in this phase.")] = "",
    verdict: Annotated[
        str, typer.Option("--verdict", metavar="VERDICT", help="Only runs with this verdict.")
    ] = "",
    live: Annotated[bool, typer.Option("--live", help="Only runs that are not at their end.")] = False,
    selector: Annotated[
        str, typer.Option("-l", "--selector", metavar="LABELS", help="Only runs with these labels.")
    ] = "",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """List the runs of a namespace, newest first; or show one run."""
    from kubernaut.api.execution import RunPhase, Verdict
    from kubernaut.cli import work
    from kubernaut.cli.place import within

    if name and all_namespaces:
        raise CliError("a run's name and -A don't go together", "Name its namespace with -n.")
    if name and (workflow or phase or verdict or live or selector):
        raise CliError("a run's name and what chooses among runs don't go together", "Leave one of both out.")
    which = work.Which(
        all_namespaces,
        workflow,
        choice("phase", phase, [p.value for p in RunPhase]),
        choice("verdict", verdict, [v.value for v in Verdict]),
        live,
        selector,
    )
    return within(
        kubeconfig,
        context,
        namespace,
        lambda place: work.one(place, name, output) if name else work.listed(place, which, output),
    )


def duration(text: str) -> timedelta | None:
    """Read a duration; an empty text means none. Raises CliError."""
    from kubernaut.api.duration import parse_duration

    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise CliError(str(error)) from None


def choice(what: str, text: str, known: list[str]) -> str:
    """Return the value meant, whatever its case; an empty text means any. Raises CliError."""
    found = [value for value in known if value.lower() == text.lower()]
    if text and not found:
        raise CliError(f"there is no {what} {text!r}", f"Use one of {', '.join(known)}.")
    return found[0] if found else ""
