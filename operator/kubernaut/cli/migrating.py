"""`kubernaut migrate`: have a paused run follow another revision, and tell what the operator says to that."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.reasons import Reason
from kubernaut.cli.controlling import change, live
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.objects import RUN, fetch, follow, parsed
from kubernaut.cli.output import show
from kubernaut.cli.place import Place
from kubernaut.cli.revising import Kept, chosen, gathered
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import span

_STAYS = "stays on its revision"


async def migrate(place: Place, name: str, which: str, pause: bool, limit: timedelta) -> int:
    """Write what the run shall follow, and wait for the operator's word on it."""
    run = parsed(WorkflowExecution, await fetch(place.cluster, RUN, place.namespace, name))
    live(run, "migrated")
    workflow = run.spec.workflow_ref.name
    _, found = await gathered(place, workflow)
    wanted = chosen(found, which, workflow)
    before = run.status.workflow.snapshot if run.status and run.status.workflow else ""
    if before == wanted.snapshot:
        show(safe(f"Run {place.namespace}/{name} follows {wanted.title} already."))
        return Exit.OK
    if not wanted.known:
        fix = f"Runs move to those under status.revisions of the Workflow; see `kubectl get kwf {workflow} -o yaml`."
        raise CliError(f"Workflow {workflow} does not list {wanted.title} among its newest revisions", fix)
    patched = await change(place.cluster, place.namespace, name, asked(wanted, pause), run.metadata.uid)
    generation = int(patched["metadata"].get("generation", 0)) if patched else run.metadata.generation
    return await _outcome(place, name, wanted, generation, limit)


def asked(wanted: Kept, pause: bool) -> Any:
    """Return the change that asks a run to follow a revision."""

    def to(run: WorkflowExecution) -> dict[str, Any] | None:
        live(run, "migrated")
        control = run.spec.control
        if not control.paused and not pause:
            name, namespace = run.metadata.name, run.metadata.namespace
            fix = f"Add --pause, or run `kubernaut pause {name} -n {namespace}` first."
            raise CliError(f"run {name} is not paused; only a paused run moves to another revision", fix)
        if control.paused and control.migrate_to == wanted.snapshot:
            return None
        return {"migrateTo": wanted.snapshot, "paused": True}

    return to


async def _outcome(place: Place, name: str, wanted: Kept, generation: int, limit: timedelta) -> int:
    space = f"-n {place.namespace}"
    try:
        async with asyncio.timeout(limit.total_seconds()):
            async with aclosing(follow(place.cluster, place.namespace, name)) as states:
                async for run in states:
                    if run.status and run.status.workflow and run.status.workflow.snapshot == wanted.snapshot:
                        show(
                            safe(f"Run {place.namespace}/{name} follows {wanted.title} from now on."),
                            safe(f"It is paused; to go on: kubernaut resume {name} {space}"),
                        )
                        return Exit.OK
                    why = refusal(run, generation)
                    if why:
                        fix = f"Keep it where it is: `kubernaut resume {name} {space}`; or start a new run."
                        raise CliError(
                            f"run {name} was not moved to {wanted.title}: {why}", fix, Exit.RUN_FAILED
                        )
    except TimeoutError:
        raise CliError(
            f"run {name} is asked to follow {wanted.title}; no operator said yes or no within {span(limit)}",
            f"It is still asked for; see `kubernaut status {name} {space}`.",
            Exit.NOT_IN_TIME,
        ) from None
    raise AssertionError("a watch ends only with an error")


def refusal(run: WorkflowExecution, generation: int) -> str:
    """Return why the operator refused to move a run, once it has looked at this generation; else nothing."""
    status = run.status
    if status is None:
        return ""
    for one in status.conditions:
        refused = one.reason == Reason.MIGRATION_REFUSED or _STAYS in one.message
        if refused and (one.observed_generation or 0) >= generation:
            return line(one.message)
    if status.reason == Reason.MIGRATION_REFUSED and status.observed_generation >= generation:
        return line(status.message or status.reason)
    return f"it is at its end ({status.phase.value})" if status.phase.final else ""
