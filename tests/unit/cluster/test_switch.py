from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from kubernaut.cluster.switch import (
    OBSERVED_ANNOTATION,
    ActingSwitch,
    observed,
    set_switch,
    switch_ref,
)
from kubernaut.core.errors import Conflict, Forbidden, Unavailable, UnknownOutcome
from unit.cluster.memory import MemoryCluster

REF = switch_ref()
ON = {"acting": "on", "since": "2026-01-01T00:00:00Z"}
STOPPED = {"acting": "stopped", "by": "anna", "reason": "bad rollout", "since": "2026-01-02T00:00:00Z"}
AWAY = Unavailable("the API server is away")


def configmap(data: dict[str, str] | None) -> dict[str, Any]:
    meta = {"name": REF.name, "namespace": REF.namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    return manifest if data is None else {**manifest, "data": data}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def make(data: dict[str, str] | None = ON) -> tuple[MemoryCluster, ActingSwitch, Clock]:
    clock = Clock()
    cluster = MemoryCluster(configmap(data))
    return cluster, ActingSwitch(cluster, monotonic=clock, sleep=clock.sleep), clock


async def test_nothing_is_allowed_before_the_first_read() -> None:
    _, switch, _ = make()
    assert not switch.acting_allowed()
    assert "could not be read" in switch.refusal()
    await switch.read()
    assert switch.acting_allowed()
    assert switch.refusal() == ""


async def test_a_switch_as_shipped_allows() -> None:
    _, switch, _ = make(None)
    await switch.read()
    assert switch.acting_allowed()


async def test_a_stop_is_told_with_who_and_why() -> None:
    cluster, switch, _ = make()
    await switch.read()
    cluster.edit(REF, data=STOPPED)
    await switch.read()
    assert not switch.acting_allowed()
    assert switch.refusal() == "stopped by anna: bad rollout"
    assert switch.kind == "stopped"


async def test_what_is_neither_on_nor_stopped_does_not_allow() -> None:
    _, switch, _ = make({"acting": "ON"})
    await switch.read()
    assert not switch.acting_allowed()
    assert "'ON'" in switch.refusal()


async def test_a_missing_switch_does_not_allow_and_says_so() -> None:
    cluster, switch, _ = make()
    await switch.read()
    cluster.objects.clear()
    await switch.read()
    assert not switch.acting_allowed()
    assert "does not exist" in switch.refusal()
    assert switch.kind == "missing"


async def test_a_read_is_trusted_for_a_second_and_a_half_from_its_beginning() -> None:
    cluster, switch, clock = make()
    await switch.read()  # and acknowledge
    slow = cluster.get

    async def get(*arguments: Any, **more: Any) -> Any:
        clock.now += 0.9
        return await slow(*arguments, **more)

    cluster.get = get  # type: ignore[method-assign]
    await switch.read()
    clock.now += 0.5
    assert switch.acting_allowed()
    clock.now += 0.2
    assert not switch.acting_allowed(), "1.6 s after the read began it may be that old"
    assert "could not be read for 2 s" in switch.refusal()


async def test_while_the_server_is_away_acting_ends_in_time_and_comes_back() -> None:
    cluster, switch, clock = make()
    told: list[tuple[bool, str]] = []
    switch.on_change(lambda *now: told.append(now))
    await switch.read()
    cluster.trouble["get"] = [AWAY] * 4
    for _ in range(4):
        clock.now += 0.5
        await switch.read()
    assert not switch.acting_allowed()
    assert "the API server is away" in switch.refusal()
    await switch.read()
    assert switch.acting_allowed()
    assert told == [(True, "on"), (False, "unreadable"), (True, "on")]


async def test_each_state_is_acknowledged_once() -> None:
    cluster, switch, _ = make()
    for _ in range(3):
        await switch.read()
    assert observed(cluster.objects[REF]) == "on@2026-01-01T00:00:00Z"
    cluster.edit(REF, data=STOPPED)
    for _ in range(3):
        await switch.read()
    assert observed(cluster.objects[REF]) == "stopped@2026-01-02T00:00:00Z"
    assert cluster.calls.count("patch") == 2


@pytest.mark.parametrize("trouble", [Conflict("x"), Forbidden("x"), UnknownOutcome("x"), AWAY])
async def test_an_acknowledgement_that_fails_does_not_change_what_is_allowed(trouble: Exception) -> None:
    cluster, switch, _ = make(STOPPED)
    cluster.trouble["patch"] = [trouble]
    await switch.read()
    assert not switch.acting_allowed()
    await switch.read()
    assert observed(cluster.objects[REF]).startswith("stopped@")


async def test_reading_goes_on_after_the_unexpected() -> None:
    cluster, switch, _ = make()
    cluster.trouble["get"] = [KeyError("odd"), AWAY]
    task = asyncio.create_task(switch.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert switch.acting_allowed()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failing_callback_harms_no_other() -> None:
    _, switch, _ = make()
    told: list[bool] = []

    def bad(*_: object) -> None:
        raise RuntimeError("bad")

    switch.on_change(bad)
    switch.on_change(lambda allowed, _: told.append(allowed))
    await switch.read()
    assert told == [True]


async def throw(cluster: MemoryCluster, clock: Clock, *, acting: bool = False) -> Any:
    moment = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    return await set_switch(
        cluster,
        acting=acting,
        by="anna",
        reason="bad rollout",
        now=lambda: moment,
        monotonic=clock,
        sleep=clock.sleep,
    )


async def test_stopping_waits_for_the_operators_word() -> None:
    cluster, switch, clock = make()
    await switch.read()
    reading = asyncio.create_task(switch.run())
    done = await throw(cluster, clock)
    reading.cancel()
    assert done.acknowledged
    assert done.before.acting == "on"
    assert "acknowledged" in done.told()
    assert cluster.objects[REF]["data"] == {
        "acting": "stopped",
        "by": "anna",
        "reason": "bad rollout",
        "since": "2026-03-04T05:06:07.000089Z",
    }
    assert switch.refusal() == "stopped by anna: bad rollout"


async def test_without_an_operator_it_says_so_and_does_not_claim_more() -> None:
    cluster, _, clock = make()
    done = await throw(cluster, clock)
    assert not done.acknowledged
    assert 2.0 <= done.seconds < 2.3
    assert "No operator acknowledged it" in done.told()
    assert cluster.objects[REF]["data"]["acting"] == "stopped"


async def test_an_old_acknowledgement_is_not_taken_for_the_new_one() -> None:
    cluster, _, clock = make(STOPPED)
    cluster.edit(
        REF,
        metadata={
            **cluster.objects[REF]["metadata"],
            "annotations": {OBSERVED_ANNOTATION: f"stopped@{STOPPED['since']}"},
        },
    )
    assert not (await throw(cluster, clock)).acknowledged


async def test_a_missing_switch_is_made() -> None:
    cluster, _, clock = make()
    cluster.objects.clear()
    done = await throw(cluster, clock, acting=True)
    assert done.before is None
    assert cluster.objects[REF]["data"]["acting"] == "on"


async def test_who_writes_at_the_same_time_does_not_make_it_fail() -> None:
    cluster, _, clock = make()
    cluster.trouble["patch"] = [Conflict("x"), UnknownOutcome("x"), Conflict("x")]
    await throw(cluster, clock)
    assert cluster.objects[REF]["data"]["acting"] == "stopped"


async def test_a_lost_answer_of_what_was_written_is_not_written_again() -> None:
    cluster, _, clock = make()
    patch = cluster.patch

    async def lost(*arguments: Any, **more: Any) -> Any:
        await patch(*arguments, **more)
        raise UnknownOutcome("lost")

    cluster.patch = lost  # type: ignore[method-assign]
    done = await throw(cluster, clock)
    assert done.before.acting == "on"
    assert cluster.calls.count("patch") == 1


async def test_without_the_right_nothing_is_claimed() -> None:
    cluster, _, clock = make()
    cluster.trouble["patch"] = [Forbidden("anna may not patch configmaps")]
    with pytest.raises(Forbidden):
        await throw(cluster, clock)
    assert cluster.objects[REF]["data"] == ON
