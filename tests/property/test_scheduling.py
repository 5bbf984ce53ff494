"""Who goes first: nobody is lost, nobody comes twice, nobody starves, and no more is granted than there is."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.core.scheduling import AGED_TURN, FairOrder, Request, grants

priorities = st.integers(-3, 3)
namespaces = st.sampled_from("abc")


@given(st.lists(st.tuples(priorities, namespaces) | st.none(), max_size=200))
def test_every_key_comes_out_once_and_namespaces_keep_their_order(
    moves: list[tuple[int, str] | None],
) -> None:
    order, inside, came = FairOrder[int](), {}, defaultdict(list)
    for number, move in enumerate(moves):
        if move is not None:
            inside[number] = move
            order.add(number, *move)
        elif inside:
            key, priority = order.take()
            assert inside[key][0] == priority
            came[inside.pop(key)].append(key)
        assert len(order) == len(inside)
    while inside:
        key, _ = order.take()
        came[inside.pop(key)].append(key)
    assert all(keys == sorted(keys) for keys in came.values())


@given(st.lists(st.tuples(priorities, namespaces), max_size=60), st.lists(priorities, max_size=400))
def test_no_priority_starves_however_much_of_others_comes(
    waiting: list[tuple[int, str]], coming: list[int]
) -> None:
    order = FairOrder[int]()
    for number, one in enumerate([(-4, "low"), *waiting]):
        order.add(number, *one)
    # At most eight priorities wait at any time.
    for turn in range(AGED_TURN * 8 + 1):
        order.add(1000 + turn, coming[turn % len(coming)] if coming else 3, "busy")
        if order.take()[0] == 0:
            return
    raise AssertionError("the lowest priority had no turn")


@given(st.lists(st.tuples(priorities, namespaces), min_size=1, max_size=6))
def test_before_the_aged_turn_higher_priorities_go_first(waiting: list[tuple[int, str]]) -> None:
    order = FairOrder[int]()
    for number, one in enumerate(waiting):
        order.add(number, *one)
    came = [order.take()[1] for _ in waiting]
    assert came == sorted(came, reverse=True)


uses = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 4), min_size=1).map(
    lambda found: tuple(sorted(found.items()))
)
requests = st.lists(st.tuples(namespaces, st.integers(0, 2), uses), max_size=20).map(
    lambda found: [
        Request(f"{n}/s", where, priority, n, use) for n, (where, priority, use) in enumerate(found)
    ]
)


@given(requests, st.fixed_dictionaries({name: st.integers(0, 5) for name in "xyz"}), st.data())
def test_grants_exceed_nothing_and_block_nobody_who_could_be_helped_first(
    waiting: list[Request], capacity: dict[str, int], data: st.DataObject
) -> None:
    free = {name: data.draw(st.integers(-1, most)) for name, most in capacity.items()}
    granted = grants(waiting, free, capacity, {}, {})
    used = Counter[str]()
    for one in granted:
        used.update(dict(one.uses))
    assert all(used[name] <= max(free[name], 0) for name in "xyz")
    assert len(granted) == len(set(granted))
    possible = [one for one in waiting if all(amount <= capacity[name] for name, amount in one.uses)]
    if possible and free == capacity:
        assert granted, "all is free, and somebody could be helped"
    left = {name: free[name] - used[name] for name in "xyz"}
    refused = [one for one in possible if one not in granted]
    if refused:
        # Of those left waiting the first of the highest priority really lacks something.
        top = [one for one in refused if one.priority == max(other.priority for other in refused)]
        assert any(any(left[n] < amount for n, amount in one.uses) for one in top)
