"""`kubernaut run` and `kubernaut retry`: check, create, say how to follow, follow where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from kubernaut.api.execution import RunPhase, WorkflowExecution
from kubernaut.api.workflow import Lifecycle, Workflow
from kubernaut.cli import starting
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.following import Silent, screen, to_the_end
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import RUN, WORKFLOW, fetch, parsed
from kubernaut.cli.outcome import exit_code
from kubernaut.cli.outline import rows
from kubernaut.cli.output import bare, emit, note, show
from kubernaut.cli.place import Place
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import now
from kubernaut.cli.views import run as run_view
from kubernaut.cli.views.result import changed
from kubernaut.core.errors import AlreadyExists, ClusterError
from kubernaut.core.ports import Manifest


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is to be started, as the arguments say; ``of`` is a Workflow, or for a retry a run."""

    of: str
    params: tuple[str, ...]
    name: str
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Whether to watch or wait for the end, how long, and how to print."""

    watch: bool
    wait: bool
    limit: timedelta | None
    form: Format


async def start(place: Place, wanted: Wanted, how: Follow) -> int:
    """Start a run of a Workflow."""
    values = starting.assignments(wanted.params)
    return await _launch(place, wanted, how, wanted.of, values, wanted.dry_run)


async def retry(place: Place, wanted: Wanted, how: Follow) -> int:
    """Start a run that takes over what another one did before it failed."""
    old = parsed(WorkflowExecution, await fetch(place.cluster, RUN, place.namespace, wanted.of))
    phase = old.status.phase if old.status else RunPhase.PENDING
    if phase not in (RunPhase.FAILED, RunPhase.CANCELLED):
        fix = (
            f"It goes on; cancel it first with `kubernaut cancel {wanted.of} -n {place.namespace}`."
            if not phase.final
            else f"Start a new run with `kubernaut run {old.spec.workflow_ref.name} -n {place.namespace}`."
        )
        message = f"run {wanted.of} is {phase.value}; only a failed or cancelled run is tried again"
        raise CliError(message, fix)
    values = {**old.given(), **starting.assignments(wanted.params, "--set")}
    if old.spec.dry_run:
        note(f"Run {wanted.of} was a dry run, so its retry is one too.")
    workflow = old.spec.workflow_ref.name
    return await _launch(place, wanted, how, workflow, values, old.spec.dry_run, retry_from=wanted.of)


async def _launch(
    place: Place,
    wanted: Wanted,
    how: Follow,
    workflow_name: str,
    values: Mapping[str, str],
    dry_run: bool,
    retry_from: str = "",
) -> int:
    workflow = parsed(Workflow, await fetch(place.cluster, WORKFLOW, place.namespace, workflow_name))
    starting.check(workflow, values, dry_run=dry_run)
    if workflow.spec.lifecycle is Lifecycle.DEPRECATED:
        note(
            f"Workflow {workflow_name} is deprecated: {workflow.spec.description or 'use the one that replaces it'}"
        )
    if lacks := starting.lacking(workflow):
        note(f"The run may be refused something. {lacks}")
    name = wanted.name or starting.run_name(workflow_name)
    body = starting.manifest(
        workflow_name,
        place.namespace,
        values,
        name=name,
        by=await _who(place),
        reason=wanted.reason,
        dry_run=dry_run,
        retry_from=retry_from,
    )
    try:
        created = await place.cluster.create(body)
    except AlreadyExists:
        raise CliError(
            f"there is a run {name!r} in namespace {place.namespace} already", "Give another --name."
        ) from None
    what = _what(name, place.namespace, dry_run, retry_from)
    if how.watch or how.wait:
        note(what)
        return await _followed(place, name, how, created)
    if how.form.for_programs:
        emit(bare(created), how.form)
    else:
        show(*(safe(text) for text in (what, *_how_to_follow(place, name))))
    return Exit.OK


async def _followed(place: Place, name: str, how: Follow, created: Manifest) -> int:
    on = screen() if how.watch else Silent()
    ended = await to_the_end(place.cluster, place.namespace, name, on, how.limit, created=created)
    if how.form.for_programs:
        emit(bare(await fetch(place.cluster, RUN, place.namespace, name)), how.form)
    elif not how.watch:
        show(run_view.summary(ended, rows(ended, None), now()))
        if ended.spec.dry_run:
            show(changed(ended))
    return exit_code(ended)


async def _who(place: Place) -> str:
    try:
        return await place.whoami()
    except ClusterError:
        # Who started it is for people to read; an API server that does not tell must not prevent a repair.
        return ""


def _what(name: str, namespace: str, dry_run: bool, retry_from: str) -> str:
    text = f"Run {name} was created in namespace {namespace}"
    text += f"; it takes over what run {retry_from} did before it ended" if retry_from else ""
    return f"{text}. It is a dry run: it changes nothing." if dry_run else f"{text}."


def _how_to_follow(place: Place, name: str) -> list[str]:
    space = f" -n {line(place.namespace)}"
    return [
        f"Follow it:    kubernaut watch {name}{space}",
        f"Ask why:      kubernaut why {name}{space}",
        f"With kubectl: kubectl get kwfe {name}{space} -w",
    ]
