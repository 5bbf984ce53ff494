"""Runs that alerts start wait after runs that did not help, longer each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.reasons import Reason
from kubernaut.core.guards.counting import LONGEST_PAUSE, Past, ineffective
from kubernaut.core.guards.deciding import Subject, backing_off

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SUBJECT = Subject("me", "shop", "fix", "uid-web", "Deployment web", "shop")
BAD, GOOD = Verdict.NOT_FIXED, Verdict.REMEDIATED


def past(
    minutes: float, verdict: Verdict | None = BAD, *, workflow: str = "fix", namespace: str = "shop"
) -> Past:
    """Return a run that ended so many minutes ago."""
    ended = NOW - timedelta(minutes=minutes)
    return Past(
        f"uid-{minutes:g}",
        namespace,
        f"run-{minutes:g}",
        workflow,
        "uid-web",
        ended - timedelta(minutes=1),
        ended,
        RunPhase.FAILED,
        verdict,
        acted=True,
    )


@pytest.mark.parametrize(
    ("ended", "minutes"),
    [
        ([0.5], 1),
        ([0.5, 10], 2),
        ([0.5, 10, 20], 4),
        ([0.5, *range(10, 100, 10)], 60),
        ([0.5, *range(10, 1000, 10)], 60),
    ],
)
def test_the_pause_doubles_with_each_run_that_did_not_help(ended: list[float], minutes: float) -> None:
    found = ineffective([past(one) for one in ended], NOW)
    assert found is not None
    assert found[1:] == (len(ended), NOW - timedelta(minutes=0.5) + timedelta(minutes=minutes))
    assert found[2] - found[0].ended <= LONGEST_PAUSE if found[0].ended else False


def test_once_the_pause_is_over_the_next_begins() -> None:
    assert ineffective([past(1)], NOW) is None
    assert ineffective([past(1.5), past(10)], NOW) is not None
    assert ineffective([past(2), past(10)], NOW) is None


def test_a_run_that_helped_ends_the_row() -> None:
    assert ineffective([past(0.5, GOOD), past(2), past(3)], NOW) is None
    found = ineffective([past(0.5), past(2, GOOD), past(3)], NOW)
    assert found is not None
    assert found[1] == 1


def test_a_run_of_which_nothing_is_known_neither_ends_the_row_nor_counts() -> None:
    found = ineffective([past(0.5, Verdict.INCONCLUSIVE), past(0.7), past(0.9)], NOW)
    assert found is not None
    assert (found[0].name, found[1]) == ("run-0.7", 2)
    assert ineffective([past(0.5, Verdict.INCONCLUSIVE)], NOW) is None


def test_runs_that_go_on_or_were_declined_say_nothing() -> None:
    quiet = Past("u", "shop", "n", "fix", "uid-web", NOW, None)
    declined = Past("d", "shop", "d", "fix", "uid-web", NOW, NOW, RunPhase.FAILED, Verdict.DECLINED)
    found = ineffective([quiet, declined, past(0.5)], NOW)
    assert found is not None
    assert found[0].name == "run-0.5"


def test_only_runs_of_the_same_workflow_count_and_the_refusal_is_one_line() -> None:
    assert backing_off(SUBJECT, [past(0.5, workflow="other")], NOW) is None
    assert backing_off(SUBJECT, [past(0.5, namespace="other")], NOW) is None
    found = backing_off(SUBJECT, [past(0.5), past(9)], NOW)
    assert found is not None
    assert found.reason is Reason.BACKING_OFF
    assert found.message == (
        "Each of the last 2 runs of Workflow fix on Deployment web did not help (run run-0.5 ended at "
        "2026-03-04 11:59:30Z); the next that an alert starts waits until 2026-03-04 12:01:30Z."
    )
