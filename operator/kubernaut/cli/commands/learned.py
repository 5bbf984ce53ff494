"""`kubernaut patterns` and `kubernaut actions`: what was learned, and what can be done."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli import completing
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.options import AllNamespaces, Context, Kubeconfig, Namespace, Output


def patterns(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A pattern; without it all are listed.", autocompletion=completing.patterns
        ),
    ] = "",
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Output = Format.TEXT,
) -> int:
    """Show the patterns learned from many runs, and which Workflow helped most.

    Without -n the namespace is the analyst's, kubernaut-system.
    """
    from kubernaut.api.names import SYSTEM_NAMESPACE
    from kubernaut.cli.knowledge import all_patterns, one_pattern
    from kubernaut.cli.place import within

    if name and all_namespaces:
        raise CliError("a pattern's name and -A don't go together", "Name its namespace with -n.")
    return within(
        kubeconfig,
        context,
        namespace or SYSTEM_NAMESPACE,
        lambda place: (
            one_pattern(place, name, output) if name else all_patterns(place, all_namespaces, output)
        ),
    )


def actions(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An action; without it all are listed.")] = "",
    output: Output = Format.TEXT,
) -> int:
    """List the actions that a step can name; or document one: parameters, outputs, rights, risk."""
    from kubernaut.cli import catalogue
    from kubernaut.cli.output import emit, show
    from kubernaut.cli.views import actions as views

    known = catalogue.actions()
    if not name:
        if output.for_programs:
            emit([catalogue.wire(action) for action in known], output)
        else:
            show(views.listing((action, catalogue.grouped(catalogue.rights(action))) for action in known))
        return Exit.OK
    action = known.find(name)
    if action is None:
        near = known.suggest(name)
        fix = f"Did you mean {near}?" if near else "See `kubernaut actions` for all."
        raise CliError(f"there is no action {name!r}", fix, Exit.NOT_FOUND)
    if output.for_programs:
        emit(catalogue.wire(action), output)
    else:
        show(views.details(action, catalogue.grouped(catalogue.rights(action))))
    return Exit.OK
