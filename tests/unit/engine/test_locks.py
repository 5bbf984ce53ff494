"""Locks on targets: one run at a time, and nothing leaks."""

from __future__ import annotations

from kubernaut.engine.keys import RunKey
from kubernaut.engine.locks import TargetLocks

A, B, C = RunKey("shop", "a"), RunKey("shop", "b"), RunKey("shop", "c")


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


def test_releasing_wakes_those_who_wait_and_the_first_to_come_gets_it() -> None:
    woken: list[RunKey] = []
    locks = TargetLocks(woken.append)
    locks.take("uid", A)
    locks.take("uid", B)
    locks.take("uid", C)
    locks.release(A)
    assert woken == [B, C]
    assert locks.take("uid", C) is None
    assert locks.take("uid", B) == C


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
