"""What a run has to find before it begins, as the engine demands it (``engine.claims``, ``engine.concurrency``)."""

from __future__ import annotations

from collections.abc import Iterable

from kubernaut.api.guards import Guards
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import ConcurrencyPolicy, WorkflowSpec
from kubernaut.core.errors import ClusterError, NotFound, StepError
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.levels import Level
from kubernaut.core.guards.levels import Reach as Of
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.reach import Reach
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.shadow import Shadow


async def target(shadow: Shadow, ref: ObjectRef, namespace: str) -> Manifest:
    """Return the target of a run of this namespace.

    Raises:
        StepError: BeyondNamespace, where it is in none and runs of the namespace may not act beyond it.
        ClusterError: it does not exist, or can't be read.
    """
    if not ref.namespace:
        await Reach(shadow).demand(namespace, f"the target {ref}")
    found = await shadow.get(ref)
    if found["metadata"].get("namespace", "") != ref.namespace:
        told = f"a {ref.kind} ({ref.api_version}) belongs to no namespace; a run can't have it as its target"
        raise StepError(told, reason=Reason.BEYOND_NAMESPACE)
    return found


async def account(shadow: Shadow, namespace: str, name: str) -> None:
    """Demand that the Workflow's account is there; states in files seldom hold it, so nothing is said of those.

    Raises:
        StepError: it does not exist.
    """
    if shadow.reader is None:
        return
    try:
        await shadow.get(ObjectRef("v1", "ServiceAccount", namespace, name))
    except NotFound:
        told = f"the Workflow's ServiceAccount {namespace}/{name} does not exist"
        raise StepError(told, reason=Reason.SERVICE_ACCOUNT_NOT_FOUND) from None
    except ClusterError as error:
        shadow.assumptions.say(f"ServiceAccount {namespace}/{name} is there: it can't be read ({error})")


def alone(assumptions: Assumptions, spec: WorkflowSpec, others: Iterable[Past]) -> None:
    """Have a run begin once others have given up its target.

    Raises:
        StepError: one has it now, and the Workflow forbids that a second one waits.
    """
    holder = next((one for one in others if one.ended is None), None)
    if holder is None:
        return
    told = f"run {holder.namespace}/{holder.name}"
    if spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        message = f"{told} holds the target, and concurrencyPolicy of the Workflow is Forbid"
        raise StepError(message, reason=Reason.CONCURRENT_RUN)
    assumptions.say(f"{told}, which has the target now, is over before and leaves it as it is")


def levels_of(workflow: str, guards: Guards | None, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """Return the levels that hold for a run that another one started: wider ones are those of that one."""
    wider = tuple(level for level in levels if level.reach is not Of.WORKFLOW)
    return wider if guards is None else (Level(Of.WORKFLOW, workflow, guards), *wider)
