"""A past run as a replay sees it, and what comes of the replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from kubernaut.api.execution import (
    ApprovalRecord,
    Control,
    Intervention,
    MetricStatus,
    ParameterValue,
    RunPhase,
    StepPhase,
    TriggerType,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.draft import MAY_HAVE_ACTED
from kubernaut.core.plan import FINALLY, Plan
from kubernaut.core.redacting import HIDDEN
from kubernaut.core.run import AlertSeen, AlertState
from kubernaut.history.records import RunRecord, StepRecord

#: why a run ended from outside before its steps were done
_CUT: Final = (
    Reason.CANCELLED,
    Reason.REPLACED,
    Reason.TARGET_NOT_FOUND,
    Reason.TARGET_REPLACED,
    Reason.PROTECTED,
    Reason.ALERT_RESOLVED,
)
UNTOLD: Final = "reason not recorded"
_SAID: Final = "recorded"


class Unrecorded(Exception):
    """A decision needs a fact that was not recorded; says which."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that would have gone otherwise.

    Attributes:
        kind: one word for machines.
        what: what it is about, the same for all runs of which it is true.
        told: the same with what this run had.
    """

    kind: str
    what: str
    told: str

    def wire(self) -> dict[str, str]:
        """Return it for programs."""
        return {"kind": self.kind, "what": self.what, "told": self.told}


@dataclass(frozen=True)
class Recorded:
    """A past run with the plan that it followed."""

    run: RunRecord
    plan: Plan

    @cached_property
    def steps(self) -> Mapping[str, StepRecord]:
        """The records of its steps by name."""
        return {step.name: step for step in self.run.steps}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What is kept of it beside its record."""
        return self.run.facts or {}

    @cached_property
    def hidden(self) -> frozenset[str]:
        """The parameters whose values were not kept."""
        return frozenset(name for name, value in self.run.parameters.items() if value == HIDDEN)

    @cached_property
    def alert(self) -> AlertSeen | None:
        """What became of the alert that started it, once it was verified; None where none did."""
        if self.run.trigger != TriggerType.ALERT:
            return None
        known = {
            Reason.EXPECTATION_MET: AlertState.RESOLVED,
            Reason.ALERT_RESOLVED_AFTER: AlertState.RESOLVED,
            Reason.PROPOSED: AlertState.RESOLVED,
            Reason.ALERT_STILL_FIRING: AlertState.FIRING,
        }
        state = known.get(Reason(self.run.reason)) if self.run.reason else None
        if state is None and self.metrics and self.run.reason != Reason.ALERT_UNKNOWN:
            # Metrics decided, which are not looked at while it fires.
            state = AlertState.RESOLVED
        return AlertSeen(state or AlertState.UNKNOWN, "as recorded", again=False)

    @cached_property
    def metrics(self) -> Mapping[str, MetricStatus]:
        """What metrics were like when the verdict was given, by name."""
        found = [MetricStatus.model_validate(one) for one in self.facts.get("metrics") or ()]
        return {one.name: one for one in found}

    @property
    def alert_told(self) -> bool:
        """Whether it is recorded what became of its alert; of a run that was never verified it is not."""
        alert = self.alert
        return (
            alert is None or alert.state is not AlertState.UNKNOWN or self.run.reason == Reason.ALERT_UNKNOWN
        )

    @property
    def began(self) -> datetime:
        """When it began, or was refused."""
        assert self.run.started_at is not None
        return self.run.started_at

    @property
    def admitted(self) -> bool:
        """Whether it began, and was not refused before that."""
        return self.run.target_uid is not None

    def time(self, name: str) -> datetime | None:
        """Return one of the times among the facts."""
        text = self.facts.get(name)
        return None if text is None else datetime.fromisoformat(text)

    @cached_property
    def control(self) -> Control:
        """What people asked of it, but for cancelling; answers to approvals apart."""
        said = [
            Intervention(step=one["step"], attempt=one["attempt"], remedy=one["remedy"], by=_SAID)
            for one in self.facts.get("interventions", ())
        ]
        return Control(interventions=said)

    @cached_property
    def answers(self) -> tuple[tuple[datetime | None, ApprovalRecord], ...]:
        """What people answered to approvals, and when; None where that was before they were asked."""
        found = []
        for one in self.facts.get("approvals", ()):
            values = [ParameterValue(name=name, value=value) for name, value in one["parameters"].items()]
            answer = ApprovalRecord(step=one["step"], decision=one["decision"], by=_SAID, parameters=values)
            step = self.steps.get(one["step"])
            found.append((step.finished_at if step is not None else None, answer))
        return tuple(found)

    @cached_property
    def cut(self) -> tuple[Reason, datetime] | None:
        """Why and when it was ended from outside; None where it came to its own end."""
        run = self.run
        if run.reason not in _CUT or run.finished_at is None or (run.message or "").startswith("Step "):
            return None
        if run.reason in (Reason.CANCELLED, Reason.REPLACED) and run.phase != RunPhase.CANCELLED:
            return None
        skipped = [step.finished_at for step in run.steps if step.finished_at and step.reason == run.reason]
        if run.reason == Reason.REPLACED:
            skipped = [
                step.finished_at for step in run.steps if step.finished_at and step.reason == Reason.CANCELLED
            ]
        last = [step.started_at for step in run.steps if step.started_at and self.is_last(step.name)]
        times = [*skipped, *last, run.finished_at]
        back = self.time("rollbackSince")
        return Reason(run.reason), min([*times, back] if back is not None else times)

    def is_last(self, name: str) -> bool:
        """Whether a step stands under finally."""
        top = name.split("/")[0]
        return any(step.name == top and step.parent == FINALLY for step in self.plan.steps)

    def had_effect(self, step: StepRecord) -> bool:
        """Whether a step changed something, or may have."""
        if step.changed or step.phase == StepPhase.ROLLED_BACK:
            return True
        return step.phase == StepPhase.FAILED and step.action is not None and step.reason in MAY_HAVE_ACTED


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends; ``reason`` is None where it is that of an attempt which was not kept."""

    phase: str
    verdict: str | None
    reason: str | None

    def __str__(self) -> str:
        return " ".join(
            part for part in (self.phase, self.verdict or "", f"({self.reason or UNTOLD})") if part
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a replay says of one run.

    Attributes:
        verdict: Same, Otherwise or Unknown.
        was: how the run ended.
        would: how it would have ended; None where that is not known.
        differences: what would have gone otherwise, in order.
        unknown: the fact that is not recorded and was needed; empty where none was.
    """

    run: RunRecord
    verdict: str
    was: Ending
    would: Ending | None = None
    differences: tuple[Difference, ...] = field(default=())
    unknown: str = ""

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        run = self.run
        return {
            "run": run.name,
            "uid": run.uid,
            "startedAt": run.started_at.isoformat() if run.started_at else None,
            "contentHash": run.content_hash,
            "result": self.verdict,
            "was": str(self.was),
            "would": str(self.would) if self.would else None,
            "differences": [one.wire() for one in self.differences],
            "notRecorded": self.unknown or None,
        }
