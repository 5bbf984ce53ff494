"""Whether the run helped: expectations on the target, seen after the act, for a whole window."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnFailure
from kubernaut.core.draft import Draft
from kubernaut.core.ending import give_up
from kubernaut.core.errors import StepError

# A target that can't be read at the deadline gets this long before the verdict says so.
_GRACE: Final = timedelta(seconds=30)


def verify(draft: Draft) -> None:
    """Move the verification on; every step is final here."""
    declared = draft.plan.spec.verify
    if draft.run.dry_run:
        message = "A dry run: the API server checked every change, and nothing was changed."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.DRY_RUN, message)
        return
    if declared is None:
        message = "All steps succeeded; the Workflow declares no expectation."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.NO_EXPECTATION, message)
        return
    if draft.status.phase is not RunPhase.VERIFYING:
        draft.status = draft.status.replace(
            phase=RunPhase.VERIFYING,
            verify_since=draft.now,
            reason=Reason.VERIFYING.value,
            message="Waiting for the expectations to hold on the target.",
        )
    draft.observe = True
    deadline = (draft.status.verify_since or draft.now) + declared.timeout
    if draft.facts.target is None:
        _blind(draft, declared.timeout)
        return
    unmet = _unmet(draft)
    if unmet is None:
        _stabilize(draft, declared.stabilization)
        return
    if draft.status.healthy_since is not None:
        draft.status = draft.status.replace(healthy_since=None)
    if draft.now >= deadline:
        message = f"Not met within {declared.timeout}: {unmet}."
        back = draft.plan.spec.on_failure is OnFailure.ROLLBACK
        give_up(draft, Reason.EXPECTATION_NOT_MET, message, back)
    else:
        draft.wakes.append(deadline)


def _blind(draft: Draft, timeout: timedelta) -> None:
    """The target can't be seen: no evidence is never success."""
    limit = (draft.status.verify_since or draft.now) + timeout + _GRACE
    if draft.now >= limit:
        message = f"The target could not be read within {timeout}; there is no evidence whether it helped."
        draft.end(RunPhase.FAILED, Verdict.INCONCLUSIVE, Reason.UNAVAILABLE, message)
    else:
        draft.wakes.append(limit)


def _unmet(draft: Draft) -> str | None:
    """Return the first expectation that does not hold, in words, or None where all do."""
    seen = draft.facts.target
    if seen is not None and not seen.current:
        return "the target's controller has not looked at its newest generation yet"
    for expression in draft.plan.expect:
        try:
            if not expression.holds(draft.scope(names=expression.steps)):
                return expression.text
        except StepError as error:
            return str(error)
    return None


def _stabilize(draft: Draft, window: timedelta) -> None:
    since = draft.status.healthy_since or draft.now
    if draft.now < since + window:
        draft.status = draft.status.replace(healthy_since=since)
        draft.wakes.append(since + window)
        return
    proposed = any(record.reason == Reason.PROPOSED for record in draft.steps.values())
    if draft.acted and proposed:
        # Half of the repair waits for a person: what holds now is no evidence for the whole.
        message = "Every expectation holds on the target, but a change was only proposed."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.PROPOSED, message)
        return
    verdict = Verdict.REMEDIATED if draft.acted else Verdict.NO_ACTION_REQUIRED
    draft.end(RunPhase.SUCCEEDED, verdict, Reason.EXPECTATION_MET, "Every expectation holds on the target.")
