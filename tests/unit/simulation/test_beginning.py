"""A run that would not begin is not followed, and what a run starts has the guards of its own Workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest
from kubernaut.engine.past import PastRuns
from kubernaut.simulation.report import Result
from kubernaut.simulation.simulating import shadow_of, simulate
from unit.actions.fake import FakeCluster
from unit.simulation.world import NOW, meta, node, rolled_out, simulated, wanted, workflow

RESTART = {"name": "restart", "action": "restart_deployment"}
NODE = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
TOLD = {"name": "say", "action": "notify_only", "with": {"message": "hello"}}
ACCOUNT: Manifest = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": meta("ServiceAccount", "repair"),
}


async def test_a_target_in_no_namespace_needs_a_namespace_that_may_act_beyond_itself() -> None:
    place: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta("Namespace", "shop", "")}
    with pytest.raises(StepError) as refused:
        await simulated(workflow(TOLD, target=NODE), [node(), place])
    assert refused.value.reason is Reason.BEYOND_NAMESPACE
    place["metadata"]["labels"] = {"kubernaut.io/cluster-scoped": "true"}
    result, _ = await simulated(workflow(TOLD, target=NODE), [node(), place])
    assert result.through


@pytest.mark.parametrize("there", [True, False])
async def test_an_account_that_is_not_there_is_told(there: bool) -> None:
    shadow = shadow_of(NOW, FakeCluster().add(node(), *rolled_out(), *([ACCOUNT] if there else [])))
    if there:
        assert (await simulate(wanted(workflow(RESTART)), shadow)).through
        return
    with pytest.raises(StepError) as refused:
        await simulate(wanted(workflow(RESTART)), shadow)
    assert refused.value.reason is Reason.SERVICE_ACCOUNT_NOT_FOUND


async def beside_another(policy: str) -> Result:
    """Simulate a run while another one has its target."""
    past = PastRuns(lambda: NOW)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "uid-deployment-api"}
    began = (NOW - timedelta(minutes=1)).isoformat()
    past.see(
        {
            "metadata": meta("WorkflowExecution", "first"),
            "spec": {"workflowRef": {"name": "other"}},
            "status": {"phase": "Running", "target": target, "startedAt": began},
        }
    )
    spec = workflow(RESTART, concurrencyPolicy=policy)
    return await simulate(replace(wanted(spec), past=past), shadow_of(NOW, objects=[node(), *rolled_out()]))


async def test_a_run_that_has_the_target_now_is_in_the_way_or_assumed_to_end() -> None:
    with pytest.raises(StepError) as refused:
        await beside_another("Forbid")
    assert refused.value.reason is Reason.CONCURRENT_RUN
    result = await beside_another("Queue")
    assert any(
        one.startswith("run shop/first, which has the target now, is over") for one in result.assumptions
    )


async def test_a_run_that_a_step_starts_has_its_own_workflows_guards_and_not_its_parents() -> None:
    child = workflow(RESTART, guards={"protectedNamespaces": ["shop"]})
    parent = workflow({"name": "call", "workflow": {"name": "child"}})

    async def find(name: str, given: Mapping[str, str]) -> tuple[Plan, dict[str, Any]]:
        return wanted(child).plan, {}

    async def went(spec: Any) -> Result:
        one = replace(wanted(spec), find=find)
        guards = one.plan.spec.guards
        levels = (Level(Reach.WORKFLOW, "flow", guards),) if guards is not None else ()
        return await simulate(replace(one, levels=levels), shadow_of(NOW, objects=[node(), *rolled_out()]))

    result = await went(parent)
    assert not result.through
    assert not result.mutations[1:], "the run that it started changed something"


async def test_a_draft_is_said_to_be_taken_as_active() -> None:
    result, _ = await simulated(workflow(RESTART, lifecycle="Draft"), [node(), *rolled_out()])
    assert "Workflow flow is a draft: it is taken to be active" in result.assumptions
    assert any(one.startswith("admission policies and webhooks let all pass") for one in result.assumptions)
