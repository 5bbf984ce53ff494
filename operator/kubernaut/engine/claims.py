"""Claiming a run: everything it needs is found and pinned, and stored before its first effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from kubernaut.api.execution import (
    ResolvedTarget,
    ResolvedWorkflow,
    StepStatus,
    WorkflowExecution,
    WorkflowExecutionStatus,
)
from kubernaut.api.names import API_VERSION
from kubernaut.api.reach import namespace_of
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import Lifecycle, WorkflowSpec, WorkflowStatus
from kubernaut.cluster.sharedreads import SharedReads
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.core.carrying import carried_over, check_retryable, migration_problem
from kubernaut.core.compiling import compile_plan
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.errors import Forbidden, NoSuchKind, NotFound, StepError
from kubernaut.core.expressions import Scope
from kubernaut.core.machine import claim
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Catalogue, Plan, PlanInvalid
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.homes import target_home
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import Accounts
from kubernaut.engine.reach import Reach
from kubernaut.metrics import WRITES

T = TypeVar("T")
_MOST_LATEST = 10_000


# An account that was there is asked for again after this long; without it the API server refuses the step anyway.
ACCOUNT_SECONDS: Final = 30.0
MOST_ACCOUNTS: Final = 10_000
#: compiled contents that are remembered beside those that live runs and Workflows follow
MOST_PLANS: Final = 1_000
#: seconds after which a snapshot is made sure of again: somebody may have deleted it
KEPT_SECONDS: Final = 600.0
#: snapshots of which it is remembered that they are there
MOST_KEPT: Final = 10_000


class OperatorMayNot(Forbidden):
    """The operator itself lacks a right that it needs for any run: that says nothing of this one."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one generation of a Workflow says."""

    generation: int | None
    digest: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Claim:
    """A run with everything it needs; ``target`` is as it was read just now."""

    plan: Plan
    params: dict[str, Any]
    status: WorkflowExecutionStatus
    target: Manifest


class Claims:
    """Finds what a run needs: the Workflow's content, its snapshot, the typed parameters, the target."""

    def __init__(self, accounts: Accounts, catalogue: Catalogue, clock: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._own = accounts.own()
        self._reach = Reach(self._own)
        self._catalogue = catalogue
        self._clock = clock
        self._plans: dict[str, Plan] = {}
        self._snapshots = Snapshots(self._own)
        self._kept: dict[tuple[str, str], float] = {}
        self._there: dict[tuple[str, str], float] = {}
        self._latest: dict[str, Content] = {}
        # Many runs of one Workflow often start together; an edit that came before a run must count for it.
        self._workflows = SharedReads(self._own.get)

    async def make(self, live: LiveRun) -> Claim:
        """Find everything for a run that was not claimed yet.

        Raises:
            StepError: what is missing, with its reason; the run can't start.
            OperatorMayNot: it can, once the operator may do what it has to.
        """
        namespace = live.key.namespace
        manifest = await _as_operator(partial(self._workflow, live))
        content = self._known_content(manifest)
        plan, digest = content.plan, content.digest
        spec = plan.spec
        _check_lifecycle(live, spec)
        params = parse_parameters(spec, live.execution.given())
        scope = Scope(params, {}, {"uid": live.uid, "namespace": namespace, "name": live.key.name})
        target_name = str(plan.target_name.render(scope))
        target, account, snapshot = await asyncio.gather(
            self._target(namespace, spec, target_name),
            _as_operator(partial(self._account, namespace, spec.service_account_name)),
            _as_operator(partial(self._snapshot, namespace, manifest, spec, digest)),
            return_exceptions=True,
        )
        # An account that does not exist can't read the target either: the cause is told, not what follows from it.
        for failure in (account, target, snapshot):
            if isinstance(failure, BaseException):
                raise failure
        assert isinstance(target, dict)
        _check_cause(live, spec, target)
        resolved = ResolvedWorkflow(
            name=manifest["metadata"]["name"],
            uid=manifest["metadata"]["uid"],
            content_hash=digest,
            snapshot=snapshot_name(manifest["metadata"]["name"], digest),
            service_account_name=spec.service_account_name,
            ttl_seconds_after_finished=spec.ttl_seconds_after_finished,
            revision=(manifest.get("status") or {}).get("revision"),
            successful_runs_history_limit=spec.successful_runs_history_limit,
            failed_runs_history_limit=spec.failed_runs_history_limit,
        )
        pinned = ResolvedTarget(
            api_version=spec.target.api_version,
            kind=spec.target.kind,
            name=target_name,
            uid=target["metadata"]["uid"],
        )
        live.recent.put(_ref(namespace, spec, target_name), target)
        begun = live.status.replace(workflow=resolved, target=pinned)
        if live.execution.spec.retry_from is not None:
            begun = begun.replace(steps=await self._taken_over(live, plan, params, pinned))
        return Claim(plan, params, claim(live.view(), begun, self._clock()), target)

    async def _taken_over(
        self, live: LiveRun, plan: Plan, params: dict[str, Any], target: ResolvedTarget
    ) -> list[StepStatus]:
        """Return the records of the run that is tried again which still count."""
        retry_from = live.execution.spec.retry_from
        assert retry_from is not None
        name = retry_from.name
        ref = ObjectRef(API_VERSION, "WorkflowExecution", live.key.namespace, name)
        try:
            old = WorkflowExecution.model_validate(await self._own.get(ref))
        except NotFound:
            raise _refused(f"there is no run {name!r} to be tried again") from None
        status = old.status or WorkflowExecutionStatus()
        if old.spec.workflow_ref != live.execution.spec.workflow_ref:
            raise _refused(f"run {name} is of Workflow {old.spec.workflow_ref.name}")
        if old.spec.dry_run:
            raise _refused(f"run {name} was a dry run: nothing of it was done")
        if status.workflow is None or status.target is None:
            # It never began, so there is nothing to take over; but one that may still begin is not tried again.
            check_retryable(name, status)
            return []
        if status.target.uid != target.uid:
            raise _refused(f"run {name} was about another {target.kind} {target.name}, which is gone")
        was = status.workflow
        try:
            spec = await self._content(live.key.namespace, was.snapshot, was.content_hash)
        except NotFound:
            told = f"what run {name} followed (ControllerRevision {was.snapshot}) is gone, so what of it still counts"
            raise _refused(f"{told} can't be told") from None
        old_plan = self._plan(was.name, spec, was.content_hash)
        old_params = parse_parameters(spec, old.given())
        answers = old.spec.control.approvals
        return carried_over(plan, params, name, status, old_plan, old_params, answers)

    async def migrated(self, live: LiveRun, snapshot: str) -> tuple[Plan, dict[str, Any], ResolvedWorkflow]:
        """Return what a paused run follows once it has moved to another revision of its Workflow.

        Raises:
            StepError: MigrationRefused, with what does not fit.
        """
        claimed = live.status.workflow
        assert claimed is not None
        assert live.plan is not None
        # Who may write ControllerRevisions must not decide what an account does: only what the Workflow had counts.
        status = WorkflowStatus.model_validate((await self._workflow(live)).get("status") or {})
        recorded = next((one for one in status.revisions if one.snapshot == snapshot), None)
        if recorded is None:
            message = f"{snapshot} is none of the newest revisions of Workflow {claimed.name}"
            raise StepError(message, reason=Reason.MIGRATION_REFUSED)
        digest = recorded.content_hash
        spec = await self._content(live.key.namespace, snapshot, digest)
        plan = self._plan(claimed.name, spec, digest)
        params = parse_parameters(spec, live.execution.given())
        problem = migration_problem(live.plan, plan, live.status)
        if problem is not None:
            raise StepError(f"it can't move to {snapshot}: {problem}", reason=Reason.MIGRATION_REFUSED)
        resolved = claimed.replace(
            content_hash=digest,
            snapshot=snapshot,
            revision=recorded.revision,
            ttl_seconds_after_finished=spec.ttl_seconds_after_finished,
            successful_runs_history_limit=spec.successful_runs_history_limit,
            failed_runs_history_limit=spec.failed_runs_history_limit,
        )
        return plan, params, resolved

    def plan_of(self, workflow: Manifest) -> Plan:
        """Return the plan of a Workflow as it is, compiled once for each generation.

        Raises:
            StepError: WorkflowNotReady, with what is wrong.
        """
        return self._known_content(workflow).plan

    def target_key(self, workflow: Manifest, run: Manifest) -> str | None:
        """Return the key of the target that a run not claimed yet would have; None where the Workflow can't tell.

        No request is made: it is as good as the Workflow that is known.
        """
        namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
        given = {one["name"]: one["value"] for one in run["spec"].get("parameters") or []}
        try:
            plan = self._known_content(workflow).plan
            scope = Scope(
                parse_parameters(plan.spec, given),
                {},
                {"uid": run["metadata"]["uid"], "namespace": namespace, "name": name},
            )
            target = str(plan.target_name.render(scope))
        except StepError:
            return None
        return target_home(namespace, plan.spec.target.api_version, plan.spec.target.kind, target)

    def _known_content(self, workflow: Manifest) -> Content:
        """Return what a Workflow says, compiled once for each generation.

        Raises:
            StepError: WorkflowNotReady, with what is wrong.
        """
        meta = workflow["metadata"]
        known = self._latest.get(meta["uid"])
        if known is None or known.generation != meta.get("generation"):
            if len(self._latest) > _MOST_LATEST:
                self._latest.clear()
            known = self._latest[meta["uid"]] = self._compile(workflow)
        return known

    async def again(self, live: LiveRun) -> tuple[Plan, dict[str, Any]]:
        """Return plan and parameters of a run that was claimed, from its snapshot.

        Raises:
            StepError: the snapshot is gone, or this operator does not know one of its actions.
        """
        resolved = live.status.workflow
        assert resolved is not None
        plan = self._plans.get(resolved.content_hash)
        if plan is None:
            try:
                spec = await self._content(live.key.namespace, resolved.snapshot, resolved.content_hash)
            except NotFound:
                anew = await self._made_anew(live, resolved)
                if anew is None:
                    raise
                spec = anew
            plan = self._plan(resolved.name, spec, resolved.content_hash)
        return plan, parse_parameters(plan.spec, live.execution.given())

    async def _made_anew(self, live: LiveRun, resolved: ResolvedWorkflow) -> WorkflowSpec | None:
        """Make a snapshot anew that somebody deleted; None where the Workflow is gone, or says another thing now."""
        ref = ObjectRef(API_VERSION, "Workflow", live.key.namespace, resolved.name)
        try:
            workflow = await self._own.get(ref)
            spec = WorkflowSpec.model_validate(workflow["spec"])
        except (NotFound, ValidationError):
            return None
        if content_hash(spec) != resolved.content_hash:
            return None
        self.forget_snapshot(live.key.namespace, resolved.snapshot)
        await self._snapshot(live.key.namespace, workflow, spec, resolved.content_hash)
        return spec

    async def _content(self, namespace: str, snapshot: str, digest: str) -> WorkflowSpec:
        """Read a snapshot that holds this content, and no other.

        Raises:
            StepError: PreconditionFailed, where somebody put other content under its name.
        """
        spec = await self._snapshots.get(namespace, snapshot)
        if content_hash(spec) != digest:
            message = f"ControllerRevision {namespace}/{snapshot} no longer holds what the run claimed"
            raise StepError(message, reason=Reason.PRECONDITION_FAILED)
        return spec

    async def _workflow(self, live: LiveRun) -> Manifest:
        name = live.execution.spec.workflow_ref.name
        try:
            return await self._workflows.get(ObjectRef(API_VERSION, "Workflow", live.key.namespace, name))
        except NotFound:
            message = f"there is no Workflow {name!r} in namespace {live.key.namespace}"
            raise StepError(message, reason=Reason.WORKFLOW_NOT_FOUND) from None

    def _compile(self, manifest: Manifest) -> Content:
        meta = manifest["metadata"]
        name = meta["name"]
        try:
            spec = WorkflowSpec.model_validate(manifest["spec"])
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(("spec", *map(str, detail["loc"])))
            message = f"Workflow {name} is not ready: {where}: {detail['msg']}"
            raise StepError(message, reason=Reason.WORKFLOW_NOT_READY) from None
        digest = content_hash(spec)
        return Content(meta.get("generation"), digest, self._plan(name, spec, digest))

    def _plan(self, name: str, spec: WorkflowSpec, digest: str) -> Plan:
        if digest not in self._plans:
            try:
                plan = compile_plan(spec, self._catalogue)
            except PlanInvalid as error:
                message = f"Workflow {name} is not ready: {error}"
                raise StepError(message, reason=Reason.WORKFLOW_NOT_READY) from None
            # Each edit of a Workflow makes another one; runs keep theirs by themselves.
            while len(self._plans) >= MOST_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[digest] = plan
        return self._plans[digest]

    async def _target(self, namespace: str, spec: WorkflowSpec, name: str) -> Manifest:
        account = self._accounts.as_account(namespace, spec.service_account_name)
        ref = _ref(namespace, spec, name)
        if not ref.namespace:
            await self._reach.demand(namespace, f"the target {ref}")
        try:
            found = await account.get(ref)
        except NotFound as error:
            message = f"the target {ref} does not exist"
            if isinstance(error, NoSuchKind):
                message += f": {error}"
            raise StepError(message, reason=Reason.TARGET_NOT_FOUND) from None
        if found["metadata"].get("namespace", "") != ref.namespace:
            message = (
                f"a {ref.kind} ({ref.api_version}) belongs to no namespace; a run can't have it as its target"
            )
            raise StepError(message, reason=Reason.BEYOND_NAMESPACE)
        return found

    async def _account(self, namespace: str, name: str) -> None:
        known = self._there.get((namespace, name), float("-inf"))
        now = asyncio.get_running_loop().time()
        if now - known < ACCOUNT_SECONDS:
            return
        try:
            await self._own.get(ObjectRef("v1", "ServiceAccount", namespace, name))
            if len(self._there) >= MOST_ACCOUNTS:
                self._there.clear()
            self._there[namespace, name] = now
        except NotFound:
            message = f"the Workflow's ServiceAccount {namespace}/{name} does not exist"
            raise StepError(message, reason=Reason.SERVICE_ACCOUNT_NOT_FOUND) from None

    async def _snapshot(self, namespace: str, workflow: Manifest, spec: WorkflowSpec, digest: str) -> None:
        """Keep the content as a ControllerRevision; its name is the content's, so now and then is enough."""
        name = workflow["metadata"]["name"]
        known = (namespace, snapshot_name(name, digest))
        now = asyncio.get_running_loop().time()
        if now - self._kept.get(known, float("-inf")) >= KEPT_SECONDS:
            WRITES.labels("snapshot").inc()
            generation = int(workflow["metadata"].get("generation", 1))
            await self._snapshots.ensure(namespace, name, spec, generation)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[known] = now

    def forget_snapshot(self, namespace: str, name: str) -> None:
        """Forget that a snapshot exists, because it was deleted."""
        self._kept.pop((namespace, name), None)


async def _as_operator(request: Callable[[], Awaitable[T]]) -> T:
    # Not what it returns: where a run is dropped before this begins, nobody would await that.
    try:
        return await request()
    except Forbidden as error:
        raise OperatorMayNot(str(error), status=error.status) from error


def _ref(namespace: str, spec: WorkflowSpec, name: str) -> ObjectRef:
    """Return where a run of this namespace finds its target."""
    target = spec.target
    where = namespace_of(target.api_version, target.kind, namespace)
    return ObjectRef(target.api_version, target.kind, where, name)


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.RETRY_REFUSED)


def _check_lifecycle(live: LiveRun, spec: WorkflowSpec) -> None:
    wanted = live.execution.spec
    if spec.lifecycle is Lifecycle.DRAFT and not wanted.dry_run:
        message = f"Workflow {wanted.workflow_ref.name} is a draft; only dry runs of it start"
        raise StepError(message, reason=Reason.DRAFT)


def _check_cause(live: LiveRun, spec: WorkflowSpec, target: Manifest) -> None:
    """Refuse a target that is another than the one an alert was about, though it has its name."""
    cause = live.execution.spec.trigger.alert
    if cause is not None and cause.target_uid != target["metadata"]["uid"]:
        told = (
            f"{spec.target.kind} {target['metadata']['name']} is another than the one alert {cause.name} was about, "
            "which is gone"
        )
        raise StepError(told, reason=Reason.TARGET_REPLACED)
