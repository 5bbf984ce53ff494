"""``run_workflow``: a subflow's run is created once, found again, and cancelled; nobody else's is touched."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions.run_workflow import RunWorkflowParameters, StartRun
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import FINALIZER
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import Conflict, Forbidden, NotFound, StepError, Unavailable, UnknownOutcome
from kubernaut.core.ports import Manifest
from unit.actions.builders import context
from unit.actions.fake import FakeCluster, Lost

ACTION = StartRun()
NAME = "run-1-heal-1-0123456789"
CONTEXT = context(step="heal")
PARAMETERS = RunWorkflowParameters.model_validate(
    {
        "workflow": "restart-cache",
        "parameters": [{"name": "deployment", "value": "cache"}],
        "name": NAME,
        "depth": 2,
    }
)


def child(cluster: FakeCluster) -> Manifest:
    return cluster.find("WorkflowExecution", NAME)


async def started() -> FakeCluster:
    cluster = FakeCluster()
    await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    cluster.writes.clear()
    cluster.requests.clear()
    return cluster


async def test_the_run_names_its_workflow_its_parameters_and_its_parent() -> None:
    cluster = FakeCluster()
    done = await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    run = WorkflowExecution.from_wire(child(cluster))
    assert run.spec.workflow_ref.name == "restart-cache"
    assert run.given() == {"deployment": "cache"}
    assert (run.spec.trigger.type, run.spec.trigger.by) == ("Subflow", "run-1")
    parent = run.spec.parent
    assert parent is not None
    assert (parent.name, parent.uid, parent.step, parent.depth) == ("run-1", "run-1", "heal", 2)
    assert run.metadata.finalizers == [FINALIZER]
    assert done.outputs == {"run": NAME, "uid": child(cluster)["metadata"]["uid"]}
    assert not done.acted


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_leads_to_one_run(landed: bool) -> None:
    cluster = FakeCluster(troubles={"create": [Lost(landed)]})
    done = await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    assert done.outputs["uid"] == child(cluster)["metadata"]["uid"]
    assert [verb for verb, *_ in cluster.writes] == ["create"]


async def test_done_twice_it_is_done_once_and_tells_the_same() -> None:
    cluster = FakeCluster()
    first = await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    again = await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    assert first == again
    assert len(cluster.writes) == 1


@pytest.mark.parametrize("field", ["uid", "step"])
async def test_a_run_of_that_name_that_is_not_ours_is_left_alone(field: str) -> None:
    cluster = await started()
    child(cluster)["spec"]["parent"][field] = "other"
    before = copy.deepcopy(child(cluster))
    with pytest.raises(
        StepError, match=f"WorkflowExecution shop/{NAME} exists and was not started by"
    ) as caught:
        await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert not (await ACTION.undo(cluster, CONTEXT, PARAMETERS)).acted
    assert await ACTION.recall(cluster, CONTEXT, PARAMETERS) is None
    assert child(cluster) == before


async def test_a_run_without_parent_is_not_ours() -> None:
    cluster = await started()
    del child(cluster)["spec"]["parent"]
    with pytest.raises(StepError, match="was not started by"):
        await ACTION.perform(cluster, CONTEXT, PARAMETERS)


async def test_a_run_that_exists_but_can_not_be_read_is_in_doubt() -> None:
    cluster = await started()
    cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises(UnknownOutcome, match="whose it is could not be read: away"):
        await ACTION.perform(cluster, CONTEXT, PARAMETERS)


async def test_a_create_in_doubt_is_not_told_as_refused() -> None:
    cluster = FakeCluster(troubles={"create": [Lost(landed=False), Unavailable("away")]})
    with pytest.raises(UnknownOutcome):
        await ACTION.perform(cluster, CONTEXT, PARAMETERS)


async def test_a_right_that_lacks_is_told_as_that() -> None:
    with pytest.raises(Forbidden):
        await ACTION.perform(FakeCluster(forbidden={"create WorkflowExecution"}), CONTEXT, PARAMETERS)


async def test_a_run_deleted_while_it_is_looked_at_is_not_started_anew() -> None:
    cluster = await started()
    cluster.troubles["get"] = [NotFound("gone", status=404)]
    with pytest.raises(StepError, match="was deleted while") as caught:
        await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


async def test_recall_finds_the_run_and_changes_nothing() -> None:
    assert await ACTION.recall(FakeCluster(), CONTEXT, PARAMETERS) is None
    cluster = await started()
    found = await ACTION.recall(cluster, CONTEXT, PARAMETERS)
    assert found is not None
    assert found.outputs == {"run": NAME, "uid": child(cluster)["metadata"]["uid"]}
    assert cluster.requests == [f"get WorkflowExecution {NAME}"]
    cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await ACTION.recall(cluster, CONTEXT, PARAMETERS)


@pytest.mark.parametrize(
    "trouble", [None, Lost(landed=True), Lost(landed=False), Conflict("changed", status=409)], ids=str
)
async def test_undo_cancels_the_run_once(trouble: Any) -> None:
    cluster = await started()
    cluster.troubles["patch"] = [trouble]
    await ACTION.undo(cluster, CONTEXT, PARAMETERS)
    assert child(cluster)["spec"]["control"] == {"cancel": True}
    assert len(cluster.writes) == 1
    assert not (await ACTION.undo(cluster, CONTEXT, PARAMETERS)).acted
    assert len(cluster.writes) == 1


async def test_undo_tells_what_it_changed() -> None:
    cluster = await started()
    done = await ACTION.undo(cluster, CONTEXT, PARAMETERS)
    assert done.acted
    assert done.changed == (f"WorkflowExecution shop/{NAME}: spec.control.cancel: false -> true",)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled"])
async def test_undo_leaves_a_finished_run_as_it_is(phase: str) -> None:
    cluster = await started()
    child(cluster)["status"] = {"phase": phase}
    assert "is finished" in (await ACTION.undo(cluster, CONTEXT, PARAMETERS)).message
    assert cluster.writes == []


async def test_undo_of_a_run_that_is_gone_or_never_was_is_done() -> None:
    assert "is gone" in (await ACTION.undo(FakeCluster(), CONTEXT, PARAMETERS)).message


async def test_undo_gives_up_where_others_keep_changing_the_run() -> None:
    cluster = await started()
    cluster.troubles["patch"] = [Conflict("changed", status=409)] * 9
    with pytest.raises(Conflict):
        await ACTION.undo(cluster, CONTEXT, PARAMETERS)


async def test_another_attempt_of_the_step_does_not_find_the_run_of_this_one() -> None:
    cluster = await started()
    later = PARAMETERS.model_copy(update={"name": "run-1-heal-2-abcdef0123"})
    assert await ACTION.recall(cluster, replace(CONTEXT, attempt=2), later) is None


async def test_once_its_name_is_taken_a_create_that_was_sent_before_starts_nothing() -> None:
    cluster = FakeCluster()
    done = await ACTION.fence(cluster, CONTEXT, PARAMETERS)
    assert (done.acted, done.outputs) == (False, {})
    assert child(cluster)["spec"]["control"] == {"cancel": True}
    late = await ACTION.perform(cluster, CONTEXT, PARAMETERS)
    assert late.outputs["uid"] == child(cluster)["metadata"]["uid"]
    assert [verb for verb, *_ in cluster.writes] == ["create"]


async def test_a_run_that_was_started_before_its_name_could_be_taken_is_found_as_it_is() -> None:
    cluster = await started()
    done = await ACTION.fence(cluster, CONTEXT, PARAMETERS)
    assert done.outputs == {"run": NAME, "uid": child(cluster)["metadata"]["uid"]}
    assert "control" not in child(cluster)["spec"]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_to_taking_the_name_leads_to_one_run_that_is_cancelled(landed: bool) -> None:
    cluster = FakeCluster(troubles={"create": [Lost(landed)]})
    await ACTION.fence(cluster, CONTEXT, PARAMETERS)
    assert child(cluster)["spec"]["control"] == {"cancel": True}
    assert len(cluster.writes) == 1


async def test_a_name_that_somebody_else_has_can_not_be_started_either() -> None:
    cluster = await started()
    child(cluster)["spec"]["parent"]["uid"] = "other"
    assert (await ACTION.fence(cluster, CONTEXT, PARAMETERS)).outputs == {}
    child(cluster)["spec"]["unheardOf"] = True
    assert (await ACTION.fence(cluster, CONTEXT, PARAMETERS)).outputs == {}
    cluster.troubles["get"] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await ACTION.fence(cluster, CONTEXT, PARAMETERS)


async def test_a_name_that_can_not_be_taken_is_told() -> None:
    with pytest.raises(Forbidden):
        await ACTION.fence(FakeCluster(forbidden={"create WorkflowExecution"}), CONTEXT, PARAMETERS)
    cluster = FakeCluster(troubles={"create": [Lost(landed=False)] * 9})
    with pytest.raises(UnknownOutcome):
        await ACTION.fence(cluster, CONTEXT, PARAMETERS)


def test_it_needs_rights_on_runs_only() -> None:
    told = [
        (right.verb, right.group, right.resource, right.names) for right in ACTION.rights(None, PARAMETERS)
    ]
    assert told == [
        ("create", "kubernaut.io", "workflowexecutions", ()),
        ("get", "kubernaut.io", "workflowexecutions", (NAME,)),
        ("patch", "kubernaut.io", "workflowexecutions", (NAME,)),
    ]
