"""What of a replayed run is otherwise than it was."""

from __future__ import annotations

from kubernaut.api.execution import StepPhase, StepStatus
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.core.plan import Kind, Plan
from kubernaut.history.records import StepRecord
from kubernaut.replaying.effects import forward
from kubernaut.replaying.playing import Played
from kubernaut.replaying.recalling import NOT_RECORDED
from kubernaut.replaying.recorded import UNTOLD, Difference, Ending, Recorded

_WITH_REASON = (StepPhase.FAILED, StepPhase.SKIPPED)


def was(recorded: Recorded) -> Ending:
    """Return how a run ended."""
    return Ending(recorded.run.phase, recorded.run.verdict, recorded.run.reason)


def would(played: Played) -> Ending | None:
    """Return how a replayed run ended; None where it was not decided to its end."""
    status = played.status
    if not played.over:
        return None
    reason = None if _untold(status.message) else status.reason
    return Ending(status.phase.value, status.verdict.value if status.verdict else None, reason)


def differences(recorded: Recorded, played: Played) -> list[Difference]:
    """Return in which steps, and in which end, a replay comes out otherwise than it was recorded.

    Where it was not decided to its end, steps that had not ended by then say nothing.
    """
    here = {one.name: one for one in played.status.steps}
    found: list[Difference] = []
    names = [
        *(step.name for step in recorded.run.steps),
        *(name for name in here if name not in recorded.steps),
    ]
    for name in names:
        one, record = here.get(name), recorded.steps.get(name)
        if not played.over and (one is None or not one.phase.final):
            if one is not None and one.branch and record is not None and record.attempts:
                found += _branch(name, record, one)
            continue
        difference = _step(name, record, one, played)
        if difference is not None:
            found.append(difference)
    end = would(played)
    if end is not None and end != was(recorded):
        found.append(Difference("EndsOtherwise", f"it ends {end}", f"it ends {end} and not {was(recorded)}"))
    if end is not None and end == was(recorded):
        found += _outputs(recorded, played)
    return found


def _outputs(recorded: Recorded, played: Played) -> list[Difference]:
    before, now = recorded.run.outputs, played.status.outputs or {}
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return [
        Difference(
            "OutputChanged", f"output {name}", f"output {name}: {before.get(name)!r} -> {now.get(name)!r}"
        )
        for name in names
    ]


def _step(name: str, record: StepRecord | None, one: StepStatus | None, played: Played) -> Difference | None:
    before = record.phase if record is not None else StepPhase.PENDING.value
    if record is not None and not played.over:
        # Whether it is put back later is not known.
        before = forward(record).value
    now = one.phase.value if one is not None else StepPhase.PENDING.value
    ran_before = record is not None and record.attempts > 0
    ran_now = one is not None and one.attempt > 0
    if name == GUARD_APPROVAL and ran_before and not ran_now:
        return Difference("AsksNobody", "guards ask nobody", "guards ask nobody, who asked a person then")
    if ran_before and not ran_now:
        why = f" ({one.reason})" if one is not None and one.reason else ""
        return Difference(
            "StepDropped", f"step {name} does not run{why}", f"step {name} does not run{why}: it was {before}"
        )
    if ran_now and not ran_before:
        assert one is not None
        why = f" ({record.reason})" if record is not None and record.reason else ""
        return Difference(
            "StepAdded", f"step {name} runs", f"step {name} runs, and is {now}: it was {before}{why}"
        )
    if record is None or one is None:
        return None
    if branched := _branch(name, record, one):
        return branched[0]
    reasons = (record.reason, one.reason) if one.phase in _WITH_REASON else (None, None)
    if before != now or reasons[0] != reasons[1]:
        reason = UNTOLD if _untold(one.message) else reasons[1]
        told = f"step {name} is {_told(now, reason)} and not {_told(before, reasons[0])}"
        return Difference("StepEndsOtherwise", told, told)
    if record.attempts != one.attempt:
        told = f"step {name} takes {one.attempt} attempts"
        return Difference("Retried", told, f"{told} and not {record.attempts}")
    return None


def _branch(name: str, record: StepRecord, one: StepStatus) -> list[Difference]:
    if record.branch == one.branch:
        return []
    told = f"step {name} takes {one.branch or 'no case'} and not {record.branch or 'no case'}"
    return [Difference("BranchChanged", told, told)]


def _untold(message: str | None) -> bool:
    """Whether the reason stands for one that was not kept, of an attempt that another one followed then."""
    return NOT_RECORDED in (message or "")


def _told(phase: str, reason: str | None) -> str:
    return f"{phase} ({reason})" if reason else phase


def declared(recorded: Recorded, plan: Plan, played: Played) -> list[Difference]:
    """Return what differs in how steps wait, which their ends do not show."""
    found: list[Difference] = []
    old = {step.name: step for step in recorded.plan.steps}
    new = {step.name: step for step in plan.steps}
    ran = {step.name for step in recorded.run.steps if step.attempts}
    for name in sorted(ran & old.keys() & new.keys()):
        before, now = old[name].spec.wait, new[name].spec.wait
        if old[name].kind is Kind.WAIT and before and now and before.duration != now.duration:
            told = f"step {name} waits for {now.duration} and not {before.duration}"
            found.append(Difference("WaitChanged", told, told))
        lost = _needs(name, recorded.plan) - _needs(name, plan)
        for need in sorted(lost & ran & new.keys()):
            told = f"step {name} does not wait for step {need}"
            found.append(Difference("OrderChanged", told, told))
        for need in sorted((_needs(name, plan) - _needs(name, recorded.plan)) & ran & old.keys()):
            began, ended = recorded.steps[name].started_at, recorded.steps[need].finished_at
            if began is not None and ended is not None and began < ended:
                told = f"step {name} waits for step {need}"
                found.append(Difference("OrderChanged", told, f"{told}, before whose end it began"))
    here = {one.name for one in played.status.steps}
    return [one for one in found if played.over or any(f"step {name} " in one.told for name in here)]


def _needs(name: str, plan: Plan) -> set[str]:
    steps = {step.name: step for step in plan.steps}
    found: set[str] = set()
    todo = [name]
    while todo:
        step = steps.get(todo.pop())
        for need in step.needs if step is not None else ():
            if need not in found:
                found.add(need)
                todo.append(need)
    return found
