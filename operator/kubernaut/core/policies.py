"""What follows from a step that failed for good, and what lets its dependents go on."""

from __future__ import annotations

from kubernaut.api.execution import Intervention, Remedy, StepPhase
from kubernaut.api.steps import OnFailure
from kubernaut.core.draft import Draft
from kubernaut.core.plan import ALTERNATE, FINALLY, MAIN, Kind, PlannedStep

_REMEDIES = {Remedy.FAIL: OnFailure.FAIL, Remedy.ROLLBACK: OnFailure.ROLLBACK}


def policy(draft: Draft, step: PlannedStep) -> OnFailure:
    """Return what is to happen about a failed step; Manual where a person has to say."""
    if step.kind is Kind.ALTERNATE:
        # Where it fails, that is judged by the step that it stands for.
        return OnFailure.CONTINUE
    declared = step.spec.on_failure
    if declared is OnFailure.ALTERNATE:
        if draft.steps[alternate(step)].phase is not StepPhase.FAILED:
            return OnFailure.ALTERNATE
        if _back_wished(draft, alternate(step)):
            return OnFailure.ROLLBACK
        # The alternate failed too.
        declared = None
    elif step.kind.group and _back_wished(draft, step.name):
        return OnFailure.ROLLBACK
    if declared is None:
        declared = _of_scope(draft, step)
    if declared is OnFailure.MANUAL:
        said = intervention(draft, step)
        if said is not None and said.remedy in _REMEDIES:
            return _REMEDIES[said.remedy]
    return declared


def _back_wished(draft: Draft, scope: str) -> bool:
    """Whether a person wants everything put back for a step that failed within a group."""
    return any(
        said.remedy is Remedy.ROLLBACK
        for step in draft.shape.below(scope)
        if draft.record(step).phase is StepPhase.FAILED
        and _manual(draft, step)
        and (said := intervention(draft, step)) is not None
    )


def _manual(draft: Draft, step: PlannedStep) -> bool:
    return OnFailure.MANUAL in (step.spec.on_failure, _of_scope(draft, step))


def _of_scope(draft: Draft, step: PlannedStep) -> OnFailure:
    if step.parent == MAIN:
        return draft.plan.spec.on_failure
    # What fails under finally holds up nothing else there; in a template it fails the step that uses it.
    return OnFailure.CONTINUE if step.parent == FINALLY else OnFailure.FAIL


def alternate(step: PlannedStep) -> str:
    """Return the name of the group that stands in for a failed step."""
    return f"{step.name}/{ALTERNATE}"


def intervention(draft: Draft, step: PlannedStep) -> Intervention | None:
    """Return what a person said about the attempt that failed."""
    attempt = draft.record(step).attempt
    for said in draft.run.control.interventions:
        if said.step == step.name and said.attempt == attempt:
            return said
    return None


def undecided(draft: Draft, step: PlannedStep) -> bool:
    """Whether a person has still to say what becomes of a failed step."""
    failed = draft.record(step).phase is StepPhase.FAILED
    return failed and policy(draft, step) is OnFailure.MANUAL and intervention(draft, step) is None


def covered(draft: Draft, step: PlannedStep) -> bool:
    """Whether a failed step holds up nothing: it may fail, or its alternate did its work."""
    found = policy(draft, step)
    if found is OnFailure.ALTERNATE and step.spec.on_failure is OnFailure.ALTERNATE:
        return draft.steps[alternate(step)].phase is StepPhase.SUCCEEDED
    return found is OnFailure.CONTINUE


def lets_on(draft: Draft, name: str) -> bool:
    """Whether steps that depend on this one may begin."""
    phase = draft.steps[name].phase
    if phase in (StepPhase.SUCCEEDED, StepPhase.SKIPPED):
        return True
    return phase is StepPhase.FAILED and covered(draft, draft.shape.by_name[name])


def dormant(draft: Draft, step: PlannedStep) -> bool:
    """Whether a step is an alternate that nobody needs."""
    if step.kind is not Kind.ALTERNATE or draft.record(step).phase is not StepPhase.PENDING:
        return False
    stands_for = step.name.removesuffix(f"/{ALTERNATE}")
    return stands_for == step.name or draft.steps[stands_for].phase is not StepPhase.FAILED
