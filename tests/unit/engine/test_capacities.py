"""Scarce resources: never more than there is, nothing leaked, nobody asks while waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from kubernaut.core.features import Feature
from kubernaut.core.run import Want
from kubernaut.engine.capacities import POLL, Capacities
from kubernaut.engine.keys import RunKey
from unit.engine.leases import LeaseServer

pytestmark = pytest.mark.looptime


class Replica:
    """Capacities of one replica, and what is known there of runs."""

    def __init__(self, server: LeaseServer, **capacity: int) -> None:
        self.woken: list[str] = []
        self.gone: set[str] = set()
        self.lost: set[str] = set()
        self.steps_over: set[tuple[str, str]] = set()
        self.off: frozenset[Feature] = frozenset()
        self.capacity = capacity
        self.made = Capacities(
            server.units(),
            lambda name: self.capacity.get(name, 1),
            lambda: self.off,
            lambda key: self.woken.append(key.name),
        )
        self.made.standing = self

    def ours(self, uid: str) -> bool:
        return uid not in self.lost

    def over(self, uid: str) -> bool:
        return uid in self.gone

    def step_over(self, uid: str, step: str) -> bool:
        return (uid, step) in self.steps_over

    def ask(
        self, name: str, step: str = "s", namespace: str = "a", priority: int = 0, **uses: int
    ) -> frozenset[str]:
        return self.want(name, uses or {"drain": 1}, step, namespace, priority)

    def want(
        self, name: str, uses: Mapping[str, int], step: str = "s", namespace: str = "a", priority: int = 0
    ) -> frozenset[str]:
        want = Want(step, tuple(sorted(uses.items())))
        return self.made.arrange(RunKey(namespace, name), name, priority, (want,))

    def end(self, name: str, namespace: str = "a") -> None:
        self.gone.add(name)
        self.made.release(RunKey(namespace, name), over=True)


@asynccontextmanager
async def working(*replicas: Replica) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(replica.made.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_of_two_gets_the_only_unit_and_the_other_when_it_is_given_back() -> None:
    server = LeaseServer()
    one = Replica(server)
    async with working(one):
        assert one.ask("x") == frozenset()
        await until(lambda: one.woken == ["x"])
        assert one.ask("x") == {"s"}
        one.ask("y")
        await asyncio.sleep(1)
        assert server.holders() == {"drain-0": "x/s"}
        one.made.arrange(RunKey("a", "x"), "x", 0, ())
        await until(lambda: one.woken == ["x", "y"])
        assert server.holders() == {"drain-0": "y/s"}


async def test_an_hour_of_waiting_costs_no_request_but_the_sweeps() -> None:
    server = LeaseServer()
    one = Replica(server)
    async with working(one):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        one.ask("y")
        await asyncio.sleep(1)
        server.requests.clear()
        await asyncio.sleep(3600)
        assert set(server.requests) == {"list"}
        assert len(server.requests) <= 6


async def test_what_another_replica_gives_back_is_found_within_one_poll_and_lists_are_bounded() -> None:
    server = LeaseServer()
    one, two = Replica(server), Replica(server)
    async with working(one, two):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        two.ask("y")
        await asyncio.sleep(10 * POLL)
        assert server.requests.count("list") <= 14
        one.end("x")
        await asyncio.sleep(POLL + 0.1)
        assert server.holders() == {"drain-0": "y/s"}
    assert server.most == {"drain": 1}


async def test_a_step_gets_all_it_wants_or_nothing() -> None:
    server = LeaseServer()
    one = Replica(server, drain=2, db=1)
    async with working(one):
        one.ask("x", drain=1, db=1)
        one.ask("y", drain=2, db=1)
        await asyncio.sleep(1)
        assert server.holders() == {"db-0": "x/s", "drain-0": "x/s"}
        one.end("x")
        await asyncio.sleep(1)
        assert server.holders() == {"db-0": "y/s", "drain-0": "y/s", "drain-1": "y/s"}


async def test_a_part_that_a_crash_left_behind_is_given_back_before_all_is_taken() -> None:
    server = LeaseServer()
    await server.units().create("drain", 0, "x/s")
    await server.units().create("drain", 1, "y/s")
    one = Replica(server, drain=2)
    async with working(one):
        one.ask("x", drain=2)
        one.ask("y", drain=2)
        await until(lambda: one.woken == ["x"])
        assert server.holders() == {"drain-0": "x/s", "drain-1": "x/s"}


async def test_after_a_restart_what_is_held_is_still_held_and_costs_no_write() -> None:
    server = LeaseServer()
    await server.units().create("drain", 0, "x/s")
    server.requests.clear()
    one = Replica(server)
    async with working(one):
        one.ask("y")
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        assert server.requests == ["list"]


async def test_units_of_a_run_that_is_over_or_whose_step_is_over_are_found_at_the_start() -> None:
    server = LeaseServer()
    await server.units().create("drain", 0, "x/s")
    await server.units().create("db", 0, "z/s")
    one = Replica(server)
    one.gone.add("x")
    one.steps_over.add(("z", "s"))
    async with working(one):
        await until(lambda: not server.holders())


async def test_units_of_a_run_that_turns_out_to_be_over_are_found_while_somebody_waits() -> None:
    server = LeaseServer()
    await server.units().create("drain", 0, "x/s")
    one = Replica(server)
    async with working(one):
        one.ask("y")
        await asyncio.sleep(15)
        one.gone.add("x")
        await asyncio.sleep(POLL + 0.1)
        assert server.holders() == {"drain-0": "y/s"}


async def test_a_unit_that_is_free_while_the_lease_has_lapsed_is_had_once_it_is_renewed() -> None:
    server = LeaseServer()
    one = Replica(server)
    async with working(one):
        one.lost.add("x")
        one.ask("x")
        await asyncio.sleep(3 * POLL)
        assert not server.holders()
        one.lost.clear()
        await asyncio.sleep(POLL + 0.1)
        assert server.holders() == {"drain-0": "x/s"}
        server.requests.clear()
        await asyncio.sleep(10 * POLL)
        assert server.requests == []


async def test_a_unit_whose_step_ended_as_the_lease_lapsed_is_given_back_once_it_is_renewed() -> None:
    server = LeaseServer()
    one = Replica(server)
    async with working(one):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        one.made.arrange(RunKey("a", "x"), "x", 0, ())
        one.lost.add("x")
        await asyncio.sleep(POLL)
        assert server.holders() == {"drain-0": "x/s"}
        one.lost.clear()
        await asyncio.sleep(POLL + 0.1)
        assert not server.holders()


async def test_a_run_that_goes_to_another_replica_keeps_what_it_holds() -> None:
    server = LeaseServer()
    one, two = Replica(server), Replica(server)
    async with working(one, two):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        one.made.release(RunKey("a", "x"))
        await asyncio.sleep(1)
        assert server.holders() == {"drain-0": "x/s"}
        two.ask("x")
        await until(lambda: two.ask("x") == {"s"})
        one.ask("y")
        two.end("x")
        await asyncio.sleep(2 * POLL + 0.1)
        assert server.holders() == {"drain-0": "y/s"}


async def test_a_replica_that_lost_a_run_without_knowing_gives_nothing_of_it_back() -> None:
    server = LeaseServer()
    one = Replica(server)
    async with working(one):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
        one.lost.add("x")
        one.made.arrange(RunKey("a", "x"), "x", 0, ())
        await asyncio.sleep(1)
        assert server.holders() == {"drain-0": "x/s"}


@pytest.mark.parametrize("losses", [[True], [True, True], [False, True, True]])
async def test_a_lost_answer_leaks_nothing(losses: list[bool]) -> None:
    server = LeaseServer()
    one = Replica(server, drain=2)
    server.losses = losses
    async with working(one):
        one.ask("x", drain=2)
        await until(lambda: one.ask("x", drain=2) == {"s"})
        assert set(server.holders().values()) == {"x/s"}
        one.end("x")
        await until(lambda: not server.holders())


async def test_a_run_that_ends_while_its_unit_is_being_taken_leaves_nothing() -> None:
    server = LeaseServer()
    one = Replica(server)
    server.losses = [True]
    async with working(one):
        one.ask("x")
        await asyncio.sleep(0.01)
        one.end("x")
        one.ask("y")
        await until(lambda: one.ask("y") == {"s"})
        assert server.holders() == {"drain-0": "y/s"}


async def test_a_capacity_that_is_raised_helps_who_waits_and_one_that_is_lowered_takes_nothing_away() -> None:
    server = LeaseServer()
    one = Replica(server, drain=2)
    async with working(one):
        for name in "xyz":
            one.ask(name)
        await asyncio.sleep(1)
        one.capacity = {"drain": 1}
        one.made.look()
        one.end("x")
        await asyncio.sleep(1)
        assert server.holders() == {"drain-1": "y/s"}
        one.capacity = {"drain": 2}
        one.made.look()
        await asyncio.sleep(1)
        assert server.holders() == {"drain-0": "z/s", "drain-1": "y/s"}


async def test_higher_priority_goes_first_unless_priorities_are_switched_off() -> None:
    for off, first in ((frozenset[Feature](), "high"), (frozenset({Feature.PRIORITIES}), "low")):
        server = LeaseServer()
        one = Replica(server)
        one.off = off
        one.ask("low")
        one.ask("high", priority=5)
        async with working(one):
            await until(lambda server=server: bool(server.holders()))  # type: ignore[misc]
            assert server.holders() == {"drain-0": f"{first}/s"}


async def test_namespaces_have_their_turns_of_a_single_unit() -> None:
    server = LeaseServer()
    one = Replica(server)
    served: list[str] = []
    async with working(one):
        for number in range(5):
            one.ask(f"many-{number}", namespace="many")
        one.ask("single", namespace="single")
        for _ in range(6):
            await until(lambda: bool(server.holders()))
            served.append(server.holders()["drain-0"].removesuffix("/s"))
            one.end(served[-1], served[-1].partition("-")[0])
            await until(lambda: server.holders().get("drain-0") != f"{served[-1]}/s")
    assert served[:3] == ["many-0", "single", "many-1"]
    assert len(served) == 6


async def test_an_api_server_that_is_away_at_first_is_asked_again() -> None:
    server = LeaseServer()
    real, broken = server.list, [True, True]

    async def flaky(*args: str, **options: str) -> list[dict[str, object]]:
        if broken:
            broken.pop()
            raise TimeoutError
        return await real(*args, **options)

    server.list = flaky  # type: ignore[method-assign]
    one = Replica(server)
    async with working(one):
        one.ask("x")
        await until(lambda: one.ask("x") == {"s"})
