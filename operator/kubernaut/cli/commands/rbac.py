"""`kubernaut rbac`."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.completing import workflows
from kubernaut.cli.errors import CliError
from kubernaut.cli.forms import Format
from kubernaut.cli.options import Context, Kubeconfig, Namespace


def rbac(
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="[WORKFLOW]",
            help="Name of the Workflow; with -f all of the file.",
            autocompletion=workflows,
        ),
    ] = "",
    file: Annotated[
        str,
        typer.Option(
            "-f", "--file", metavar="FILE", help="Read it from a file, without a cluster; - is stdin."
        ),
    ] = "",
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME=VALUE", help="A parameter: names that hang on it are known then."
        ),
    ] = None,
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="Another ServiceAccount than the Workflow's.")
    ] = "",
    before_images: Annotated[
        bool,
        typer.Option(
            "--before-images", help="Include the rights on Secrets that only some changes turn out to need."
        ),
    ] = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    output: Annotated[Format, typer.Option("-o", "--output", help="yaml or json.")] = Format.YAML,
) -> int:
    """Print the smallest Role that lets a Workflow run, and its binding, for `kubectl apply -f -`.

    Above each rule stand the steps that need it. Objects are named where the Workflow names them, or an expression of
    the parameters given with -p does; else the rule holds for all of the kind. What is in no namespace is given by a
    ClusterRole.
    """
    from kubernaut.api.base import could_be_a_name
    from kubernaut.cli.lint.files import text_of
    from kubernaut.cli.place import within
    from kubernaut.cli.roles import Wanted, of_cluster, of_text

    if account and not could_be_a_name(account):
        raise CliError(
            f"--account: {account[:80]!r} can't be the name of a ServiceAccount",
            "Use lower-case letters, digits, dots and dashes, at most 253, with no dot or dash at either end.",
        )
    wanted = Wanted(tuple(param or ()), account, before_images, output)
    if file:
        return of_text(text_of(file), file, workflow, namespace, wanted)
    if not workflow:
        raise CliError("which Workflow is not said", "Name one of the cluster, or a file with -f.")
    return within(kubeconfig, context, namespace, lambda place: of_cluster(place, workflow, wanted))
