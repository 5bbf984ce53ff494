"""Watching a run to its end: a live table in a terminal, a line a change elsewhere, nothing where only waited for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import RenderableType
from rich.live import Live

from kubernaut.api.execution import WorkflowExecution
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.outcome import finished
from kubernaut.cli.output import console, show
from kubernaut.cli.seeing import Sight, seen
from kubernaut.cli.times import now, span
from kubernaut.cli.views import progress
from kubernaut.cli.views.result import changed
from kubernaut.cli.visible import ROOM
from kubernaut.core.ports import Cluster, Manifest

# How often the live view's clocks are redrawn, in seconds.
_REDRAW = 0.25
_FEWEST = 6
_BESIDE = 12


class Screen(Protocol):
    """Where a run is shown while it goes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, sight: Sight) -> None:
        """Show the run as it is now."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, sight: Sight) -> None:
        """Show nothing."""


class Lines(Silent):
    """Prints a line for each change."""

    def __init__(self) -> None:
        self._before: Sight | None = None

    def show(self, sight: Sight) -> None:
        """Print what is not as it was."""
        before, old = (self._before.run, self._before.steps) if self._before else (None, [])
        show(*progress.changes(before, old, sight.run, sight.steps, now(), sight.spec), flush=True)
        if sight.run.spec.dry_run and finished(sight.run):
            show(changed(sight.run), flush=True)
        self._before = sight


class Terminal:
    """Redraws a table in place, its clocks too."""

    def __init__(self) -> None:
        self._sight: Sight | None = None
        self._console = console()
        self._live = Live(
            console=self._console, refresh_per_second=1 / _REDRAW, get_renderable=self._drawn, transient=False
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, sight: Sight) -> None:
        """Draw the run."""
        self._sight = sight
        self._live.refresh()

    def _drawn(self) -> RenderableType:
        if self._sight is None:
            return ""
        # What does not fit is cut off by the terminal; some lines are for what is told beside the steps.
        room = min(ROOM, max(_FEWEST, self._console.height - _BESIDE))
        return progress.live(self._sight.run, self._sight.steps, now(), self._sight.spec, room)


def screen() -> Screen:
    """Return the screen that fits where stdout goes."""
    out = console()
    return Terminal() if out.is_terminal and not out.is_dumb_terminal else Lines()


async def to_the_end(
    cluster: Cluster,
    namespace: str,
    name: str,
    on: Screen,
    timeout: timedelta | None = None,
    *,
    created: Manifest | None = None,
) -> WorkflowExecution:
    """Show a run until its end and return it as it ended.

    Args:
        created: the run as it was created just now, so that nothing of a quick one is missed.

    Raises:
        CliError: it was deleted, does not exist, or did not end in time.
    """
    last: WorkflowExecution | None = None
    try:
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            async with aclosing(seen(cluster, namespace, name, created)) as sights:
                with on:
                    async for sight in sights:
                        last = sight.run
                        on.show(sight)
                        if finished(last):
                            return last
    except TimeoutError:
        phase = last.status.phase.value if last and last.status else "Pending"
        raise CliError(
            f"run {namespace}/{name} did not end within {span(timeout or timedelta())}; it is {phase} and goes on",
            f"Follow it with `kubernaut watch {name} -n {namespace}`.",
            Exit.NOT_IN_TIME,
        ) from None
    raise AssertionError("a watch ends only with an error")
