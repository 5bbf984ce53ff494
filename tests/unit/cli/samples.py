"""Runs, Workflows and patterns as the API server would return them, and a way to see what a view prints."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.api.workflow import WorkflowSpec

NOW = datetime(2026, 3, 1, 12, 5, 0, tzinfo=UTC)


def rendered(renderable: RenderableType, width: int = 110) -> str:
    """Return what a terminal of this width would show, without colours and trailing blanks."""
    out = Console(file=StringIO(), width=width, markup=False, highlight=False, emoji=False, color_system=None)
    with out.capture() as captured:
        out.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


SPEC: dict[str, Any] = {
    "description": "Roll a crash-looping Deployment back",
    "version": "1.2.0",
    "serviceAccountName": "kubernaut-repair",
    "parameters": [
        {"name": "deployment", "required": True},
        {"name": "replicas", "type": "integer", "default": "2"},
    ],
    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
    "steps": [
        {"name": "diagnose", "action": "collect_diagnostics"},
        {"name": "settle", "wait": {"duration": "1m30s"}, "dependsOn": ["diagnose"]},
        {"name": "roll-back", "action": "rollback_deployment", "dependsOn": ["settle"]},
    ],
    "verify": {"expect": ["target.status.readyReplicas == target.spec.replicas"], "stabilization": "5s"},
}


def spec() -> WorkflowSpec:
    """Return the Workflow's spec."""
    return WorkflowSpec.model_validate(SPEC)


def run(status: dict[str, Any] | None = None, **spec_changes: Any) -> WorkflowExecution:
    """Return a run of the Workflow with this status."""
    body: dict[str, Any] = {
        "metadata": {
            "name": "crash-loop-abcde",
            "namespace": "shop",
            "uid": "run-uid",
            "creationTimestamp": "2026-03-01T12:00:00Z",
            "finalizers": ["kubernaut.io/mirror"],
        },
        "spec": {
            "workflowRef": {"name": "crash-loop"},
            "parameters": [{"name": "deployment", "value": "checkout"}],
            "trigger": {"type": "Manual", "by": "ada", "reason": "page 4711"},
            **spec_changes,
        },
    }
    if status is not None:
        body["status"] = status
    return WorkflowExecution.model_validate(body)


RESOLVED: dict[str, Any] = {
    "workflow": {
        "name": "crash-loop",
        "uid": "wf-uid",
        "contentHash": "0123456789abcdef",
        "snapshot": "crash-loop-0123456789",
        "serviceAccountName": "kubernaut-repair",
    },
    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": "target-uid"},
    "startedAt": "2026-03-01T12:00:01Z",
}

REPAIRED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Succeeded",
    "verdict": "Remediated",
    "progress": "3/3",
    "finishedAt": "2026-03-01T12:01:41Z",
    "verifySince": "2026-03-01T12:01:32Z",
    "healthySince": "2026-03-01T12:01:36Z",
    "reason": "ExpectationMet",
    "message": "Every expectation holds on the target.",
    "steps": [
        {
            "name": "diagnose",
            "phase": "Succeeded",
            "attempt": 1,
            "startedAt": "2026-03-01T12:00:01.000000Z",
            "finishedAt": "2026-03-01T12:00:01.350000Z",
            "outputs": {"restarts": 7, "symptoms": ["CrashLoopBackOff"]},
        },
        {
            "name": "settle",
            "phase": "Succeeded",
            "startedAt": "2026-03-01T12:00:01.4Z",
            "finishedAt": "2026-03-01T12:01:31.4Z",
        },
        {
            "name": "roll-back",
            "phase": "Succeeded",
            "attempt": 2,
            "startedAt": "2026-03-01T12:01:31.5Z",
            "finishedAt": "2026-03-01T12:01:31.9Z",
            "message": "Rolled back to revision 1.",
            "changed": ["Deployment shop/checkout spec.template: revision 2 -> revision 1"],
        },
    ],
    "conditions": [
        {
            "type": "Verified",
            "status": "True",
            "reason": "Remediated",
            "message": "Every expectation held on the target after the act.",
            "lastTransitionTime": "2026-03-01T12:01:41Z",
        }
    ],
}

REFUSED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Failed",
    "verdict": "NotFixed",
    "progress": "1/3",
    "finishedAt": "2026-03-01T12:02:00Z",
    "reason": "MissingRight",
    "message": "Step roll-back: kubernaut-repair may not patch deployments.apps.",
    "steps": [
        {"name": "diagnose", "phase": "Succeeded", "attempt": 1},
        {
            "name": "roll-back",
            "phase": "Failed",
            "attempt": 1,
            "startedAt": "2026-03-01T12:01:31.5Z",
            "finishedAt": "2026-03-01T12:01:31.9Z",
            "reason": "MissingRight",
            "message": "kubernaut-repair may not patch deployments.apps",
        },
    ],
}


def pattern(**status: Any) -> DiscoveredPattern:
    """Return a pattern with a full status, but for what is changed."""
    rate = {
        "rate": 0.9167,
        "interval": {"lower": 0.6461, "upper": 0.9851},
        "remediated": 11,
        "concluded": 12,
    }
    full: dict[str, Any] = {
        "version": 3,
        "support": 14,
        "success": rate,
        "signature": {
            "summary": "CrashLoopBackOff of Deployments, exit code 3",
            "features": [{"name": "symptom=CrashLoopBackOff", "share": 1.0, "elsewhere": 0.1}],
        },
        "exemplars": [
            {"namespace": "shop", "name": "crash-loop-abcde", "uid": "run-uid", "verdict": "Remediated"}
        ],
        "recommended": {"workflow": "crash-loop", "success": rate, "runs": 12, "medianSeconds": 8.25},
        "quality": {"silhouette": 0.71, "membership": 0.93},
        "algorithm": "hdbscan",
        "parameters": {"min_cluster_size": 4},
        "firstSeen": "2026-03-01T10:00:00Z",
        "lastSeen": "2026-03-01T12:00:00Z",
        **status,
    }
    meta = {"name": "crash-loop-backoff", "namespace": "kubernaut-system"}
    return DiscoveredPattern.model_validate({"metadata": meta, "spec": {"pinned": True}, "status": full})
