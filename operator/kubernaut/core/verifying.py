"""Whether the run helped: the target, its metrics and the alert, as seen after the act, for a whole window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import MetricStatus, RunPhase, StepPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.api.steps import OnFailure
from kubernaut.core import measuring
from kubernaut.core.draft import Draft
from kubernaut.core.ending import give_up
from kubernaut.core.errors import StepError
from kubernaut.core.measuring import Lack
from kubernaut.core.plan import Kind, PlannedStep
from kubernaut.core.policies import policy
from kubernaut.core.run import AlertSeen, AlertState

# A target that can't be read at the deadline gets this long before the verdict says so.
_GRACE: Final = timedelta(seconds=30)
#: how long the alert of a run without expectations may go on to fire: Alertmanager tells of its end up to 5 min late
ALERT_TIMEOUT: Final = timedelta(minutes=15)
#: how often it is looked at
ALERT_LOOK: Final = timedelta(seconds=5)


def verify(draft: Draft) -> None:
    """Move the verification on; every step is final here."""
    declared, alert = draft.plan.spec.verify, draft.facts.alert
    if draft.run.dry_run:
        message = "A dry run: the API server checked every change, and nothing was changed."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.DRY_RUN, message)
        return
    if declared is None and alert is None:
        message = f"{_steps_told(draft)}; the Workflow declares no expectation."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.NO_EXPECTATION, message)
        return
    if draft.status.phase is not RunPhase.VERIFYING:
        awaited = "the expectations to hold on the target" if declared else "its alert to be resolved"
        if declared is not None and declared.metrics:
            awaited = "metrics to be as expected" if not declared.expect else f"{awaited} and of metrics"
        draft.status = draft.status.replace(
            phase=RunPhase.VERIFYING,
            verify_since=draft.now,
            reason=Reason.VERIFYING.value,
            message=f"Waiting for {awaited}.",
        )
    timeout = declared.timeout if declared is not None else ALERT_TIMEOUT
    window = declared.stabilization if declared is not None else timedelta(0)
    if declared is not None and not _holds(draft, timeout):
        return
    if alert is not None and not _resolved(draft, alert, timeout):
        return
    statuses = _measured(draft, timeout, window)
    if statuses is not None:
        _stabilize(draft, window, statuses)


def _steps_told(draft: Draft) -> str:
    """Say how the steps ended: those that may fail may have."""
    failed = [step.name for step in draft.shape.steps if _failed_as_it_may(draft, step)]
    return f"All steps are done, but failed: {', '.join(failed)}" if failed else "All steps succeeded"


def _failed_as_it_may(draft: Draft, step: PlannedStep) -> bool:
    failed = step.kind is not Kind.ALTERNATE and draft.record(step).phase is StepPhase.FAILED
    return failed and policy(draft, step) is OnFailure.CONTINUE


def _holds(draft: Draft, timeout: timedelta) -> bool:
    """Whether every expectation holds; where one does not, it is waited for until the deadline."""
    draft.observe = True
    deadline = (draft.status.verify_since or draft.now) + timeout
    if draft.facts.target is None:
        _blind(draft, timeout)
        return False
    unmet = _unmet(draft)
    if unmet is None:
        return True
    _restart_window(draft)
    if draft.now >= deadline:
        message = f"Not met within {format_duration(timeout)}: {unmet}."
        give_up(draft, Reason.EXPECTATION_NOT_MET, message, _puts_back(draft))
    else:
        draft.wakes.append(deadline)
    return False


def _resolved(draft: Draft, alert: AlertSeen, timeout: timedelta) -> bool:
    """Whether the alert is resolved: nothing is remedied while it fires, whatever else holds."""
    if alert.state is AlertState.RESOLVED:
        return True
    _restart_window(draft)
    deadline = (draft.status.verify_since or draft.now) + timeout
    if draft.now < deadline:
        draft.wakes.append(min(draft.now + ALERT_LOOK, deadline) if alert.again else deadline)
    elif alert.state is AlertState.FIRING:
        message = f"The alert still fires {format_duration(timeout)} after the last step: {alert.told}."
        give_up(draft, Reason.ALERT_STILL_FIRING, message, _puts_back(draft))
    elif not _worse_by_metrics(draft, timeout):
        message = f"Whether the alert still fires could not be known within {format_duration(timeout)}: {alert.told}."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.ALERT_UNKNOWN, message)
    return False


def _measured(draft: Draft, timeout: timedelta, window: timedelta) -> Sequence[MetricStatus] | None:
    """Return what metrics are like that are all as expected; else None, and they are waited for until the deadline.

    What is not known in between does not begin the window anew, but without an answer asked for at its end it does
    not end.
    """
    if not draft.plan.metrics:
        return ()
    began, healthy = draft.status.verify_since or draft.now, draft.status.healthy_since
    deadline = limit = began + timeout
    end = limit if healthy is None else healthy + window
    if healthy is not None:
        limit = max(deadline, end + _GRACE)
    # What decides was asked for once it was time to decide.
    measured = measuring.measure(draft, max(at for at in (began, end, limit) if at <= draft.now))
    if measured is None:
        _await_answers(draft, limit)
        return None
    lack = measured.lack
    if lack is None:
        draft.wakes.append(draft.now + measuring.METRIC_LOOK)
        return measured.statuses
    if lack.known:
        _restart_window(draft)
        limit = deadline
    if draft.now < limit and lack.again:
        draft.wakes.append(min(draft.now + measuring.METRIC_LOOK, limit))
    elif lack.known:
        _not_met(draft, measured.statuses, lack, timeout)
    else:
        draft.status = draft.status.replace(metrics=list(measured.statuses))
        message = f"{lack.message[0].upper()}{lack.message[1:]}."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, lack.reason, message)
    return None


def _await_answers(draft: Draft, limit: datetime) -> None:
    """Wait for answers that were asked for; they come within seconds, but nothing hangs on that."""
    limit += _GRACE
    if draft.now < limit:
        draft.wakes.append(min(draft.now + measuring.METRIC_LOOK, limit))
    else:
        message = "No answer of Prometheus came in time."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.METRICS_UNAVAILABLE, message)


def _not_met(draft: Draft, statuses: Sequence[MetricStatus], lack: Lack, timeout: timedelta) -> None:
    draft.status = draft.status.replace(metrics=list(statuses))
    message = f"Not met within {format_duration(timeout)}: {lack.message}."
    give_up(draft, lack.reason, message, _puts_back(draft))


def _worse_by_metrics(draft: Draft, timeout: timedelta) -> bool:
    """Whether metrics decide where nobody can tell of the alert: one that is known to be bad is more than that."""
    if not draft.plan.metrics:
        return False
    deadline = (draft.status.verify_since or draft.now) + timeout
    measured = measuring.measure(draft, deadline)
    if measured is None:
        _await_answers(draft, deadline)
        return True
    if measured.lack is None or not measured.lack.known:
        return False
    _not_met(draft, measured.statuses, measured.lack, timeout)
    return True


def _restart_window(draft: Draft) -> None:
    if draft.status.healthy_since is not None:
        draft.status = draft.status.replace(healthy_since=None)


def _puts_back(draft: Draft) -> bool:
    return draft.plan.spec.on_failure is OnFailure.ROLLBACK


def _blind(draft: Draft, timeout: timedelta) -> None:
    """The target can't be seen: no evidence is never success."""
    limit = (draft.status.verify_since or draft.now) + timeout + _GRACE
    if draft.now >= limit:
        took = format_duration(timeout)
        message = f"The target could not be read within {took}; there is no evidence whether it helped."
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


def _stabilize(draft: Draft, window: timedelta, metrics: Sequence[MetricStatus]) -> None:
    since = draft.status.healthy_since or draft.now
    if draft.now < since + window:
        draft.status = draft.status.replace(healthy_since=since)
        draft.wakes.append(since + window)
        return
    if metrics:
        draft.status = draft.status.replace(metrics=list(metrics))
    proposed = any(record.reason == Reason.PROPOSED for record in draft.steps.values())
    if draft.acted and proposed:
        # Half of the repair waits for a person: what holds now is no evidence for the whole.
        message = "What was expected holds, but a change was only proposed."
        draft.end(RunPhase.SUCCEEDED, Verdict.INCONCLUSIVE, Reason.PROPOSED, message)
        return
    verdict = Verdict.REMEDIATED if draft.acted else Verdict.NO_ACTION_REQUIRED
    if draft.plan.spec.verify is None:
        draft.end(
            RunPhase.SUCCEEDED, verdict, Reason.ALERT_RESOLVED_AFTER, "Its alert was resolved after the act."
        )
        return
    also = "" if draft.facts.alert is None else ", and its alert was resolved"
    held = "Every expectation holds on the target" if draft.plan.expect else "Every metric is as expected"
    measured = f" ({measuring.told(metrics)})" if metrics else ""
    draft.end(RunPhase.SUCCEEDED, verdict, Reason.EXPECTATION_MET, f"{held}{measured}{also}.")
