"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.commands.lint import lint
from kubernaut.cli.errors import MEANINGS

_EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."

app = typer.Typer(
    name="kubernaut",
    help="Repair workloads by declared workflows, see what was done and why.",
    epilog=_EPILOG,
    add_completion=True,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> int:
    """Repair workloads by declared workflows, see what was done and why."""
    if version:
        from kubernaut.cli.commands.version import print_version

        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    return 0


app.command()(lint)
