"""One past run, decided again by ``core.machine.advance`` under a plan, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from kubernaut.api.duration import format_duration
from kubernaut.api.execution import (
    Control,
    ResolvedTarget,
    ResolvedWorkflow,
    RunPhase,
    StepPhase,
    StepStatus,
    WorkflowExecutionStatus,
)
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.reasons import Reason
from kubernaut.core.expressions import Compiled, Scope
from kubernaut.core.guards.facts import Guarded
from kubernaut.core.guards.levels import Refusal
from kubernaut.core.guards.risk import acts
from kubernaut.core.machine import advance, claim
from kubernaut.core.plan import Kind, Plan
from kubernaut.core.run import Act, Decision, Facts, MetricSeen, Run, Seen, Watched
from kubernaut.core.unfolding import Unfolded, unfold
from kubernaut.history.records import StepRecord
from kubernaut.replaying import effects, guarding
from kubernaut.replaying.effects import Flight
from kubernaut.replaying.evidence import Evidence
from kubernaut.replaying.recalling import Place
from kubernaut.replaying.recorded import Difference, Recorded, Unrecorded

_MOST_DECISIONS: Final = 50_000
_WAITING_KINDS: Final = (Kind.WAIT, Kind.APPROVAL, Kind.WORKFLOW)
Guards = Callable[[datetime, bool], Guarded | None]


@dataclass
class Played:
    """What came of it.

    Attributes:
        status: where the run stood in the end.
        over: whether it came to its end.
        acts: by step, the action and the parameters of its first attempt.
        memo: how expressions that look at the target came out, and what they saw beside.
        differences: what would have gone otherwise, where it is compared with another.
        unknown: the fact for want of which it was not decided to its end.
    """

    status: WorkflowExecutionStatus
    shape: Unfolded
    over: bool = False
    acts: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    memo: dict[tuple[str, ...], Any] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unknown: str = ""


class Player:
    """Decides a run again.

    Args:
        plan: with expressions that ask this player (``recalling.remembering``).
        params: the run's parameters as this plan types them.
        began: when it begins.
        guards: what the Workflow's own guards say at a time, once it acts or before.
        baseline: the same under the plan that it followed; None where this is that.
        blind: what is not known of all that it does; empty where nothing is.
    """

    def __init__(
        self,
        recorded: Recorded,
        plan: Plan,
        params: Mapping[str, Any],
        began: datetime,
        guards: Guards,
        baseline: Played | None = None,
        blind: str = "",
    ) -> None:
        self.recorded, self._plan, self._guards = recorded, plan, guards
        self.now = began
        self.shift = began - recorded.began
        self._baseline, self._blind = baseline, blind
        self._run = _claimed(recorded, params, began)
        self._flights: dict[str, Flight] = {}
        self._children: dict[str, tuple[str, int]] = {}
        self._halted: set[str] = set()
        self._later = [(one.started_at, one.name) for one in recorded.run.steps if one.started_at is not None]
        self._acted = False
        self._metrics: Mapping[str, MetricSeen] = {}
        self._granted: frozenset[str] = frozenset()
        self._looked_at: frozenset[Watched] = frozenset()
        self._shape = unfold(plan, {one.name: one for one in self._run.status.steps})
        self._evidence = Evidence(recorded, plan, self, baseline.memo if baseline else None)
        self._played = Played(self._run.status, self._shape)

    def play(self) -> Played:
        """Decide until the run is over, or a fact is missing."""
        try:
            for _ in range(_MOST_DECISIONS):
                if not self._round():
                    break
            else:
                raise Unrecorded("when it would have ended: it was decided too often")
        except Unrecorded as missing:
            self._played.unknown = str(missing)
        self._played.memo = self._evidence.memo
        self._played.status, self._played.shape = self._run.status, self._shape
        self._played.over = self._run.status.phase.final
        return self._played

    @property
    def hidden(self) -> frozenset[str]:
        return self.recorded.hidden

    def answer(self, place: Place, name: str, what: str, expression: Compiled, scope: Scope) -> Any:
        """Return how an expression came out (see ``recalling.Answers``)."""
        return self._evidence.answer(place, name, what, expression, scope)

    def record(self, name: str) -> StepStatus:
        """Return a step's record as it is by now."""
        return self._run.step(name)

    def moved(self, time: datetime) -> datetime:
        """Return when that would have been which was then."""
        return time + self.shift

    # One decision

    def _round(self) -> bool:
        """Decide once; return whether there is more to decide."""
        outcomes = {name: one.outcome for name, one in self._flights.items() if one.due <= self.now}
        for name in outcomes:
            del self._flights[name]
        guarded = self._guarded()
        held = self._not_before(guarded)
        facts = Facts(
            outcomes,
            frozenset(self._flights) | held,
            self._target(),
            objects=self._objects(),
            granted=self._granted,
            guards=guarded,
            alert=self.recorded.alert,
            metrics=self._metrics,
            healed=(self.recorded.run.message or "") if self._cut(Reason.ALERT_RESOLVED) else "",
        )
        before = self._run.status
        self._run = replace(self._run, control=self._control())
        decision = advance(self._run, self._plan, facts, self.now)
        self._run = replace(self._run, status=decision.status, stored=decision.status)
        self._shape = unfold(self._plan, {one.name: one for one in decision.status.steps})
        if decision.status.phase is RunPhase.VERIFYING and not self.recorded.alert_told:
            raise Unrecorded("whether its alert was resolved")
        self._note_begins(before, decision.status)
        self._asks(decision.status)
        for act in decision.acts:
            self._begin(act)
        if decision.status.phase.final:
            return False
        if self._played.unknown:
            raise Unrecorded(self._played.unknown)
        wanted = frozenset(want.step for want in decision.wants)
        more = wanted - self._granted or decision.objects - self._looked_at or decision.queries
        if decision.queries:
            self._metrics = self._evidence.metrics()
        self._granted, self._looked_at = wanted, decision.objects
        # What is watched, and what people say, has a run decided anew; here all of it is there from the beginning.
        watched = bool(decision.objects or self._run.control.interventions)
        moving = watched and decision.status.steps != before.steps
        if not more and not moving:
            self._go_on(decision, held)
        return True

    def _go_on(self, decision: Decision, held: frozenset[str]) -> None:
        """Set the clock to when something happens next."""
        times = [one.due for one in self._flights.values()]
        times += [self.moved(at) for at in self._events(decision.status, held)]
        if decision.wake_at is not None:
            times.append(decision.wake_at)
        # What was begun may end at once; all else has been looked at.
        later = [at for at in times if at > self.now]
        if any(one.due <= self.now for one in self._flights.values()) or decision.wake_at == self.now:
            return
        if not later:
            raise Unrecorded(f"what it would have waited for: {self._waits(decision.status)}")
        self.now = min(later)

    def _waits(self, status: WorkflowExecutionStatus) -> str:
        names = [one.name for one in status.steps if not one.phase.final]
        return f"step {', '.join(names)}" if names else f"phase {status.phase.value}"

    def _events(self, status: WorkflowExecutionStatus, held: frozenset[str]) -> list[datetime]:
        steps, found = self.recorded.steps, list[datetime]()
        found += [at for name in held if name in steps and (at := steps[name].started_at) is not None]
        for one in status.steps:
            record = steps.get(one.name)
            if one.phase is StepPhase.WAITING and record is not None and record.finished_at is not None:
                found.append(record.finished_at)
        found += self._evidence.times(status)
        if self.recorded.cut is not None:
            found.append(self.recorded.cut[1])
        return found

    # Facts

    def _cut(self, *reasons: Reason) -> bool:
        cut = self.recorded.cut
        return cut is not None and cut[0] in reasons and self.moved(cut[1]) <= self.now

    def _control(self) -> Control:
        answers = [answer for at, answer in self.recorded.answers if at is None or self.moved(at) <= self.now]
        cancel = self._cut(Reason.CANCELLED, Reason.REPLACED)
        return self.recorded.control.replace(approvals=answers, cancel=cancel)

    def _target(self) -> Seen | None:
        if self._cut(Reason.TARGET_NOT_FOUND, Reason.TARGET_REPLACED):
            gone = self._cut(Reason.TARGET_NOT_FOUND)
            return Seen(None if gone else {"metadata": {"uid": "another"}})
        if self._run.status.phase is RunPhase.VERIFYING and not self._evidence.visible():
            return None
        return Seen({"metadata": {"uid": self.recorded.run.target_uid}})

    def _guarded(self) -> Guarded | None:
        guarded = self._guards(self.now, self._acted)
        if not self._cut(Reason.PROTECTED):
            return guarded
        refusal = Refusal(Reason.PROTECTED, self.recorded.run.message or "", final=True)
        return replace(guarded or Guarded(), refusal=refusal)

    def _objects(self) -> dict[Watched, Seen]:
        # Of an object that a step waits for, whether it is as waited for is recorded (see ``evidence``).
        found = {key: Seen({"metadata": {"uid": "recorded"}}) for key in self._looked_at}
        for name, (run, attempt) in self._children.items():
            record = self.recorded.steps[name]
            end = record.finished_at
            over = end is not None and self.moved(end) <= self.now
            key, seen = effects.child(self.recorded, run, record, attempt, over, name in self._halted)
            found[key] = seen
        return found

    def _not_before(self, guarded: Guarded | None) -> frozenset[str]:
        """Return the steps that began later: what held them up beside the decisions is not known.

        They count as under way, so that they are not begun.
        """
        cut = self.recorded.cut
        over = cut is not None and self.moved(cut[1]) <= self.now
        if self._run.control.cancel or over or self._run.status.phase is RunPhase.ROLLING_BACK:
            return frozenset()
        timeout = self._plan.timeout
        if self._run.status.started_at is not None and self.now >= self._run.status.started_at + timeout:
            return frozenset()
        refused, found = guarded is not None and guarded.refusal is not None, set()
        # A step that is not there yet begins once it is.
        later = [one for one in self._later if self.moved(one[0]) > self.now]
        for _, name in later:
            step = self._shape.by_name.get(name)
            # A refusal holds what acts, and would not if something counted as begun.
            if step is None or (refused and acts(step)):
                continue
            if self._run.step(name).phase is StepPhase.PENDING:
                found.add(name)
        return frozenset(found)

    # What follows

    def _note_begins(self, before: WorkflowExecutionStatus, after: WorkflowExecutionStatus) -> None:
        """Where a step begins later than it did, all that follows is later too."""
        old = {one.name: one.started_at for one in before.steps}
        for one in after.steps:
            record = self.recorded.steps.get(one.name)
            if one.started_at is None or one.started_at == old.get(one.name) or record is None:
                continue
            if record.started_at is not None and one.started_at > self.moved(record.started_at):
                self.shift = one.started_at - record.started_at

    def _asks(self, status: WorkflowExecutionStatus) -> None:
        """Stop where a person would have been asked who was not."""
        for one in status.steps:
            step = self._shape.by_name.get(one.name)
            if step is None or step.kind is not Kind.APPROVAL or one.phase is not StepPhase.WAITING:
                continue
            record = self.recorded.steps.get(one.name)
            if record is None or record.started_at is None:
                what = (
                    "guards would ask a person"
                    if one.name == GUARD_APPROVAL
                    else f"step {one.name} asks a person"
                )
                self._differs("AsksPerson", what, f"{what}: {one.message}" if one.message else what)
                self._played.unknown = "what a person would have answered who was not asked"
        if status.phase is RunPhase.SUSPENDED and self._baseline is not None:
            for one in status.steps:
                if one.phase is StepPhase.FAILED and not self._asked_before(one):
                    what = f"step {one.name} fails, and a person has to say what becomes of it"
                    self._differs("AsksPerson", what, what)
                    self._played.unknown = "what a person would have said who was not asked"

    def _asked_before(self, one: StepStatus) -> bool:
        if effects.said(self.recorded, one.name, one.attempt) is not None:
            return True
        assert self._baseline is not None
        failed = {step.name for step in self._baseline.status.steps if step.phase is StepPhase.FAILED}
        return one.name in failed

    def _begin(self, act: Act) -> None:
        name = act.step.name
        record = self.recorded.steps.get(name)
        action = act.step.action.name if act.step.action is not None else ""
        if not act.undo:
            self._played.acts.setdefault(name, (action, act.parameters))
        if self._baseline is not None and not self._same_act(act, action):
            return
        if record is None or record.attempts == 0:
            self._missing(f"how step {name} ends, which did not run")
            return
        if act.undo and act.step.kind is Kind.WORKFLOW:
            self._halted.add(name)
        if (
            act.undo
            and self._run.status.phase is RunPhase.ROLLING_BACK
            and self.recorded.time("rollbackSince") is None
        ):
            self._missing(f"whether step {name} can be put back, which was not tried")
            return
        if act.attempt > record.attempts and not act.undo:
            what = f"step {name} is tried again after attempt {record.attempts}"
            self._differs("Retried", what, f"{what}, which failed: {record.reason}")
            self._missing(f"how another attempt of step {name} ends")
            return
        if self._baseline is not None and not act.undo and (why := self._doubt(record)):
            self._missing(why)
            return
        end = self.moved(record.finished_at) if record.finished_at is not None else self.now
        flight = effects.outcome(self.recorded, act, record, self.now, end)
        if act.step.kind is Kind.WORKFLOW and not act.undo and effects.child_name(act):
            self._children[name] = (effects.child_name(act), act.attempt)
        if not act.undo and not self._in_time(act, record, flight):
            return
        self._flights[name] = flight
        self._acted = self._acted or (acts(act.step) and not act.prepare)

    def _doubt(self, record: StepRecord) -> str:
        return guarding.doubt(self.recorded.plan.spec.guards, self._plan.spec.guards, record)

    def _same_act(self, act: Act, action: str) -> bool:
        """Whether a step does what it did, while all before it was as it was; else what it does is not known."""
        assert self._baseline is not None
        name = act.step.name
        known = self._baseline.acts.get(name)
        if known is None:
            if not act.undo:
                what = f"step {name} runs ({action})"
                self._differs("StepAdded", what, what)
                self._missing(f"how step {name} ends, which did not run")
                return False
            return True
        if known[0] != action:
            what = f"step {name} runs {action} and not {known[0]}"
            self._differs("ActionChanged", what, what)
            self._missing(f"how step {name} ends with another action")
            return False
        if changed := _changed(known[1], act.parameters) if act.attempt == 1 and not act.undo else []:
            fields = ", ".join(one[0] for one in changed)
            told = "; ".join(f"{one[0]}: {one[1]!r} -> {one[2]!r}" for one in changed)
            self._differs("ParametersChanged", f"step {name} gets other {fields}", f"step {name}: {told}")
            self._missing(f"how step {name} ends with other parameters")
            return False
        if self._blind:
            self._missing(self._blind)
            return False
        if act.undo and self._plan.spec.rollback != self.recorded.plan.spec.rollback:
            self._missing("how putting back ends with other retries or another timeout")
            return False
        if why := self._evidence.diverged():
            self._missing(f"how step {name} ends after {why}")
            return False
        return True

    def _in_time(self, act: Act, record: StepRecord, flight: Flight) -> bool:
        """Whether an effect ends as recorded within the step's timeout, where that is another one than it was."""
        name, timeout = act.step.name, act.step.timeout
        known = self._baseline.shape.by_name.get(name) if self._baseline is not None else None
        if known is None or not act.step.timed or known.timeout == timeout:
            return True
        if record.reason == Reason.STEP_TIMEOUT and timeout > known.timeout:
            more = format_duration(known.timeout)
            self._missing(f"what step {name} would have come to in more than {more}")
            return False
        if flight.due <= act.deadline or record.reason == Reason.STEP_TIMEOUT:
            return True
        took = f"{record.duration_seconds:.1f} s" if record.duration_seconds is not None else "longer"
        what = f"step {name} runs into its timeout of {format_duration(timeout)}"
        self._differs("TimedOut", what, f"{what}: it took {took}")
        self._missing(f"what step {name} leaves behind at its timeout")
        return False

    def _differs(self, kind: str, what: str, told: str) -> None:
        one = Difference(kind, what, told)
        if one not in self._played.differences:
            self._played.differences.append(one)

    def _missing(self, what: str) -> None:
        self._played.unknown = self._played.unknown or what


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [
        (name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _claimed(recorded: Recorded, params: Mapping[str, Any], began: datetime) -> Run:
    """Return the run as it had just been claimed."""
    run = recorded.run
    workflow = ResolvedWorkflow(
        name=run.workflow,
        uid="recorded",
        content_hash=run.content_hash or "",
        snapshot="recorded",
        service_account_name=run.service_account or "recorded",
    )
    target = ResolvedTarget(
        api_version=recorded.facts.get("targetApiVersion", ""),
        kind=run.target_kind or "",
        name=run.target_name or "",
        uid=run.target_uid or "",
    )
    taken = [
        StepStatus(
            name=step.name,
            phase=StepPhase(step.phase),
            attempt=step.attempts,
            started_at=step.started_at,
            finished_at=step.finished_at,
            reason=step.reason,
            message=step.message,
            branch=step.branch,
            outputs=dict(step.outputs) or None,
            changed=list(step.changed) or None,
        )
        for step in run.steps
        if step.reason == Reason.CARRIED_OVER
    ]
    empty = WorkflowExecutionStatus(workflow=workflow, target=target, steps=taken)
    depth = int(recorded.facts.get("depth", 0))
    one = Run(run.uid, run.namespace, run.name, 1, params, Control(), empty, empty, depth=depth)
    status = claim(one, empty, began)
    return replace(one, stored=status, status=status)
