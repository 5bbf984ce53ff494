"""Who goes first: priorities, turns of namespaces, and what may not be overtaken."""

from __future__ import annotations

from kubernaut.core.scheduling import AGED_TURN, FairOrder, Request, grants

ONE = {"drain": 1}


def ask(
    name: str, namespace: str = "a", priority: int = 0, since: int = 0, drain: int = 1, **more: int
) -> Request:
    return Request(name, namespace, priority, since, tuple(sorted({"drain": drain, **more}.items())))


def names(granted: list[Request]) -> list[str]:
    return [one.holder for one in granted]


def test_a_namespace_with_a_thousand_keys_does_not_hold_up_anothers_single_one() -> None:
    order = FairOrder[str]()
    for number in range(1000):
        order.add(f"many/{number}", 0, "many")
    order.add("one/0", 0, "one")
    assert [order.take()[0] for _ in range(3)] == ["many/0", "one/0", "many/1"]


def test_every_eighth_turn_is_for_the_priority_that_was_passed_over_for_longest() -> None:
    order = FairOrder[str]()
    order.add("low", -1, "a")
    for number in range(50):
        order.add(f"high-{number}", 5, "a")
    came = [order.take()[0] for _ in range(AGED_TURN)]
    assert came == [f"high-{number}" for number in range(AGED_TURN - 1)] + ["low"]


def test_who_waits_longest_gets_it_among_equals() -> None:
    assert names(grants([ask("late", since=2), ask("early", since=1)], ONE, ONE, {}, {})) == ["early"]


def test_higher_priority_goes_first() -> None:
    assert names(grants([ask("low", since=1), ask("high", priority=1, since=2)], ONE, ONE, {}, {})) == [
        "high"
    ]


def test_the_namespace_that_holds_less_goes_first() -> None:
    waiting = [ask("a", "a", since=1), ask("b", "b", since=2)]
    assert names(grants(waiting, ONE, {"drain": 2}, {"a": 1}, {})) == ["b"]


def test_the_namespace_whose_last_turn_is_longer_ago_goes_first() -> None:
    waiting = [ask("a", "a", since=1), ask("b", "b", since=2), ask("c", "c", since=3)]
    assert names(grants(waiting, ONE, ONE, {}, {"a": 7, "b": 5, "c": 6})) == ["b"]
    assert names(grants(waiting, ONE, ONE, {}, {"a": 7, "b": 5})) == ["c"]


def test_namespaces_alternate_within_one_round_of_grants() -> None:
    waiting = [ask(f"a{n}", "a", since=n) for n in range(3)] + [ask("b0", "b", since=9)]
    assert names(grants(waiting, {"drain": 3}, {"drain": 3}, {}, {})) == ["a0", "b0", "a1"]


def test_a_request_for_much_is_not_overtaken_by_later_ones_for_little() -> None:
    waiting = [ask("much", since=1, drain=2), ask("little", since=2)]
    assert names(grants(waiting, ONE, {"drain": 2}, {}, {})) == []


def test_who_waits_for_one_thing_is_not_overtaken_on_the_other_it_needs() -> None:
    waiting = [ask("both", since=1, db=1), ask("drain-only", since=2)]
    capacity = {"drain": 1, "db": 1}
    assert names(grants(waiting, {"drain": 1, "db": 0}, capacity, {}, {})) == []


def test_a_request_for_more_than_there_is_blocks_nobody() -> None:
    waiting = [ask("never", since=1, drain=9), ask("now", since=2)]
    assert names(grants(waiting, ONE, ONE, {}, {})) == ["now"]
