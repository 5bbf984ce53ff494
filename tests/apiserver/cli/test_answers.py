"""What people say of single steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apiserver.cli.space import RUNNING, SUSPENDED, Space, manual


def test_approvals_are_given_in_ones_own_name_one_after_the_other(space: Space) -> None:
    space.started("asked", RUNNING)
    assert space("approve", "asked", "ask", "--reason", "looks right") == 0
    assert space("approve", "asked", "ask") == 0
    assert "approved already" in space.out
    assert space("deny", "asked", "ask") == 1
    assert "was answered already: Approve by" in space.err
    assert space("deny", "asked", "ask-again") == 0
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    approvals = space.get("asked")["spec"]["control"]["approvals"]
    assert [(a["step"], a["decision"], a["by"]) for a in approvals] == [
        ("ask", "Approve", who),
        ("ask-again", "Deny", who),
    ]


def test_an_answer_that_kubectl_gave_is_left_as_it_was_written(space: Space) -> None:
    space.started("mixed", RUNNING)
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    given = {"step": "ask", "decision": "Approve", "by": who}
    patch = json.dumps({"spec": {"control": {"approvals": [given]}}})
    space.kubectl("patch", "kwfe", "mixed", "--type=merge", "-p", patch)
    written = space.get("mixed")["spec"]["control"]["approvals"][0]
    assert space("approve", "mixed", "ask-again") == 0
    assert space.get("mixed")["spec"]["control"]["approvals"][0] == written


def test_a_step_that_is_no_approval_is_refused(space: Space) -> None:
    space.started("asked", RUNNING)
    assert space("approve", "asked", "diagnose") == 1
    assert "step 'diagnose' is no approval" in space.err
    assert "Steps that wait for a person: ask, ask-again." in space.err
    assert space("approve", "asked", "nope") == 1
    assert "step 'nope' does not exist" in space.err


ASKING: dict[str, Any] = {
    **RUNNING,
    "steps": [
        {"name": "diagnose", "phase": "Succeeded", "attempt": 1},
        {"name": "ask", "phase": "Succeeded"},
        {"name": "ask-again", "phase": "Waiting", "startedAt": "2026-03-01T12:00:00.000000Z"},
    ],
}


def test_the_step_that_waits_need_not_be_named(space: Space) -> None:
    space.started("asked", ASKING)
    assert space("approve", "asked") == 0
    assert f"step ask-again: approved by {space.who()}." in space.out
    assert [a["step"] for a in space.get("asked")["spec"]["control"]["approvals"]] == ["ask-again"]
    assert space("deny", "asked") == 1
    assert "no step of run asked waits for an answer now" in space.err
    both = [{"name": "ask", "phase": "Waiting"}, {"name": "ask-again", "phase": "Waiting"}]
    space.started("both", {**RUNNING, "steps": both})
    assert space("approve", "both") == 1
    assert "several steps of run both wait for an answer: ask, ask-again" in space.err


def test_an_approver_sets_only_what_the_step_allows_and_of_the_right_type(space: Space) -> None:
    space.started("asked", ASKING)
    for given, told, fix in (
        (
            "deployment=web",
            "does not let the approver set parameter 'deployment'",
            "count (integer, default 1)",
        ),
        ("count=two", "parameter count: 'two' is not of type integer", "Give count (integer, default 1)."),
        ("count", "--set 'count' is not name=value", "--set deployment=checkout"),
    ):
        assert space("approve", "asked", "ask-again", "--set", given) == 1
        assert told in space.err
        assert fix in space.err
    assert space("approve", "asked", "ask", "--set", "count=2") == 1
    assert "step ask of run asked is over already (Succeeded)" in space.err
    assert "approvals" not in space.get("asked")["spec"].get("control", {})
    assert space("approve", "asked", "ask-again", "--set", "count=2", "--reason", "two are enough") == 0
    given = space.get("asked")["spec"]["control"]["approvals"][0]
    assert given["parameters"] == [{"name": "count", "value": "2"}]
    assert given["reason"] == "two are enough"
    assert space("approve", "asked", "ask-again", "--set", "count=2") == 0
    assert "approved already" in space.out
    assert space("approve", "asked", "ask-again", "--set", "count=3") == 1
    assert f"was answered already: Approve by {space.who()}, count=2" in space.err


def test_what_waits_is_told_with_the_command_by_status_and_why(space: Space) -> None:
    space.started("asked", ASKING)
    for command in ("status", "why"):
        assert space(command, "asked") == 0
        assert (
            f"kubernaut approve asked ask-again -n {space.namespace}   (or deny; --set NAME=VALUE)"
            in space.out
        )


@pytest.fixture
def suspended(space: Space) -> str:
    space.patch_snapshot(manual())
    return space.started("suspended", SUSPENDED)


@pytest.mark.parametrize("word", ["retry", "skip", "fail", "rollback"])
def test_a_remedy_is_said_of_the_failed_attempt_in_ones_own_name(
    space: Space, suspended: str, word: str
) -> None:
    assert space("status", suspended) == 0
    assert f"kubernaut remedy {suspended} diagnose retry -n {space.namespace}   (or skip" in space.out
    assert space("remedy", suspended, "diagnose", word, "--reason", "right granted") == 0
    said = space.get(suspended)["spec"]["control"]["interventions"]
    assert said == [
        {
            "step": "diagnose",
            "attempt": 2,
            "remedy": word.capitalize(),
            "by": space.who(),
            "reason": "right granted",
        }
    ]
    assert space("remedy", suspended, "diagnose", word) == 0
    assert "was said already" in space.out
    other = "skip" if word != "skip" else "fail"
    assert space("remedy", suspended, "diagnose", other) == 1
    assert f"{space.who()} said {word.capitalize()} already" in space.err


def test_a_later_attempt_is_remedied_anew(space: Space, suspended: str) -> None:
    assert space("remedy", suspended, "diagnose", "retry") == 0
    space.patch_status(suspended, {"steps": [{**SUSPENDED["steps"][0], "attempt": 3}]})
    assert space("remedy", suspended, "diagnose", "fail") == 0
    said = space.get(suspended)["spec"]["control"]["interventions"]
    assert [(one["attempt"], one["remedy"]) for one in said] == [(2, "Retry"), (3, "Fail")]


def test_remedies_that_make_no_sense_are_refused(space: Space, suspended: str) -> None:
    for step, word, told, fix in (
        (
            "ask",
            "retry",
            "step 'ask' of run suspended has not failed (Pending)",
            "Steps that wait: diagnose.",
        ),
        ("nope", "retry", "step 'nope' of run suspended does not exist", "Steps that wait: diagnose."),
        ("diagnose", "mend", "there is no remedy 'mend'", "Use one of Retry, Skip, Fail, Rollback."),
        ("diagnose", "", "REMEDY is empty", "Use one of"),
    ):
        assert space("remedy", suspended, step, word) == 1
        assert told in space.err
        assert fix in space.err
    space.patch_status(suspended, {"phase": "Running"})
    assert space("remedy", suspended, "diagnose", "retry") == 1
    assert "run suspended is not suspended but Running" in space.err
    space.patch_status(suspended, {"phase": "Failed"})
    assert space("remedy", suspended, "diagnose", "retry") == 1
    assert "is at its end (Failed)" in space.err
    assert "control" not in space.get(suspended)["spec"]
