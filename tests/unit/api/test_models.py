"""What the models do beyond what the schema tests hold them to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from kubernaut.api.base import Condition, ConditionStatus, format_time
from kubernaut.api.duration import format_duration, parse_duration
from kubernaut.api.execution import Control, RunPhase, StepPhase, WorkflowExecution
from kubernaut.api.reasons import REASONS, Reason, explain
from kubernaut.api.workflow import Parameter, ParameterType, Retry, parse_parameter

LOCAL = datetime(2026, 1, 31, 13, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))


def test_code_may_use_pythons_names_but_the_wire_may_not() -> None:
    run = {"spec": {"workflow_ref": {"name": "crash-loop"}}}
    assert WorkflowExecution.model_validate(run).spec.workflow_ref.name == "crash-loop"
    with pytest.raises(ValidationError, match="workflowRef"):
        WorkflowExecution.from_wire(run)


def test_null_is_unset_as_for_the_api_server() -> None:
    assert Control.from_wire({"cancel": None, "approvals": None}) == Control()


def test_doubles_are_named() -> None:
    record = {"step": "ask", "decision": "Approve", "by": "ada"}
    with pytest.raises(ValidationError, match="'ask' is given twice"):
        Control.from_wire({"approvals": [record, record]})


def test_a_conditions_time_has_whole_seconds_in_utc() -> None:
    condition = Condition(
        type="Ready", status=ConditionStatus.TRUE, reason="Valid", last_transition_time=LOCAL
    )
    assert condition.wire()["lastTransitionTime"] == "2026-01-31T12:00:00Z"
    assert Condition.from_wire(condition.wire()) == condition


def test_other_times_have_microseconds_in_utc() -> None:
    assert format_time(LOCAL) == "2026-01-31T12:00:00.123456Z"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", timedelta(0)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h30m", timedelta(minutes=90)),
        ("8760h", timedelta(days=365)),
    ],
)
def test_durations_are_read_and_written_as_kubernetes_does(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value
    assert format_duration(value) == text


@pytest.mark.parametrize("text", ["", "1", "1d", "-1s", "1.5h", "1s\n", "8761h", "٣s"])
def test_what_is_not_a_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


def test_every_duration_that_is_read_can_be_written_and_read_again() -> None:
    for text in ("8759h59m59s999ms", "999999ms999999ms999999ms999999ms", "525600m"):
        assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (ParameterType.STRING, "7", "7"),
        (ParameterType.INTEGER, "7", 7),
        (ParameterType.NUMBER, "0.5", 0.5),
        (ParameterType.BOOLEAN, "true", True),
        (ParameterType.SECRET, "db.main/PASS_word-1", {"name": "db.main", "key": "PASS_word-1"}),
    ],
)
def test_a_runs_strings_become_what_the_workflow_declares(
    kind: ParameterType, text: str, value: object
) -> None:
    assert parse_parameter(Parameter(name="one", type=kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [(ParameterType.INTEGER, "many"), (ParameterType.NUMBER, ""), (ParameterType.BOOLEAN, "True")],
)
def test_a_parameter_of_the_wrong_type_is_named(kind: ParameterType, text: str) -> None:
    with pytest.raises(ValueError, match=f"parameter one: '{text}' is not of type {kind.value}"):
        parse_parameter(Parameter(name="one", type=kind), text)


@pytest.mark.parametrize(
    "text", ["hunter2", "hunter2/", "/hunter2", "Hunter2/key", "a/b/hunter2", "hunter2 /key", ""]
)
def test_a_secret_is_taken_by_reference_alone_and_not_told_otherwise(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"parameter one: a secret is given by reference, as NAME/KEY"
    ) as told:
        parse_parameter(Parameter(name="one", type=ParameterType.SECRET), text)
    assert "unter2" not in str(told.value)


def test_a_copy_differs_in_what_was_asked_only() -> None:
    retry = Retry(limit=3)
    assert retry.replace(limit=4) == Retry(limit=4)
    assert retry.limit == 3


def test_final_phases_are_final() -> None:
    assert {phase.value for phase in RunPhase if phase.final} == {"Succeeded", "Failed", "Cancelled"}
    assert {phase.value for phase in StepPhase if phase.final} == {
        "Succeeded",
        "Failed",
        "Skipped",
        "RolledBack",
    }


def test_reasons_explain_themselves() -> None:
    found = explain(Reason.CYCLE)
    assert found is not None
    assert "dependsOn" in found.fix
    assert explain("NoSuchReason") is None
    assert [reason for reason, info in REASONS.items() if not info.fix.endswith(".")] == []


def test_utc_is_assumed_of_nothing() -> None:
    with pytest.raises(ValidationError, match="is not a time in UTC"):
        Condition.from_wire(
            {
                "type": "Ready",
                "status": "True",
                "reason": "Valid",
                "lastTransitionTime": "2026-01-31T12:00:00",
            }
        )
    assert Condition.from_wire(
        {"type": "Ready", "status": "True", "reason": "Valid", "lastTransitionTime": "2026-01-31T12:00:00Z"}
    ).last_transition_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
