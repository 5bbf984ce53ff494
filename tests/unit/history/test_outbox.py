"""Keys of finished runs wait in order, each once, bounded."""

from __future__ import annotations

from kubernaut.history.outbox import Outbox
from kubernaut.history.records import RunKey


def key(name: str) -> RunKey:
    return RunKey(name, "shop", name)


def names(keys: list[RunKey]) -> str:
    return "".join(key.uid for key in keys)


def filled(text: str, most: int = 100) -> Outbox:
    outbox = Outbox(most)
    for name in text:
        outbox.offer(key(name))
    return outbox


def test_keys_leave_in_the_order_they_came_each_once() -> None:
    outbox = filled("abcab")
    assert len(outbox) == 3
    assert names(outbox.take(2)) == "ab"
    assert names(outbox.take(9)) == "c"
    assert outbox.take(1) == []


def test_keys_put_back_come_first_again() -> None:
    outbox = filled("abcd")
    taken = outbox.take(2)
    outbox.offer(key("e"))
    outbox.put_back(taken)
    assert names(outbox.take(9)) == "abcde"


def test_a_key_that_is_taken_still_needs_room_and_counts() -> None:
    outbox = filled("ab", most=2)
    taken = outbox.take(1)
    assert len(outbox) == 2
    assert outbox.waiting == 1
    assert not outbox.offer(key("c"))
    outbox.done(taken)
    assert outbox.offer(key("c"))


def test_a_known_key_is_accepted_though_there_is_no_room() -> None:
    assert filled("ab", most=2).offer(key("a"))


def test_a_key_offered_while_taken_waits_again() -> None:
    outbox = filled("a")
    taken = outbox.take(1)
    outbox.offer(key("a"))
    outbox.done(taken)
    assert names(outbox.take(1)) == "a"


def test_a_key_offered_while_taken_and_put_back_waits_once() -> None:
    outbox = filled("ab")
    taken = outbox.take(1)
    outbox.offer(key("a"))
    outbox.put_back(taken)
    assert names(outbox.take(9)) == "ab"


def test_the_oldest_key_is_the_one_that_came_first_also_while_it_is_written() -> None:
    now = [0.0]
    outbox = Outbox(9, lambda: now[0])
    assert outbox.oldest is None
    for name in "abc":
        now[0] += 1
        outbox.offer(key(name))
    taken = outbox.take(2)
    outbox.put_back(taken)
    assert outbox.oldest == 1
    taken = outbox.take(2)
    now[0] += 1
    outbox.offer(key("a"))
    assert outbox.oldest == 1
    outbox.done(taken)
    assert outbox.oldest == 3
    outbox.done(outbox.take(1))
    assert outbox.oldest == 4
    assert names(outbox.take(9)) == "a"
