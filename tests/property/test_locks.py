"""Locks on targets in any order of taking, sharing, releasing and forgetting: exclusive, and never leaked."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kubernaut.engine.keys import RunKey
from kubernaut.engine.locks import TargetLocks

RUNS = [RunKey("shop", name) for name in "abcdef"]
runs, targets = st.sampled_from(RUNS), st.sampled_from("xyz")


class Locks(RuleBasedStateMachine):
    """Runs come, share, wait, are woken, end and are forgotten; what they hold is noted beside."""

    def __init__(self) -> None:
        super().__init__()
        self.woken: set[RunKey] = set()
        self.locks = TargetLocks(self.woken.add)
        self.held: dict[RunKey, str] = {}
        self.waits: dict[RunKey, str] = {}

    def _holders(self, target: str) -> set[RunKey]:
        return {run for run, held in self.held.items() if held == target}

    @rule(run=runs, uid=targets, above=st.sets(runs, max_size=2), priority=st.integers(0, 2))
    def take(self, run: RunKey, uid: str, above: set[RunKey], priority: int) -> None:
        above -= {run}
        before = self._holders(uid) - {run}
        first = self.locks.take(uid, run, sharing_with=above, priority=priority)
        self.woken.discard(run)
        if self.held.get(run) == uid:
            assert first is None
            return
        self.held.pop(run, None)
        self.waits.pop(run, None)
        if first is None:
            assert not before or before & above
            self.held[run] = uid
        else:
            assert not before & above
            assert first in before or (not before and first != run)
            self.waits[run] = uid

    @rule(run=runs)
    def release(self, run: RunKey) -> None:
        self.locks.release(run)
        self.held.pop(run, None)
        self.waits.pop(run, None)

    @rule()
    def restart(self) -> None:
        """All that is stored is taken up by a new process; those who waited come again."""
        self.woken.clear()
        self.locks = TargetLocks(self.woken.add)
        for run, target in self.held.items():
            self.locks.hold(target, run)
        for run, target in list(self.waits.items()):
            if self.locks.take(target, run) is None:
                assert not self._holders(target)
                del self.waits[run]
                self.held[run] = target

    @invariant()
    def a_free_target_has_woken_somebody_who_waits_for_it(self) -> None:
        for target in "xyz":
            waiting = {run for run, waits in self.waits.items() if waits == target}
            if waiting and not self._holders(target):
                assert waiting & self.woken, f"{target} is free and {waiting} were not woken"

    @invariant()
    def what_is_told_is_what_is_so(self) -> None:
        assert len(self.locks) == len(set(self.held.values()))
        assert self.locks.waiting == len(self.waits)

    def teardown(self) -> None:
        for run in RUNS:
            self.locks.release(run)
        assert (len(self.locks), self.locks.waiting) == (0, 0)
        assert not self.locks._targets
        assert not self.locks._held


TestLocks = Locks.TestCase
TestLocks.settings = settings(max_examples=100, stateful_step_count=40)
