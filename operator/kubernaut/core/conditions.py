"""Conditions in the kstatus sense, folded once from a status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from kubernaut.api.base import Condition, ConditionStatus
from kubernaut.api.execution import RunPhase, Verdict, WorkflowExecutionStatus
from kubernaut.api.reasons import GUARD_REASONS, Reason, explain
from kubernaut.core import limits
from kubernaut.core.permissions import Permissions
from kubernaut.core.run import Hold

READY, RECONCILING, STALLED, SUCCEEDED, VERIFIED = "Ready", "Reconciling", "Stalled", "Succeeded", "Verified"
FEATURE_OFF = "FeatureOff"
PERMISSIONS_READY = "PermissionsReady"
UNDONE = "UndoneByAnother"
_SUCCEEDED = {RunPhase.SUCCEEDED: True, RunPhase.FAILED: False, RunPhase.CANCELLED: False}
_VERIFIED = {
    Verdict.REMEDIATED: True,
    Verdict.NO_ACTION_REQUIRED: True,
    Verdict.NOT_FIXED: False,
    Verdict.ROLLED_BACK: False,
    Verdict.DECLINED: False,
}
_TRUTH = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}


def merge(
    old: Sequence[Condition],
    new: Iterable[tuple[str, bool | None, Reason | str, str]],
    now: datetime,
    generation: int,
) -> list[Condition]:
    """Return conditions with transition times kept where the status did not change."""
    before = {condition.type: condition for condition in old}
    merged: list[Condition] = []
    for kind, truth, reason, message in new:
        status = _TRUTH[truth]
        former = before.get(kind)
        told = limits.cut(message, 2048)
        if (
            former is not None
            and former.status is status
            and former.reason == reason
            and former.message == told
            and former.observed_generation == generation
        ):
            merged.append(former)
            continue
        since = former.last_transition_time if former is not None and former.status is status else now
        merged.append(
            Condition(
                type=kind,
                status=status,
                reason=str(reason),
                message=told,
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return merged


def of_run(
    status: WorkflowExecutionStatus, hold: Hold | None, now: datetime, generation: int
) -> list[Condition]:
    """Return conditions: Ready; Reconciling and Stalled while true; Succeeded and Verified once it is over."""
    phase, final = status.phase, status.phase.final
    reason = status.reason or (Reason.COMPLETED if final else Reason.RUNNING)
    message = status.message or ""
    if hold is not None and not final:
        reason, message = hold.reason, hold.message
    info = explain(str(reason))
    told = f"{message} {info.fix}".strip() if info else message
    new: list[tuple[str, bool | None, Reason | str, str]] = [
        (READY, phase is RunPhase.SUCCEEDED, reason, told)
    ]
    # Each field costs the API server time in each write, so a condition that says nothing is left out.
    if not final:
        new.append((RECONCILING, True, reason, told))
    if final and phase is not RunPhase.SUCCEEDED:
        # It never becomes Ready, and whoever waits for that must learn it: also of one that a person cancelled.
        new.append((STALLED, True, reason, told))
    if final:
        new.append((SUCCEEDED, _SUCCEEDED[phase], reason, told))
    if status.verdict is not None:
        new.append((VERIFIED, _VERIFIED.get(status.verdict), status.verdict, _verdict_told(status)))
    return merge(status.conditions, new, now, generation)


def _verdict_told(status: WorkflowExecutionStatus) -> str:
    match status.verdict:
        case Verdict.REMEDIATED if status.reason == Reason.ALERT_RESOLVED_AFTER:
            return "Its alert was resolved after the act; the Workflow declares no expectation."
        case Verdict.REMEDIATED if status.metrics:
            return f"What is expected held after the act, to the end of the window. {status.message or ''}".strip()
        case Verdict.REMEDIATED:
            return "Every expectation held on the target after the act, for the whole stabilization window."
        case Verdict.NO_ACTION_REQUIRED:
            return "Nothing was changed and every expectation held."
        case Verdict.INCONCLUSIVE if status.reason == Reason.NO_EXPECTATION:
            return "There is no evidence whether it helped: the Workflow declares no expectation."
        case Verdict.INCONCLUSIVE:
            return f"There is no evidence whether it helped. {status.message or ''}".strip()
        case Verdict.ROLLED_BACK:
            return "What the run had changed was put back."
        case Verdict.DECLINED if status.reason in GUARD_REASONS:
            return f"A guard declined the run. {status.message or ''}".strip()
        case Verdict.DECLINED if status.reason == Reason.APPROVAL_DENIED:
            return "A person declined the run."
        case Verdict.DECLINED if status.reason == Reason.APPROVAL_EXPIRED:
            return "Nobody approved the run in time."
        case Verdict.DECLINED:
            return f"The run was declined. {status.message or ''}".strip()
        case _:
            return status.message or "The evidence after the act does not show that it helped."


def ready(
    old: Sequence[Condition],
    ok: bool,
    reason: Reason,
    message: str,
    now: datetime,
    generation: int,
    off: Collection[str] = (),
    permissions: Permissions | None = None,
    undone: str = "",
) -> list[Condition]:
    """Return the conditions of a declared object: Ready, and Stalled where only a person can mend it.

    UndoneByAnother is there for a while after a run met a manager that undoes what runs change.
    FeatureOff is among them only while a feature in ``off``, which the object uses, is switched off. What was said of
    its account's rights stays as it is until something else is known; its ``observedGeneration`` tells of when it is.
    """
    told: list[tuple[str, bool | None, Reason | str, str]] = [(READY, ok, reason, message)]
    if not ok:
        told.append((STALLED, True, reason, message))
    if off:
        told.append((FEATURE_OFF, True, Reason.FEATURE_OFF, feature_off_told(off)))
    if undone:
        told.append((UNDONE, True, Reason.UNDONE_BY_ANOTHER, undone))
    if ok and permissions is not None:
        told.append((PERMISSIONS_READY, permissions.ready, permissions.reason, permissions.message))
    former = [one for one in old if one.type == PERMISSIONS_READY] if ok and permissions is None else []
    return merge(old, told, now, generation) + former


def feature_off_told(off: Collection[str]) -> str:
    """Say that features which an object uses are off."""
    names = ", ".join(sorted(off))
    return f"Switched off, and used here: {names}. `kubernaut features` shows what happens meanwhile."
