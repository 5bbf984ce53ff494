"""Guards of a Workflow that past runs are replayed under: storms, change windows, breakers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import NOW, FakeCatalogue, WorkflowBuilder, a_story, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.content import content_hash
from kubernaut.core.run import Outcome, OutcomeKind
from kubernaut.history.facts import content_of
from kubernaut.history.records import RunRecord
from kubernaut.replaying.recorded import Result
from kubernaut.replaying.replay import Replay
from replayed import recorded, replayed
from unit.replaying.test_replay import a_check, guarded, said, shifted

STORM = {"runs": 3, "within": "10m", "cooldown": "1h"}


def verdicts(found: list[Result]) -> list[str]:
    return [one.verdict for one in found]


# Storms


def test_a_storm_refuses_those_after_it_until_its_cooldown_is_over() -> None:
    found = guarded(a_check().spec(), 0, 3, 6, 9, 40, 67, 90, storm=STORM, waitAtMost="1s")
    assert verdicts(found) == ["Same", "Same", "Same", "Otherwise", "Otherwise", "Same", "Same"]
    assert said(found[3])[1] == ["guards refuse it (Storm)"]


def test_runs_that_are_refused_are_part_of_no_storm() -> None:
    """Each counts as it would have gone: at 70 there were no three within ten minutes that had begun."""
    found = guarded(a_check().spec(), 0, 3, 6, 62, 64, 66, 70, storm=STORM, waitAtMost="1s")
    assert verdicts(found) == ["Same"] * 3 + ["Otherwise"] * 2 + ["Same"] * 2


def test_runs_far_enough_apart_are_no_storm() -> None:
    found = guarded(a_check().spec(), 0, 5, 10, 15, 20, storm={**STORM, "within": "9m"}, waitAtMost="1s")
    assert verdicts(found) == ["Same"] * 5


def test_a_storm_that_is_waited_for_has_the_run_begin_later() -> None:
    found = guarded(a_check().spec(), 0, 3, 6, 60, storm=STORM, waitAtMost="30m")
    assert said(found[3])[1][0] == "guards have it begin later (Storm)"


# Change windows: the first run begins at noon (UTC) on a Sunday


def window(**more: Any) -> list[dict[str, Any]]:
    return [{"name": "hours", **more}]


def test_outside_of_an_open_window_it_is_refused_and_within_it_is_not() -> None:
    open_ = window(start="13:00", end="14:00")
    found = guarded(a_check().spec(), 0, 59, 61, 115, 121, changeWindows=open_, waitAtMost="10s")
    assert verdicts(found) == ["Otherwise", "Otherwise", "Same", "Same", "Otherwise"]
    assert said(found[0])[1] == ["guards refuse it (OutsideChangeWindow)"]


def test_within_a_closed_window_it_is_refused() -> None:
    closed = window(type="Closed", start="13:00", end="14:00")
    found = guarded(a_check().spec(), 0, 61, 121, changeWindows=closed, waitAtMost="10s")
    assert verdicts(found) == ["Same", "Otherwise", "Same"]


def test_a_window_goes_by_the_clock_of_its_time_zone() -> None:
    # 13:00 in Berlin is noon in UTC.
    open_ = window(start="13:00", end="14:00", timeZone="Europe/Berlin")
    found = guarded(a_check().spec(), 0, 59, 61, changeWindows=open_, waitAtMost="10s")
    assert verdicts(found) == ["Same", "Same", "Otherwise"]


def test_a_window_on_other_days_is_not_open() -> None:
    found = guarded(a_check().spec(), 0, changeWindows=window(days=["Mon"]), waitAtMost="10s")
    assert said(found[0])[1] == ["guards refuse it (OutsideChangeWindow)"]


def test_a_window_that_opens_soon_has_the_run_begin_later() -> None:
    open_ = window(start="12:20", end="14:00")
    found = guarded(a_check().spec(), 0, 30, changeWindows=open_, waitAtMost="1h")
    assert said(found[0])[1][0] == "guards have it begin later (OutsideChangeWindow)"
    assert found[1].verdict == "Same"


# Breakers


def risky(*, fails: bool = True, **spec: Any) -> tuple[RunRecord, WorkflowSpec]:
    """Return a run that did something of high risk, and failed or not; and what it followed."""
    workflow: WorkflowBuilder = a_workflow(**spec).step("act", "fake_risky")
    story = a_story(workflow)
    story.decide()
    if fails:
        story.failed("act", message="it went wrong")
    else:
        story.done("act")
    assert story.run.status.phase.final
    return recorded(story.run, workflow.spec(), NOW), workflow.spec()


def broken(*fails: tuple[float, bool], **breaker: Any) -> list[Result]:
    """Replay runs that began at these minutes, and failed or not, under another breaker."""
    _, spec = risky()
    new = WorkflowSpec.from_wire({**spec.wire(), "guards": {"breaker": breaker}})
    replay = Replay("repair", "shop", new, FakeCatalogue())
    old = replay.content(content_hash(spec), content_of(spec))
    found = []
    for at, (minute, failed) in enumerate(fails):
        record, _ = risky(fails=failed)
        moved = shifted(replace(record, uid=f"run-{at}", name=f"run-{at}"), timedelta(minutes=minute))
        found.append(replay.one(moved, old))
    return found


def asks(found: list[Result]) -> list[bool]:
    return [any(one.kind == "AsksPerson" for one in result.differences) for result in found]


def test_a_breaker_that_opens_sooner_asks_a_person_from_then_on() -> None:
    found = broken((0, True), (5, True), (10, True), badRuns=2)
    assert asks(found) == [False, False, True]
    assert verdicts(found) == ["Same", "Same", "Otherwise"]


def test_runs_that_helped_open_no_breaker() -> None:
    assert asks(broken((0, True), (5, False), (10, False), (15, False), badRuns=2)) == [False] * 4


def test_bad_ends_that_are_too_long_ago_do_not_count() -> None:
    assert asks(broken((0, True), (90, True), (95, True), badRuns=2, within="1h")) == [False] * 3
    assert asks(broken((0, True), (50, True), (55, True), badRuns=2, within="1h")) == [False, False, True]


def test_a_run_that_would_have_been_asked_is_not_counted_as_if_it_had_ended_badly_for_sure() -> None:
    found = broken((0, True), (5, True), (10, True), (15, True), badRuns=2)
    assert asks(found)[2]
    assert found[2].would is None


# What is asked before requests


@pytest.mark.parametrize(
    ("reason", "message", "guards", "name"),
    [
        (Reason.KEPT_BY_ANOTHER, "kept", {"gitOps": "Act"}, "gitOps"),
        (Reason.PROPOSED, "proposed", {"gitOps": "PauseSync"}, "gitOps"),
        (Reason.UNDONE_BY_ANOTHER, "undone", {"oscillation": {"cooldown": "1m"}}, "oscillation"),
        (Reason.TOO_FEW_HEALTHY, "too few", {"maxUnavailablePercent": 90}, "maxUnavailablePercent"),
        (Reason.PROTECTED, "protected", {"protectedLabels": []}, "protectedLabels"),
        (Reason.PRECONDITION_FAILED, "(respectBudgets of x)", {"respectBudgets": False}, "respectBudgets"),
        (None, "Application argocd/shop may set back spec.replicas", {"gitOps": "Act"}, "gitOps"),
        (None, "the sync of Application argocd/shop is paused until then", {"gitOps": "Act"}, "gitOps"),
    ],
)
def test_what_a_guard_had_its_say_about_is_not_known_where_that_guard_is_declared_otherwise(
    reason: Reason | None, message: str, guards: dict[str, Any], name: str
) -> None:
    declared: dict[str, Any] = {
        "gitOps": "Refuse",
        "maxUnavailablePercent": 50,
        "respectBudgets": True,
        "protectedLabels": [{"key": "tier"}],
    }
    old = a_workflow().step("only").set(guards=declared)
    story = a_story(old)
    story.decide()
    if reason is None:
        story.end("only", Outcome(OutcomeKind.DONE, message, None, True, ("replicas: 1 -> 2",)))
    else:
        story.failed("only", reason, message)
    record = recorded(story.run, old.spec(), NOW)
    other = a_workflow().step("only").set(guards={**declared, **guards})
    found = replayed(record, old.spec(), other.spec())
    assert found.verdict == "Unknown"
    assert found.unknown == f"what step only would have come to with another {name}"
    alike = a_workflow().step("only").set(guards={**declared, "waitAtMost": "5m"})
    assert replayed(record, old.spec(), alike.spec()).verdict == "Same"


def test_what_no_guard_had_its_say_about_is_the_same_whatever_is_declared() -> None:
    old = a_workflow().step("only")
    story = a_story(old)
    story.decide()
    story.done("only")
    record = recorded(story.run, old.spec(), NOW)
    other = a_workflow().step("only").set(guards={"gitOps": "Act", "oscillation": {"cooldown": "1m"}})
    assert replayed(record, old.spec(), other.spec()).verdict == "Same"
