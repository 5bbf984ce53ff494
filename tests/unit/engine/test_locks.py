"""Locks on targets: one run at a time, and nothing leaks."""

from __future__ import annotations

from datetime import UTC, datetime

from kubernaut.engine.keys import RunKey
from kubernaut.engine.locks import TargetLocks

A, B, C, D = (RunKey("shop", name) for name in "abcd")


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)


def test_the_second_run_on_a_target_is_told_who_holds_it() -> None:
    locks = TargetLocks(lambda _: None)
    assert locks.take("uid", A) is None
    assert locks.take("uid", B) == A
    assert locks.take("other", C) is None
    assert len(locks) == 2


def test_taking_again_what_one_holds_is_fine() -> None:
    locks = TargetLocks(lambda _: None)
    assert locks.take("uid", A) is None
    assert locks.take("uid", A) is None
    assert len(locks) == 1


def test_releasing_wakes_the_first_who_waits_and_nobody_overtakes_it() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("uid", A)
    locks.take("uid", B)
    locks.take("uid", C)
    locks.release(A)
    assert woken == [B]
    assert locks.take("uid", C) == B
    assert locks.take("uid", B) is None
    assert locks.take("uid", C) == B
    assert locks.waiting == 1


def test_higher_priority_goes_first_and_among_equals_who_was_created_first() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("uid", A)
    locks.take("uid", B, created=at(2))
    locks.take("uid", C, created=at(1))
    locks.take("uid", D, created=at(3), priority=5)
    for run in (A, D, C):
        locks.release(run)
        locks.take("uid", woken[-1])
    assert woken == [D, C, B]


def test_who_has_its_turn_and_gives_it_up_passes_it_on() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    for run in (A, B, C):
        locks.take("uid", run)
    locks.release(A)
    locks.release(B)
    assert woken == [B, C]
    assert locks.take("uid", C) is None


def test_a_run_shares_the_lock_of_a_run_above_it_and_the_target_is_free_when_both_are_done() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("uid", A)
    locks.take("uid", D)
    assert locks.take("uid", B, sharing_with=[C, A]) is None
    locks.release(A)
    assert woken == []
    assert locks.take("uid", D) == B
    locks.release(B)
    assert woken == [D]


def test_what_is_stored_holds_whoever_else_does() -> None:
    locks = TargetLocks(lambda _: None)
    locks.hold("uid", A)
    locks.hold("uid", B)
    locks.release(A)
    assert locks.take("uid", C) == B


def test_a_run_whose_target_was_made_anew_lets_go_of_the_old_one() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("old", A)
    locks.take("old", B)
    assert locks.take("new", A) is None
    assert woken == [B]
    assert locks.take("new", B) == A
    assert len(locks) == 1


def test_those_who_wait_and_are_older_are_told() -> None:
    locks = TargetLocks(lambda _: None)
    locks.take("uid", A)
    locks.take("uid", B, created=at(1), priority=-1)
    locks.take("uid", C, created=at(2))
    locks.take("uid", D, created=at(2))
    assert (locks.older(B), locks.older(C), locks.older(D)) == ([], [B], [C, B])
    assert locks.holder(D) == A


def test_a_run_that_gives_up_waiting_is_not_woken() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("uid", A)
    locks.take("uid", B)
    locks.release(B)
    locks.release(A)
    assert woken == []
    assert len(locks) == 0


def test_releasing_what_one_does_not_hold_changes_nothing() -> None:
    locks = TargetLocks(lambda _: None)
    locks.take("uid", A)
    locks.release(B)
    assert locks.take("uid", C) == A
