"""The gate: acting is allowed only while it is known to be allowed."""

from __future__ import annotations

from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.engine.holds import Gate
from kubernaut.metrics import REGISTRY


class FakeSwitch:
    def __init__(self) -> None:
        self.on = True

    def acting_allowed(self) -> bool:
        return self.on

    def refusal(self) -> str:
        return "stopped by ann: too noisy"


def stopped(reason: Reason) -> float | None:
    return REGISTRY.get_sample_value("kubernaut_acting_stopped", {"reason": reason.value})


def test_policies_that_were_never_checked_hold_everything() -> None:
    hold = Gate(FakeSwitch()).hold()
    assert hold is not None
    assert hold.reason is Reason.POLICIES_MISSING


def test_with_switch_on_and_policies_in_place_nothing_is_held() -> None:
    gate = Gate(FakeSwitch())
    gate.policies([])
    assert gate.hold() is None
    assert stopped(Reason.STOPPED) == 0


def test_a_stop_says_who_and_why_and_shows_in_the_metric() -> None:
    switch = FakeSwitch()
    gate = Gate(switch)
    gate.policies([])
    switch.on = False
    hold = gate.hold()
    assert hold is not None
    assert hold.reason is Reason.STOPPED
    assert "stopped by ann: too noisy" in hold.message
    assert stopped(Reason.STOPPED) == 1
    switch.on = True
    assert gate.hold() is None
    assert stopped(Reason.STOPPED) == 0


def test_a_missing_policy_is_named() -> None:
    gate = Gate(FakeSwitch())
    gate.policies(["ValidatingAdmissionPolicy run-status.kubernaut.io is missing"])
    hold = gate.hold()
    assert hold is not None
    assert "run-status.kubernaut.io is missing" in hold.message


def test_everybody_is_told_when_the_answer_changes_and_only_then() -> None:
    switch, told = FakeSwitch(), []
    gate = Gate(switch)
    look = gate.watcher(lambda: told.append(gate.hold()))
    look()
    gate.policies([])
    look()
    look()
    switch.on = False
    look()
    assert [hold.reason if hold else None for hold in told] == [
        Reason.POLICIES_MISSING,
        None,
        Reason.STOPPED,
    ]


class FakeFlags:
    def __init__(self) -> None:
        self.off: frozenset[Feature] = frozenset()

    def capacity(self, resource: str) -> int:
        return len(resource)


def test_without_flags_everything_is_on() -> None:
    gate = Gate(FakeSwitch())
    assert gate.off() == frozenset()
    assert gate.capacity("node-drain") == 1


def test_a_feature_that_is_switched_holds_nothing_back_but_everybody_is_told() -> None:
    flags, told = FakeFlags(), []
    gate = Gate(FakeSwitch(), flags)
    gate.policies([])
    look = gate.watcher(lambda: told.append(gate.off()))
    look()
    flags.off = frozenset({Feature.ROLLBACK})
    look()
    look()
    assert gate.hold() is None
    assert not gate.on(Feature.ROLLBACK)
    assert gate.on(Feature.EVENTS)
    assert told == [frozenset(), {Feature.ROLLBACK}]
    assert gate.capacity("abc") == 3
