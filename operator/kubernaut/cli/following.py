"""Watching a run to its end: a live table in a terminal, a line a change elsewhere, nothing where only waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import RenderableType
from rich.live import Live

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.objects import RUN, fetch, follow, snapshot
from kubernaut.cli.outcome import finished
from kubernaut.cli.outline import Row, rows
from kubernaut.cli.output import console, show
from kubernaut.cli.times import now, span
from kubernaut.cli.views import progress
from kubernaut.core.ports import Cluster

# How often the live view's clocks are redrawn, in seconds.
_REDRAW = 0.25


class Screen(Protocol):
    """Where a run is shown while it goes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, run: WorkflowExecution, steps: list[Row]) -> None:
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

    def show(self, run: WorkflowExecution, steps: list[Row]) -> None:
        """Show nothing."""


class Lines(Silent):
    """Prints a line for each change."""

    def __init__(self) -> None:
        self._before: WorkflowExecution | None = None
        self._steps: list[Row] = []

    def show(self, run: WorkflowExecution, steps: list[Row]) -> None:
        """Print what is not as it was."""
        show(*progress.changes(self._before, self._steps, run, steps, now()), flush=True)
        self._before, self._steps = run, steps


class Terminal:
    """Redraws a table in place, its clocks too."""

    def __init__(self) -> None:
        self._run: WorkflowExecution | None = None
        self._steps: list[Row] = []
        self._live = Live(
            console=console(), refresh_per_second=1 / _REDRAW, get_renderable=self._drawn, transient=False
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, run: WorkflowExecution, steps: list[Row]) -> None:
        """Draw the run."""
        self._run, self._steps = run, steps
        self._live.refresh()

    def _drawn(self) -> RenderableType:
        return progress.live(self._run, self._steps, now()) if self._run is not None else ""


def screen() -> Screen:
    """Return the screen that fits where stdout goes."""
    return Terminal() if console().is_terminal else Lines()


async def to_the_end(
    cluster: Cluster, namespace: str, name: str, on: Screen, timeout: timedelta | None = None
) -> WorkflowExecution:
    """Show a run until its end and return it as it ended.

    Raises:
        CliError: it was deleted, does not exist, or did not end in time.
    """
    last: WorkflowExecution | None = None
    try:
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            async with aclosing(_seen(cluster, namespace, name)) as states:
                with on:
                    async for last, spec in states:
                        on.show(last, rows(last, spec))
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


async def _seen(
    cluster: Cluster, namespace: str, name: str
) -> AsyncGenerator[tuple[WorkflowExecution, WorkflowSpec | None], None]:
    """Yield the run at each change with what it follows, which is read again once the run has its snapshot."""
    # A watch waits for a cluster that is away; a first read says so at once.
    await fetch(cluster, RUN, namespace, name)
    spec: WorkflowSpec | None = None
    final = False
    async for run in follow(cluster, namespace, name):
        resolved = run.status is not None and run.status.workflow is not None
        if spec is None or (resolved and not final):
            spec, final = await snapshot(cluster, run) or spec, resolved
        yield run, spec
