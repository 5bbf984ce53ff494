"""What a person sees: the views at a fixed width."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kubernaut.api.guards import Guards
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.cli.errors import Exit
from kubernaut.cli.outcome import exit_code
from kubernaut.cli.outline import rows
from kubernaut.cli.times import span
from kubernaut.cli.views import patterns, progress, runs, why
from kubernaut.cli.views import run as run_view
from kubernaut.cli.views.guards import declared
from unit.cli.samples import NOW, REFUSED, REPAIRED, RESOLVED, pattern, rendered, run, spec


def test_runs_are_listed_with_the_columns_a_person_wants() -> None:
    text = rendered(runs.listing([run(REPAIRED), run()], NOW))
    assert text.splitlines() == [
        "NAME               PHASE       PROGRESS   TARGET                VERDICT      AGE",
        "crash-loop-abcde   Succeeded   3/3        Deployment/checkout   Remediated   5m",
        "crash-loop-abcde   Pending     -          -                     -            5m",
    ]


def test_a_wide_listing_over_all_namespaces_says_who_and_why() -> None:
    text = rendered(runs.listing([run(REFUSED)], NOW, namespaces=True, wide=True), 200)
    head, line = text.splitlines()
    assert head.split() == [
        *("NAMESPACE", "NAME", "PHASE", "PROGRESS", "TARGET", "VERDICT", "AGE"),
        *("WORKFLOW", "TOOK", "BY", "REASON"),
    ]
    assert line.split()[0] == "shop"
    assert line.split()[-4:] == ["crash-loop", "119s", "ada", "MissingRight"]


def test_details_show_steps_that_have_not_begun_and_what_they_wait_for() -> None:
    found = run({**RESOLVED, "phase": "Running", "steps": [REPAIRED["steps"][0]]})
    text = rendered(run_view.details(found, rows(found, spec()), NOW))
    assert "Target      Deployment checkout (uid target-uid)" in text
    assert "Trigger     Manual by ada: page 4711" in text
    assert "✔   diagnose    collect_diagnostics   Succeeded   1     350ms" in text
    assert "· settle wait 1m30s Pending after diagnose" in " ".join(text.split())


def test_details_of_a_run_nobody_looked_at_say_so() -> None:
    assert "The operator has not looked at this run yet." in rendered(run_view.details(run(), [], NOW))


def test_a_held_run_shows_why_nothing_is_done_and_the_fix() -> None:
    held = {
        "type": "Reconciling",
        "status": "True",
        "reason": "Stopped",
        "message": "ada stopped all acting: storage maintenance.",
        "lastTransitionTime": "2026-03-01T12:04:00Z",
    }
    found = run({**RESOLVED, "phase": "Running", "reason": "Running", "conditions": [held]})
    text = rendered(run_view.summary(found, [], NOW))
    assert "Reason      Stopped (Human)" in text
    assert "ada stopped all acting: storage maintenance." in text
    assert "Run `kubernaut start` when acting is safe again." in text


def test_why_tells_the_trail_of_a_repair() -> None:
    found = run(REPAIRED)
    text = rendered(why.trail(found, rows(found, spec()), spec(), NOW), 120)
    for expected in (
        "Why shop/crash-loop-abcde  Succeeded, Remediated",
        "who   ada",
        "why   page 4711",
        "workflow    crash-loop version 1.2.0",
        "content     0123456789abcdef, kept as ControllerRevision crash-loop-0123456789",
        "target      apps/v1 Deployment checkout, uid target-uid",
        "account     ServiceAccount kubernaut-repair",
        "parameters  deployment=checkout",
        "1. ✔ diagnose  collect_diagnostics  Succeeded in 350ms",
        'outputs.symptoms  ["CrashLoopBackOff"]',
        "2. ✔ settle  wait 1m30s  Succeeded in 90s",
        "3. ✔ roll-back  rollback_deployment  Succeeded in 400ms",
        "when      12:01:31.500 → 12:01:31.900",
        "attempts  2",
        "changed   Deployment shop/checkout spec.template: revision 2 -> revision 1",
        "expected      target.status.readyReplicas == target.spec.replicas",
        "evidence      True: Every expectation held on the target after the act.",
        "verdict  Remediated",
        "kubectl get kwfe crash-loop-abcde -n shop -o yaml",
        "kubectl get controllerrevision crash-loop-0123456789 -n shop -o yaml",
        "kubectl get deployment checkout -n shop -o yaml",
    ):
        assert expected in text


def test_why_gives_category_and_fix_of_a_failure() -> None:
    found = run(REFUSED)
    text = rendered(why.trail(found, rows(found, spec()), spec(), NOW), 140)
    assert "reason   MissingRight (Permission)" in text
    assert "Grant the verb named to the Workflow's ServiceAccount (`kubernaut rbac` prints the Role)" in text
    assert "· settle  wait 1m30s  Pending" in text


def test_why_from_the_history_offers_no_command_for_an_object_that_is_gone() -> None:
    text = rendered(why.trail(run(REPAIRED), [], None, NOW, source="Read from the history."))
    assert "Read from the history." in text
    assert "kubectl get kwfe" not in text
    assert "kubectl get deployment checkout" in text


def test_why_shows_what_guards_say_and_how_to_answer_them() -> None:
    asked = {
        "name": "guards/approval",
        "phase": "Waiting",
        "attempt": 1,
        "startedAt": "2026-03-01T12:00:00Z",
        "reason": "ApprovalRequired",
        "message": "Step roll-back needs an approval: the breaker of it is open.",
    }
    held = {
        "type": "Reconciling",
        "status": "True",
        "reason": "ApprovalRequired",
        "message": "Step roll-back needs an approval: the breaker of it is open.",
        "lastTransitionTime": "2026-03-01T12:04:00Z",
    }
    found = run({**RESOLVED, "phase": "Running", "steps": [asked], "conditions": [held]})
    guards = Guards.model_validate({"cooldown": "10m", "maxPerHour": 4, "approval": "OnRisk"})
    declared = spec().replace(guards=guards)
    text = " ".join(rendered(why.trail(found, rows(found, declared), declared, NOW), 160).split())
    for expected in (
        "declared cooldown 10m",
        "declared maxPerHour 4",
        "declared approval OnRisk",
        "waits ApprovalRequired: Step roll-back needs an approval: the breaker of it is open.",
        "approval asked: Step roll-back needs an approval",
        "kubernaut approve crash-loop-abcde guards/approval -n shop (or deny)",
    ):
        assert expected in text


def test_why_says_which_guard_declined_a_run() -> None:
    found = run(
        {"phase": "Failed", "verdict": "Declined", "reason": "Cooldown", "message": "Cooldown 10m of it."}
    )
    text = rendered(why.trail(found, rows(found, spec()), spec(), NOW), 140)
    assert "declined  Cooldown: Cooldown 10m of it." in text


HOSTILE = "[red]\x1b[2J\x1b]0;owned\x07 [/nonsense] \u202egnp.exe \x9b31m"


@pytest.mark.parametrize("view", ["status", "why", "watch", "lines"])
def test_messages_of_the_cluster_can_neither_style_nor_steer_the_terminal(view: str) -> None:
    steps = [{**REFUSED["steps"][1], "message": HOSTILE, "changed": [HOSTILE], "outputs": {"logs": HOSTILE}}]
    found = run(
        {**REFUSED, "message": HOSTILE, "steps": steps}, trigger={"type": "Manual", "reason": HOSTILE}
    )
    seen = rows(found, None)
    made: dict[str, Any] = {
        "status": lambda: rendered(run_view.details(found, seen, NOW), 300),
        "why": lambda: rendered(why.trail(found, seen, None, NOW), 300),
        "watch": lambda: rendered(progress.live(found, seen, NOW), 300),
        "lines": lambda: "\n".join(
            rendered(line, 900) for line in progress.changes(None, [], found, seen, NOW)
        ),
    }
    text = made[view]()
    assert "[red]\\x1b[2J\\x1b]0;owned\\x07 [/nonsense] \\u202egnp.exe \\x9b31m" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e")


def test_watching_prints_a_line_for_what_changed_and_nothing_else() -> None:
    first = run({**RESOLVED, "phase": "Running", "steps": [{**REPAIRED["steps"][0], "phase": "Running"}]})
    later = run({**RESOLVED, "phase": "Running", "progress": "1/3", "steps": [REPAIRED["steps"][0]]})
    before, after = rows(first, spec()), rows(later, spec())
    lines = [rendered(line) for line in progress.changes(first, before, later, after, NOW)]
    assert lines == ["12:05:00.000  step diagnose: Succeeded  collect_diagnostics  350ms"]
    assert progress.changes(later, after, later, after, NOW) == []


def test_the_first_line_says_that_nobody_has_looked_yet() -> None:
    found = run()
    lines = [rendered(line) for line in progress.changes(None, [], found, rows(found, spec()), NOW)]
    assert lines == [
        "12:05:00.000  run crash-loop-abcde: Pending  0/3  The operator has not looked at this run yet."
    ]


def test_a_live_view_shows_progress_and_at_the_end_the_verdict() -> None:
    found = run(REPAIRED)
    text = rendered(progress.live(found, rows(found, spec()), NOW))
    assert text.splitlines()[0].split("━")[0].split() == ["shop/crash-loop-abcde", "Succeeded"]
    assert "3/3" in text.splitlines()[0]
    assert text.splitlines()[-1] == "Verdict  Remediated"


def test_patterns_are_listed_with_interval_and_most_runs_first() -> None:
    few: DiscoveredPattern = pattern(support=3, success=None, recommended=None)
    text = rendered(patterns.listing([few, pattern()], NOW), 160).splitlines()
    assert "14     92% (11/12, 95% interval 65-99%)   crash-loop    5m" in text[1]
    assert "[pinned] CrashLoopBackOff of Deployments, exit code 3" in text[1]
    assert text[2].split()[:4] == ["crash-loop-backoff", "3", "-", "-"]


def test_a_pattern_in_detail_names_exemplars_quality_and_recommendation() -> None:
    text = rendered(patterns.details(pattern(), NOW), 140)
    for expected in (
        "kubernaut-system/crash-loop-backoff version 3",
        "crash-loop: 92% (11/12, 95% interval 65-99%) in 12 runs, median 8.2 s",
        "membership 0.93, silhouette 0.71",
        "hdbscan (min_cluster_size=4)",
        "symptom=CrashLoopBackOff   100%   10%",
        "shop        crash-loop-abcde   Remediated   run-uid",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"phase": "Succeeded", "verdict": "Remediated"}, Exit.OK),
        ({"phase": "Succeeded", "verdict": "NoActionRequired"}, Exit.OK),
        ({"phase": "Succeeded", "verdict": "Inconclusive"}, Exit.OK),
        ({"phase": "Succeeded", "verdict": "NotFixed"}, Exit.RUN_FAILED),
        ({"phase": "Failed", "verdict": "RolledBack"}, Exit.RUN_FAILED),
        ({"phase": "Cancelled", "verdict": "Declined"}, Exit.RUN_FAILED),
        (None, Exit.RUN_FAILED),
    ],
)
def test_exit_code_of_a_run_follows_phase_and_verdict(status: dict[str, Any] | None, code: Exit) -> None:
    assert exit_code(run(status)) is code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.35, "350ms"), (4.25, "4.2s"), (59, "59s"), (119, "119s"), (310, "5m10s"), (300, "5m")),
        *((3599, "59m"), (4 * 3600, "4h"), (50 * 3600, "2d"), (-3, "0ms")),
    ],
)
def test_durations_read_like_kubectl(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


def test_a_proposal_is_shown_as_it_is_to_be_copied_and_once() -> None:
    manifest = "apiVersion: apps/v1\nspec:\n  replicas: 3\n"
    outputs = {"proposal": manifest, "owner": "Application argocd/shop", "object": "Deployment shop/web"}
    step = {
        "name": "grow",
        "phase": "Failed",
        "reason": "Proposed",
        "message": "not sent",
        "outputs": outputs,
    }
    found = run({**RESOLVED, "phase": "Failed", "verdict": "Declined", "reason": "Proposed", "steps": [step]})
    text = rendered(why.trail(found, rows(found, spec()), spec(), NOW), 160)
    assert "Proposed, to be put into Git" in text
    assert "grow: for Application argocd/shop, which has Deployment shop/web" in text
    assert "    spec:\n      replicas: 3" in "\n".join(line.rstrip() for line in text.splitlines())
    assert text.count("replicas: 3") == 1


def test_what_a_workflow_says_of_owners_is_shown() -> None:

    given = Guards.model_validate(
        {
            "gitOps": "PauseSync",
            "pauseSync": {"expiresAfter": "30m", "resume": "AtRunEnd"},
            "oscillation": {"within": "5m", "cooldown": "2h"},
        }
    )
    assert declared(given) == [
        "gitOps PauseSync",
        "pauseSync 30m, resumed AtRunEnd",
        "oscillation: undone within 5m, then left alone for 2h",
    ]
