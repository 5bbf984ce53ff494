"""Runs with branches, items, started runs and a thousand steps: nested, counted, and what to type."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.base import format_time
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.outline import rows, stages
from kubernaut.cli.seeing import joined
from kubernaut.cli.views import progress, why
from kubernaut.cli.views import run as run_view
from kubernaut.cli.views.expected import expected
from kubernaut.cli.visible import Gap, visible
from unit.cli.samples import NOW, RESOLVED, SPEC, rendered, run, spec

BEGUN = "2026-03-01T12:04:50Z"
NESTED: dict[str, Any] = {
    **SPEC,
    "lifecycle": "Draft",
    "onFailure": "Manual",
    "steps": [
        {"name": "look", "action": "collect_diagnostics"},
        {
            "name": "decide",
            "dependsOn": ["look"],
            "switch": {"cases": [{"name": "high", "when": "true", "template": "restart"}], "default": "tell"},
        },
        {"name": "each", "dependsOn": ["look"], "forEach": {"items": ["=x"], "template": "restart"}},
        {"name": "ask", "dependsOn": ["look"], "approval": {"message": "sure?", "mayOverride": ["replicas"]}},
        {"name": "sub", "dependsOn": ["look"], "workflow": {"name": "other"}},
    ],
    "templates": [
        {"name": "restart", "steps": [{"name": "go", "action": "restart_pod"}]},
        {"name": "tell", "steps": [{"name": "say", "action": "notify_only"}]},
    ],
    "finally": [{"name": "tidy", "action": "notify_only"}],
}
STEPS: list[dict[str, Any]] = [
    {"name": "look", "phase": "Succeeded", "attempt": 1},
    {"name": "decide", "phase": "Running", "branch": "high"},
    {"name": "decide/high/go", "phase": "Running", "attempt": 2},
    {"name": "each", "phase": "Running", "outputs": {"items": [{"name": "web-a", "uid": "1"}, "web-b"]}},
    {"name": "each/0/go", "phase": "Failed", "attempt": 1, "reason": "NotFound", "message": "no pod"},
    {"name": "ask", "phase": "Waiting", "startedAt": BEGUN},
    {"name": "sub", "phase": "Running", "intent": {"run": "child-1", "uid": "9"}, "progress": "1/4"},
]
LIVE: dict[str, Any] = {**RESOLVED, "phase": "Running", "progress": "1/9", "steps": STEPS}


def nested() -> WorkflowSpec:
    return WorkflowSpec.model_validate(NESTED)


def told(status: dict[str, Any], **changes: Any) -> str:
    found = run(status, **changes)
    return rendered(run_view.details(found, rows(found, nested()), NOW, nested()), 160)


def test_steps_stand_below_the_branch_and_the_item_they_belong_to() -> None:
    found = run(LIVE)
    assert [(row.depth, row.short, row.does) for row in rows(found, nested())] == [
        (0, "look", "collect_diagnostics"),
        (0, "decide", "switch: high of 2"),
        (1, "high/go", "restart_pod"),
        (0, "each", "for each of 2"),
        (1, "0/go", "restart_pod web-a"),
        (1, "1/go", "restart_pod web-b"),
        (0, "ask", "approval"),
        (0, "sub", "workflow other"),
        (0, "tidy", "notify_only"),
    ]


def test_stages_are_headed_with_what_they_count() -> None:
    lines = [line.split() for line in told(LIVE).splitlines()]
    assert ["stage", "1", "1/1", "done"] in lines
    assert ["stage", "2", "0/4", "done,", "3", "Running,", "1", "Waiting"] in lines
    assert ["finally", "0/1", "done,", "1", "Pending"] in lines


def test_a_stage_is_the_longest_way_to_a_step_also_in_a_very_long_chain() -> None:
    steps: list[dict[str, Any]] = [{"name": "s0", "action": "a"}]
    steps += [{"name": f"s{n}", "action": "a", "dependsOn": [f"s{n - 1}"]} for n in range(1, 1000)]
    spec = WorkflowSpec.model_validate({**SPEC, "steps": list(reversed(steps))})
    assert stages(spec.steps) == {f"s{n}": n + 1 for n in range(1000)}


def test_what_waits_for_a_person_is_told_with_the_command_that_answers() -> None:
    text = told(LIVE)
    assert "ask waits for an approval: sure? (counts as denied in 59m); you may set replicas" in text
    assert "kubernaut approve crash-loop-abcde ask -n shop   (or deny; --set NAME=VALUE)" in text
    given = {"approvals": [{"step": "ask", "decision": "Approve", "by": "ada"}]}
    assert "kubernaut approve" not in told(LIVE, control=given)


def test_a_suspended_run_names_the_steps_that_need_a_word_and_no_others() -> None:
    failed = {
        "name": "look",
        "phase": "Failed",
        "attempt": 2,
        "reason": "MissingRight",
        "message": "no right",
    }
    steps = [failed, {"name": "finally/tidy", "phase": "Failed"}, STEPS[4], STEPS[3]]
    suspended = {**LIVE, "phase": "Suspended", "reason": "NeedsPerson", "steps": steps}
    text = told(suspended)
    assert "look failed and a person has to say what becomes of it: no right" in text
    assert text.count("kubernaut remedy") == 2  # beside it the fix of the reason
    assert "kubernaut remedy crash-loop-abcde look retry -n shop   (or skip, fail, rollback)" in text
    said = {"interventions": [{"step": "look", "attempt": 2, "remedy": "Retry", "by": "ada"}]}
    assert "kubernaut remedy crash-loop-abcde" not in told(suspended, control=said)


def test_started_runs_show_their_steps_one_level_down() -> None:
    found, child = (
        run(LIVE),
        run({**RESOLVED, "phase": "Running", "steps": [{"name": "diagnose", "phase": "Running"}]}),
    )
    steps = joined(rows(found, nested()), {"child-1": (child, spec())})
    at = next(index for index, row in enumerate(steps) if row.name == "sub")
    assert [(row.depth, row.name, row.run) for row in steps[at + 1 : at + 3]] == [
        (1, "diagnose", "crash-loop-abcde"),
        (1, "settle", "crash-loop-abcde"),
    ]
    assert "run child-1 1/4" in rendered(progress.live(found, steps, NOW, nested()), 160)
    lines = [rendered(line, 200) for line in progress.changes(None, [], found, steps, NOW, nested())]
    assert "12:05:00.000  run crash-loop-abcde step diagnose: Running  collect_diagnostics" in lines
    assert lines[-1].strip().startswith("12:05:00.000    kubernaut approve crash-loop-abcde ask")


def test_a_dry_run_says_so_and_what_a_real_run_would_change() -> None:
    steps = [
        {"name": "look", "phase": "Succeeded", "reason": "DryRun", "changed": ["Deployment web: 1 -> 2"]}
    ]
    status = {**RESOLVED, "phase": "Succeeded", "verdict": "Inconclusive", "steps": steps}
    text = told(status, dryRun=True)
    assert "Dry run, nothing was changed. A real run would change:\n  look: Deployment web: 1 -> 2" in text
    found = run(status, dryRun=True)
    for view in (
        why.trail(found, rows(found, None), None, NOW),
        progress.live(found, rows(found, None), NOW),
    ):
        assert "A real run would change:" in rendered(view, 160)
    assert "dry run: the API server checks each change and stores none" in text
    assert "Dry run" not in told(status)


def test_relatives_outcome_outputs_and_lifecycle_are_told_by_status_and_why() -> None:
    status = {**LIVE, "phase": "Finalizing", "outcome": "Failed", "outputs": {"replicas": 3, "who": "ada"}}
    parent = {"name": "above", "uid": "7", "step": "sub", "depth": 1}
    found = run(status, parent=parent, retryFrom={"name": "earlier"})
    views = (
        run_view.details(found, rows(found, nested()), NOW, nested()),
        why.trail(found, rows(found, nested()), nested(), NOW),
    )
    for view in views:
        text = " ".join(rendered(view, 160).split())
        for expected_ in (
            "ends as Failed once the steps under finally are done",
            "run earlier, from where it failed",
            "run above, step sub",
            "run child-1 (step sub, 1/4)",
            "replicas 3",
            "Draft: only dry runs start",
        ):
            assert expected_ in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((40, 20, 75), "about 40 s left (20-75 s), from 57 runs"),
        ((-3, -20, 9), "any moment now (at most 9 s), from 57 runs"),
        ((-30, -50, -1), "takes longer than nine of ten earlier runs, from 57 runs"),
        ((600, 300, 1500), "about 10 min left (5-25 min), from 57 runs"),
        ((9000, -5, 18000), "about 2 h left (0-5 h), from 57 runs"),
    ],
)
def test_the_expected_end_is_told_with_its_interval(seconds: tuple[int, int, int], text: str) -> None:
    times = [format_time(NOW + timedelta(seconds=one)) for one in seconds]
    eta = {"expected": times[0], "earliest": times[1], "latest": times[2], "runs": 57}
    assert expected(run({**LIVE, "eta": eta}), NOW) == text
    assert expected(run({**LIVE, "phase": "Failed", "eta": eta}), NOW) == ""


def big() -> WorkflowSpec:
    steps = [
        {"name": f"s{n}", "action": "notify_only", "dependsOn": [f"s{n - 4}"] if n > 3 else []}
        for n in range(1000)
    ]
    return WorkflowSpec.model_validate({**SPEC, "steps": steps})


def test_a_thousand_steps_are_told_by_what_moves_and_by_counts() -> None:
    steps: list[dict[str, Any]] = [{"name": f"s{n}", "phase": "Succeeded"} for n in range(500)]
    steps += [{"name": "s500", "phase": "Failed", "message": "broken"}, {"name": "s501", "phase": "Running"}]
    found = run({**RESOLVED, "phase": "Running", "progress": "500/1000", "steps": steps})
    text = rendered(progress.live(found, rows(found, big()), NOW, big(), 12), 160)
    assert len(text.splitlines()) < 25
    assert "500/1000" in text
    assert "s500" in text
    assert "s501" in text
    assert "… 500 more: 500 Succeeded" in text
    assert "stages 1-125" in text
    gaps = [one for one in visible(rows(found, big()), 12) if isinstance(one, Gap)]
    shown = [one for one in visible(rows(found, big()), 12) if not isinstance(one, Gap)]
    assert sum(gap.phases.total() for gap in gaps) + len(shown) == 1000


def test_what_moves_is_shown_below_what_it_belongs_to() -> None:
    items = [f"web-{n}" for n in range(100)]
    steps: list[dict[str, Any]] = [{"name": "each", "phase": "Succeeded", "outputs": {"items": items}}]
    steps += [{"name": f"each/{n}/go", "phase": "Running" if n == 70 else "Succeeded"} for n in range(90)]
    found = run({**RESOLVED, "phase": "Running", "steps": steps})
    shown = [one.name for one in visible(rows(found, nested()), 6) if not isinstance(one, Gap)]
    assert shown == ["look", "decide", "each", "each/70/go", "each/90/go"]


def test_a_step_that_only_the_run_knows_stands_below_its_group() -> None:
    found = run({**LIVE, "steps": STEPS})
    assert [(row.depth, row.short) for row in rows(found, None)][1:3] == [(0, "decide"), (1, "high/go")]
