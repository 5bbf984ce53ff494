"""What `kubernaut why` tells of effects: asked of the cluster, with reads alone, by who has no key."""

from __future__ import annotations

from typing import Any

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.outline import rows
from kubernaut.cli.probing import probes
from kubernaut.cli.views import why
from kubernaut.core.action import StepContext
from kubernaut.core.marker import Signer
from kubernaut.core.ports import ObjectRef
from kubernaut.core.probing import Answer
from unit.actions.builders import Seen, deployment
from unit.actions.fake import FakeCluster
from unit.cli.samples import NOW, RESOLVED, SPEC, rendered, run

CHANGED = {"phase": "Succeeded", "attempt": 1, "startedAt": "2026-03-01T12:01:00Z", "changed": ["it"]}


def flow(**step: Any) -> WorkflowSpec:
    grow = {"name": "grow", "action": "scale_deployment", "with": {"replicas": "=params.replicas"}, **step}
    return WorkflowSpec.model_validate(
        {**SPEC, "steps": [grow, {"name": "say", "action": "notify_only", "with": {"message": "done"}}]}
    )


async def scaled() -> FakeCluster:
    """A cluster in which the run's step has scaled its target, as the operator does."""
    there = deployment("checkout", replicas=1)
    there["metadata"]["uid"] = "target-uid"
    cluster = FakeCluster().add(there)
    action = ActionRegistry(installed=False).get("scale_deployment")
    target = ObjectRef("apps/v1", "Deployment", "shop", "checkout", "target-uid")
    context = StepContext(
        "run-uid", "crash-loop-abcde", "shop", "grow", 1, target, NOW, Signer(b"the operator's own"), Seen()
    )
    await action.perform(cluster, context, action.parameters.model_validate({"replicas": 2}))
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)
    cluster.edit_status("Deployment", "checkout", {"observedGeneration": 2, **counts})
    cluster.requests.clear()
    return cluster


def ended(**step: Any) -> Any:
    steps = [{"name": "grow", **CHANGED, **step}, {"name": "say", "phase": "Succeeded"}]
    return run({**RESOLVED, "phase": "Succeeded", "verdict": "Remediated", "steps": steps})


async def test_of_each_step_that_acted_it_is_told_whether_its_effect_stands() -> None:
    cluster, found, spec = await scaled(), ended(), flow()
    said = await probes(cluster, found, spec, NOW)
    assert list(said) == ["grow"]
    assert (said["grow"].happened, said["grow"].helped) == (Answer.YES, Answer.YES)
    assert {request.partition(" ")[0] for request in cluster.requests} == {"get"}
    text = " ".join(rendered(why.trail(found, rows(found, spec), spec, NOW, probes=said), 200).split())
    assert "effect happened Yes, helped Yes: Deployment shop/checkout carries the mark of step grow" in text
    assert "read with your own rights; signatures of marks are not checked here." in text
    plain = rendered(why.trail(found, rows(found, spec), spec, NOW), 200)
    assert "effect" not in plain


async def test_what_may_not_be_read_or_can_not_be_told_any_more_is_unknown_and_says_why() -> None:
    cluster, found = await scaled(), ended()
    cluster.forbidden.add("get Deployment")
    said = await probes(cluster, found, flow(), NOW)
    assert said["grow"].happened is Answer.UNKNOWN
    assert "lacks verb get" in said["grow"].evidence
    hanging = flow(**{"with": {"replicas": "=target.spec.replicas"}})
    said = await probes(cluster, found, hanging, NOW)
    assert "hangs on the target, which can't be seen now" in said["grow"].evidence
    cluster.forbidden.clear()
    lost = flow(**{"with": {"replicas": "=target.spec.nothing"}})
    said = await probes(cluster, found, lost, NOW)
    assert "can't be told any more" in said["grow"].evidence


async def test_of_a_run_that_changed_nothing_nothing_is_asked() -> None:
    cluster = await scaled()
    for found, spec in ((ended(changed=None), flow()), (run(), flow()), (ended(), None)):
        assert await probes(cluster, found, spec, NOW) == {}
    assert cluster.requests == []
