"""Runs that were refused before they began: whether they would be again."""

from __future__ import annotations

from collections.abc import Callable

from kubernaut.api.reasons import GUARD_REASONS, Reason
from kubernaut.api.workflow import ConcurrencyPolicy, Lifecycle
from kubernaut.core.errors import StepError
from kubernaut.core.guards.deciding import matches
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Plan
from kubernaut.core.redacting import HIDDEN
from kubernaut.history.records import RunRecord
from kubernaut.replaying.guarding import Admission
from kubernaut.replaying.recorded import Difference, Unrecorded

#: refused whatever the Workflow says
_ALWAYS = (Reason.CANCELLED, Reason.REPLACED, Reason.RETRY_REFUSED, Reason.SUBFLOW_TOO_DEEP)
#: refused for an object that the message names
_NAMED = (Reason.TARGET_NOT_FOUND, Reason.SERVICE_ACCOUNT_NOT_FOUND, Reason.BEYOND_NAMESPACE)
_NOT_READY = (Reason.WORKFLOW_NOT_READY, Reason.WORKFLOW_NOT_FOUND, Reason.DRAFT)
_OWN_EYES = (Reason.ALERT_FIRING, Reason.ALERTS_UNKNOWN, Reason.PROTECTED, Reason.GUARDS_INVALID)


def of_refused(
    run: RunRecord, plan: Plan, target: Callable[[RunRecord], str], admit: Callable[[], Admission]
) -> Difference | None:
    """Return what would have been otherwise for a run that was refused; None where it would be refused alike.

    Args:
        target: renders the name of its target.
        admit: asks the new guards.

    Raises:
        Unrecorded: that is not known.
    """
    if run.reason in _ALWAYS:
        return None
    try:
        reason = Reason(run.reason or "")
    except ValueError:
        raise Unrecorded(f"why it was refused ({run.reason})") from None
    draft = plan.spec.lifecycle is Lifecycle.DRAFT
    if draft:
        return (
            None
            if reason is Reason.DRAFT
            else _refused("the Workflow is a draft", "only dry runs of it start")
        )
    try:
        parse_parameters(plan.spec, run.parameters)
        name = target(run)
    except StepError as error:
        if HIDDEN in run.parameters.values():
            raise Unrecorded("the value of a parameter, which is not kept") from None
        return (
            None
            if reason is Reason.INVALID_PARAMETERS
            else _refused("its parameters are refused", str(error))
        )
    if reason in GUARD_REASONS:
        return _by_guards(run, plan, reason, admit)
    if reason in (Reason.INVALID_PARAMETERS, *_NOT_READY):
        return _admitted(f"it is not refused ({reason.value})", run)
    if reason is Reason.CONCURRENT_RUN:
        if plan.spec.concurrency_policy is ConcurrencyPolicy.FORBID:
            return None
        return _admitted("it waits for its target and is not refused", run)
    if reason in _NAMED:
        said = plan.spec.service_account_name if reason is Reason.SERVICE_ACCOUNT_NOT_FOUND else name
        if f"/{said} " in f"{run.message} " or f" {said} " in f"{run.message} ":
            return None
        raise Unrecorded(f"whether {said} was there")
    raise Unrecorded(f"whether it would be refused again ({reason.value})")


def _by_guards(
    run: RunRecord, plan: Plan, reason: Reason, admit: Callable[[], Admission]
) -> Difference | None:
    found = admit()
    if found.refusal is not None:
        if found.refusal.reason is reason:
            return None
        told = found.refusal.message
        return Difference("RefusedOtherwise", f"guards refuse it for {found.refusal.reason.value}", told)
    if f"Workflow {run.workflow}" not in (run.message or ""):
        # A wider guard, of which nothing is otherwise.
        return None
    if reason in _OWN_EYES and _would_see(run, plan, reason):
        return None
    return _admitted(f"guards let it begin ({reason.value})", run)


def _would_see(run: RunRecord, plan: Plan, reason: Reason) -> bool:
    """Whether the guard that refused it by what it saw is still declared."""
    guards, message = plan.spec.guards, run.message or ""
    if reason is Reason.GUARDS_INVALID:
        raise Unrecorded("what guards would have said that could not be understood")
    if guards is None:
        return False
    if reason is Reason.PROTECTED:
        return any(f"label {one.key}:" in message for one in guards.protected_labels)
    if reason is Reason.ALERT_FIRING:
        words = message.replace(",", " ").split()
        named = [one for one in guards.stop_while_firing if one.alert in words]
        if any(one.match_labels and not matches(one, {}) for one in named):
            if all(f"{key}={value}" in message for one in named for key, value in one.match_labels.items()):
                return True
            raise Unrecorded("which labels the alert had that fired")
        return bool(named)
    return bool(guards.stop_while_firing)


def _admitted(what: str, run: RunRecord) -> Difference:
    return Difference("Admitted", what, f"{what}, as it was: {run.message or run.reason}")


def _refused(what: str, told: str) -> Difference:
    return Difference("RefusedOtherwise", what, told)
