"""What the commands on runs do once there is a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from kubernaut.api.execution import RunPhase, WorkflowExecution
from kubernaut.cli import controlling
from kubernaut.cli.errors import Exit
from kubernaut.cli.following import screen, to_the_end
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import RUN, fetch, fetch_all, parsed, readable, snapshot
from kubernaut.cli.outcome import exit_code
from kubernaut.cli.outline import rows
from kubernaut.cli.output import bare, emit, note, show
from kubernaut.cli.place import Place
from kubernaut.cli.text import safe
from kubernaut.cli.times import now
from kubernaut.cli.views import run as run_view
from kubernaut.cli.views import runs as runs_view
from kubernaut.cli.visible import ROOM
from kubernaut.core.ports import Manifest


@dataclass(frozen=True, slots=True)
class Which:
    """Which runs to list; empty means any."""

    all_namespaces: bool = False
    workflow: str = ""
    phase: str = ""
    verdict: str = ""
    live: bool = False
    labels: str = ""


async def watched(place: Place, name: str, limit: timedelta | None) -> int:
    """Follow a run to its end."""
    return exit_code(await to_the_end(place.cluster, place.namespace, name, screen(), limit))


async def one(place: Place, name: str, form: Format) -> int:
    """Show one run."""
    found = await fetch(place.cluster, RUN, place.namespace, name)
    if form.for_programs:
        emit(bare(found), form)
        return Exit.OK
    run = parsed(WorkflowExecution, found)
    spec = await snapshot(place.cluster, run)
    # Asked for all, the table is not cut to what matters now.
    steps = rows(run, spec)
    room = len(steps) if form is Format.WIDE else ROOM
    show(run_view.details(run, steps, now(), spec, room))
    return Exit.OK


async def listed(place: Place, which: Which, form: Format) -> int:
    """List runs, newest first."""
    namespace = "" if which.all_namespaces else place.namespace
    fields = [f"spec.workflowRef.name={which.workflow}"] if which.workflow else []
    # A run nobody looked at has no phase yet, so Pending can't be asked of the API server.
    fields += [f"status.phase={which.phase}"] if which.phase and which.phase != "Pending" else []
    found = await fetch_all(place.cluster, RUN, namespace, labels=which.labels, fields=",".join(fields))
    kept = sorted((item for item in found if _matches(item, which)), key=_created, reverse=True)
    if form.for_programs:
        emit({"apiVersion": "v1", "kind": "List", "items": [bare(item) for item in kept]}, form)
        return Exit.OK
    if not kept:
        where = "in any namespace" if which.all_namespaces else f"in namespace {place.namespace}"
        note(f"No runs {'match ' if found or which != Which(which.all_namespaces) else ''}{where}.")
        return Exit.OK
    runs = readable(WorkflowExecution, kept)
    show(runs_view.listing(runs, now(), namespaces=which.all_namespaces, wide=form is Format.WIDE))
    return Exit.OK


async def control(place: Place, name: str, change: controlling.Change, done: str, already: str) -> int:
    """Ask something of a run, and say whether it was asked already."""
    patched = await controlling.change(place.cluster, place.namespace, name, change)
    show(safe(f"Run {place.namespace}/{name} {done if patched is not None else already}."))
    return Exit.OK


def _matches(run: Manifest, which: Which) -> bool:
    # Of a later version's run, too, which can't be read otherwise.
    status = run.get("status") or {}
    phase = status.get("phase") or RunPhase.PENDING.value
    if which.live and any(one.final for one in RunPhase if one.value == phase):
        return False
    return which.phase in ("", phase) and which.verdict in ("", status.get("verdict") or "")


def _created(run: Manifest) -> tuple[str, str]:
    return run["metadata"].get("creationTimestamp") or "", run["metadata"]["name"]
