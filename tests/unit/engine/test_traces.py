"""The trace of a run: itself, its steps, its requests; the same ids in every life of the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from kubernaut import tracing
from kubernaut.cluster.call import Call
from kubernaut.cluster.requestspans import requesting
from kubernaut.cluster.resources import Resource
from kubernaut.core.errors import Conflict
from kubernaut.core.tracing import span_id, step_span
from kubernaut.speaking import About, speak_of, speak_of_step
from kubernaut.tracing import Kind, Span
from unit.engine.world import World, scale

pytestmark = pytest.mark.looptime


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    taken: list[Span] = []
    end = tracing.take_by(taken.append)
    yield taken
    end()


async def test_each_step_and_the_run_are_told_once_when_their_end_is_stored(spans: list[Span]) -> None:
    world = World()
    world.workflow(scale("grow", 5), {"name": "pause", "wait": {"duration": "10s"}, "dependsOn": ["grow"]})
    live = world.run(finalizers=["kubernaut.io/mirror"])
    reconciler = world.reconciler()
    await reconciler.reconcile(live)
    assert [one.name for one in spans] == ["step grow"]
    # Another life goes on with the same trace, and tells nothing twice.
    again = world.take_up()
    reconciler = world.reconciler()
    for _ in range(20):
        delay = await reconciler.reconcile(again)
        await asyncio.sleep(delay or 1)
    assert [one.name for one in spans] == ["step grow", "step pause", "run fix"]
    grow, pause, run = spans
    assert {one.trace_id for one in spans} == {run.trace_id}
    assert (grow.parent, pause.parent, run.span_id) == (span_id(live.uid),) * 3
    assert grow.span_id == step_span(live.uid, "grow")
    assert grow.attributes["kubernaut.action"] == "scale_deployment"
    assert 10 <= (pause.ended - pause.began) / 1e9 < 11
    assert run.attributes["kubernaut.verdict"] == again.stored.verdict
    assert run.attributes["kubernaut.target.name"] == "web"
    assert run.error == ""


async def test_a_failed_step_says_why_and_so_does_its_run(spans: list[Span]) -> None:
    world = World()
    world.workflow({"name": "bad", "action": "restart_pod", "with": {"name": "gone"}})
    live, reconciler = world.run(finalizers=["kubernaut.io/mirror"]), world.reconciler()
    for _ in range(10):
        await reconciler.reconcile(live)
    step, run = spans
    assert step.error
    assert step.attributes["kubernaut.step.reason"] == live.stored.steps[0].reason
    assert run.error.startswith("Step bad")


async def test_without_anybody_to_take_them_no_spans_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.engine.traces.ended", lambda *_: pytest.fail("made in vain"))
    world = World()
    world.workflow(scale("grow", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    await world.reconciler().reconcile(live)
    assert live.stored.steps


def patch() -> Call:
    resource = Resource("apps/v1", "Deployment", "deployments", True)
    return Call("patch", resource, "shop", "web", query="fieldManager=x", body={"metadata": {}})


async def test_a_request_is_told_within_its_step_and_one_of_no_run_is_not(spans: list[Span]) -> None:
    speak_of(None)
    with requesting(patch(), ""):
        pass
    assert spans == []
    speak_of(About("WorkflowExecution", "shop", "run", "u1"))
    speak_of_step("grow")
    with requesting(patch(), "system:serviceaccount:shop:repair"):
        pass
    with pytest.raises(Conflict), requesting(patch(), ""):
        raise Conflict("changed", status=409)
    done, refused = spans
    assert (done.name, done.parent, done.kind) == ("patch deployments", step_span("u1", "grow"), Kind.CLIENT)
    assert done.attributes["kubernaut.account"] == "system:serviceaccount:shop:repair"
    assert done.attributes["url.path"] == "/apis/apps/v1/namespaces/shop/deployments/web"
    assert (refused.error, refused.attributes["http.response.status_code"]) == ("Conflict", 409)
    speak_of(None)


async def test_reads_are_not_told(spans: list[Span]) -> None:
    speak_of(About("WorkflowExecution", "shop", "run", "u1"))
    with requesting(Call("get", patch().resource, "shop", "web"), ""):
        pass
    speak_of(None)
    assert spans == []
