"""A namespace in which the command is run, and the states of runs that an operator would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.cli import main
from localcluster import Cluster

# The policies ask for the names; the group is there because kubectl reads before it patches.
OPERATOR = ("--as=system:serviceaccount:kubernaut-system:kubernaut-operator", "--as-group=system:masters")
ANALYST = ("--as=system:serviceaccount:kubernaut-system:kubernaut-analyst", "--as-group=system:masters")
WORKFLOW: dict[str, Any] = {
    "apiVersion": "kubernaut.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "crash-loop"},
    "spec": {
        "serviceAccountName": "repair",
        "parameters": [
            {"name": "deployment", "required": True},
            {"name": "count", "type": "integer", "default": "1"},
        ],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "steps": [
            {"name": "diagnose", "action": "collect_diagnostics"},
            {"name": "ask", "approval": {}, "dependsOn": ["diagnose"]},
            {"name": "ask-again", "approval": {"mayOverride": ["count"]}, "dependsOn": ["ask"]},
        ],
    },
}
RESOLVED: dict[str, Any] = {
    "workflow": {
        "name": "crash-loop",
        "uid": "1",
        "contentHash": "0123456789abcdef",
        "snapshot": "crash-loop-0123456789",
        "serviceAccountName": "repair",
    },
    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": "2"},
    "startedAt": "2026-03-01T12:00:00.000000Z",
}
SNAPSHOT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "ControllerRevision",
    "metadata": {"name": "crash-loop-0123456789"},
    "revision": 1,
    "data": WORKFLOW["spec"],
}
RUNNING: dict[str, Any] = {
    **RESOLVED,
    "phase": "Running",
    "progress": "0/3",
    "steps": [
        {"name": "diagnose", "phase": "Running", "attempt": 1, "startedAt": "2026-03-01T12:00:00.000000Z"}
    ],
}
REMEDIATED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Succeeded",
    "verdict": "Remediated",
    "progress": "3/3",
    "finishedAt": "2026-03-01T12:00:05.000000Z",
    "steps": [
        {
            "name": "diagnose",
            "phase": "Succeeded",
            "attempt": 1,
            "startedAt": "2026-03-01T12:00:00.000000Z",
            "finishedAt": "2026-03-01T12:00:00.250000Z",
            "changed": ["Deployment checkout spec.replicas: 0 -> 2"],
        }
    ],
}
NOT_FIXED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Failed",
    "verdict": "NotFixed",
    "finishedAt": "2026-03-01T12:00:05.000000Z",
    "reason": "MissingRight",
    "message": "Step diagnose: repair may not list pods.",
    "steps": [
        {"name": "diagnose", "phase": "Failed", "attempt": 1, "reason": "MissingRight", "message": "no right"}
    ],
}


class Space:
    """A namespace of its own, and the command run in it."""

    def __init__(self, cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self.capsys.readouterr()
        code = main([*arguments, "-n", self.namespace])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.run_kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "kwfe", run, "-o", "json"))
        return found

    def started(self, name: str, status: dict[str, Any] | None = None) -> str:
        """Start a run of this name by the command; give it a status as the operator would."""
        assert self("run", "crash-loop", "-p", "deployment=checkout", "--name", name) == 0, self.err
        if status is not None:
            self.patch_status(name, status)
        return name

    def who(self) -> str:
        """Return the name by which the API server knows us."""
        told = json.loads(self.kubectl("auth", "whoami", "-o", "json"))
        return str(told["status"]["userInfo"]["username"])

    def patch_workflow(self, patch: dict[str, Any], name: str = "crash-loop") -> None:
        self.kubectl("patch", "kwf", name, "--type=merge", "-p", json.dumps(patch))

    def patch_snapshot(self, content: dict[str, Any]) -> None:
        """Have the runs follow other content; a ControllerRevision can't be changed, so it is made anew."""
        self.kubectl("delete", "controllerrevision", SNAPSHOT["metadata"]["name"])
        self.apply({**SNAPSHOT, "data": content})

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self.kubectl(*OPERATOR, "patch", "kwfe", name, "--subresource=status", "--type=merge", "-p", patch)


def powerless(space: Space, folder: Path) -> str:
    """Return a kubeconfig of an account that may do nothing."""
    space.kubectl("create", "serviceaccount", "nobody")
    token = space.kubectl("create", "token", "nobody").strip()
    config = yaml.safe_load(space.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file = folder / "nobody.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return str(file)


SUSPENDED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Suspended",
    "reason": "NeedsPerson",
    "progress": "0/3",
    "steps": [
        {"name": "diagnose", "phase": "Failed", "attempt": 2, "reason": "MissingRight", "message": "no right"}
    ],
}


def manual() -> dict[str, Any]:
    """Return the Workflow's content where a person is asked about failed steps."""
    return {**WORKFLOW["spec"], "onFailure": "Manual"}
