"""What the audit log's acts are told to: steps, and runs that steps started."""

from __future__ import annotations

from collections import Counter
from typing import Any

from faults.oracle import Trial, effects_of
from faults.shapes import SHAPES
from faults.shapes.model import STARTED
from faults.witness import Act


def trial() -> Trial:
    (shape,) = (shape for shape in SHAPES if shape.name == "subflow")
    return Trial(shape, "web", "parent")


def started(after: int, uid: str, by: str = "parent") -> Act:
    return Act("workflowexecutions", f"run-{uid}", None, after, {}, (uid, by, "call"))


def marked(after: int, uid: str, step: str) -> Act:
    mark: dict[str, Any] = {step: {"undone": False}}
    return Act("deployments", "web", str(after - 1), after, {uid: mark})


def test_what_a_started_run_does_counts_for_the_run_that_started_it() -> None:
    acts = [marked(1, "parent", "before"), started(2, "child"), marked(3, "child", "grow")]
    assert effects_of(acts, [trial()]) == {
        "web": Counter({("before", "do"): 1, ("call", STARTED): 1, ("grow", "do"): 1})
    }


def test_a_run_that_is_started_twice_is_seen_with_all_that_both_do() -> None:
    acts = [started(1, "one"), started(2, "two"), marked(3, "one", "grow"), marked(4, "two", "grow")]
    assert effects_of(acts, [trial()])["web"] == Counter({("call", STARTED): 2, ("grow", "do"): 2})


def test_a_run_that_somebody_else_started_counts_for_nobody() -> None:
    assert effects_of([started(1, "child", by="other")], [trial()]) == {}
