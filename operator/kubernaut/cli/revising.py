"""The revisions of a Workflow: what is kept of its contents, and which is meant by a number or a hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import LABEL_CONTENT_HASH, LABEL_WORKFLOW
from kubernaut.api.workflow import Workflow, WorkflowSpec
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.objects import RUN, WORKFLOW, fetch, fetch_all, parsed, readable
from kubernaut.cli.outline import spec_of
from kubernaut.cli.place import Place
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.ports import Manifest

LATEST: Final = "latest"
_SHORTEST_HASH: Final = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """One content of a Workflow.

    Attributes:
        number: the Workflow's revision that had it last; None where that is forgotten.
        content: SHA-256 of the content.
        snapshot: the ControllerRevision that holds it.
        spec: the content; None where this version can't read it.
        since: when it was kept first; None for current content that is not kept yet.
        current: whether it is what the Workflow says now.
        known: whether the Workflow's status lists it, so that paused runs can move to it.
        runs: how many live runs follow it.
    """

    number: int | None
    content: str
    snapshot: str
    spec: WorkflowSpec | None
    data: Mapping[str, Any]
    since: datetime | None = None
    current: bool = False
    known: bool = False
    runs: int = 0

    @property
    def short(self) -> str:
        """The first ten digits of the hash, as in the snapshot's name."""
        return self.content[:10]

    @property
    def title(self) -> str:
        """``revision 3 (0123456789)``."""
        return (
            f"revision {self.number} ({self.short})" if self.number is not None else f"revision {self.short}"
        )

    def wire(self) -> dict[str, Any]:
        """Return it for programs, without the content itself."""
        return {
            "revision": self.number,
            "contentHash": self.content,
            "snapshot": self.snapshot,
            "version": self.spec.version if self.spec else None,
            "current": self.current,
            "liveRuns": self.runs,
        }


async def gathered(place: Place, name: str) -> tuple[Manifest, list[Kept]]:
    """Return a Workflow and its revisions, the current one first and the others from new to old.

    Raises:
        CliError: there is no such Workflow. ClusterError: the API server refused, or is away.
    """
    cluster, namespace = place.cluster, place.namespace
    manifest = await fetch(cluster, WORKFLOW, namespace, name)
    kept = await cluster.list(
        "apps/v1", "ControllerRevision", namespace, label_selector=f"{LABEL_WORKFLOW}={name[:63]}"
    )
    found = await fetch_all(cluster, RUN, namespace, fields=f"spec.workflowRef.name={name}")
    runs = readable(WorkflowExecution, found)
    return manifest, listed(parsed(Workflow, manifest), kept, runs)


def listed(workflow: Workflow, kept: Sequence[Manifest], runs: Sequence[WorkflowExecution]) -> list[Kept]:
    """Put together what Workflow, ControllerRevisions and runs tell of the revisions."""
    digest = content_hash(workflow.spec)
    status = workflow.status
    recorded = {one.snapshot: one.revision for one in (status.revisions if status else [])}
    resolved = [run.status.workflow for run in runs if run.status and run.status.workflow]
    numbers = {one.snapshot: one.revision for one in resolved if one.revision is not None} | recorded
    live = Counter(
        run.status.workflow.snapshot
        for run in runs
        if run.status and run.status.workflow and not run.status.phase.final
    )
    found: list[Kept] = []
    for one in kept:
        data, meta = one.get("data") or {}, one["metadata"]
        spec, snapshot = spec_of(data), meta["name"]
        content = content_hash(spec) if spec else str((meta.get("labels") or {}).get(LABEL_CONTENT_HASH, ""))
        # Before the operator has numbered contents, the generation tells one from the other.
        number = numbers.get(snapshot) if numbers else int(one.get("revision", 0))
        since = datetime.fromisoformat(meta["creationTimestamp"])
        current = content == digest
        found.append(
            Kept(number, content, snapshot, spec, data, since, current, snapshot in recorded, live[snapshot])
        )
    if not any(one.current for one in found):
        snapshot = snapshot_name(workflow.metadata.name, digest)
        found.append(
            Kept(numbers.get(snapshot), digest, snapshot, workflow.spec, workflow.spec.wire(), current=True)
        )
    return sorted(found, key=lambda one: (one.current, one.number or 0, str(one.since)), reverse=True)


def chosen(found: Sequence[Kept], text: str, workflow: str) -> Kept:
    """Return the revision meant: by number, by the first digits of its hash, by its snapshot's name, or latest.

    Raises:
        CliError: there is none, or more than one.
    """
    text = text.strip()
    if text.lower() in (LATEST, "current"):
        return next(one for one in found if one.current)
    matches = [one for one in found if text and text in (str(one.number or ""), one.snapshot, one.content)]
    if not matches and len(text) >= _SHORTEST_HASH:
        matches = [one for one in found if one.content.startswith(text.lower())]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(one.short for one in matches)
        raise CliError(
            f"several revisions of Workflow {workflow} are {text!r}: {names}", "Name one by its hash."
        )
    known = ", ".join(f"{one.number} ({one.short})" if one.number is not None else one.short for one in found)
    raise CliError(
        f"Workflow {workflow} has no revision {text!r}",
        f"There are: {known}. Give a number, the first digits of a hash, or latest.",
        Exit.NOT_FOUND,
    )


def merge_patch(old: Any, new: Any) -> Any:
    """Return the JSON merge patch (RFC 7386) that turns one value into another."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif old[key] != value:
            patch[key] = merge_patch(old[key], value)
    return patch
