"""Our command, run in this process: a start of its own takes a second or more each time."""

from __future__ import annotations

import contextlib
import io

from e2e.world import World
from kubernaut.cli import main


def command(world: World, *arguments: str) -> str:
    """Run our command as the cluster's admin and return what it printed; it has to succeed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*arguments, "--kubeconfig", str(world.cluster.kubeconfig)])
    assert code == 0, printed.getvalue()
    return printed.getvalue()
