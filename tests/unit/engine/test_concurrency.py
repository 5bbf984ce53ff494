"""What becomes of a run whose target is held: it waits, gives way, or takes the place of an older one."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.api.execution import StepStatus
from kubernaut.core.errors import Forbidden
from kubernaut.core.naming import child_run
from kubernaut.engine.live import LiveRun
from unit.engine.world import World

pytestmark = pytest.mark.looptime
OURS: dict[str, Any] = {"finalizers": ["kubernaut.io/mirror"]}


class Place(World):
    """A world with one reconciler, and the runs it drives."""

    def __init__(self, policy: str, **spec: Any) -> None:
        super().__init__()
        self.runs = self.reconciler()
        self.live: dict[str, LiveRun] = {}
        self.runs.starter.find = lambda key: self.live.get(key.name)
        self.workflow({"name": "pause", "wait": {"duration": "1h"}}, concurrencyPolicy=policy, **spec)

    async def go(self, name: str, workflow: str = "fix", second: int = 0, **meta: Any) -> LiveRun:
        live = self.live[name] = self.run(
            name, workflow, creationTimestamp=f"2026-01-01T00:00:{second:02}Z", **OURS, **meta
        )
        await self.runs.reconcile(live)
        return live

    async def again(self, name: str) -> None:
        await self.runs.reconcile(self.live[name])

    def told(self, name: str) -> tuple[str | None, str | None, str | None]:
        status = self.stored(name)
        return status.get("phase"), status.get("verdict"), status.get("reason")

    def spec(self, name: str) -> Any:
        return self.cluster.find("WorkflowExecution", name)["spec"]


async def test_queue_waits_and_writes_that_once() -> None:
    place = Place("Queue")
    await place.go("a")
    await place.go("b")
    place.cluster.writes.clear()
    await place.again("b")
    await place.again("b")
    assert place.cluster.writes == []
    assert "being repaired by run shop/a" in str(place.stored("b")["conditions"])


async def test_a_run_that_the_operator_has_no_right_to_begin_keeps_nobody_from_the_target() -> None:
    place = Place("Queue")
    place.workflow({"name": "pause", "wait": {"duration": "1h"}}, name="other")
    for second, (name, workflow) in enumerate((("a", "fix"), ("b", "other"), ("c", "fix"))):
        await place.go(name, workflow, second)
    place.cluster.troubles["get"] = [Forbidden("the operator may not", status=403)]
    place.runs.let_go(place.live["a"])
    with pytest.raises(Forbidden):
        await place.again("b")
    await place.again("c")
    assert place.told("c")[0] == "Running"


async def test_forbid_ends_at_once_declined_and_names_the_holder() -> None:
    place = Place("Forbid")
    await place.go("a")
    await place.go("b")
    assert place.told("b") == ("Failed", "Declined", "ConcurrentRun")
    assert "shop/a holds the target" in place.stored("b")["message"]
    assert place.told("a")[0] == "Running"
    assert (len(place.locks), place.locks.waiting) == (1, 0)


async def test_replace_cancels_the_holder_in_one_write_and_begins_when_that_has_ended() -> None:
    place = Place("Replace")
    await place.go("a", second=1)
    place.cluster.writes.clear()
    await place.go("b", second=2)
    patches = [body for verb, what, body in place.cluster.writes if what == "WorkflowExecution shop/a"]
    assert len(patches) == 1
    assert patches[0]["metadata"]["annotations"] == {"kubernaut.io/replaced-by": "b"}
    assert place.spec("a")["control"] == {"cancel": True}
    await place.again("b")
    assert place.told("b")[0] != "Running"
    await place.again("a")
    assert place.told("a")[0::2] == ("Cancelled", "Replaced")
    assert "Run b took its place" in place.stored("a")["message"]
    await place.again("b")
    assert place.told("b")[0] == "Running"


async def test_replace_takes_the_place_of_older_ones_that_wait_and_of_no_newer_one() -> None:
    place = Place("Replace")
    place.workflow({"name": "pause", "wait": {"duration": "1h"}}, name="other")
    await place.go("holder", "other", second=0)
    for second, name in enumerate("abc", start=1):
        await place.go(name, second=second)
    for name in "abc":
        await place.again(name)
    assert [place.told(name)[0::2] for name in "ab"] == [("Cancelled", "Replaced")] * 2
    assert "Run c took its place" in place.stored("b")["message"]
    assert place.told("holder")[0] == "Running"
    assert "control" not in place.spec("c")
    assert place.locks.waiting == 1


async def test_runs_created_in_the_same_second_do_not_replace_each_other() -> None:
    place = Place("Replace")
    place.workflow({"name": "pause", "wait": {"duration": "1h"}}, name="other")
    await place.go("holder", "other")
    await place.go("a")
    await place.go("b")
    for name in "ab" * 2:
        await place.again(name)
    assert [place.told(name)[0] for name in "ab"] == ["Cancelled", "Pending"]


async def test_the_priority_of_the_workflow_decides_whose_turn_it_is() -> None:
    place = Place("Queue")
    place.workflow({"name": "pause", "wait": {"duration": "1h"}}, name="urgent", priority=9)
    await place.go("a")
    await place.go("b")
    await place.go("c", "urgent")
    place.woken.clear()
    place.runs.let_go(place.live["a"])
    assert [key.name for key in place.woken] == ["c"]


async def test_a_paused_run_gives_up_its_turn() -> None:
    place = Place("Queue")
    await place.go("a")
    await place.go("b")
    await place.go("c")
    place.cluster.edit("WorkflowExecution", "b", {"spec": {"control": {"paused": True}}})
    place.live["b"].observe(place.cluster.find("WorkflowExecution", "b"))
    place.runs.let_go(place.live["a"])
    await place.again("b")
    assert [key.name for key in place.woken][-2:] == ["b", "c"]
    await place.again("c")
    assert place.told("c")[0] == "Running"


def says(place: Place, parent: LiveRun, **record: Any) -> None:
    """Have the parent's own record of its step be so, in memory and as stored."""
    stored = place.cluster.find("WorkflowExecution", parent.key.name)["status"]["steps"][0]
    stored.update(record)
    parent.status = parent.status.replace(steps=[StepStatus.model_validate(stored)])


def born(place: Place, parent: LiveRun, name: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return name and parent of a run that a step of another started."""
    ref = {"name": parent.key.name, "uid": parent.uid, "step": "pause", "depth": 1}
    return name or child_run(parent.key.name, parent.uid, "pause", 1), ref


@pytest.mark.parametrize("here", [True, False])
async def test_a_run_shares_the_lock_of_the_run_that_started_it_wherever_that_is_driven(here: bool) -> None:
    place = Place("Forbid")
    parent = await place.go("a")
    says(place, parent, phase="Running")
    name, ref = born(place, parent)
    if not here:
        del place.live["a"]
    live = place.live[name] = place.run(name, **OURS)
    place.cluster.find("WorkflowExecution", name)["spec"]["parent"] = ref
    live = place.live[name] = place.take_up(name)
    await place.runs.reconcile(live)
    assert place.told(name)[0] == "Running"


@pytest.mark.parametrize(
    ("record", "ends"),
    [
        ({"phase": "Waiting", "intent": {"run": "x", "uid": "another"}}, "Cancelled"),
        ({"phase": "Waiting"}, "ConcurrentRun"),
    ],
)
async def test_a_run_that_took_the_name_of_a_started_one_shares_nothing(
    record: dict[str, Any], ends: str
) -> None:
    place = Place("Forbid")
    parent = await place.go("a")
    says(place, parent, **record)
    name, ref = born(place, parent)
    place.run(name, **OURS)
    place.cluster.find("WorkflowExecution", name)["spec"]["parent"] = ref
    live = place.live[name] = place.take_up(name)
    await place.runs.reconcile(live)
    assert place.told(name)[2] == ends


async def test_a_run_that_only_says_so_shares_nothing() -> None:
    place = Place("Forbid")
    parent = await place.go("a")
    name, ref = born(place, parent, "made-up")
    place.run(name, **OURS)
    place.cluster.find("WorkflowExecution", name)["spec"]["parent"] = ref
    live = place.live[name] = place.take_up(name)
    await place.runs.reconcile(live)
    assert place.told(name)[2] == "ConcurrentRun"
