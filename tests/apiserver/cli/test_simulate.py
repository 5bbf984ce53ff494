"""`kubernaut simulate` at a real API server: nothing reaches the cluster but reads, as its audit log shows."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apiserver.acting import await_true, deployment
from apiserver.cli.space import REMEDIATED, Space
from kubernaut.api.base import format_time
from kubernaut.cli import main
from localrun.audit import AuditLog, Request

GROW: dict[str, Any] = {
    "apiVersion": "kubernaut.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "grow"},
    "spec": {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
        "steps": [
            {"name": "scale", "action": "scale_deployment", "with": {"replicas": 3}},
            {"name": "restart", "action": "restart_deployment", "dependsOn": ["scale"]},
        ],
        "verify": {"expect": ["target.status.availableReplicas == 3"], "timeout": "2m"},
    },
}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "repair"}}


@pytest.fixture
def here(space: Space) -> Space:
    space.apply(GROW, ACCOUNT, {"apiVersion": "apps/v1", "kind": "Deployment", **deployment()})
    space.kubectl("rollout", "status", "deployment/api", "--timeout=60s")
    return space


def requests_of(space: Space, *arguments: str) -> tuple[int, list[Request]]:
    """Run the command; return its exit code and what the API server was asked meanwhile."""
    assert space.cluster.audit_log is not None
    audit = AuditLog(space.cluster.audit_log)
    list(audit.read())
    code = space(*arguments)
    told = space.out
    last = f"last-{time.monotonic_ns()}"
    space.kubectl("create", "configmap", last)
    found: list[Request] = []

    def complete() -> bool:
        found.extend(audit.read())
        return any(one.name == last for one in found)

    await_true(complete, "the audit log does not come up to date")
    space.out = told
    return code, [one for one in found if one.namespace == space.namespace and one.name != last]


def changing(requests: list[Request], user: str) -> list[Request]:
    """Return the requests of a user that store something, which reviews do not."""
    mutates = (one for one in requests if one.mutates and not one.resource.endswith("reviews"))
    return [one for one in mutates if user in (one.user, one.by)]


def test_nothing_is_sent_that_changes_anything(here: Space) -> None:
    code, requests = requests_of(here, "simulate", "grow")
    assert code == 2, here.out + here.err
    assert changing(requests, here.who()) == []
    assert "The run would fail for want of rights: repair may not get deployments.apps api" in here.out
    assert "With them it would end Succeeded, Remediated" in here.out
    assert "~ Deployment" in here.out
    assert "lacks patch deployments.apps api" in here.out


def grant(here: Space) -> None:
    """Give the Workflow's account what it needs, and wait until it has it."""
    here("rbac", "grow", "-o", "yaml")
    here.kubectl("apply", "-f", "-", stdin=here.out)
    await_true(lambda: here("simulate", "grow") == 0, "the account still lacks what it needs")


def test_with_the_rights_that_it_needs_the_run_would_succeed(here: Space) -> None:
    grant(here)
    assert "The run would end Succeeded, Remediated" in here.out
    assert here("simulate", "grow", "-o", "json") == 0
    assert json.loads(here.out)["rights"]["refused"] == []


def test_with_server_every_change_is_a_dry_run_as_the_workflows_account(here: Space) -> None:
    code, requests = requests_of(here, "simulate", "grow", "--server")
    sent = changing(requests, here.who())
    assert code == 2
    assert "would be refused" in here.out
    assert all(one.dry_run for one in sent)
    assert {one.user for one in sent} == {f"system:serviceaccount:{here.namespace}:repair"}
    grant(here)
    await_true(lambda: here("simulate", "grow", "--server") == 0, "the API server would still refuse it")
    assert "would be taken" in here.out
    assert "It has all that the steps need." in here.out
    found = json.loads(here.kubectl("get", "deployment", "api", "-o", "json"))
    assert found["spec"]["replicas"] == 2


def test_a_saved_state_gives_the_same_answer_without_a_cluster(here: Space, tmp_path: Path) -> None:
    grant(here)
    path, flow = tmp_path / "state.json", tmp_path / "flow.yaml"
    flow.write_text(json.dumps({**GROW, "metadata": {"name": "grow", "namespace": here.namespace}}))
    assert here("simulate", "grow", "--save-state", str(path), "-o", "json") == 0, here.err
    live = json.loads(here.out)
    assert here("simulate", str(flow), "--state", str(path), "-o", "json", "--kubeconfig", "/nowhere") == 0
    saved = json.loads(here.out)
    assert here("simulate", "grow", "--state", str(path), "-o", "json", "--kubeconfig", "/nowhere") == 0, (
        here.err
    )
    for told in (saved, json.loads(here.out)):
        for name in ("goesThrough", "verdict", "blastRadius"):
            assert told[name] == live[name]


def test_a_saved_state_holds_the_runs_that_guards_count(here: Space, tmp_path: Path) -> None:
    spec = {**GROW["spec"], "guards": {"cooldown": "1h"}}
    here.apply({**GROW, "spec": spec})
    ran = {"apiVersion": "kubernaut.io/v1alpha1", "kind": "WorkflowExecution", "metadata": {"name": "before"}}
    here.kubectl("create", "-f", "-", stdin=json.dumps({**ran, "spec": {"workflowRef": {"name": "grow"}}}))
    uid = json.loads(here.kubectl("get", "deployment", "api", "-o", "json"))["metadata"]["uid"]
    at = format_time(datetime.now(UTC))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": uid}
    here.patch_status("before", {**REMEDIATED, "target": target, "startedAt": at, "finishedAt": at})
    path = tmp_path / "state.json"
    assert here("simulate", "grow", "--save-state", str(path)) == 2, here.out + here.err
    held = "would wait for its guards: Cooldown 1h of Workflow grow: run"
    assert held in here.out
    assert here("simulate", "grow", "--state", str(path), "--kubeconfig", "/nowhere") == 2, (
        here.out + here.err
    )
    assert held in here.out


def test_a_file_is_simulated_in_the_namespace_that_it_names(here: Space, tmp_path: Path) -> None:
    grant(here)
    flow = tmp_path / "flow.yaml"
    flow.write_text(json.dumps({**GROW, "metadata": {"name": "grow", "namespace": here.namespace}}))
    here.capsys.readouterr()
    assert main(["simulate", str(flow)]) == 0, here.capsys.readouterr()
    assert f"~ Deployment {here.namespace}/api" in here.capsys.readouterr().out
