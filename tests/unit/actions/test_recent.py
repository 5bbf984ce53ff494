"""A step that follows another on the same object need not read it again, and never acts on an old view of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kubernaut.actions import fence
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest
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
