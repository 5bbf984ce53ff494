"""Whether what the steps of a run did still stands, asked on demand, with the person's own rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.reach import namespace_of
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.catalogue import actions
from kubernaut.core.acted import Acted, acted, ask
from kubernaut.core.action import StepContext
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import ClusterError, NotFound, StepError
from kubernaut.core.marker import Unchecked
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import PlanInvalid
from kubernaut.core.ports import Cluster, ObjectRef
from kubernaut.core.probing import Probed, unknown
from kubernaut.core.run import Run, Seen

#: the key is the operator's alone
_SIGNER = Unchecked(b"")


class _NothingSeen:
    """What was seen of ReplicaSets is the operator's to know."""

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        return frozenset()


async def probes(
    cluster: Cluster, run: WorkflowExecution, spec: WorkflowSpec | None, now: datetime
) -> Mapping[str, Probed]:
    """Return what the probes of the steps that acted say, by step; nothing of a run that changed nothing.

    Reads alone are sent; what can't be read is Unknown.
    """
    status = run.status
    if spec is None or status is None or status.target is None or run.spec.dry_run:
        return {}
    if not any(record.changed for record in status.steps):
        return {}
    pinned, meta = status.target, run.metadata
    where = namespace_of(pinned.api_version, pinned.kind, meta.namespace)
    target = ObjectRef(pinned.api_version, pinned.kind, where, pinned.name, pinned.uid)
    try:
        plan = compile_plan(spec, actions())
        params = parse_parameters(spec, {one.name: one.value for one in run.spec.parameters})
    except (PlanInvalid, StepError):
        return {}
    view = Run(meta.uid, meta.namespace, meta.name, meta.generation, params, run.spec.control, status, status)
    found = acted(view, plan, await _seen(cluster, target), now)
    return {one.step.name: await _probe(cluster, run, target, one, now) for one in found}


async def _probe(
    cluster: Cluster, run: WorkflowExecution, target: ObjectRef, one: Acted, now: datetime
) -> Probed:
    if isinstance(one.parameters, str):
        return unknown(one.parameters)
    action = one.step.action
    assert action is not None
    context = StepContext(
        run_uid=run.metadata.uid,
        run_name=run.metadata.name,
        namespace=run.metadata.namespace,
        step=one.step.name,
        attempt=max(one.record.attempt, 1),
        target=target,
        now=one.record.started_at or now,
        signer=_SIGNER,
        evidence=_NothingSeen(),
        intent=one.record.intent,
        done=one.done,
    )
    return await ask(action, cluster, context, action.parameters.model_validate(one.parameters))


async def _seen(cluster: Cluster, target: ObjectRef) -> Seen | None:
    try:
        return Seen(await cluster.get(target))
    except NotFound:
        return Seen(None)
    except ClusterError:
        return None
