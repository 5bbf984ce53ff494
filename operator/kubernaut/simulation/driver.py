"""A run followed to its end in a shadow: the engine's own decisions and the actions' own code, in virtual time."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from kubernaut.api.execution import (
    ApprovalRecord,
    Control,
    ResolvedTarget,
    ResolvedWorkflow,
    RunPhase,
    StepPhase,
    WorkflowExecutionStatus,
)
from kubernaut.api.execution import (
    Decision as Answer,
)
from kubernaut.api.guards import GUARD_APPROVAL
from kubernaut.api.names import API_VERSION
from kubernaut.api.reach import namespace_of
from kubernaut.api.workflow import Lifecycle
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.errors import ClusterError, NotFound, StepError
from kubernaut.core.expressions import Scope
from kubernaut.core.guards.deciding import Known, Subject, refusal
from kubernaut.core.guards.facts import Guarded, guarded
from kubernaut.core.guards.levels import Level, protects
from kubernaut.core.machine import advance, claim
from kubernaut.core.marker import Signer
from kubernaut.core.memory import Memory
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef, RevisionEvidence
from kubernaut.core.run import Decision, Facts, MetricSeen, Outcome, Run, Seen, Watched
from kubernaut.core.unfolding import unfold
from kubernaut.engine.effects import Performer
from kubernaut.engine.guarding import before
from kubernaut.engine.live import LiveRun
from kubernaut.engine.owning import GitOps
from kubernaut.engine.past import PastRuns
from kubernaut.engine.ports import Accounts
from kubernaut.simulation import beginning
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.diffs import changes
from kubernaut.simulation.outside import (
    NothingSeen,
    OneAccount,
    SimulatedPauses,
    SimulatedWeb,
    unknown_metrics,
)
from kubernaut.simulation.report import Radius, Result, Step
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.state import Key

_ROUNDS: Final = 4000
#: an effect takes so long here: no more than that times follow one another
_TICK: Final = timedelta(seconds=1)
_SIGNER: Final = Signer(b"signs marks of objects that exist in a simulation only")
_RUN: Final = "WorkflowExecution"
_DEEPEST: Final = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be simulated.

    Attributes:
        find: returns the plan of another Workflow and its parameters as typed, for subflows; raises StepError.
        levels: the guards that hold, the Workflow's own first.
        past: the runs that guards count; None where there are none.
    """

    workflow: str
    namespace: str
    plan: Plan
    params: Mapping[str, Any]
    levels: tuple[Level, ...] = ()
    memory: Memory | None = None
    evidence: RevisionEvidence | None = None
    find: Callable[[str, Mapping[str, str]], Awaitable[tuple[Plan, dict[str, Any]]]] | None = None
    past: PastRuns | None = None


@dataclass(slots=True)
class Driver:
    """Follows one run, and the runs that it starts."""

    wanted: Wanted
    shadow: Shadow
    settling: Settling
    depth: int = 0
    name: str = "simulated"
    run_uid: str = ""
    _objects: dict[Watched, Seen] = field(default_factory=dict)
    _seen: Seen | None = None
    _labels: Mapping[str, str] = field(default_factory=dict)
    _granted: frozenset[str] = frozenset()
    _metrics: Mapping[str, MetricSeen] = field(default_factory=dict)
    _waits: str = ""

    async def follow(self) -> Result:
        """Return how the run goes.

        Raises:
            StepError: it would not begin.
            ClusterError: its target does not exist, or can't be read.
        """
        began = self.shadow.state.now
        run = await self._claimed()
        live = self._live(run)
        performer = self._performer()
        outcomes: dict[str, Outcome] = {}
        for _ in range(_ROUNDS):
            decision = advance(run, self.wanted.plan, self._facts(outcomes, run), self.shadow.state.now)
            outcomes = {}
            run = replace(run, status=decision.status, stored=decision.status)
            live.status = run.status
            if run.status.phase.final:
                break
            if decision.acts:
                outcomes = await self._perform(performer, live, decision)
            elif (answered := self._answered(run)) is not None:
                run = answered
            elif not await self._look(run, decision) and not await self._on(run, decision):
                break
        else:
            self._waits = f"an end: there was none after {_ROUNDS} decisions"
        return self._result(run, began)

    async def _claimed(self) -> Run:
        """Return the run as it begins."""
        wanted, now = self.wanted, self.shadow.state.now
        spec = wanted.plan.spec
        self.run_uid = self.run_uid or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{wanted.namespace}/{self.name}"))
        place = {"uid": self.run_uid, "namespace": wanted.namespace, "name": self.name}
        name = str(wanted.plan.target_name.render(Scope(wanted.params, {}, place)))
        target = spec.target
        where = namespace_of(target.api_version, target.kind, wanted.namespace)
        found = await beginning.target(
            self.shadow, ObjectRef(target.api_version, target.kind, where, name), wanted.namespace
        )
        await beginning.account(self.shadow, wanted.namespace, spec.service_account_name)
        if wanted.past is not None and not self.depth:
            others = wanted.past.on_target(found["metadata"]["uid"], self.run_uid)
            beginning.alone(self.shadow.assumptions, spec, others)
        if spec.lifecycle is Lifecycle.DRAFT:
            self.shadow.assumptions.say(f"Workflow {wanted.workflow} is a draft: it is taken to be active")
        self._labels = found["metadata"].get("labels") or {}
        digest = content_hash(spec)
        status = WorkflowExecutionStatus(
            workflow=ResolvedWorkflow(
                name=wanted.workflow,
                uid="00000000-0000-0000-0000-000000000000",
                content_hash=digest,
                snapshot=snapshot_name(wanted.workflow, digest),
                service_account_name=spec.service_account_name,
            ),
            target=ResolvedTarget(
                api_version=target.api_version, kind=target.kind, name=name, uid=found["metadata"]["uid"]
            ),
        )
        empty = WorkflowExecutionStatus()
        run = Run(
            self.run_uid,
            wanted.namespace,
            self.name,
            1,
            wanted.params,
            Control(),
            empty,
            empty,
            depth=self.depth,
        )
        claimed = claim(run, status, now)
        return replace(run, status=claimed, stored=claimed)

    def _live(self, run: Run) -> LiveRun:
        """Return the run as the engine's performer wants it; its object is in the copy, as it would be."""
        manifest: Manifest = {
            "apiVersion": API_VERSION,
            "kind": _RUN,
            "metadata": {
                "name": run.name,
                "namespace": run.namespace,
                "uid": run.uid,
                "resourceVersion": "1",
                "generation": 1,
            },
            "spec": {"workflowRef": {"name": self.wanted.workflow}},
        }
        self.shadow.state.take(manifest)
        live = LiveRun.of(manifest)
        live.plan, live.params, live.status = self.wanted.plan, run.params, run.status
        return live

    def _performer(self) -> Performer:
        assumptions = self.shadow.assumptions
        levels = self.wanted.levels if protects(self.wanted.levels) else ()
        return Performer(
            cast(Accounts, OneAccount(self.shadow)),
            _SIGNER,
            self.wanted.evidence or NothingSeen(assumptions),
            lambda: None,
            lambda: self.shadow.state.now,
            memory=self.wanted.memory,
            protecting=lambda live: levels,
            web=SimulatedWeb(assumptions),
            # Marks of earlier runs are signed with a key that only the operator has: who undid them is not seen.
            gitops=GitOps(lambda live: self.wanted.levels, pauses=SimulatedPauses(_SIGNER, assumptions)),
        )

    def _facts(self, outcomes: Mapping[str, Outcome], run: Run) -> Facts:
        return Facts(
            outcomes,
            frozenset(),
            self._seen,
            None,
            dict(self._objects),
            self._granted,
            guards=self._guards(run),
            metrics=self._metrics,
        )

    def _guards(self, run: Run) -> Guarded | None:
        """Return what guards say, as the engine asks them; of alerts nothing is known."""
        levels, target, high = self.wanted.levels, run.status.target, self.wanted.plan.high
        if (not levels and not high) or target is None:
            return None
        labels = self._labels
        if self._seen is not None and self._seen.manifest is not None:
            labels = self._seen.manifest["metadata"].get("labels") or {}
        where = namespace_of(target.api_version, target.kind, run.namespace)
        told = f"{target.kind} {target.name}"
        subject = Subject(run.uid, run.namespace, self.wanted.workflow, target.uid, told, where, labels)
        counted = [_without_alerts(level) for level in levels]
        if any(level.guards.stop_while_firing for level in levels):
            self.shadow.assumptions.say("no alert that guards look at fires")
        now = self.shadow.state.now
        past = self.wanted.past or PastRuns(lambda: now)
        began = run.status.started_at or now
        storms = [level.guards.storm for level in counted if level.guards.storm is not None]
        back = max((storm.within + storm.cooldown for storm in storms), default=None)
        recent = past.since(now - back, run.uid) if back is not None else ()
        known = before(began, Known(past.on_target(target.uid, run.uid), recent))
        found = refusal(subject, counted, known, now) if levels else None
        return guarded(levels, found, run.namespace, self.wanted.workflow, past.bad(high), now)

    async def _perform(self, performer: Performer, live: LiveRun, decision: Decision) -> dict[str, Outcome]:
        """Perform acts one after another, each on what the one before left."""
        outcomes: dict[str, Outcome] = {}
        for act in decision.acts:
            self.shadow.step = act.step.name
            outcomes[act.step.name] = await performer.perform(live, act)
            self.shadow.step = ""
            if not act.prepare:
                await self.settling.settle()
        self.shadow.state.now += _TICK
        self._look_away()
        return outcomes

    def _look_away(self) -> None:
        self._seen = None
        self._objects.clear()

    def _answered(self, run: Run) -> Run | None:
        """Return the run with the answers that people are assumed to give, or None where nobody is asked."""
        answers = {one.step for one in run.control.approvals}
        shape = unfold(self.wanted.plan, {record.name: record for record in run.status.steps})
        asked = [
            record.name
            for record in run.status.steps
            if record.phase is StepPhase.WAITING
            and record.name not in answers
            and (
                record.name == GUARD_APPROVAL
                or (record.name in shape.by_name and shape.by_name[record.name].spec.approval is not None)
            )
        ]
        if not asked:
            return None
        for name in asked:
            who = (
                "a person whom a guard has asked"
                if name == GUARD_APPROVAL
                else f"who is asked by step {name}"
            )
            self.shadow.assumptions.say(f"{who} is assumed to approve")
        given = [ApprovalRecord(step=name, decision=Answer.APPROVE, by="assumed") for name in asked]
        control = run.control.replace(approvals=[*run.control.approvals, *given])
        return replace(run, control=control)

    async def _look(self, run: Run, decision: Decision) -> bool:
        """Look at what the decision needs to see; True where something was not seen before."""
        looked = False
        target = run.status.target
        if decision.observe and self._seen is None and target is not None:
            where = namespace_of(target.api_version, target.kind, run.namespace)
            self._seen = await self._sight(ObjectRef(target.api_version, target.kind, where, target.name))
            looked = True
        for one in sorted(decision.objects - set(self._objects), key=str):
            self._objects[one] = await self._sight(await self._reference(one, run))
            looked = True
        if decision.queries:
            self._metrics = unknown_metrics(decision.queries, self.shadow.state.now, self.shadow.assumptions)
            looked = True
        wanted = frozenset(want.step for want in decision.wants)
        if wanted - self._granted:
            self.shadow.assumptions.say("what steps want of scarce resources is free")
            self._granted |= wanted
            looked = True
        return looked

    async def _reference(self, watched: Watched, run: Run) -> ObjectRef:
        where = namespace_of(watched.api_version, watched.kind, run.namespace)
        ref = ObjectRef(watched.api_version, watched.kind, where, watched.name)
        if watched.kind == _RUN:
            await self._follow_child(ref)
        return ref

    async def _sight(self, ref: ObjectRef) -> Seen:
        try:
            return Seen(await self.shadow.get(ref))
        except NotFound:
            return Seen(None)

    async def _follow_child(self, ref: ObjectRef) -> None:
        """Simulate a run that a step started, unless that was done."""
        child = self.shadow.state.objects.get(Key.of(ref))
        if child is None or (child.get("status") or {}).get("phase") is not None or self.wanted.find is None:
            return
        spec = child["spec"]
        given = {one["name"]: one["value"] for one in spec.get("parameters") or ()}
        name = spec["workflowRef"]["name"]
        try:
            if self.depth >= _DEEPEST:
                raise ClusterError(f"more than {_DEEPEST} runs would start each other")
            plan, params = await self.wanted.find(name, given)
            levels = beginning.levels_of(name, plan.spec.guards, self.wanted.levels)
            wanted = replace(self.wanted, workflow=name, plan=plan, params=params, levels=levels)
            uid = child["metadata"]["uid"]
            result = await Driver(wanted, self.shadow, self.settling, self.depth + 1, ref.name, uid).follow()
            status = result.status.wire()
            self._waits = result.waits
        except StepError as error:
            status = {"phase": RunPhase.FAILED.value, "message": str(error)}
        found = self.shadow.state.get(Key.of(ref))
        self.shadow.state.put({**found, "status": status}, f"run {ref.name}")

    async def _on(self, run: Run, decision: Decision) -> bool:
        """Let time go on to when the run would be woken; False where only others could move it."""
        if self._waits:
            return False
        if run.status.phase is RunPhase.SUSPENDED:
            self._waits = f"a person to say what becomes of a failed step: {run.status.message or ''}".strip()
            return False
        guards = self._guards(run)
        refused = guards.refusal if guards is not None else None
        if refused is not None and not any(record.changed for record in run.status.steps):
            self._waits = f"its guards: {refused.message}"
            return False
        if decision.wake_at is None:
            self._waits = f"something that does not come: {run.status.message or run.status.phase.value}"
            return False
        self.shadow.state.now = max(decision.wake_at, self.shadow.state.now)
        await self.settling.settle()
        self._look_away()
        return True

    def _result(self, run: Run, began: datetime) -> Result:
        state = self.shadow.state
        diffs = tuple(one for one in changes(state) if one.object.kind != _RUN)
        records = {record.name: record for record in run.status.steps}
        shape = unfold(self.wanted.plan, records)
        names = [step.name for step in shape.steps]
        mutations = tuple(self.shadow.mutations)
        if mutations:
            self.shadow.assumptions.say(
                "admission policies and webhooks let all pass that steps and controllers send, and what is not "
                "checked here is valid (--server asks the API server about what steps send)"
            )
        return Result(
            self.wanted.workflow,
            self.wanted.namespace,
            run.status,
            tuple(Step.of(records[name]) for name in names if name in records),
            tuple(name for name in names if name not in records),
            diffs,
            mutations,
            self.shadow.assumptions.all,
            self._waits,
            state.now - began,
            Radius.of(diffs, mutations),
        )


def _without_alerts(level: Level) -> Level:
    """Return a level that does not look at alerts; all else that it says holds."""
    return replace(level, guards=level.guards.replace(stop_while_firing=[]))
