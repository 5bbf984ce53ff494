"""How expressions that look at what is not recorded came out, as far as the record tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from kubernaut.api.execution import (
    MetricState,
    RunPhase,
    StepPhase,
    StepStatus,
    Verdict,
    WorkflowExecutionStatus,
)
from kubernaut.api.reasons import GUARD_REASONS, Reason
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import FAILURE, Compiled, Scope
from kubernaut.core.plan import Plan
from kubernaut.core.run import MetricSeen, Sample
from kubernaut.core.unfolding import ITEMS
from kubernaut.history.records import StepRecord
from kubernaut.replaying import effects
from kubernaut.replaying.recalling import NOT_RECORDED, Place, seen
from kubernaut.replaying.recorded import Recorded, Unrecorded

_UNFIT = (Reason.EXPRESSION_FAILED, Reason.INVALID_PARAMETERS)
Key = tuple[str, ...]


class Clock(Protocol):
    """Where the replay is."""

    now: datetime

    def moved(self, time: datetime) -> datetime:
        """Return when that would have been which was then."""
        ...

    def record(self, name: str) -> StepStatus:
        """Return a step's record as it is in the replay."""
        ...


class Evidence:
    """What is known of the target through one run.

    Args:
        plan: what the run is replayed under.
        known: how expressions came out under the plan that it followed; None while that is found out.
    """

    def __init__(self, recorded: Recorded, plan: Plan, clock: Clock, known: Mapping[Key, Any] | None) -> None:
        self._recorded, self._plan, self._clock = recorded, plan, clock
        self._known = known
        self.memo: dict[Key, Any] = {}

    def answer(self, place: Place, name: str, what: str, expression: Compiled, scope: Scope) -> Any:
        """Return how an expression came out.

        Raises:
            Unrecorded: that is not known.
            StepError: it failed.
        """
        if place is Place.EXPECT:
            return self._expected(expression)
        if place is Place.METRIC:
            return self._recorded.metrics[name].state is MetricState.HELD
        key: Key = (place.value, name, expression.text, what if place is Place.ITEMS else "")
        beside = seen(expression, scope)
        if self._known is not None:
            self._comparable(place, name, key, expression, beside)
        if place is Place.CASE:
            return self._case(key, name, what, beside)
        value = self._value(place, name, expression, scope)
        self.memo[key] = beside
        return value

    def _comparable(self, place: Place, name: str, key: Key, expression: Compiled, beside: Any) -> None:
        """Demand that an expression stood there then, and sees the same now."""
        assert self._known is not None
        told = f"what {place.value} of {name!r} gives ({expression.text})"
        if key not in self._known:
            raise Unrecorded(f"{told}: it looks at what was not recorded")
        before = self._known[key][0] if place is Place.CASE else self._known[key]
        if before != beside:
            raise Unrecorded(
                f"{told}: it looks at what was not recorded, and at values that were others then"
            )
        if place is not Place.OUTPUT and (why := self.diverged()):
            raise Unrecorded(f"{told} after {why}")

    def diverged(self) -> str:
        """Return which effect that the run had is missing here, in words; empty where none is."""
        if self._known is None:
            return ""
        for step in self._recorded.run.steps:
            if step.finished_at is None or self._clock.moved(step.finished_at) >= self._clock.now:
                continue
            if not self._recorded.had_effect(step):
                continue
            here = self._clock.record(step.name).phase
            if here not in (effects.forward(step), StepPhase.ROLLED_BACK):
                return f"step {step.name} did not do what it did"
        return ""

    # Expressions of steps

    def _record(self, name: str) -> StepRecord:
        record = self._recorded.steps.get(name)
        if record is None:
            raise Unrecorded(f"what step {name} looked at, which did not run")
        return record

    def _case(self, key: Key, name: str, what: str, beside: Any) -> bool:
        if self._known is not None:
            value: bool = self._known[key][1]
            return value
        record = self._record(name)
        step = next((one for one in self._plan.steps if _fits(one.name, name)), None)
        names = [case for case, _ in step.cases] if step is not None else []
        if record.branch in names:
            if names.index(what) > names.index(record.branch):
                raise Unrecorded(f"whether case {what} of step {name} holds")
            value = what == record.branch
        elif record.branch is not None or record.reason == Reason.NO_CASE:
            value = False
        else:
            raise Unrecorded(f"which case of step {name} holds")
        self.memo[key] = (beside, value)
        return value

    def _value(self, place: Place, name: str, expression: Compiled, scope: Scope) -> Any:
        if place is Place.OUTPUT:
            if name not in self._recorded.run.outputs:
                raise Unrecorded(f"output {name} of the run")
            return self._recorded.run.outputs[name]
        record = self._record(name)
        match place:
            case Place.WHEN:
                return _when(record)
            case Place.UNTIL:
                return self._until(record)
            case Place.RETRY:
                failure = scope.more.get(FAILURE)
                return isinstance(failure, Mapping) and failure.get("message") == NOT_RECORDED
            case Place.ITEMS:
                if ITEMS not in record.outputs:
                    _raise_unfit(record)
                    raise Unrecorded(f"the items of step {name}")
                return record.outputs[ITEMS]
            case _:
                _raise_unfit(record)
                return f"(as it was: {expression.text})"

    def _until(self, record: StepRecord) -> bool:
        if record.finished_at is None:
            raise Unrecorded(f"when step {record.name} ended")
        over = self._clock.moved(record.finished_at) <= self._clock.now
        if over and effects.forward(record) is StepPhase.SUCCEEDED:
            return True
        here = self._clock.record(record.name)
        began = here.started_at or self._clock.now
        took = record.finished_at - (record.started_at or record.finished_at)
        if over and self._clock.now - began > took:
            raise Unrecorded(f"whether step {record.name} would have seen later what it waited for")
        return False

    # Expectations

    @cached_property
    def _met(self) -> datetime | None:
        """When all expectations were first seen to hold without a break to the end; None where they did not."""
        run, declared = self._recorded.run, self._recorded.plan.spec.verify
        verdicts = (Verdict.REMEDIATED, Verdict.NO_ACTION_REQUIRED)
        since = self._recorded.time("verifySince")
        if declared is None or run.finished_at is None:
            return None
        decided = run.reason in (Reason.ALERT_STILL_FIRING, Reason.ALERT_UNKNOWN) or self._by_metrics
        if decided and since is not None:
            # They held when time was over, which was a little before the run ended.
            return min(self._end, since + declared.timeout)
        if run.verdict not in verdicts:
            return None
        return self._recorded.time("healthySince") or self._end

    @property
    def _by_metrics(self) -> bool:
        """Whether the run ended because of a metric, all else being as expected."""
        return any(one.state is not MetricState.HELD for one in self._recorded.metrics.values())

    @property
    def _waited(self) -> bool:
        """Whether what is expected was waited for until its time was over."""
        since, declared = self._recorded.time("verifySince"), self._recorded.plan.spec.verify
        return since is not None and declared is not None and self._end >= since + declared.timeout

    def metrics(self) -> dict[str, MetricSeen]:
        """Return the metrics as they are asked for now, by their names.

        Raises:
            Unrecorded: one was not looked at by then, or is another one now.
        """
        then, here = self._recorded.plan.spec.verify, self._plan.spec.verify
        asked = {one.name: one for one in then.metrics} if then is not None else {}
        found: dict[str, MetricSeen] = {}
        for metric in here.metrics if here is not None else ():
            told, status = f"what metric {metric.name} was", self._recorded.metrics.get(metric.name)
            if status is None or asked.get(metric.name) != metric:
                raise Unrecorded(told)
            if why := self.diverged():
                raise Unrecorded(f"{told} after {why}")
            now = self._clock.now
            if self._met is None or not self._clock.moved(self._met) <= now <= self._clock.moved(self._end):
                raise Unrecorded(f"{told} at another time than {self._end:%H:%M:%S}")
            reason = Reason(status.reason) if status.reason else None
            samples = (Sample(0.0),) if reason is None else ()
            found[metric.name] = MetricSeen(now, samples, reason, "as recorded", again=self._waited)
        return found

    @cached_property
    def _end(self) -> datetime:
        """When the steps, and the verification after them, were over."""
        run = self._recorded.run
        last = [
            step.started_at for step in run.steps if step.started_at and self._recorded.is_last(step.name)
        ]
        return min([*last, run.finished_at or self._clock.now])

    def visible(self) -> bool:
        """Whether the target can be seen while the result is verified.

        Until the expectations held it is kept out of sight, for only what it was at the end of their time matters.
        """
        since, declared = self._recorded.time("verifySince"), self._plan.spec.verify
        if self._met is None or since is None or declared is None:
            return True
        return self._clock.moved(self._met) <= self._clock.now or (
            self._clock.moved(since + declared.timeout) <= self._clock.now
        )

    def times(self, status: WorkflowExecutionStatus) -> list[datetime]:
        """Return when something may be known of the expectations, as it was then."""
        if status.phase is not RunPhase.VERIFYING:
            return []
        since, declared = self._recorded.time("verifySince"), self._plan.spec.verify
        ends = [since + declared.timeout] if since is not None and declared is not None else []
        return [*ends, *(one for one in (self._met, self._recorded.run.finished_at) if one is not None)]

    def _expected(self, expression: Compiled) -> bool:
        old = {one.text for one in self._recorded.plan.expect}
        new = {one.text for one in self._plan.expect}
        told = f"whether it was so that {expression.text}"
        if why := self.diverged():
            raise Unrecorded(f"{told} after {why}")
        since, now = self._recorded.time("verifySince"), self._clock.now
        if expression.text not in old or since is None:
            raise Unrecorded(told)
        if self._met is not None and self._clock.moved(self._met) <= now:
            if self._clock.moved(self._end) < now:
                raise Unrecorded(f"{told} after {self._end:%H:%M:%S}, as long as stabilization asks for now")
            return True
        declared, here = self._recorded.plan.spec.verify, self._plan.spec.verify
        if self._met is not None and here is not None and now < self._clock.moved(since + here.timeout):
            # There is time left, so it does not matter yet.
            return False
        if self._recorded.metrics:
            raise Unrecorded(f"{told} before metrics were looked at")
        if self._met is not None and declared is not None and declared.stabilization:
            raise Unrecorded(f"{told} before {self._met:%H:%M:%S}")
        if not old <= new:
            raise Unrecorded(f"{told} before all that was expected was so")
        end = self._recorded.run.finished_at
        if self._met is None and declared is not None and here is not None:
            longer = here.timeout > declared.timeout
            if end is None or (longer and self._clock.moved(end) < now):
                raise Unrecorded(f"{told} after the time for it was over")
        return False


def _when(record: StepRecord) -> bool:
    if record.phase == StepPhase.SKIPPED and record.reason == Reason.WHEN_FALSE:
        return False
    if record.phase == StepPhase.FAILED and record.reason == Reason.EXPRESSION_FAILED and not record.attempts:
        raise StepError(record.message or "", reason=Reason.EXPRESSION_FAILED)
    if record.attempts or record.reason in GUARD_REASONS:
        return True
    raise Unrecorded(f"whether when of step {record.name} held")


def _raise_unfit(record: StepRecord) -> None:
    if record.phase == StepPhase.FAILED and record.reason in _UNFIT:
        raise StepError(record.message or "", reason=Reason(record.reason))


def _fits(pattern: str, name: str) -> bool:
    parts, given = pattern.split("/"), name.split("/")
    return len(parts) == len(given) and all(p in ("#", g) for p, g in zip(parts, given, strict=True))
