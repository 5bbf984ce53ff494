"""Performing one effect: an action of the catalogue, as the Workflow's account, gated by the stop switch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from kubernaut.api.duration import format_duration
from kubernaut.api.reach import namespace_of
from kubernaut.api.reasons import Reason
from kubernaut.core.acted import Acted, ask
from kubernaut.core.action import Done, Fences, Recalls, StepContext
from kubernaut.core.errors import EffectFailed, StepError, Unfinished
from kubernaut.core.guards.levels import Level
from kubernaut.core.keeping import NO_HISTORY, Keeper, NotKept
from kubernaut.core.marker import Signer
from kubernaut.core.memory import Memory, NoMemory
from kubernaut.core.ports import (
    Cluster,
    NoWeb,
    ObjectRef,
    RevisionEvidence,
    Web,
)
from kubernaut.core.probing import Probed, unknown
from kubernaut.core.recent import Recent
from kubernaut.core.run import Act, Hold, Outcome, OutcomeKind
from kubernaut.engine.disruption import Disruption
from kubernaut.engine.dryrun import DryRunCluster, as_dry_run
from kubernaut.engine.gated import GatedCluster, GatedWeb
from kubernaut.engine.live import LiveRun
from kubernaut.engine.owning import GitOps, Owning
from kubernaut.engine.ports import Accounts
from kubernaut.engine.proposing import Proposed
from kubernaut.engine.protection import Protection
from kubernaut.engine.reach import Reach
from kubernaut.metrics import STEP_SECONDS, STEPS
from kubernaut.speaking import speak_of_step

log = logging.getLogger(__name__)
FENCE_PAUSE = 1.0
_DRY = NotKept("a dry run keeps nothing")


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
        gitops: GitOps | None = None,
    ) -> None:
        self._gitops = gitops
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
        speak_of_step(act.step.name)
        left = (act.deadline - self._clock()).total_seconds()
        # Undo comes after the step's own deadline has often passed; it gets its own time.
        timeout = act.step.timeout.total_seconds() if act.undo else max(left, 0.0)
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._call(live, act)
        except TimeoutError:
            message = (
                f"{action.name} was not done within {format_duration(act.step.timeout)}; it may have happened"
            )
            outcome = Outcome(OutcomeKind.FAILED, message, Reason.STEP_TIMEOUT)
        except Proposed as error:
            outcome = await self._proposed(live, act, error)
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
        log.debug("step performed", extra={"action": action.name, "result": _result(outcome, act)})
        STEPS.labels(action.name, _result(outcome, act)).inc()
        return replace(outcome, attempt=act.attempt, undo=act.undo, fence=act.fence)

    async def _proposed(self, live: LiveRun, act: Act, proposed: Proposed) -> Outcome:
        """Have a change proposed that was not made; a dry run tells nobody but who reads it."""
        told = ""
        if self._gitops is not None and not live.execution.spec.dry_run:
            told = await self._gitops.proposals.tell(live, act.step.name, proposed)
        message = "; ".join(filter(None, (str(proposed), told)))
        return Outcome(OutcomeKind.FAILED, message, proposed.reason, outputs=dict(proposed.outputs))

    async def recall(self, live: LiveRun, act: Act) -> Outcome | None:
        """Look up whether an act of an earlier life of the operator happened; nothing is changed.

        Raises:
            ClusterError: that can't be seen now.
        """
        action = act.step.action
        if not isinstance(action, Recalls):
            return None
        cluster, context, _ = self._place(live, act)
        done = await action.recall(cluster, context, action.parameters.model_validate(act.parameters))
        return None if done is None else replace(_done(done), attempt=act.attempt)

    async def probe(self, live: LiveRun, one: Acted) -> Probed:
        """Ask whether what a step did is there and helped, as the Workflow's account; reads alone. Never raises."""
        action = one.step.action
        if action is None or isinstance(one.parameters, str):
            return unknown(str(one.parameters))
        record = one.record
        act = Act(
            one.step, max(record.attempt, 1), one.parameters, self._clock(), fence=True, intent=record.intent
        )
        cluster, context, _ = self._place(live, act)
        parameters = action.parameters.model_validate(act.parameters)
        return await ask(action, cluster, replace(context, done=one.done), parameters)

    async def undone(self, live: LiveRun) -> str:
        """Say who has undone what a run changed on its target; empty where nobody has, or that can't be told."""
        claim, target = live.status.workflow, live.status.target
        if self._gitops is None or claim is None or target is None:
            return ""
        where = namespace_of(target.api_version, target.kind, live.key.namespace)
        account = self._accounts.as_account(live.key.namespace, claim.service_account_name)
        ref = ObjectRef(target.api_version, target.kind, where, target.name)
        return await self._gitops.undone(live, account, ref)

    async def _call(self, live: LiveRun, act: Act) -> Outcome:
        action = act.step.action
        assert action is not None
        cluster, context, owning = self._place(live, act)
        parameters = action.parameters.model_validate(act.parameters)
        if act.fence:
            return await _fenced(action, cluster, context, parameters)
        if act.prepare:
            intent: Mapping[str, JsonValue] = await action.prepare(cluster, context, parameters) or {}
            return Outcome(OutcomeKind.PREPARED, intent=intent)
        perform = action.undo if act.undo else action.perform
        if live.execution.spec.dry_run:
            outcome = _done(as_dry_run(await _at_once(perform(DryRunCluster(cluster), context, parameters))))
        else:
            outcome = _done(await perform(cluster, context, parameters))
        notes = owning.notes if owning is not None else []
        return replace(outcome, message="; ".join(filter(None, (outcome.message, *notes))))

    def _place(self, live: LiveRun, act: Act) -> tuple[GatedCluster, StepContext, Owning | None]:
        """Return where an act happens: the cluster as the Workflow's account, and what the action may know.

        Beside them stands who is asked whose the fields are that it would change.
        """
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
            beyond_fence=act.beyond_fence,
            done=_recorded(live, act) if act.undo else None,
        )
        # What the run itself did it may always put back.
        levels = () if act.undo or act.fence else self._protecting(live)
        protection = Protection(levels, account) if levels else None
        disruption = Disruption(levels, account, context.target) if levels else None
        owning = None
        if self._gitops is not None and not (act.undo or act.fence or act.prepare):
            owning = self._gitops.of(live, account, context.recent, hold)
        gated = GatedCluster(
            account,
            hold,
            namespace,
            beyond,
            dry=dry,
            protection=protection,
            owning=owning,
            disruption=disruption,
        )
        return gated, context, owning


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


def _recorded(live: LiveRun, act: Act) -> Done | None:
    """Return what the step is recorded to have done; None where it is not known to have done anything."""
    found = next((one for one in live.status.steps or () if one.name == act.step.name), None)
    if found is None or not found.changed:
        return None
    return Done(True, found.message or "", found.outputs or {}, tuple(found.changed))


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
