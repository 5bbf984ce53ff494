"""The fenced loop: an effect once, whatever happens to requests and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions.fencing import fence
from kubernaut.api.names import marker_annotation
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.errors import Conflict, Forbidden, NotFound, StepError, Unavailable, UnknownOutcome
from kubernaut.core.marker import read_marker
from kubernaut.core.ports import Manifest, ObjectRef
from unit.actions.builders import SIGNER, context, deployment
from unit.actions.fake import FakeCluster, Lost

REPLICAS = fields.parse("spec.replicas")


async def add_one(seen: Manifest) -> fence.Change:
    """A change that repeated by mistake would be seen."""
    wanted = seen["spec"]["replicas"] + 1
    return fence.change(seen, fields.put(seen, REPLICAS, wanted), "one more", {"replicas": wanted})


class Scene:
    def __init__(self) -> None:
        self.cluster = FakeCluster().add(deployment())
        self.context = context()

    @property
    def ref(self) -> ObjectRef:
        return self.context.target

    @property
    def replicas(self) -> int:
        return int(self.cluster.find("Deployment", "api")["spec"]["replicas"])

    async def apply(self, **more: Any) -> Any:
        return await fence.apply(self.cluster, self.context, self.ref, add_one, **more)

    async def restore(self) -> Any:
        return await fence.restore(self.cluster, self.context, self.ref, fence.put_fields_back)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_change_and_marker_are_one_patch(scene: Scene) -> None:
    done = await scene.apply()
    assert (done.acted, done.outputs, scene.replicas) == (True, {"replicas": 3}, 3)
    assert done.changed == ("Deployment shop/api: spec.replicas: 2 -> 3",)
    ((verb, _, body),) = scene.cluster.writes
    assert verb == "patch"
    assert body["spec"] == {"replicas": 3}
    assert list(body["metadata"]["annotations"]) == [marker_annotation("run-1")]


async def test_run_twice_is_run_once(scene: Scene) -> None:
    first, second = await scene.apply(), await scene.apply()
    assert scene.replicas == 3
    assert len(scene.cluster.writes) == 1
    assert (second.acted, second.outputs, second.changed) == (True, first.outputs, first.changed)


@pytest.mark.parametrize("read_before", [False, True])
async def test_what_is_being_deleted_is_left_alone(scene: Scene, read_before: bool) -> None:
    """Its controller does nothing for it any more, so a change would help nobody and be told as done."""
    going = {"deletionTimestamp": "2026-03-01T00:00:00Z", "finalizers": ["example.com/hold"]}
    scene.cluster.find("Deployment", "api")["metadata"].update(going)
    if read_before:
        scene.context.recent.put(scene.ref, await scene.cluster.get(scene.ref))
    with pytest.raises(
        StepError, match=r"is being deleted since 2026-03-01T00:00:00Z, held by example.com/hold"
    ) as caught:
        await scene.apply()
    assert (caught.value.reason, scene.cluster.writes) == (Reason.PRECONDITION_FAILED, [])


async def test_what_was_done_before_it_was_deleted_is_done(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.find("Deployment", "api")["metadata"]["deletionTimestamp"] = "2026-03-01T00:00:00Z"
    assert (await scene.apply()).acted
    assert (await scene.restore()).acted


async def test_a_step_that_acted_and_has_no_mark_is_not_told_as_put_back(scene: Scene) -> None:
    done = await scene.apply()
    del scene.cluster.find("Deployment", "api")["metadata"]["annotations"]
    assert not (await scene.restore()).acted
    scene.context = replace(scene.context, done=done)
    assert not (await scene.restore()).acted, "of several objects a step need not have come to each"
    with pytest.raises(StepError, match=r"no more.*spec.replicas: 2 -> 3") as caught:
        await fence.restore(scene.cluster, scene.context, scene.ref, fence.put_fields_back, alone=True)
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert scene.replicas == 3


async def test_a_later_attempt_finds_what_an_earlier_one_did(scene: Scene) -> None:
    await scene.apply()
    scene.context = replace(scene.context, attempt=2)
    assert (await scene.apply()).acted
    assert len(scene.cluster.writes) == 1


async def test_two_steps_and_two_runs_each_act(scene: Scene) -> None:
    await scene.apply()
    scene.context = context(step="again")
    await scene.apply()
    scene.context = context(run="run-2")
    await scene.apply()
    assert scene.replicas == 5


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_is_found_out(scene: Scene, landed: bool) -> None:
    scene.cluster.troubles["patch"] = [Lost(landed)]
    assert (await scene.apply()).acted
    assert scene.replicas == 3
    assert len(scene.cluster.writes) == 1


async def test_a_conflict_is_decided_anew_on_what_is_there_then(scene: Scene) -> None:
    scene.cluster.troubles["patch"] = [
        lambda: scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 7}})
    ]
    done = await scene.apply()
    assert done.changed == ("Deployment shop/api: spec.replicas: 7 -> 8",)
    assert scene.replicas == 8


async def test_endless_conflicts_end_in_conflict(scene: Scene) -> None:
    scene.cluster.troubles["patch"] = [Conflict("changed", status=409)] * 100
    with pytest.raises(Conflict, match="was changed by others 8 times") as caught:
        await scene.apply()
    assert caught.value.reason is Reason.CONFLICT
    assert len(scene.cluster.requests) == 2 * fence.ROUNDS


async def test_endless_lost_answers_end_in_unknown_outcome(scene: Scene) -> None:
    scene.cluster.troubles["patch"] = [Lost(False)] * 100
    with pytest.raises(UnknownOutcome):
        await scene.apply()


@pytest.mark.parametrize("trouble", [Unavailable("away"), Forbidden("no", status=403)])
async def test_trouble_after_a_lost_answer_stays_an_unknown_outcome(scene: Scene, trouble: Exception) -> None:
    scene.cluster.troubles = {"patch": [Lost(False)], "get": [None, trouble]}
    with pytest.raises(UnknownOutcome):
        await scene.apply()


async def test_a_lost_patch_on_an_older_version_can_not_land_and_is_forgotten(scene: Scene) -> None:
    def other() -> None:
        scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 9}})

    scene.cluster.troubles = {"patch": [Lost(False), Forbidden("no", status=403)], "get": [None, other]}
    with pytest.raises(Forbidden):
        await scene.apply()


@pytest.mark.parametrize(
    "error", [Unavailable("away"), Forbidden("no", status=403), NotFound("gone", status=404)]
)
async def test_other_errors_are_passed_on(scene: Scene, error: Exception) -> None:
    scene.cluster.troubles["patch"] = [error]
    with pytest.raises(type(error)):
        await scene.apply()
    assert scene.replicas == 2


async def test_a_target_made_anew_is_not_touched(scene: Scene) -> None:
    scene.cluster.drop("Deployment", "api")
    scene.cluster.add(deployment() | {"metadata": {"name": "api", "uid": "another"}})
    with pytest.raises(StepError, match="made anew") as caught:
        await scene.apply()
    assert caught.value.reason is Reason.TARGET_REPLACED
    assert scene.cluster.writes == []


async def test_an_object_of_another_namespace_is_not_touched(scene: Scene) -> None:
    elsewhere = deployment()
    elsewhere["metadata"] |= {"namespace": "bank", "uid": "u"}
    scene.cluster.add(elsewhere)
    ref = ObjectRef("apps/v1", "Deployment", "bank", "api")
    with pytest.raises(StepError, match="own namespace only"):
        await fence.apply(scene.cluster, scene.context, ref, add_one)
    assert scene.cluster.writes == []


async def test_nothing_to_do_writes_nothing(scene: Scene) -> None:
    async def decide(seen: Manifest) -> fence.Change:
        return fence.change(seen, seen, "two replicas")

    done = await fence.apply(scene.cluster, scene.context, scene.ref, decide)
    assert (done.acted, done.message) == (False, "nothing to do: two replicas")
    assert scene.cluster.writes == []


async def test_a_forged_marker_stops_the_step(scene: Scene) -> None:
    forged = {"object": "uid-deployment-api", "sig": "0" * 64, "steps": "{}"}
    annotations = {marker_annotation("run-1"): json.dumps(forged)}
    scene.cluster.edit("Deployment", "api", {"metadata": {"annotations": annotations}})
    with pytest.raises(StepError, match="did not sign") as caught:
        await scene.apply()
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert scene.cluster.writes == []


async def test_a_lost_marker_is_planned_anew_on_what_is_there(scene: Scene) -> None:
    async def five(seen: Manifest) -> fence.Change:
        return fence.change(seen, fields.put(seen, REPLICAS, 5), "five")

    await fence.apply(scene.cluster, scene.context, scene.ref, five)
    gone = {"metadata": {"annotations": {marker_annotation("run-1"): None}}}
    scene.cluster.edit("Deployment", "api", gone)
    done = await fence.apply(scene.cluster, scene.context, scene.ref, five)
    assert not done.acted
    assert len(scene.cluster.writes) == 1


async def test_markers_of_finished_runs_are_pruned_in_the_same_patch(scene: Scene) -> None:
    for run in ("run-1", "run-2", "run-3"):
        scene.context = context(run=run)
        await scene.apply(finished=lambda uid: uid == "run-1")
    annotations = scene.cluster.find("Deployment", "api")["metadata"]["annotations"]
    assert set(annotations) == {marker_annotation("run-2"), marker_annotation("run-3")}


async def test_undo_restores_and_records_it_once(scene: Scene) -> None:
    before = scene.cluster.find("Deployment", "api")["spec"]
    await scene.apply()
    first, second = await scene.restore(), await scene.restore()
    assert scene.cluster.find("Deployment", "api")["spec"] == before
    assert first.changed == ("Deployment shop/api: spec.replicas: 3 -> 2",)
    assert (first.acted, second.acted, len(scene.cluster.writes)) == (True, True, 2)
    marker = read_marker(scene.cluster.find("Deployment", "api"), "run-1", SIGNER)
    assert marker.steps["repair"].undone


async def test_a_step_that_was_put_back_is_not_done_again(scene: Scene) -> None:
    await scene.apply()
    await scene.restore()
    with pytest.raises(StepError, match="put back"):
        await scene.apply()
    assert scene.replicas == 2


@pytest.mark.parametrize("landed", [True, False])
async def test_undo_with_a_lost_answer_restores_once(scene: Scene, landed: bool) -> None:
    await scene.apply()
    scene.cluster.troubles["patch"] = [Lost(landed)]
    assert (await scene.restore()).acted
    assert scene.replicas == 2
    assert len(scene.cluster.writes) == 2


async def test_undo_refuses_what_was_changed_since(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 9}})
    with pytest.raises(StepError, match=r"spec\.replicas is 9, but the step had set 3") as caught:
        await scene.restore()
    assert caught.value.reason is Reason.CHANGED_SINCE
    assert scene.replicas == 9


async def test_undo_that_races_with_another_writer_refuses(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.troubles["patch"] = [
        lambda: scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 9}})
    ]
    with pytest.raises(StepError, match="changed since"):
        await scene.restore()
    assert scene.replicas == 9


async def test_undo_of_what_never_happened_writes_nothing(scene: Scene) -> None:
    done = await scene.restore()
    assert not done.acted
    assert scene.cluster.writes == []


async def test_undo_on_an_object_that_is_gone_or_another_has_nothing_to_put_back(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.drop("Deployment", "api")
    assert not (await scene.restore()).acted
    scene.cluster.add(deployment() | {"metadata": {"name": "api", "uid": "another"}})
    assert not (await scene.restore()).acted


async def test_undo_gives_up_on_endless_conflicts(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.troubles["patch"] = [Conflict("changed", status=409)] * 100
    with pytest.raises(Conflict):
        await scene.restore()


async def test_what_is_fenced_off_is_over_but_for_what_the_run_does_after_that(scene: Scene) -> None:
    done = await fence.fence_off(scene.cluster, scene.context, scene.ref)
    assert not done.acted
    with pytest.raises(StepError) as caught:
        await scene.apply()
    assert caught.value.reason is Reason.FENCED
    scene.context = replace(scene.context, step="tidy", beyond_fence=True)
    assert (await scene.apply()).acted
    assert scene.replicas == 3


async def test_what_was_begun_beyond_a_fence_is_fenced_off_by_another_write(scene: Scene) -> None:
    """A request that was sent since then rests on the version that the first fence left."""

    def version() -> str:
        return str(scene.cluster.find("Deployment", "api")["metadata"]["resourceVersion"])

    await fence.fence_off(scene.cluster, scene.context, scene.ref)
    first = version()
    await fence.fence_off(scene.cluster, scene.context, scene.ref)
    assert version() == first
    scene.context = replace(scene.context, beyond_fence=True)
    await fence.fence_off(scene.cluster, scene.context, scene.ref)
    assert version() != first
