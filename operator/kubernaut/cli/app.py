"""The commands put together."""

from __future__ import annotations

from typing import Annotated

import typer

from kubernaut.cli.commands import control, features, learned, revisions, runs, switch
from kubernaut.cli.commands.completion import completion
from kubernaut.cli.commands.diagnostics import diagnostics
from kubernaut.cli.commands.history import history
from kubernaut.cli.commands.lint import lint
from kubernaut.cli.commands.rbac import rbac
from kubernaut.cli.commands.replay import replay
from kubernaut.cli.commands.simulate import simulate
from kubernaut.cli.commands.version import print_version, show_version
from kubernaut.cli.commands.why import why
from kubernaut.cli.errors import MEANINGS

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value:<4}{meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(
    name="kubernaut",
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
) -> None:
    """Repair workloads by declared workflows; see what was done, and why."""
    if version:
        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


app.command()(runs.run)
app.command()(runs.retry)
app.command()(runs.watch)
app.command()(runs.status)
app.command()(why)
app.command()(diagnostics)
app.command()(control.approve)
app.command()(control.deny)
app.command()(control.remedy)
app.command()(control.cancel)
app.command()(control.pause)
app.command()(control.resume)
app.command()(revisions.revisions)
app.command()(revisions.rollback)
app.command()(revisions.migrate)
app.command()(switch.stop)
app.command()(switch.start)
app.command()(features.features)
app.command()(features.capacities)
app.command()(learned.patterns)
app.command()(lint)
app.command()(rbac)
app.command()(history)
app.command()(replay)
app.command()(simulate)
app.command()(learned.actions)
app.command()(completion)
app.command("version")(show_version)
