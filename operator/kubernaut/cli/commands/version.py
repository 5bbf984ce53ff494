"""`kubernaut version`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kubernaut.api.names import API_VERSION
from kubernaut.cli.forms import Format


def own_version() -> str:
    """Return the version that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kubernaut")
    except PackageNotFoundError:
        return "unknown (not installed)"


def print_version() -> None:
    """Print one line."""
    import platform

    sys.stdout.write(f"kubernaut {own_version()} ({API_VERSION}, Python {platform.python_version()})\n")


def show_version(
    output: Annotated[Format, typer.Option("-o", "--output", help="text, json or yaml.")] = Format.TEXT,
) -> int:
    """Print the version of this command and of the API it speaks."""
    if output.for_programs:
        import platform

        from kubernaut.cli.output import emit

        emit({"version": own_version(), "api": API_VERSION, "python": platform.python_version()}, output)
    else:
        print_version()
    return 0
