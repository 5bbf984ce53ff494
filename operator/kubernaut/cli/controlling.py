"""What people may ask of a run while it lives: patches of ``spec.control``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kubernaut.api.execution import RunPhase, WorkflowExecution
from kubernaut.cli.errors import CliError
from kubernaut.cli.objects import RUN, fetch, parsed, reference
from kubernaut.core.errors import Conflict
from kubernaut.core.ports import Cluster, Manifest

# The operator writes the run's status as it goes, so the object moves under us; each try reads it anew.
_TRIES: Final = 8
_APPENDED: Final = frozenset(("approvals", "interventions"))
Change = Callable[[WorkflowExecution], dict[str, Any] | None]


async def change(
    cluster: Cluster, namespace: str, name: str, wanted: Change, uid: str = ""
) -> Manifest | None:
    """Patch ``spec.control`` under an optimistic lock.

    Args:
        uid: the run that was looked at to decide this; the one that is read first, where none is given.
        wanted: from the run as it is to the fields of control to set (of lists the new entries only), or None
            where it is so already. Called again whenever the run changed in between; raises CliError where the
            change makes no sense.

    Returns:
        the run as patched, or None where nothing was to do.

    Raises:
        CliError: another run has that name by now; nothing was written.
    """
    for left in reversed(range(_TRIES)):
        found = await fetch(cluster, RUN, namespace, name)
        uid = uid or found["metadata"]["uid"]
        if found["metadata"]["uid"] != uid:
            raise CliError(
                f"run {namespace}/{name} was deleted meanwhile, and another one has its name; nothing was written",
                f"Look at `kubernaut status {name} -n {namespace}`, and say it again if that one is meant.",
            )
        control = wanted(parsed(WorkflowExecution, found))
        if control is None:
            return None
        for field in _APPENDED & control.keys():
            # As they were written: an admission policy refuses a list in which an earlier answer looks different.
            control[field] = [*found["spec"].get("control", {}).get(field, []), *control[field]]
        version = found["metadata"]["resourceVersion"]
        body = {"spec": {"control": control}}
        try:
            return await cluster.patch(reference(RUN, namespace, name), body, resource_version=version)
        except Conflict:
            if not left:
                raise
    raise AssertionError


def cancel(run: WorkflowExecution) -> dict[str, Any] | None:
    """Cancel the run; it can't be undone."""
    live(run, "cancelled")
    return None if run.spec.control.cancel else {"cancel": True}


def pause(run: WorkflowExecution) -> dict[str, Any] | None:
    """Begin no further step."""
    live(run, "paused")
    return None if run.spec.control.paused else {"paused": True}


def resume(run: WorkflowExecution) -> dict[str, Any] | None:
    """Go on."""
    live(run, "resumed")
    return {"paused": False} if run.spec.control.paused else None


def live(run: WorkflowExecution, what: str) -> RunPhase:
    """Return the phase of a run that lives.

    Raises:
        CliError: it is at its end and can't be ``what`` any more.
    """
    phase = run.status.phase if run.status else RunPhase.PENDING
    if phase.final:
        raise CliError(
            f"run {run.metadata.name} is at its end ({phase.value}) and can't be {what} any more",
            f"See `kubernaut why {run.metadata.name} -n {run.metadata.namespace}`.",
        )
    return phase
