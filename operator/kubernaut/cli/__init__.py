"""The `kubernaut` command, also the kubectl plugin `kubectl kubernaut`."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own by default) and return its exit code."""
    from kubernaut.cli.entry import run

    return run(arguments)


def complete() -> int:
    """Complete for kubectl, which runs `kubectl_complete-kubernaut` with what was typed after `kubectl kubernaut`."""
    import sys

    return main(["__complete", *sys.argv[1:]])
