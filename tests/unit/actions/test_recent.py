"""A step that follows another on the same object need not read it again, and never acts on an old view of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions.fencing import fence
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import NotFound, StepError
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.recent import MOST, Recent
from unit.actions.fake import Lost
from unit.actions.test_fence import Scene, add_one


async def after_a_step(scene: Scene) -> Scene:
    """Perform one step, and go on with the next one of the same run."""
    await scene.apply()
    scene.cluster.requests.clear()
    scene.context = replace(scene.context, step="next")
    return scene


async def test_the_next_step_patches_what_the_one_before_it_wrote() -> None:
    scene = await after_a_step(Scene())
    await scene.apply()
    assert [request.split()[0] for request in scene.cluster.requests] == ["patch"]
    assert scene.replicas == 4


async def test_an_object_that_others_changed_meanwhile_is_read_and_decided_anew() -> None:
    scene = await after_a_step(Scene())
    scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 7}})
    await scene.apply()
    assert scene.replicas == 8
    assert len(scene.cluster.writes) == 2


@pytest.mark.parametrize("landed", [True, False])
async def test_a_lost_answer_to_such_a_patch_is_found_out(landed: bool) -> None:
    scene = await after_a_step(Scene())
    scene.cluster.troubles["patch"] = [Lost(landed)]
    assert (await scene.apply()).acted
    assert scene.replicas == 4


@pytest.mark.parametrize("refuses", [True, False])
async def test_that_nothing_is_to_be_done_rests_on_the_object_as_it_is(refuses: bool) -> None:
    scene = await after_a_step(Scene())
    scene.cluster.edit("Deployment", "api", {"spec": {"replicas": 7}})

    async def unless_three(seen: Manifest) -> fence.Change:
        if seen["spec"]["replicas"] == 3:
            if refuses:
                raise StepError("three is enough", reason=Reason.PRECONDITION_FAILED)
            return fence.nothing("three is enough")
        return await add_one(seen)

    done: Any = await fence.apply(scene.cluster, scene.context, scene.ref, unless_three)
    assert done.acted
    assert scene.replicas == 8


def controller(scene: Scene) -> None:
    """Write the status of the object, as its controller does once it has seen the spec."""
    generation = scene.cluster.find("Deployment", "api")["metadata"]["generation"]
    scene.cluster.edit_status("Deployment", "api", {"observedGeneration": generation})


async def after_a_race() -> Scene:
    """Perform a step that the object's controller made read the object again, and go on with the next one."""
    scene = Scene()
    controller(scene)
    await after_a_step(scene)
    controller(scene)
    await scene.apply()
    scene.cluster.requests.clear()
    scene.context = replace(scene.context, step="third")
    return scene


def verbs(scene: Scene) -> list[str]:
    return [request.split()[0] for request in scene.cluster.requests]


async def test_a_controller_that_wrote_first_is_let_write_first_from_then_on() -> None:
    scene = await after_a_race()
    scene.cluster.troubles["get"] = [None, lambda: controller(scene)]
    await scene.apply()
    assert verbs(scene) == ["get", "get", "patch"]
    assert scene.replicas == 5


async def test_a_controller_that_takes_long_is_not_waited_for_again() -> None:
    scene = await after_a_race()
    await scene.apply()
    assert verbs(scene) == ["get"] * len(fence.ANSWER_WITHIN) + ["patch"]
    scene.cluster.requests.clear()
    scene.context = replace(scene.context, step="fourth")
    await scene.apply()
    assert verbs(scene) == ["patch"]
    assert scene.replicas == 6


async def test_an_object_whose_controller_owes_nothing_is_not_read_again() -> None:
    scene = await after_a_race()
    seen = scene.context.recent.take(scene.ref)
    assert seen is not None
    seen["status"]["observedGeneration"] = seen["metadata"]["generation"]
    scene.context.recent.put(scene.ref, seen)
    await scene.apply()
    assert verbs(scene) == ["patch"]


async def test_an_object_that_is_gone_while_its_controller_is_awaited_is_told_as_gone() -> None:
    scene = await after_a_race()
    scene.cluster.drop("Deployment", "api")
    with pytest.raises(NotFound):
        await scene.apply()


def test_what_was_seen_first_is_forgotten_first() -> None:
    recent, refs = Recent(), [ObjectRef("v1", "Pod", "shop", f"pod-{i}", "") for i in range(MOST + 1)]
    for ref in refs:
        recent.put(ref, {"metadata": {"name": ref.name}})
    assert recent.take(refs[0]) is None
    assert all(recent.take(ref) is not None for ref in refs[1:])
