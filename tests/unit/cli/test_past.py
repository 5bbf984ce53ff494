"""A run read from the history is told like one read from the cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubernaut.api.workflow import Metric
from kubernaut.cli.errors import CliError
from kubernaut.cli.past import as_run
from kubernaut.cli.views import why
from kubernaut.history.records import record_of
from unit.cli.samples import NOW, REPAIRED, rendered, run, spec


def test_the_history_gives_back_what_the_object_said() -> None:
    original = run(REPAIRED)
    again, steps = as_run(record_of(original, spec()))
    assert again.status is not None
    assert original.status is not None
    assert again.status.verdict == original.status.verdict
    assert again.status.target is not None
    assert again.status.target.uid == "target-uid"
    assert again.given() == {"deployment": "checkout"}
    assert [(row.name, row.does) for row in steps] == [
        ("diagnose", "collect_diagnostics"),
        ("settle", ""),
        ("roll-back", "rollback_deployment"),
    ]
    text = rendered(why.trail(again, steps, None, NOW, source="Read from the history."), 120)
    assert "changed   Deployment shop/checkout spec.template: revision 2 -> revision 1" in text
    assert "verdict  Remediated" in text


def test_a_run_that_never_began_has_a_past_too() -> None:
    record = record_of(run({"phase": "Failed", "reason": "WorkflowNotFound", "message": "no Workflow"}))
    again, steps = as_run(record)
    text = rendered(why.trail(again, steps, None, NOW, source="Read from the history."), 120)
    assert "No step has begun." in text
    assert "WorkflowNotFound (Configuration)" in text


def test_what_metrics_were_is_told_by_the_object_and_by_the_history() -> None:
    measured = [
        {"name": "error-rate", "state": "NotMet", "value": "0.31", "samples": 3},
        {"name": "up", "state": "Unknown", "reason": "MetricMissing", "samples": 0},
    ]
    metric = Metric(name="error-rate", query="rate(errors[1m])", expect="value < 0.05")
    declared = spec()
    assert declared.verify is not None
    declared = declared.replace(verify=declared.verify.replace(metrics=[metric]))
    original = run({**REPAIRED, "metrics": measured})
    again, steps = as_run(record_of(original, declared))
    for found in (original, again):
        text = " ".join(rendered(why.trail(found, steps, declared, NOW), 120).split())
        assert "metric error-rate: value < 0.05, where value is rate(errors[1m])" in text
        assert "measured error-rate: NotMet, 0.31 (3 samples)" in text
        assert "measured up: Unknown (0 samples), MetricMissing" in text


def test_a_run_that_an_alert_started_has_a_past_too() -> None:
    alert = {
        "name": "Down",
        "fingerprint": "0123",
        "startsAt": "2026-03-01T11:59:00Z",
        "incident": "abc",
        "episode": 1,
        "targetUid": "target-uid",
    }
    trigger = {"type": "Alert", "by": "alertmanager", "reason": "web is down", "alert": alert}
    again, steps = as_run(record_of(run(REPAIRED, trigger=trigger), spec()))
    text = rendered(why.trail(again, steps, None, NOW), 120)
    assert "what  Alert" in text
    assert "who   alertmanager" in text
    assert "why   web is down" in text
    assert again.wire()["spec"]["trigger"]["type"] == "Alert"


def test_the_history_tells_who_asked_and_that_nothing_was_meant_to_be_changed() -> None:
    original = run(REPAIRED, dryRun=True, retryFrom={"name": "crash-loop-before"})
    again, steps = as_run(record_of(original, spec()))
    text = rendered(why.trail(again, steps, None, NOW), 120)
    assert "who       ada" in text
    assert "why       page 4711" in text
    assert "retry of  run crash-loop-before, from where it failed" in text
    assert "Dry run, nothing was changed." in text
    assert "held since    2026-03-01 12:01:36Z" in text


def test_a_record_of_a_later_version_is_told_of() -> None:
    record = replace(record_of(run(REPAIRED), spec()), phase="Dreaming")
    with pytest.raises(CliError, match=r"(?s)crash-loop-abcde can't be read by this version.*phase"):
        as_run(record)
    with pytest.raises(CliError, match="Whim"):
        as_run(replace(record_of(run(REPAIRED), spec()), trigger="Whim"))
