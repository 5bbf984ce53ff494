"""Performing one effect: an action of the catalogue, as the Workflow's account, gated by the stop switch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from kubernaut.api.reach import namespace_of
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, Fences, Recalls, StepContext
from kubernaut.core.errors import EffectFailed, StepError, Unfinished
from kubernaut.core.guards.levels import Level
from kubernaut.core.keeping import NO_HISTORY, Keeper, NotKept
from kubernaut.core.marker import Signer
from kubernaut.core.memory import Memory, NoMemory
from kubernaut.core.ports import (
    Cluster,
    HttpAnswer,
    HttpRequest,
    Manifest,
    NoWeb,
    ObjectRef,
    RevisionEvidence,
    Web,
)
from kubernaut.core.recent import Recent
from kubernaut.core.run import Act, Hold, Outcome, OutcomeKind
from kubernaut.engine.dryrun import DryRunCluster, as_dry_run
from kubernaut.engine.live import LiveRun
from kubernaut.engine.ports import Accounts
from kubernaut.engine.protection import Protection
from kubernaut.engine.reach import Reach
from kubernaut.metrics import STEP_SECONDS, STEPS

log = logging.getLogger(__name__)
FENCE_PAUSE = 1.0
_DRY = NotKept("a dry run keeps nothing")


class GatedCluster:
    """A cluster that refuses to change anything while acting is not allowed.

    The gate is asked before every mutating request, so a stop takes hold between two requests of one action. What
    changes an object outside the run's namespace has to be allowed there, whatever the account may do.

    Args:
        namespace: the run's.
        beyond: raises StepError where runs of that namespace may not act on what is told, which is outside it.
        dry: whether the requests are those of a dry run.
        protection: says what guards protect from this effect, where they protect anything.
    """

    def __init__(
        self,
        cluster: Cluster,
        hold: Callable[[], Hold | None],
        namespace: str,
        beyond: Callable[[str, str], Awaitable[None]],
        *,
        dry: bool = False,
        protection: Protection | None = None,
    ) -> None:
        self._cluster = cluster
        self._protection = protection
        self._hold = hold
        self._namespace = namespace
        self._beyond = beyond
        self._dry = dry

    async def _pass(self, what: str, namespace: str, dry_run: bool) -> None:
        if namespace != self._namespace:
            await self._beyond(self._namespace, what)
        hold = self._hold()
        if hold is not None and hold.binds(dry_run=self._dry and dry_run):
            raise StepError(f"{what} was not sent: {hold.message}", reason=Reason.STOPPED)

    async def get(self, ref: ObjectRef) -> Manifest:
        found = await self._cluster.get(ref)
        if self._protection is not None:
            self._protection.note(found)
        return found

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> list[Manifest]:
        found = await self._cluster.list(
            api_version,
            kind,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
        )
        if self._protection is not None:
            for one in found:
                self._protection.note(one)
        return found

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        return await self._cluster.logs(
            ref, container=container, previous=previous, tail_lines=tail_lines, limit_bytes=limit_bytes
        )

    def watch(self, ref: ObjectRef) -> AsyncIterator[Manifest | None]:
        return self._cluster.watch(ref)

    async def patch(
        self,
        ref: ObjectRef,
        body: Manifest,
        *,
        resource_version: str,
        strategic: bool = False,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        await self._pass(f"the patch of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand(ref, f"the patch of {ref}")
        return await self._cluster.patch(
            ref,
            body,
            resource_version=resource_version,
            strategic=strategic,
            subresource=subresource,
            dry_run=dry_run,
        )

    async def apply(
        self,
        manifest: Manifest,
        *,
        uid: str,
        resource_version: str,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> Manifest:
        meta = manifest["metadata"]
        what = f"the apply of {manifest.get('kind')} {meta['name']}"
        await self._pass(what, meta.get("namespace", ""), dry_run)
        if self._protection is not None:
            await self._protection.demand(ObjectRef.of(manifest), what)
        return await self._cluster.apply(
            manifest,
            uid=uid,
            resource_version=resource_version,
            manager=manager,
            force=force,
            dry_run=dry_run,
        )

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        meta = manifest["metadata"]
        what = f"the create of {manifest.get('kind')} {meta['name']}"
        await self._pass(what, meta.get("namespace", ""), dry_run)
        if self._protection is not None:
            await self._protection.demand_namespace(meta.get("namespace", ""), what)
        return await self._cluster.create(manifest, dry_run=dry_run)

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str,
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> None:
        await self._pass(f"the delete of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand_deletion(ref, uid, f"the delete of {ref}")
        await self._cluster.delete(
            ref,
            uid=uid,
            resource_version=resource_version,
            grace_period_seconds=grace_period_seconds,
            propagation=propagation,
            dry_run=dry_run,
        )

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        await self._pass(f"the eviction of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand(ref, f"the eviction of {ref}")
        await self._cluster.evict(ref, uid=uid, dry_run=dry_run)


class GatedWeb:
    """A way out that sends nothing while acting is not allowed, and in a dry run nothing but what reads."""

    def __init__(
        self,
        web: Web,
        hold: Callable[[], Hold | None],
        namespace: str,
        beyond: Callable[[str, str], Awaitable[None]],
        *,
        dry: bool = False,
    ) -> None:
        self._web = web
        self._hold = hold
        self._namespace = namespace
        self._beyond = beyond
        self._dry = dry

    @property
    def alertmanager(self) -> str:
        return self._web.alertmanager

    async def send(self, request: HttpRequest) -> HttpAnswer:
        what = f"the {request.method} request"
        if request.beyond:
            await self._beyond(self._namespace, what)
        hold = self._hold()
        if hold is not None and hold.binds(dry_run=self._dry):
            raise StepError(f"{what} was not sent: {hold.message}", reason=Reason.STOPPED)
        if self._dry and not request.reads:
            return HttpAnswer(0)
        return await self._web.send(request)


class Performer:
    """Turns acts into outcomes; never raises."""

    def __init__(
        self,
        accounts: Accounts,
        signer: Signer,
        evidence: RevisionEvidence,
        hold: Callable[[], Hold | None],
        clock: Callable[[], datetime],
        keeper: Keeper = NO_HISTORY,
        memory: Memory | None = None,
        protecting: Callable[[LiveRun], tuple[Level, ...]] = lambda live: (),
        web: Web | None = None,
    ) -> None:
        self._keeper = keeper
        self._protecting = protecting
        self._accounts = accounts
        self._memory = memory or NoMemory()
        self._web = web or NoWeb()
        self._signer = signer
        self._evidence = evidence
        self._hold = hold
        self._clock = clock
        self._reach = Reach(accounts.own())

    async def perform(self, live: LiveRun, act: Act) -> Outcome:
        """Perform (or prepare, or undo) an act of a run; every error becomes a FAILED outcome."""
        action = act.step.action
        assert action is not None
        began = time.monotonic()
        left = (act.deadline - self._clock()).total_seconds()
        # Undo comes after the step's own deadline has often passed; it gets its own time.
        timeout = act.step.timeout.total_seconds() if act.undo else max(left, 0.0)
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._call(live, act)
        except TimeoutError:
            message = f"{action.name} was not done within {act.step.timeout}; it may have happened"
            outcome = Outcome(OutcomeKind.FAILED, message, Reason.STEP_TIMEOUT)
        except EffectFailed as error:
            outcome = Outcome(OutcomeKind.FAILED, str(error), error.reason, outputs=dict(error.outputs))
        except Unfinished as error:
            outcome = Outcome(OutcomeKind.FAILED, str(error), error.reason, progress=error.progress)
        except StepError as error:
            outcome = Outcome(OutcomeKind.FAILED, str(error), error.reason)
        except Exception as error:
            log.exception("action failed unexpectedly", extra={"run": str(live.key), "step": act.step.name})
            message = f"{action.name} failed unexpectedly: {type(error).__name__}: {error}"
            outcome = Outcome(OutcomeKind.FAILED, message, Reason.INTERNAL)
        STEP_SECONDS.labels(action.name).observe(time.monotonic() - began)
        STEPS.labels(action.name, _result(outcome, act)).inc()
        return replace(outcome, attempt=act.attempt, undo=act.undo, fence=act.fence)

    async def recall(self, live: LiveRun, act: Act) -> Outcome | None:
        """Look up whether an act of an earlier life of the operator happened; nothing is changed.

        Raises:
            ClusterError: that can't be seen now.
        """
        action = act.step.action
        if not isinstance(action, Recalls):
            return None
        cluster, context = self._place(live, act)
        done = await action.recall(cluster, context, action.parameters.model_validate(act.parameters))
        return None if done is None else replace(_done(done), attempt=act.attempt)

    async def _call(self, live: LiveRun, act: Act) -> Outcome:
        action = act.step.action
        assert action is not None
        cluster, context = self._place(live, act)
        parameters = action.parameters.model_validate(act.parameters)
        if act.fence:
            return await _fenced(action, cluster, context, parameters)
        if act.prepare:
            intent: Mapping[str, JsonValue] = await action.prepare(cluster, context, parameters) or {}
            return Outcome(OutcomeKind.PREPARED, intent=intent)
        perform = action.undo if act.undo else action.perform
        if live.execution.spec.dry_run:
            return _done(as_dry_run(await _at_once(perform(DryRunCluster(cluster), context, parameters))))
        return _done(await perform(cluster, context, parameters))

    def _place(self, live: LiveRun, act: Act) -> tuple[GatedCluster, StepContext]:
        """Return where an act happens: the cluster as the Workflow's account, and what the action may know."""
        claim, target = live.status.workflow, live.status.target
        assert claim is not None
        assert target is not None
        namespace, dry = live.key.namespace, live.execution.spec.dry_run
        account = self._accounts.as_account(namespace, claim.service_account_name)
        where = namespace_of(target.api_version, target.kind, namespace)
        beyond = self._reach.demand

        def hold() -> Hold | None:
            return live.lease() or self._hold()

        context = StepContext(
            run_uid=live.uid,
            run_name=live.key.name,
            namespace=namespace,
            step=act.step.name,
            attempt=act.attempt,
            target=ObjectRef(target.api_version, target.kind, where, target.name, target.uid),
            now=self._clock(),
            signer=self._signer,
            evidence=self._evidence,
            intent=act.intent,
            account=claim.service_account_name,
            deadline=act.deadline,
            keeper=_DRY if dry else self._keeper,
            recent=Recent() if dry else live.recent,
            memory=self._memory,
            web=GatedWeb(self._web, hold, namespace, beyond, dry=dry),
        )
        # What the run itself did it may always put back.
        levels = () if act.undo or act.fence else self._protecting(live)
        protection = Protection(levels, account) if levels else None
        return GatedCluster(account, hold, namespace, beyond, dry=dry, protection=protection), context


async def _fenced(action: Any, cluster: Cluster, context: StepContext, parameters: Any) -> Outcome:
    if not isinstance(action, Fences):
        return Outcome(OutcomeKind.DONE)
    try:
        return _done(await action.fence(cluster, context, parameters))
    except StepError as error:
        if error.transient:
            # It is asked for again at once; a server that is away is not to be hurried.
            await asyncio.sleep(FENCE_PAUSE)
        raise


async def _at_once(performing: Awaitable[Done]) -> Done:
    """Return what an action did; of an unfinished one nothing more can be seen in a dry run."""
    try:
        return await performing
    except Unfinished as error:
        return Done(True, str(error), changed=error.changed)


def _done(done: Done) -> Outcome:
    outputs: dict[str, Any] = dict(done.outputs)
    return Outcome(
        OutcomeKind.DONE, done.message, None, done.acted, done.changed, outputs, awaits=_awaited(done.awaits)
    )


def _awaited(ref: ObjectRef | None) -> dict[str, JsonValue] | None:
    if ref is None:
        return None
    return {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name, "uid": ref.uid}


def _result(outcome: Outcome, act: Act) -> str:
    if outcome.reason is Reason.IN_PROGRESS:
        return "unfinished"
    if outcome.kind is OutcomeKind.FAILED:
        return "failed"
    if act.prepare:
        return "prepared"
    return "undone" if act.undo else "done"
