"""What guards say of one run now: a fact among others for the decisions about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kubernaut.api.duration import format_duration
from kubernaut.api.guards import ApprovalPolicy
from kubernaut.core.guards.counting import Past, tripped
from kubernaut.core.guards.levels import Level, Reach, Refusal, approval, breakers


@dataclass(frozen=True, slots=True)
class Guarded:
    """What guards say of one run now.

    Attributes:
        refusal: why it may not begin to change anything, or None; says nothing of what was begun.
        levels: the levels with guards.
        asks_always: why a person is asked before anything is changed; empty where nobody is.
        asks_on_risk: the same for steps of high risk.
        tripped: the same for steps with one of these actions, whose breaker is open.
    """

    refusal: Refusal | None = None
    levels: tuple[Level, ...] = ()
    asks_always: str = ""
    asks_on_risk: str = ""
    tripped: Mapping[str, str] = field(default_factory=dict)


def guarded(
    levels: Sequence[Level],
    refusal: Refusal | None,
    namespace: str,
    workflow: str,
    risky: Mapping[str, Sequence[Past]],
    now: datetime,
) -> Guarded:
    """Put together what guards say of a run.

    Args:
        risky: the actions of high risk that the run may begin, and the other runs that began them.
    """
    policy, level = approval(levels)
    always = f"guards.approval of {level} is Always" if policy is ApprovalPolicy.ALWAYS else ""
    on_risk = ""
    if policy is ApprovalPolicy.ON_RISK and level is not None:
        on_risk = f"guards.approval of {level} is {level.guards.approval}"
    opened = {
        action: told
        for action, runs in risky.items()
        if (told := _tripped(levels, namespace, workflow, action, runs, now))
    }
    return Guarded(refusal, tuple(levels), always, on_risk, opened)


def _tripped(
    levels: Sequence[Level], namespace: str, workflow: str, action: str, runs: Sequence[Past], now: datetime
) -> str:
    for level, breaker in breakers(levels, namespace):
        own = [run for run in runs if level.reach is Reach.CLUSTER or run.namespace == namespace]
        if level.reach is Reach.WORKFLOW:
            own = [run for run in own if run.workflow == workflow]
        if bad := tripped(own, breaker, now):
            newest = max((run for run in own if run.bad), key=lambda run: (run.ended or run.started, run.uid))
            return (
                f"the breaker of {action} is open in {level}: {bad} runs with it ended badly within "
                f"{format_duration(breaker.within)}, the last {newest.namespace}/{newest.name} "
                f"({newest.verdict})"
            )
    return ""
