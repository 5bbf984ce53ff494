"""Two replicas that both believe everything is theirs exceed no capacity, leak nothing and leave nobody stuck."""

from __future__ import annotations

import asyncio

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.engine.leases import LeaseServer
from unit.engine.test_capacities import Replica, working
from virtual_time import IDLE_TURNS

CAPACITY = {"drain": 2, "db": 1}
uses = st.fixed_dictionaries({}, optional={"drain": st.integers(1, 2), "db": st.just(1)}).filter(bool)
moves = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from("abcdef"),
        st.sampled_from(["ask", "end", "forget", "wait", "crash"]),
        uses,
    ),
    max_size=40,
)


async def play(moves: list[tuple[int, str, str, dict[str, int]]], losses: list[bool]) -> None:
    server = LeaseServer()
    server.losses = losses
    replicas = [Replica(server, **CAPACITY) for _ in range(2)]
    asked: list[dict[str, dict[str, int]]] = [{}, {}]
    live = [working(replica) for replica in replicas]
    for one in live:
        await one.__aenter__()
    over: set[str] = set()
    for number, (index, name, move, wanted) in enumerate(moves):
        replica, uid = replicas[index], f"{name}{index}"
        if move == "ask" and uid not in over:
            asked[index][uid] = wanted
            replica.want(uid, wanted)
        elif move == "end" and asked[index].pop(uid, None) is not None:
            over.add(uid)
            for other in replicas:
                other.gone.add(uid)
            replica.end(uid)
        elif move == "wait":
            await asyncio.sleep(0.001 if number % 2 else 3)
        elif move == "crash":
            await live[index].__aexit__(None, None, None)
            replicas[index] = replica = Replica(server, **CAPACITY)
            replica.gone |= over
            live[index] = working(replica)
            await live[index].__aenter__()
            for uid, wanted in asked[index].items():
                replica.want(uid, wanted)
    # From now on everybody who is served ends, so everybody has to be served.
    for _ in range(60):
        await asyncio.sleep(3)
        for replica, waiting in zip(replicas, asked, strict=True):
            for uid, wanted in list(waiting.items()):
                if replica.want(uid, wanted):
                    del waiting[uid]
                    for other in replicas:
                        other.gone.add(uid)
                    replica.end(uid)
        if not any(asked) and not server.holders():
            break
    for one in live:
        await one.__aexit__(None, None, None)
    assert asked == [{}, {}], "somebody was never served"
    assert server.holders() == {}, "a unit was leaked"
    assert all(server.most.get(name, 0) <= most for name, most in CAPACITY.items())


@settings(max_examples=60)
@given(moves, st.lists(st.booleans(), max_size=10))
def test_two_replicas_never_exceed_a_capacity_leak_nothing_and_serve_everybody(
    moves: list[tuple[int, str, str, dict[str, int]]], losses: list[bool]
) -> None:
    loop = looptime.new_event_loop(noop_cycles=IDLE_TURNS)
    try:
        loop.run_until_complete(play(moves, losses))
    finally:
        loop.close()
