"""`kubernaut revisions` and `kubernaut rollback`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.forms import Format
from kubernaut.cli.objects import WORKFLOW, parsed, reference
from kubernaut.cli.output import bare, emit, note, show
from kubernaut.cli.place import Place
from kubernaut.cli.revising import Kept, chosen, gathered, merge_patch
from kubernaut.cli.starting import lacking
from kubernaut.cli.text import line, safe
from kubernaut.cli.times import now
from kubernaut.cli.views.revisions import difference, document, listing, plain
from kubernaut.core.errors import Conflict
from kubernaut.core.ports import Manifest

# What each of them writes on the objects it manages.
_MANAGERS: Final = {
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/instance": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "meta.helm.sh/release-name": "Helm",
}


async def list_revisions(place: Place, name: str, form: Format) -> int:
    """List the revisions of a Workflow."""
    manifest, found = await gathered(place, name)
    if form.for_programs:
        emit([one.wire() for one in found], form)
    else:
        show(listing(found, now()))
        if lacks := lacking(parsed(Workflow, manifest)):
            note(lacks)
    return Exit.OK


async def show_revision(place: Place, name: str, which: str, form: Format) -> int:
    """Show the content of a revision."""
    _, found = await gathered(place, name)
    one = chosen(found, which, name)
    if form.for_programs:
        emit(dict(one.data), form)
    else:
        show(safe(f"# Workflow {line(name)} {one.title}\n{document(one.spec, one.data)}".rstrip()))
    return Exit.OK


async def compare(place: Place, name: str, old: str, new: str) -> int:
    """Show what differs between two revisions."""
    _, found = await gathered(place, name)
    show(difference(chosen(found, old, name), chosen(found, new, name)))
    return Exit.OK


async def roll_back(place: Place, name: str, which: str, dry_run: bool, form: Format) -> int:
    """Write the content of an earlier revision back into the Workflow."""
    manifest, found = await gathered(place, name)
    wanted = chosen(found, which, name)
    current = next(one for one in found if one.current)
    if wanted.current and form.for_programs:
        emit(bare(manifest), form)
        return Exit.OK
    if wanted.current:
        show(safe(f"Workflow {place.namespace}/{name} says that already: {wanted.title}."))
        return Exit.OK
    written = await _write(place, name, manifest, wanted, dry_run)
    if form.for_programs:
        emit(bare(written), form)
    else:
        what = "would be rolled back" if dry_run else "is rolled back"
        show(
            safe(f"Workflow {place.namespace}/{name} {what} to {wanted.title}:"), difference(current, wanted)
        )
    manager = managed_by(manifest["metadata"])
    if manager:
        note(
            f"{manager} manages this Workflow and will undo this at its next sync: change it at its source as well"
        )
    if not dry_run and current.runs:
        count = f"{current.runs} live run{'' if current.runs == 1 else 's'}"
        note(f"{count} of {current.title} are not changed by this: each goes on with what it began with.")
    return Exit.OK


async def _write(place: Place, name: str, manifest: Manifest, wanted: Kept, dry_run: bool) -> Manifest:
    if wanted.spec is None or not whole(wanted.data):
        fix = "Use the version of this command that the operator has."
        raise CliError(f"{wanted.title} of Workflow {name} can't be read by this version", fix)
    patch = merge_patch(manifest["spec"], plain(wanted.spec))
    try:
        return await place.cluster.patch(
            reference(WORKFLOW, place.namespace, name),
            {"spec": patch},
            resource_version=manifest["metadata"]["resourceVersion"],
            dry_run=dry_run,
        )
    except Conflict:
        message = (
            f"Workflow {place.namespace}/{name} was changed by somebody else meanwhile; nothing was written"
        )
        raise CliError(
            message, f"Look at `kubernaut revisions {name} -n {place.namespace}`, and try again."
        ) from None


def whole(data: Mapping[str, Any]) -> bool:
    """Whether this version knows every field of a content: what it does not know would be lost by writing it."""
    try:
        WorkflowSpec.model_validate(dict(data))
    except ValueError:
        return False
    return True


def managed_by(meta: Mapping[str, Mapping[str, str]]) -> str:
    """Return who keeps an object as it is in Git or in a release, or nothing."""
    marks = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    return " and ".join(dict.fromkeys(manager for mark, manager in _MANAGERS.items() if mark in marks))
