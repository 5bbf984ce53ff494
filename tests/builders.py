"""Fluent builders for Workflows and runs, fake actions, and a story that drives ``advance`` by hand."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from pydantic import Field, JsonValue, field_validator

from kubernaut.actions.probing import NothingToSee
from kubernaut.api.duration import parse_duration
from kubernaut.api.execution import (
    ApprovalRecord,
    Control,
    Decision,
    Intervention,
    ParameterValue,
    Remedy,
    ResolvedTarget,
    ResolvedWorkflow,
    StepStatus,
    WorkflowExecutionStatus,
)
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.action import Action, ActionParameters, Done, Idempotency, Risk, StepContext
from kubernaut.core.compiling import compile_plan
from kubernaut.core.features import Feature
from kubernaut.core.guards.facts import Guarded
from kubernaut.core.machine import advance, claim
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Cluster, ObjectRef, Right
from kubernaut.core.run import Act, AlertSeen, Facts, Hold, Outcome, OutcomeKind, Run, Seen, Watched
from kubernaut.core.run import Decision as Decided
from kubernaut.core.unfenced import left_behind
from kubernaut.core.unfolding import unfold

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TARGET_UID = "uid-of-target"


class FakeParameters(ActionParameters):
    """What a fake action can be given."""

    replicas: int = 1
    image_name: str = ""
    names: tuple[str, ...] = ()
    labels: Mapping[str, int] = Field(default_factory=dict)

    @field_validator("image_name")
    @classmethod
    def _is_one(cls, name: str) -> str:
        if "?" in name:
            raise ValueError(f"{name!r} is not the name of an image")
        return name


class NamedParameters(ActionParameters):
    """Parameters of which one is required."""

    name: str


@dataclass(frozen=True)
class FakeAction(NothingToSee):
    """An action that nobody performs: its outcomes are told by the test."""

    name: str
    idempotency: Idempotency
    parameters: type[ActionParameters] = FakeParameters
    halts: bool = False
    summary: ClassVar[str] = "Fake"
    risk: ClassVar[Risk] = Risk.LOW
    outputs: ClassVar[Mapping[str, str]] = {}

    def rights(self, target: ObjectRef | None, parameters: ActionParameters) -> tuple[Right, ...]:
        return ()

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: ActionParameters
    ) -> Mapping[str, JsonValue] | None:
        raise AssertionError

    async def perform(self, cluster: Cluster, context: StepContext, parameters: ActionParameters) -> Done:
        raise AssertionError

    async def undo(self, cluster: Cluster, context: StepContext, parameters: ActionParameters) -> Done:
        raise AssertionError


@dataclass(frozen=True)
class FakeJob(FakeAction):
    """An action that creates an object and waits until that has a phase."""

    def ended(self, manifest: Mapping[str, Any]) -> bool:
        return bool(manifest["status"].get("phase"))


@dataclass(frozen=True)
class RiskyAction(FakeAction):
    """An action of high risk."""

    risk: ClassVar[Risk] = Risk.HIGH


class SubflowParameters(ActionParameters):
    """What starts the run of another Workflow."""

    workflow: str
    parameters: tuple[Mapping[str, str], ...] = ()
    name: str
    depth: int


class SelectionParameters(ActionParameters):
    """What selects objects."""

    api_version: str
    kind: str
    label_selector: str
    limit: int


class FakeCatalogue:
    """One action of each kind, and one that needs a parameter."""

    def __init__(self) -> None:
        actions = (
            FakeAction("fake_marked", Idempotency.MARKED),
            FakeAction("fake_pinned", Idempotency.PINNED),
            FakeAction("fake_intent", Idempotency.INTENT),
            FakeAction("fake_read", Idempotency.READ_ONLY),
            FakeAction("fake_halting", Idempotency.MARKED, halts=True),
            FakeAction("fake_named", Idempotency.MARKED, NamedParameters),
            FakeJob("fake_job", Idempotency.NAMED),
            RiskyAction("fake_risky", Idempotency.MARKED),
        )
        self._actions: dict[str, Any] = {action.name: action for action in actions}

    def find(self, name: str) -> Action[Any] | None:
        return self._actions.get(name)

    def internal(self, name: str) -> Action[Any]:
        found: Action[Any] = INTERNAL[name]
        return found

    def suggest(self, name: str) -> str | None:
        return next(iter(difflib.get_close_matches(name, self._actions, n=1)), None)


INTERNAL: dict[str, Any] = {
    "run_workflow": FakeAction("run_workflow", Idempotency.NAMED, SubflowParameters),
    "select_objects": FakeAction("select_objects", Idempotency.READ_ONLY, SelectionParameters),
}


def _retry(limit: int, initial: str, factor: int, longest: str) -> dict[str, Any]:
    return {"limit": limit, "backoff": {"initial": initial, "factor": factor, "max": longest}}


class WorkflowBuilder:
    """Builds a Workflow's spec; every method returns the builder."""

    def __init__(self) -> None:
        self._spec: dict[str, Any] = {
            "serviceAccountName": "repair",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "steps": [],
            "timeout": "1h",
        }

    def step(
        self,
        name: str,
        action: str = "fake_marked",
        needs: str = "",
        *,
        when: str | None = None,
        with_: dict[str, Any] | None = None,
        retries: int = 0,
        initial: str = "1s",
        factor: int = 2,
        longest: str = "30s",
        timeout: str = "5m",
        **more: Any,
    ) -> Self:
        retry = {"retry": _retry(retries, initial, factor, longest)}
        return self._add(
            name, needs, when, action=action, timeout=timeout, **{"with": with_}, **{**retry, **more}
        )

    def wait(
        self,
        name: str,
        duration: str | None = None,
        needs: str = "",
        *,
        until: str | None = None,
        object_: Mapping[str, str] | None = None,
        when: str | None = None,
        timeout: str = "5m",
        **more: Any,
    ) -> Self:
        wait = {"duration": duration, "until": until, "object": object_}
        return self._add(name, needs, when, timeout=timeout, wait=wait, **more)

    def approval(
        self,
        name: str,
        needs: str = "",
        *,
        expires: str = "1h",
        may: Sequence[str] = (),
        when: str | None = None,
        **more: Any,
    ) -> Self:
        approval = {"message": "May I?", "expiresAfter": expires, "mayOverride": list(may)}
        return self._add(name, needs, when, approval=approval, **more)

    def subflow(
        self, name: str, workflow: str = "other", needs: str = "", *, retries: int = 0, **more: Any
    ) -> Self:
        """Add a step that runs another Workflow; ``params`` are what it is given."""
        given = [{"name": key, "value": value} for key, value in more.pop("params", {}).items()]
        retry = _retry(retries, "1s", 2, "30s")
        when = more.pop("when", None)
        return self._add(
            name, needs, when, workflow={"name": workflow, "parameters": given}, **{"retry": retry, **more}
        )

    def switch(
        self, name: str, cases: Mapping[str, str], needs: str = "", *, default: str | None = None, **more: Any
    ) -> Self:
        """Add a decision; ``cases`` maps each branch to its condition; it uses the template so called."""
        taken = [{"name": case, "when": when, "template": case} for case, when in cases.items()]
        when = more.pop("when", None)
        return self._add(name, needs, when, switch={"cases": taken, "default": default}, **more)

    def each(
        self,
        name: str,
        template: str = "one",
        needs: str = "",
        *,
        items: Sequence[str] | None = None,
        items_from: str | None = None,
        select: str | None = None,
        parallelism: int = 1,
        most: int = 100,
        **more: Any,
    ) -> Self:
        """Add a forEach; ``select`` is a label selector of pods."""
        chosen = {"apiVersion": "v1", "kind": "Pod", "labelSelector": select} if select else None
        each = {"items": items, "itemsFrom": items_from, "select": chosen, "template": template}
        when = more.pop("when", None)
        return self._add(
            name, needs, when, forEach={**each, "parallelism": parallelism, "maxItems": most}, **more
        )

    def template(self, name: str, body: WorkflowBuilder) -> Self:
        """Add a template with the steps of another builder."""
        self._spec.setdefault("templates", []).append({"name": name, "steps": body._spec["steps"]})
        return self

    def last(self, body: WorkflowBuilder) -> Self:
        """Have the steps of another builder run under finally."""
        return self.set(**{"finally": body._spec["steps"]})

    def _add(self, name: str, needs: str, when: str | None, **parts: Any) -> Self:
        self._spec["steps"].append({"name": name, "dependsOn": needs.split(), "when": when, **parts})
        return self

    def parameter(self, name: str, type_: str = "string", **more: Any) -> Self:
        self._spec.setdefault("parameters", []).append({"name": name, "type": type_, **more})
        return self

    def verify(self, *expect: str, stabilization: str = "0s", timeout: str = "5m", **more: Any) -> Self:
        times = {"stabilization": stabilization, "timeout": timeout}
        return self.set(verify={"expect": list(expect), **times, **more})

    def rolling_back(self) -> Self:
        return self.set(onFailure="Rollback")

    def target_name(self, name: str) -> Self:
        self._spec["target"]["name"] = name
        return self

    def set(self, **fields: Any) -> Self:
        self._spec.update(fields)
        return self

    def spec(self) -> WorkflowSpec:
        return WorkflowSpec.from_wire(self._spec)

    def plan(self) -> Plan:
        return compile_plan(self.spec(), FakeCatalogue())


def a_workflow() -> WorkflowBuilder:
    return WorkflowBuilder()


def steps() -> WorkflowBuilder:
    """Return a builder of which only the steps are used: for a template, or under finally."""
    return WorkflowBuilder()


def a_claim() -> WorkflowExecutionStatus:
    """Return what a run has pinned when it begins, before its phase moves."""
    return WorkflowExecutionStatus(
        workflow=ResolvedWorkflow(
            name="repair",
            uid="uid-of-workflow",
            content_hash="0" * 64,
            snapshot="s",
            service_account_name="repair",
        ),
        target=ResolvedTarget(api_version="apps/v1", kind="Deployment", name="web", uid=TARGET_UID),
    )


def a_run(params: Mapping[str, Any] | None = None, now: datetime = NOW, stored: bool = False) -> Run:
    """Return a run that has just been claimed; ``stored`` says whether the API server knows of it."""
    empty = WorkflowExecutionStatus()
    run = Run("uid-of-run", "shop", "run-1", 1, params or {}, Control(), empty, empty)
    claimed = claim(run, a_claim(), now)
    return replace(run, status=claimed, stored=claimed if stored else empty)


def a_target(
    *,
    ready: int = 0,
    replicas: int = 2,
    uid: str = TARGET_UID,
    observed: int = 1,
    generation: int = 1,
    **more: Any,
) -> Seen:
    return Seen(
        {
            "metadata": {"name": "web", "uid": uid, "generation": generation},
            "spec": {"replicas": replicas},
            "status": {"readyReplicas": ready, "observedGeneration": observed, **more},
        }
    )


GONE = Seen(None)


def an_object(uid: str = "uid-of-object", **parts: Any) -> Seen:
    """Return an object other than the target, as seen."""
    return Seen({"metadata": {"uid": uid, "generation": 1}, **parts})


@dataclass
class Story:
    """A run and its operator, told step by step: what is decided is taken over, effects end as the test says."""

    plan: Plan
    run: Run
    now: datetime = NOW
    target: Seen | None = None
    hold: Hold | None = None
    flying: dict[str, Act] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    last: Decided | None = None
    objects: dict[Watched, Seen] = field(default_factory=dict)
    granted: frozenset[str] = frozenset()
    off: frozenset[Feature] = frozenset()
    unfenced: frozenset[str] = frozenset()
    guards: Guarded | None = None
    alert: AlertSeen | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    unread: Mapping[Watched, str] = field(default_factory=dict)
    healed: str = ""

    def decide(self, told: Mapping[str, Outcome] | None = None, **outcomes: Outcome) -> Decided:
        """Decide once; what must be stored first is stored, and the acts are under way."""
        told = dict(told or {}) | {name.replace("_", "-"): outcome for name, outcome in outcomes.items()}
        seen = (self.target, self.hold, self.objects, self.granted, self.off, self.unfenced, self.guards)
        facts = Facts(told, frozenset(self.flying), *seen, self.alert, self.metrics, self.unread, self.healed)
        self.unfenced -= {name for name, outcome in told.items() if not outcome.transient}
        self.last = advance(self.run, self.plan, facts, self.now)
        self.run = replace(self.run, status=self.last.status)
        if self.last.store_first or self.last.status.phase.final:
            self.store()
        self.acts = self.last.acts
        for act in self.acts:
            assert act.step.name not in self.flying, f"{act.step.name} is under way already"
            self.flying[act.step.name] = act
        return self.last

    def end(self, step: str, outcome: Outcome) -> Decided:
        """Let an effect end, and decide."""
        act = self.flying.pop(step)
        if outcome.kind is not OutcomeKind.PREPARED:
            self.target = None
        told = replace(outcome, attempt=act.attempt, undo=act.undo, fence=act.fence)
        return self.decide({step: told})

    def done(self, step: str, *, acted: bool = True, changed: Sequence[str] = (), **outputs: Any) -> Decided:
        told = tuple(changed) if changed else (("replicas: 1 -> 2",) if acted else ())
        return self.end(step, Outcome(OutcomeKind.DONE, "done", None, acted, told, outputs))

    def awaits(self, step: str, uid: str = "uid-of-job") -> Decided:
        """Let an effect have created an object in which it goes on."""
        awaited: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": uid}
        return self.end(step, Outcome(OutcomeKind.DONE, "begun", None, True, ("created",), awaits=awaited))

    def prepared(self, step: str, **intent: Any) -> Decided:
        return self.end(step, Outcome(OutcomeKind.PREPARED, intent=intent))

    def failed(self, step: str, reason: Reason = Reason.CONFLICT, message: str = "it went wrong") -> Decided:
        return self.end(step, Outcome(OutcomeKind.FAILED, message, reason))

    def goes_on(self, step: str, progress: str = "") -> Decided:
        """Let an effect end unfinished, and decide."""
        told = f"{progress} is done"
        return self.end(step, Outcome(OutcomeKind.FAILED, told, Reason.IN_PROGRESS, progress=progress))

    def after(self, duration: str) -> Decided:
        """Let time pass, and decide."""
        self.now += parse_duration(duration)
        return self.decide()

    def sees(self, target: Seen | None) -> Decided:
        self.target = target
        return self.decide()

    def store(self) -> None:
        self.run = replace(self.run, stored=self.run.status)

    def crash(self) -> Decided:
        """Lose all that is not stored, and begin anew."""
        self.run = replace(self.run, status=self.run.stored)
        self.unfenced |= left_behind(self.run, self.plan)
        self.flying.clear()
        self.target = None
        return self.decide()

    def control(self, **changes: Any) -> None:
        self.run = replace(self.run, control=self.run.control.replace(**changes))

    def answer(self, step: str, decision: Decision, reason: str = "", **parameters: str) -> None:
        given = [ParameterValue(name=name, value=value) for name, value in parameters.items()]
        record = ApprovalRecord(step=step, decision=decision, by="ada", reason=reason, parameters=given)
        self.control(approvals=[*self.run.control.approvals, record])

    def says(self, step: str, remedy: Remedy, attempt: int = 1) -> Decided:
        """Let a person say what becomes of a failed attempt, and decide."""
        said = Intervention(step=step, attempt=attempt, remedy=remedy, by="ada")
        self.control(interventions=[*self.run.control.interventions, said])
        return self.decide()

    def step(self, name: str) -> StepStatus:
        return self.run.step(name)

    @property
    def phases(self) -> dict[str, str]:
        """All steps that the run has by now."""
        records = {record.name: record for record in self.run.status.steps}
        return {step.name: self.run.step(step.name).phase.value for step in unfold(self.plan, records).steps}

    @property
    def begun(self) -> list[str]:
        """The effects begun by the last decision: ``name``, or ``prepare``, ``undo`` or ``fence name``."""

        def kind(act: Act) -> str:
            return "prepare " if act.prepare else "undo " if act.undo else "fence " if act.fence else ""

        return [f"{kind(act)}{act.step.name}" for act in self.acts]

    @property
    def end_state(self) -> tuple[str, str | None, str | None]:
        status = self.run.status
        return status.phase.value, status.verdict.value if status.verdict else None, status.reason


def a_story(workflow: WorkflowBuilder, **given: str) -> Story:
    """Return a story whose run was just claimed."""
    plan = workflow.plan()
    return Story(plan, a_run(parse_parameters(plan.spec, given)))


def a_dry_story(workflow: WorkflowBuilder, **given: str) -> Story:
    """Return a story of a run that only checks what it would do."""
    story = a_story(workflow, **given)
    story.run = replace(story.run, dry_run=True)
    return story
