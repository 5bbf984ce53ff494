"""Whether the run's target still is what the run pinned, asked by steps that do something else for it."""

from __future__ import annotations

from enum import StrEnum

from kubernaut.actions.objects import rights
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Cluster, ObjectRef, Right


class WhenTargetGone(StrEnum):
    """What to do where the run's target was deleted, or another object has its name by now."""

    REFUSE = "Refuse"
    ACT = "Act"


def target_rights(target: ObjectRef | None, when_gone: WhenTargetGone) -> tuple[Right, ...]:
    """Return get on the run's target, where it is looked at."""
    if target is None or when_gone is WhenTargetGone.ACT:
        return ()
    return rights(("get",), target.api_version, target.kind, (target.name,))


async def demand_target(
    cluster: Cluster, context: StepContext, when_gone: WhenTargetGone, not_done: str
) -> None:
    """Let a step act while the run's target is there, the very object that was pinned; one read at most.

    Args:
        not_done: what is told of the step's own effect, as in ``no Job was created``.

    Raises:
        StepError: TargetNotFound, TargetReplaced.
        ClusterError: as the API server answers.
    """
    if when_gone is WhenTargetGone.ACT:
        return
    target = context.target
    fix = f"{not_done}; set whenTargetGone: {WhenTargetGone.ACT} where the step is meant for that, too"
    try:
        seen = await cluster.get(target)
    except NotFound:
        told = f"{target}, the run's target, was deleted; {fix}"
        raise StepError(told, reason=Reason.TARGET_NOT_FOUND) from None
    if (uid := seen["metadata"].get("uid")) != target.uid:
        told = f"{target}, the run's target, was deleted and made anew: its UID is {uid}, not {target.uid}; {fix}"
        raise StepError(told, reason=Reason.TARGET_REPLACED)
