"""What a run is remembered as."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.api.base import format_time
from kubernaut.api.execution import WorkflowExecution, WorkflowExecutionSpec
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.history.records import MAX_SYMPTOMS, RunKey, StepRecord, record_of

MOMENT = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
SPEC = WorkflowSpec.model_validate(
    {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "steps": [
            {"name": "diagnose", "action": "collect_diagnostics"},
            {"name": "settle", "wait": {"duration": "5s"}},
            {"name": "roll-back", "action": "rollback_deployment"},
        ],
    }
)


def a_run(**status: Any) -> WorkflowExecution:
    return WorkflowExecution.model_validate(
        {
            "metadata": {
                "name": "web-1",
                "namespace": "shop",
                "uid": "u-1",
                "resourceVersion": "812",
                "creationTimestamp": "2026-03-15T12:00:00Z",
            },
            "spec": {
                "workflowRef": {"name": "crash-loop"},
                "parameters": [{"name": "deployment", "value": "web"}],
            },
            **({"status": status} if status else {}),
        }
    )


def after(seconds: float) -> str:
    return format_time(MOMENT + timedelta(seconds=seconds))


FINISHED = {
    "phase": "Succeeded",
    "verdict": "Remediated",
    "startedAt": after(1),
    "finishedAt": after(9.5),
    "reason": "Completed",
    "message": "done",
    "workflow": {
        "name": "crash-loop",
        "uid": "w-1",
        "contentHash": "abc",
        "snapshot": "crash-loop-abc",
        "serviceAccountName": "repair",
    },
    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "t-1"},
    "steps": [
        {
            "name": "roll-back",
            "phase": "Succeeded",
            "attempt": 2,
            "startedAt": after(3),
            "finishedAt": after(4.5),
            "changed": ["Deployment shop/web: 2 -> 1"],
        },
        {
            "name": "diagnose",
            "phase": "Succeeded",
            "attempt": 1,
            "outputs": {"symptoms": ["OOMKilled", "CrashLoopBackOff"], "restarts": 4},
        },
        {"name": "settle", "phase": "Failed", "reason": "StepTimeout", "message": "too late"},
    ],
}


def test_a_finished_run_is_remembered_in_full() -> None:
    record = record_of(a_run(**FINISHED), SPEC)
    assert record.key == RunKey("u-1", "shop", "web-1")
    assert (record.workflow, record.content_hash, record.service_account) == ("crash-loop", "abc", "repair")
    assert (record.trigger, record.phase, record.verdict) == ("Manual", "Succeeded", "Remediated")
    assert (record.target_kind, record.target_name, record.target_uid) == ("Deployment", "web", "t-1")
    assert record.created_at == MOMENT
    assert record.duration_seconds == 8.5
    assert (record.reason, record.message, record.revision) == ("Completed", "done", 812)
    assert record.parameters == {"deployment": "web"}
    assert record.symptoms == ("CrashLoopBackOff", "OOMKilled")


def test_steps_come_in_the_order_of_the_workflow_with_their_actions() -> None:
    steps = record_of(a_run(**FINISHED), SPEC).steps
    assert [(step.name, step.position, step.action) for step in steps] == [
        ("diagnose", 0, "collect_diagnostics"),
        ("settle", 1, None),
        ("roll-back", 2, "rollback_deployment"),
    ]
    assert steps[2] == StepRecord(
        name="roll-back",
        position=2,
        phase="Succeeded",
        action="rollback_deployment",
        attempts=2,
        started_at=MOMENT + timedelta(seconds=3),
        finished_at=MOMENT + timedelta(seconds=4.5),
        duration_seconds=1.5,
        changed=("Deployment shop/web: 2 -> 1",),
    )
    assert (steps[1].reason, steps[1].message) == ("StepTimeout", "too late")


def test_without_the_snapshot_the_actions_stay_unknown_and_positions_differ() -> None:
    steps = record_of(a_run(**FINISHED)).steps
    assert [step.action for step in steps] == [None, None, None]
    assert sorted(step.position for step in steps) == [0, 1, 2]


def test_a_step_that_the_snapshot_does_not_know_comes_last() -> None:
    known, stranger = {"name": "settle"}, {"name": "stranger"}
    steps = record_of(a_run(steps=[stranger, known]), SPEC).steps
    assert [step.name for step in steps] == ["settle", "stranger"]
    assert len({step.position for step in steps}) == 2


def test_steps_of_templates_are_remembered_with_their_actions() -> None:
    spec = WorkflowSpec.model_validate(
        {
            "serviceAccountName": "repair",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "priority": 7,
            "steps": [
                {"name": "each", "forEach": {"items": ["a", "b"], "template": "one"}},
                {
                    "name": "decide",
                    "switch": {"cases": [{"name": "high", "when": "true", "template": "one"}]},
                },
            ],
            "templates": [{"name": "one", "steps": [{"name": "restart", "action": "restart_pod"}]}],
        }
    )
    done = {"phase": "Succeeded"}
    records = [
        {"name": "decide", "branch": "high", **done},
        {"name": "decide/high/restart", "phase": "RolledBack"},
        {"name": "each", **done},
        {"name": "each/1/restart", **done},
        {"name": "each/0/restart", **done},
    ]
    record = record_of(a_run(phase="Succeeded", steps=records), spec)
    assert [(step.name, step.position, step.action) for step in record.steps] == [
        ("each", 0, None),
        ("each/0/restart", 1, "restart_pod"),
        ("each/1/restart", 2, "restart_pod"),
        ("decide", 3, None),
        ("decide/high/restart", 4, "restart_pod"),
    ]
    assert [step.items for step in record.steps] == [2, None, None, None, None]
    assert record.steps[3].branch == "high"
    assert record.undone == ("decide/high/restart",)
    assert record.priority == 7


def test_what_started_a_run_and_what_it_gave_is_remembered() -> None:
    run = a_run(**{**FINISHED, "outputs": {"restarts": 4}})
    spec = {
        "workflowRef": {"name": "crash-loop"},
        "trigger": {"type": "Subflow", "by": "anna", "reason": "page 4711"},
        "dryRun": True,
        "retryFrom": {"name": "web-0"},
        "parent": {"name": "all", "uid": "p-1", "step": "each/0/repair"},
    }
    record = record_of(run.replace(spec=WorkflowExecutionSpec.model_validate(spec)))
    assert (record.trigger, record.trigger_by, record.trigger_reason) == ("Subflow", "anna", "page 4711")
    assert (record.dry_run, record.retry_from, record.parent_uid) == (True, "web-0", "p-1")
    assert record.outputs == {"restarts": 4}


def test_a_run_that_never_began_has_no_duration() -> None:
    record = record_of(a_run())
    assert (record.phase, record.verdict, record.duration_seconds) == ("Pending", None, None)
    assert record.steps == ()
    assert record.content_hash is None


def test_a_clock_set_back_gives_no_negative_duration() -> None:
    assert record_of(a_run(startedAt=after(5), finishedAt=after(1))).duration_seconds == 0.0


@pytest.mark.parametrize("symptoms", ["CrashLoopBackOff", 7, None, {"a": 1}, [1, None, ""]])
def test_symptoms_that_are_no_list_of_names_are_ignored(symptoms: Any) -> None:
    steps = [{"name": "diagnose", "outputs": {"symptoms": symptoms}}]
    assert record_of(a_run(steps=steps)).symptoms == ()


def test_symptoms_are_bounded_and_gathered_from_all_steps() -> None:
    steps = [
        {"name": f"s{n}", "outputs": {"symptoms": [f"S{n:02}-{m:02}" for m in range(30)]}} for n in range(4)
    ]
    symptoms = record_of(a_run(steps=steps)).symptoms
    assert len(symptoms) == MAX_SYMPTOMS
    assert list(symptoms) == sorted(symptoms)
    assert {name[:3] for name in symptoms} >= {"S00", "S01", "S02"}


@pytest.mark.parametrize("missing", [{"uid": ""}, {"creation_timestamp": None}])
def test_an_object_that_no_api_server_stored_is_refused(missing: dict[str, Any]) -> None:
    run = a_run()
    broken = run.replace(metadata=run.metadata.model_copy(update=missing))
    with pytest.raises(ValueError, match=r"shop/web-1 .*read it from the API server"):
        record_of(broken)


@pytest.mark.parametrize("version", ["", "abc", "²"])
def test_an_odd_resource_version_counts_as_the_oldest(version: str) -> None:
    run = a_run()
    odd = run.replace(metadata=run.metadata.model_copy(update={"resource_version": version}))
    assert record_of(odd).revision == 0


def test_a_secret_that_was_given_in_the_place_of_its_reference_is_not_remembered() -> None:
    run = a_run(**FINISHED)
    given = {"dbPassword": "hunter2", "token": "bank/word", "deployment": "web"}
    spec = {
        "workflowRef": {"name": "crash-loop"},
        "parameters": [{"name": name, "value": value} for name, value in given.items()],
    }
    run = run.replace(spec=WorkflowExecutionSpec.model_validate(spec))
    assert record_of(run, SPEC).parameters == given | {"dbPassword": "***"}
