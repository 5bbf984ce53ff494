"""How effects ended, as outcomes for the decisions of ``core``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue

from kubernaut.api.execution import Remedy, RunPhase, StepPhase
from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.plan import Kind
from kubernaut.core.run import Act, Outcome, OutcomeKind, Seen, Watched
from kubernaut.core.subflows import RUN
from kubernaut.core.unfolding import ITEMS
from kubernaut.history.records import StepRecord
from kubernaut.replaying.recalling import NOT_RECORDED
from kubernaut.replaying.recorded import Recorded, Unrecorded

_UID: Final = "recorded"
#: of an attempt that another one followed, this only is known: trying again was allowed
_TRIED_AGAIN: Final = Reason.CONFLICT
#: of an attempt after which a person was asked, this only is known: it was not tried again
_LEFT_TO_PERSON: Final = Reason.MISSING_RIGHT
#: with these a subflow's run had been started
_FOLLOWED: Final = (Reason.SUBFLOW_FAILED, Reason.STEP_TIMEOUT, Reason.CANCELLED, Reason.OUTPUT_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Flight:
    """An effect under way; ``due`` is when its outcome comes."""

    due: datetime
    outcome: Outcome


def outcome(recorded: Recorded, act: Act, step: StepRecord, now: datetime, end: datetime) -> Flight:
    """Return how a step's effect ended, and when.

    Args:
        step: the record of the step.
        end: when the step ended.

    Raises:
        Unrecorded: the record does not say.
    """
    if act.prepare:
        return Flight(now, Outcome(OutcomeKind.PREPARED, intent={}, attempt=act.attempt))
    if act.undo:
        return Flight(now, _undone(act, step))
    if act.step.kind is Kind.FOR_EACH and ITEMS in step.outputs:
        items: dict[str, JsonValue] = {ITEMS: step.outputs[ITEMS]}
        return Flight(now, Outcome(OutcomeKind.DONE, outputs=items, attempt=act.attempt))
    if act.step.kind is Kind.WORKFLOW and (act.attempt < step.attempts or _started(step)):
        run: dict[str, JsonValue] = {RUN: child_name(act), "uid": _UID}
        return Flight(now, Outcome(OutcomeKind.DONE, outputs=run, attempt=act.attempt))
    if act.attempt < step.attempts:
        reason = _TRIED_AGAIN if not said(recorded, step.name, act.attempt) else _LEFT_TO_PERSON
        return Flight(now, Outcome(OutcomeKind.FAILED, NOT_RECORDED, reason, attempt=act.attempt))
    return Flight(max(end, now), _last(recorded, act, step))


def said(recorded: Recorded, step: str, attempt: int) -> Remedy | None:
    """Return what a person said about a failed attempt."""
    for one in recorded.control.interventions:
        if one.step == step and one.attempt == attempt:
            return one.remedy
    return None


def forward(step: StepRecord) -> StepPhase:
    """Return how a step had ended before it may have been put back."""
    if step.phase == StepPhase.ROLLED_BACK:
        return StepPhase.FAILED if step.reason else StepPhase.SUCCEEDED
    if step.reason == Reason.ROLLBACK_FAILED:
        # Which of both it was is not told; those that are put back had mostly been done.
        return StepPhase.SUCCEEDED if step.changed else StepPhase.FAILED
    return StepPhase(step.phase)


def _last(recorded: Recorded, act: Act, step: StepRecord) -> Outcome:
    ended = forward(step)
    if ended is StepPhase.SUCCEEDED:
        return Outcome(
            OutcomeKind.DONE,
            step.message or "",
            None,
            bool(step.changed),
            step.changed,
            step.outputs,
            attempt=act.attempt,
        )
    if ended is StepPhase.FAILED and step.reason:
        reason = Reason.INTERNAL if step.reason == Reason.ROLLBACK_FAILED else Reason(step.reason)
        return Outcome(
            OutcomeKind.FAILED, step.message or "", reason, outputs=step.outputs, attempt=act.attempt
        )
    if ended is StepPhase.SKIPPED and said(recorded, step.name, step.attempts):
        return Outcome(OutcomeKind.FAILED, NOT_RECORDED, _LEFT_TO_PERSON, attempt=act.attempt)
    raise Unrecorded(f"how step {step.name} ended ({step.phase})")


def _undone(act: Act, step: StepRecord) -> Outcome:
    if step.reason == Reason.ROLLBACK_FAILED:
        # With this reason it is not tried again, which is how it ended.
        return Outcome(
            OutcomeKind.FAILED, step.message or "", Reason.CHANGED_SINCE, attempt=act.attempt, undo=True
        )
    acted = step.phase == StepPhase.ROLLED_BACK
    return Outcome(OutcomeKind.DONE, step.message or "", acted=acted, attempt=act.attempt, undo=True)


# Subflows


def child_name(act: Act) -> str:
    """Return the name of the run that a subflow starts."""
    return str(act.parameters["name"])


def child(
    recorded: Recorded, name: str, step: StepRecord, attempt: int, over: bool, cut: bool
) -> tuple[Watched, Seen]:
    """Return the run that a subflow started, as the step saw it.

    Args:
        name: of that run.
        over: whether the step had ended.
        cut: whether the run was told to end.
    """
    status: dict[str, Any] = {"phase": RunPhase.RUNNING.value}
    ended = forward(step)
    if cut:
        status["phase"] = RunPhase.CANCELLED.value
    elif attempt < step.attempts or (
        over and ended is StepPhase.FAILED and step.reason == Reason.SUBFLOW_FAILED
    ):
        status["phase"] = RunPhase.FAILED.value
    elif over and ended is StepPhase.SUCCEEDED:
        given: Mapping[str, Any] = {k: v for k, v in step.outputs.items() if k not in (RUN, "verdict")}
        status |= {
            "phase": RunPhase.SUCCEEDED.value,
            "outputs": given,
            "verdict": step.outputs.get("verdict"),
        }
    if step.changed:
        status["steps"] = [{"name": "recorded", "changed": list(step.changed)}]
    return Watched(API_VERSION, "WorkflowExecution", name), Seen(
        {"metadata": {"uid": _UID}, "status": status}
    )


def _started(step: StepRecord) -> bool:
    ended = forward(step)
    if ended is StepPhase.FAILED:
        return step.reason in _FOLLOWED
    return ended is StepPhase.SUCCEEDED
