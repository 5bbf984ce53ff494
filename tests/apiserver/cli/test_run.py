"""Starting runs."""

from __future__ import annotations

import json
import threading

from apiserver.cli.space import NOT_FIXED, OPERATOR, REMEDIATED, Space


def test_run_creates_a_run_with_finalizer_trigger_and_parameters(space: Space) -> None:
    assert (
        space("run", "crash-loop", "-p", "deployment=checkout", "-p", "count=3", "--reason", "page 4711") == 0
    )
    name = space.out.split()[1]
    assert name.startswith("crash-loop-")
    run = space.get(name)
    assert run["metadata"]["finalizers"] == ["kubernaut.io/mirror"]
    assert run["metadata"]["labels"] == {"kubernaut.io/workflow": "crash-loop"}
    assert run["spec"]["parameters"] == [
        {"name": "deployment", "value": "checkout"},
        {"name": "count", "value": "3"},
    ]
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    assert run["spec"]["trigger"] == {"type": "Manual", "by": who, "reason": "page 4711"}
    assert f"kubernaut watch {name} -n {space.namespace}" in space.out


WRONG: list[tuple[list[str], str, str]] = [
    ([], "parameter 'deployment' (string) is required", "deployment (string, required)"),
    (["-p", "deploymnt=x"], "declares no parameter 'deploymnt'", "Did you mean -p deployment=...?"),
    (
        ["-p", "deployment=x", "-p", "count=two"],
        "'two' is not of type integer",
        "count (integer, default 1)",
    ),
    (["-p", "deployment"], "-p 'deployment' is not name=value", "-p deployment=checkout"),
    (["-p", "deployment=x", "-p", "deployment=y"], "'deployment' is given twice", "once"),
    (["-p", f"deployment={'x' * 5000}"], "5000 characters long; at most 4096", "Give less"),
    (["-p", "deployment=x", "--name", "No_Name"], "lowercase RFC 1123 subdomain", ""),
]


def test_wrong_parameters_are_refused_before_anything_is_created(space: Space) -> None:
    for arguments, told, fix in WRONG:
        assert space("run", "crash-loop", *arguments) == 1
        assert told in space.err
        assert fix in space.err
    assert space.kubectl("get", "kwfe", "-o", "name") == ""


def test_an_unknown_workflow_is_answered_with_those_that_exist(space: Space) -> None:
    assert space("run", "crash-lop") == 4
    assert f"there is no Workflow 'crash-lop' in namespace {space.namespace}" in space.err
    assert "Did you mean crash-loop?" in space.err


def test_a_workflow_that_is_not_ready_is_refused_with_its_reason(space: Space) -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "UnknownAction",
        "message": "there is no action 'x'.",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "observedGeneration": 1,
    }
    patch = json.dumps({"status": {"conditions": [condition]}})
    space.kubectl(
        *OPERATOR, "patch", "kwf", "crash-loop", "--subresource=status", "--type=merge", "-p", patch
    )
    assert space("run", "crash-loop", "-p", "deployment=x") == 1
    assert "Workflow crash-loop is not ready (UnknownAction): there is no action 'x'." in space.err


def test_a_name_that_is_taken_is_told(space: Space) -> None:
    space.started("once")
    assert space("run", "crash-loop", "-p", "deployment=x", "--name", "once") == 1
    assert "there is a run 'once'" in space.err


def test_run_with_wait_ends_when_the_run_does(space: Space) -> None:
    def finish() -> None:
        space.kubectl("wait", "kwfe/waited", "--for=create", "--timeout=30s")
        space.patch_status("waited", NOT_FIXED)

    operator = threading.Thread(target=finish)
    operator.start()
    try:
        arguments = ["run", "crash-loop", "-p", "deployment=x", "--name", "waited", "--wait", "-o", "json"]
        assert space(*arguments, "--timeout", "60s") == 2
    finally:
        operator.join()
    assert json.loads(space.out)["status"]["verdict"] == "NotFixed"


def test_a_dry_run_is_created_as_one_and_tells_what_would_change(space: Space) -> None:
    def finish() -> None:
        space.kubectl("wait", "kwfe/dry", "--for=create", "--timeout=30s")
        space.patch_status("dry", REMEDIATED)

    operator = threading.Thread(target=finish)
    operator.start()
    try:
        arguments = ["run", "crash-loop", "-p", "deployment=x", "--name", "dry", "--dry-run", "--wait"]
        assert space(*arguments, "--timeout", "60s") == 0
    finally:
        operator.join()
    assert space.get("dry")["spec"]["dryRun"] is True
    assert "It is a dry run: it changes nothing." in space.err
    assert "Dry run, nothing was changed. A real run would change:" in space.out
    assert "  diagnose: Deployment checkout spec.replicas: 0 -> 2" in space.out


def test_of_a_draft_only_dry_runs_start(space: Space) -> None:
    space.patch_workflow({"spec": {"lifecycle": "Draft"}})
    assert space("run", "crash-loop", "-p", "deployment=x") == 1
    assert "Workflow crash-loop is a draft (spec.lifecycle: Draft): only dry runs of it start" in space.err
    assert f"kubectl patch kwf crash-loop -n {space.namespace}" in space.err
    assert space.kubectl("get", "kwfe", "-o", "name") == ""
    assert space("run", "crash-loop", "-p", "deployment=x", "--dry-run", "--name", "tried") == 0
    assert space.get("tried")["spec"]["dryRun"] is True


def test_a_deprecated_workflow_runs_and_says_so(space: Space) -> None:
    space.patch_workflow({"spec": {"lifecycle": "Deprecated", "description": "use better-loop"}})
    assert space("run", "crash-loop", "-p", "deployment=x") == 0
    assert "Workflow crash-loop is deprecated: use better-loop" in space.err


def test_a_retry_is_a_new_run_with_the_same_parameters_but_those_that_are_set(space: Space) -> None:
    space.started("failed", NOT_FIXED)
    assert space("retry", "failed", "--set", "count=4", "--name", "again", "--reason", "right granted") == 0
    assert "it takes over what run failed did before it ended" in space.out
    made = space.get("again")
    assert made["spec"]["workflowRef"] == {"name": "crash-loop"}
    assert made["spec"]["retryFrom"] == {"name": "failed"}
    assert made["spec"]["trigger"] == {"type": "Retry", "by": space.who(), "reason": "right granted"}
    assert {one["name"]: one["value"] for one in made["spec"]["parameters"]} == {
        "deployment": "checkout",
        "count": "4",
    }
    assert made["metadata"]["finalizers"] == ["kubernaut.io/mirror"]
    assert space("status", "again") == 0
    assert "run failed, from where it failed" in space.out


def test_only_failed_and_cancelled_runs_are_tried_again(space: Space) -> None:
    space.started("repaired", REMEDIATED)
    space.started("young")
    assert space("retry", "repaired") == 1
    assert "run repaired is Succeeded; only a failed or cancelled run is tried again" in space.err
    assert "Start a new run with `kubernaut run crash-loop" in space.err
    assert space("retry", "young") == 1
    assert "cancel it first with `kubernaut cancel young" in space.err
    assert space("retry", "yung") == 4
    assert "Did you mean young?" in space.err


def test_what_a_retry_sets_is_checked_as_for_a_new_run(space: Space) -> None:
    space.started("failed", NOT_FIXED)
    for given, told in (
        ("count=two", "'two' is not of type integer"),
        ("cont=2", "Did you mean -p count=...?"),
        ("count", "--set 'count' is not name=value"),
    ):
        assert space("retry", "failed", "--set", given) == 1
        assert told in space.err
    assert space.kubectl("get", "kwfe", "-o", "name").split() == ["workflowexecution.kubernaut.io/failed"]


def test_the_retry_of_a_dry_run_is_one_too(space: Space) -> None:
    assert space("run", "crash-loop", "-p", "deployment=x", "--dry-run", "--name", "dry") == 0
    space.patch_status("dry", NOT_FIXED)
    assert space("retry", "dry", "--name", "again") == 0
    assert space.get("again")["spec"]["dryRun"] is True
    assert "was a dry run, so its retry is one too" in space.err
