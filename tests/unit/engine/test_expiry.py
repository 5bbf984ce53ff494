"""Which finished runs go, and that never many go at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.names import API_VERSION
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import ClusterError, Unavailable
from kubernaut.engine.expiry import Expiry, due
from kubernaut.engine.finished import FinishedRun
from kubernaut.engine.keys import RunKey
from kubernaut.engine.known import Known
from kubernaut.engine.ownership import Alone
from kubernaut.engine.standing import RunStanding
from unit.engine.world import EPOCH

pytestmark = pytest.mark.looptime


def a_run(
    number: int, *, workflow: str = "fix", succeeded: bool = True, ttl: int = 86_400, limit: int | None = None
) -> FinishedRun:
    """Return a run that finished so many seconds after the epoch."""
    return FinishedRun(
        key=RunKey("shop", f"{workflow}-{number}"),
        uid=f"{workflow}-{number}",
        resource_version="1",
        finalizers=(),
        deleted_at=None,
        finished_at=EPOCH + timedelta(seconds=number),
        workflow=workflow,
        succeeded=succeeded,
        ttl=ttl,
        limit=limit,
        claimed=True,
        snapshot=None,
        home="home",
    )


async def names(runs: list[FinishedRun], seconds: float = 1000) -> list[str]:
    random.Random(1).shuffle(runs)
    return [run.key.name for run in await due(runs, EPOCH + timedelta(seconds=seconds))]


async def test_a_run_goes_when_its_time_is_over_and_not_before() -> None:
    runs = [a_run(1, ttl=10), a_run(2, ttl=20), a_run(3)]
    assert await names(runs, 10.9) == []
    assert await names(runs, 11) == ["fix-1"]
    assert await names(runs, 22) == ["fix-1", "fix-2"]


async def test_a_run_that_stands_for_an_incident_stays_until_that_is_over() -> None:
    held = a_run(1, ttl=10)
    held.kept_until = EPOCH + timedelta(seconds=500)
    assert await names([held], 499) == []
    assert await names([held], 501) == ["fix-1"]
    others = [a_run(number, limit=1) for number in range(3)]
    others[0].kept_until = EPOCH + timedelta(seconds=500)
    assert await names(others, 100) == ["fix-1"]


async def test_only_the_last_runs_of_a_workflow_stay_by_outcome() -> None:
    good = [a_run(number, limit=2) for number in range(5)]
    bad = [a_run(number, limit=1, succeeded=False) for number in range(10, 13)]
    others = [a_run(number, workflow="other") for number in range(20, 30)]
    assert await names([*good, *bad, *others]) == ["fix-0", "fix-1", "fix-2", "fix-10", "fix-11"]


async def test_the_newest_claimed_run_says_how_many_stay() -> None:
    refused = a_run(9)
    refused.claimed = False
    assert await names([a_run(1), a_run(2, limit=5), a_run(3, limit=1), refused]) == [
        "fix-1",
        "fix-2",
        "fix-3",
    ]
    assert await names([a_run(1, limit=0), a_run(2, limit=0), a_run(3)]) == []
    assert await names([a_run(1, limit=0)]) == ["fix-1"]


async def test_what_is_being_deleted_counts_as_gone() -> None:
    going = a_run(5, limit=2)
    going.deleted_at = EPOCH
    assert await names([a_run(1, limit=2), a_run(2, limit=2), going]) == []


async def test_a_run_without_an_end_stays() -> None:
    odd = a_run(1, ttl=0)
    odd.finished_at = None
    assert await names([odd]) == []


class Cluster:
    """Deletes in 0.1 s."""

    def __init__(self, runs: list[FinishedRun]) -> None:
        self.runs = {run.uid: run for run in runs}
        self.deleted: list[tuple[float, str]] = []
        self.under_way = self.most = 0
        self.away = False
        self.refused: set[str] = set()

    async def expire(self, run: FinishedRun) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.1)
        self.under_way -= 1
        if self.away:
            raise Unavailable("away")
        if run.uid in self.refused:
            raise ClusterError("a webhook says no", status=403, reason=Reason.REJECTED)
        self.deleted.append((asyncio.get_running_loop().time(), run.uid))
        del self.runs[run.uid]

    def expiry(self, expirable: Callable[[FinishedRun], bool] = lambda run: True) -> Expiry:
        return Expiry(self.runs.values, expirable, self.expire, lambda: EPOCH + timedelta(days=9))


async def test_many_go_one_after_the_other_few_at_once() -> None:
    cluster = Cluster([a_run(number) for number in range(200)])
    assert await cluster.expiry().once() == 200
    assert cluster.most <= 4
    first = [uid for at, uid in cluster.deleted[:20]]
    assert first == [f"fix-{number}" for number in range(20)], "the oldest first"
    assert cluster.deleted[-1][0] >= 200 * 0.02, "no more than 50 in a second"
    assert await cluster.expiry().once() == 0


async def test_what_may_not_go_stays_and_is_looked_at_anew_when_its_turn_comes() -> None:
    cluster = Cluster([a_run(number) for number in range(100)])
    allowed = {f"fix-{number}" for number in range(0, 100, 2)}
    deleting = asyncio.create_task(cluster.expiry(lambda run: run.uid in allowed).once())
    await asyncio.sleep(0.5)
    allowed.clear()
    await deleting
    assert 0 < len(cluster.deleted) < 50
    assert all(int(uid.removeprefix("fix-")) % 2 == 0 for _, uid in cluster.deleted)


async def test_an_api_server_that_is_away_is_left_alone_for_a_while() -> None:
    cluster = Cluster([a_run(number) for number in range(20)])
    cluster.away = True
    running = asyncio.create_task(cluster.expiry().run())
    await asyncio.sleep(6)
    assert cluster.most <= 4
    cluster.most, cluster.away = 0, False
    await asyncio.sleep(8)
    assert cluster.most == 0
    await asyncio.sleep(10)
    assert len(cluster.deleted) == 20
    running.cancel()


async def test_runs_whose_deletion_is_refused_keep_no_others_and_are_tried_again_much_later() -> None:
    cluster = Cluster([a_run(number) for number in range(30)])
    cluster.refused = {f"fix-{number}" for number in range(6)}
    running = asyncio.create_task(cluster.expiry().run())
    await asyncio.sleep(20)
    assert set(cluster.runs) == cluster.refused, "the oldest are refused, and all others go"
    cluster.refused, before = set(), len(cluster.deleted)
    await asyncio.sleep(200)
    assert len(cluster.deleted) == before
    await asyncio.sleep(200)
    assert cluster.runs == {}
    running.cancel()


class Place:
    """What a replica knows of a run, and of one that a step of it started and that has finished."""

    def __init__(self, *, ours: bool = True) -> None:
        self.known = Known(Alone(), lambda workflow, run: None)
        if ours:
            self.known.active |= Alone.held
        self.standing = RunStanding(self.known, frozenset)
        self.run = a_run(1, ttl=0)
        self.run.parent = ("uid-of-parent", "each/0/sub")

    def parent(self, phase: str = "Running", /, **record: Any) -> None:
        self.known.forget(RunKey("shop", "parent"))
        status = {"phase": phase, "steps": [{"name": "each/0/sub", **record}] if record else []}
        meta = {"name": "parent", "namespace": "shop", "uid": "uid-of-parent", "resourceVersion": "7"}
        spec = {"workflowRef": {"name": "fix"}}
        manifest = {"kind": "WorkflowExecution", "apiVersion": API_VERSION, "metadata": meta, "spec": spec}
        self.known.take_up(RunKey("shop", "parent"), {**manifest, "status": status})

    @property
    def stays(self) -> bool:
        return self.standing.awaited(self.run)


STARTED = {"run": "fix-1", "uid": "fix-1"}


@pytest.mark.parametrize("ours", [True, False])
def test_a_run_stays_until_the_run_that_started_it_has_taken_its_outcome(ours: bool) -> None:
    place = Place(ours=ours)
    place.parent()
    assert place.stays, "nothing may be stored of the step yet"
    place.parent(phase="Running")
    assert place.stays
    place.parent(phase="Waiting", intent=STARTED)
    assert place.stays
    place.parent(phase="Succeeded", intent=STARTED)
    assert not place.stays


def test_a_run_need_not_stay_where_its_step_waits_for_another_one() -> None:
    place = Place()
    place.parent(phase="Waiting", attempt=2, intent={"run": "fix-2", "uid": "fix-2"})
    assert not place.stays


def test_a_run_of_which_another_replica_knows_more_stays() -> None:
    place = Place(ours=False)
    place.parent(phase="Succeeded")
    place.known.others[RunKey("shop", "parent")].manifest = None
    assert place.stays


def test_a_run_whose_parent_is_over_or_gone_need_not_stay() -> None:
    place = Place()
    place.parent("Cancelled")
    assert not place.stays
    place.known.forget(RunKey("shop", "parent"))
    assert not place.stays


def test_a_parent_that_is_not_known_yet_counts_as_gone_only_once_all_live_runs_were_listed() -> None:
    place = Place()
    assert place.stays
    place.known.list_ended(place.known.list_begins())
    assert not place.stays
    assert not place.standing.awaited(a_run(2)), "nobody started this one"
