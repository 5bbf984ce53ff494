"""A run and the runs that its steps started, as they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from kubernaut.api.execution import StepPhase, WorkflowExecution
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.errors import CliError
from kubernaut.cli.objects import RUN, fetch, follow, reference, snapshot
from kubernaut.cli.outline import Row, rows
from kubernaut.cli.output import note
from kubernaut.core.errors import ClusterError, NotFound, TooManyRequests, Unavailable
from kubernaut.core.ports import Cluster, Manifest

# So many started runs are followed at once; of more the step's own progress is shown.
_CHILDREN = 8
# A watch waits for a server that is away without a word: after so many seconds of silence it is asked.
_SILENCE = 15.0


@dataclass(frozen=True, slots=True)
class Sight:
    """One run as it is now: what it follows, and its steps with those of the runs that it started."""

    run: WorkflowExecution
    spec: WorkflowSpec | None
    steps: list[Row]


_State = tuple[WorkflowExecution, WorkflowSpec | None]


async def seen(
    cluster: Cluster, namespace: str, name: str, created: Manifest | None = None
) -> AsyncGenerator[Sight]:
    """Yield the run now and at each change of it or of a run that it started, until this is closed.

    Args:
        created: as of ``follow``.

    Raises:
        CliError: there is no such run, or it was deleted before its end.
    """
    if created is None:
        # A watch waits for a cluster that is away; a first read says so at once.
        await fetch(cluster, RUN, namespace, name)
    events: asyncio.Queue[tuple[str, _State | Exception]] = asyncio.Queue()
    tasks = {name: asyncio.create_task(_pump(cluster, namespace, name, events, created))}
    states: dict[str, _State] = {}
    asked = _Asked(cluster, namespace, name)
    try:
        while True:
            try:
                async with asyncio.timeout(_SILENCE):
                    which, event = await events.get()
            except TimeoutError:
                await asked.again()
                continue
            if isinstance(event, Exception):
                if which == name:
                    raise event
                continue  # a started run that is gone or may not be read; its step still tells of it
            states[which] = event
            if name not in states:
                continue
            run, spec = states[name]
            for child in _children(run)[: _CHILDREN + 1 - len(tasks)]:
                if child not in tasks:
                    tasks[child] = asyncio.create_task(_pump(cluster, namespace, child, events))
            yield Sight(run, spec, joined(rows(run, spec), states))
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


class _Asked:
    """Asks a server whether it is there, and says what became of that where it is not as before."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._run = reference(RUN, namespace, name)
        self._away = False

    async def again(self) -> None:
        """Ask. Raises ClusterError where waiting does not mend it: credentials that ran out, a right that is gone."""
        try:
            await self._cluster.get(self._run)
        except NotFound:
            return  # the watch tells of it
        except (Unavailable, TooManyRequests) as error:
            if error.status == 401:
                raise
            if not self._away:
                note(f"The API server does not answer; what is shown is from before. Still trying. ({error})")
            self._away = True
            return
        if self._away:
            note("The API server answers again.")
        self._away = False


def child_of(row: Row) -> str:
    """Return the run that a subflow step started, or nothing."""
    name = (row.record.intent or {}).get("run")
    return name if isinstance(name, str) else ""


def joined(own: Sequence[Row], states: dict[str, _State]) -> list[Row]:
    """Return a run's steps, each followed by the steps of the run it started: one level down, no further."""
    found: list[Row] = []
    for row in own:
        found.append(row)
        state = states.get(child_of(row))
        if state is None or row.record.phase.final:
            continue
        run, spec = state
        inner = [one for one in rows(run, spec) if one.depth == 0]
        found += [
            replace(one, depth=row.depth + 1, run=run.metadata.name, section=row.section) for one in inner
        ]
    return found


def _children(run: WorkflowExecution) -> list[str]:
    live = [
        record for record in (run.status.steps if run.status else ()) if record.phase is StepPhase.RUNNING
    ]
    return [name for record in live if (name := child_of(Row(record)))]


async def _pump(
    cluster: Cluster,
    namespace: str,
    name: str,
    into: asyncio.Queue[tuple[str, _State | Exception]],
    created: Manifest | None = None,
) -> None:
    try:
        async with aclosing(_followed(cluster, namespace, name, created)) as states:
            async for state in states:
                into.put_nowait((name, state))
    except (CliError, ClusterError) as error:
        into.put_nowait((name, error))


async def _followed(
    cluster: Cluster, namespace: str, name: str, created: Manifest | None
) -> AsyncGenerator[_State]:
    """Yield the run at each change with what it follows, which is read again once it follows other content."""
    spec: WorkflowSpec | None = None
    of: str | None = None
    async for run in follow(cluster, namespace, name, created):
        resolved = run.status.workflow.snapshot if run.status and run.status.workflow else None
        if spec is None or resolved != of:
            with suppress(ClusterError):
                spec, of = await snapshot(cluster, run) or spec, resolved
        yield run, spec
