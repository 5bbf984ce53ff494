"""One object of each kind in which every field is set; a test demands that none is left out."""

from __future__ import annotations

from typing import Any

from kubernaut.api.names import API_VERSION

Object = dict[str, Any]

_NOON = "2026-01-31T12:00:00Z"
_MICRO = "2026-01-31T12:00:00.123456Z"
_UID = "00000000-0000-0000-0000-000000000001"
_CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Valid",
    "message": "All is well.",
    "lastTransitionTime": _NOON,
    "observedGeneration": 1,
}
_SUCCESS = {
    "rate": 0.75,
    "interval": {"lower": 0.5, "upper": 0.9, "confidence": 0.95},
    "remediated": 3,
    "concluded": 4,
}


def _object(kind: str, spec: Object, status: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "example", "namespace": "default"},
        "spec": spec,
        "status": status,
    }


_RETRY = {
    "limit": 3,
    "backoff": {"policy": "Linear", "initial": "1s", "factor": 2, "max": "30s", "jitterPercent": 20},
    "when": "failure.transient",
}


def _steps() -> list[Object]:
    """Return steps of all kinds in which every field of a step is set."""
    return [
        {
            "name": "roll-back",
            "action": "rollback_deployment",
            "dependsOn": ["pause", "ask"],
            "when": "params.replicas > 1",
            "with": {"name": "=params.deployment", "nested": {"none": None, "list": [1, "a", 0.5]}},
            "retry": _RETRY,
            "timeout": "2m",
            "onFailure": "Alternate",
            "alternate": "gently",
            "onUnknown": "Retry",
            "resources": [{"name": "node-drain", "amount": 2}],
        },
        {"name": "pause", "wait": {"duration": "250ms"}},
        {
            "name": "healthy",
            "wait": {
                "until": "object.spec.ready",
                "object": {"apiVersion": "v1", "kind": "Service", "name": "shop"},
            },
        },
        {
            "name": "ask",
            "approval": {"message": "May I?", "expiresAfter": "1h30m", "mayOverride": ["replicas"]},
        },
        {
            "name": "other",
            "workflow": {"name": "oom-killed", "parameters": [{"name": "container", "value": "=params.one"}]},
        },
        {
            "name": "choose",
            "switch": {
                "cases": [{"name": "many", "when": "params.replicas > 3", "template": "gently"}],
                "default": "at-once",
            },
        },
        {
            "name": "each",
            "forEach": {"items": ["a", "=params.one"], "maxItems": 5, "parallelism": 2, "template": "gently"},
        },
        {"name": "each-of", "forEach": {"itemsFrom": "steps.diagnose.outputs.pods", "template": "gently"}},
        {
            "name": "each-pod",
            "forEach": {
                "select": {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=web"},
                "template": "gently",
            },
        },
    ]


_GUARDS: Object = {
    "cooldown": "10m",
    "maxPerHour": 4,
    "maxUnavailablePercent": 25,
    "changeWindows": [
        {
            "name": "office",
            "type": "Closed",
            "timeZone": "Europe/Berlin",
            "days": ["Mon", "Fri"],
            "start": "09:00",
            "end": "17:00",
            "firstDate": "2026-01-31",
            "lastDate": "2026-12-31",
        }
    ],
    "stopWhileFiring": [{"alert": "KubeNodeNotReady", "matchLabels": {"zone": "a"}}],
    "storm": {"runs": 5, "within": "0s", "cooldown": "24h"},
    "protectedNamespaces": ["kube-*"],
    "protectedLabels": [{"key": "kubernaut.io/protected", "value": "true"}],
    "respectBudgets": True,
    "approval": "OnRisk",
    "breaker": {"badRuns": 2, "within": "12h"},
    "gitOps": "Refuse",
    "oscillation": {"within": "10m", "cooldown": "2h"},
    "pauseSync": {"expiresAfter": "30m", "resume": "AtRunEnd"},
    "waitAtMost": "2h",
}


def full_workflow() -> Object:
    """Return a Workflow with a step of each kind, in a template and under finally too."""
    spec = {
        "description": "Roll back",
        "version": "1.2.0",
        "serviceAccountName": "kubernaut-repair",
        "parameters": [
            {"name": "deployment", "type": "string", "required": True, "description": "What to repair"},
            {"name": "replicas", "type": "integer", "default": "1"},
        ],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "triggers": [
            {
                "alert": {
                    "matchLabels": {"alertname": "KubePodCrashLooping"},
                    "matchers": ['severity=~"warning|critical"'],
                },
                "parameters": {"deployment": "=owner.name"},
                "cooldown": "15m",
            }
        ],
        "guards": _GUARDS,
        "lifecycle": "Deprecated",
        "steps": _steps(),
        "templates": [{"name": "gently", "steps": _steps()}],
        "parallelism": 4,
        "priority": -5,
        "concurrencyPolicy": "Replace",
        "onFailure": "Alternate",
        "alternate": "gently",
        "rollback": {"retry": _RETRY, "timeout": "3m"},
        "finally": _steps(),
        "outputs": [{"name": "restarts", "value": "=steps.diagnose.outputs.restarts"}],
        "timeout": "1h",
        "verify": {
            "expect": ["target.status.readyReplicas == target.spec.replicas"],
            "metrics": [
                {
                    "name": "error-rate",
                    "query": "='sum(rate(errors_total{namespace=\"' + run.namespace + '\"}[1m]))'",
                    "expect": "value < 0.05",
                }
            ],
            "stabilization": "10s",
            "timeout": "5m",
        },
        "ttlSecondsAfterFinished": 3600,
        "successfulRunsHistoryLimit": 3,
        "failedRunsHistoryLimit": 10,
    }
    status = {
        "observedGeneration": 1,
        "contentHash": "0123456789abcdef",
        "snapshot": "example-0123456789",
        "revision": 1,
        "revisions": [{"snapshot": "example-0123456789", "contentHash": "0123456789abcdef", "revision": 1}],
        "conditions": [_CONDITION],
    }
    return _object("Workflow", spec, status)


def full_execution() -> Object:
    """Return a run that was approved and rolled a Deployment back, with every field set."""
    spec = {
        "workflowRef": {"name": "crash-loop"},
        "parameters": [{"name": "deployment", "value": "shop"}],
        "trigger": {
            "type": "Alert",
            "by": "alertmanager",
            "reason": "KubePodCrashLooping: shop restarts again and again",
            "alert": {
                "name": "KubePodCrashLooping",
                "fingerprint": "0123456789abcdef",
                "startsAt": _MICRO,
                "labels": {"alertname": "KubePodCrashLooping", "pod": "shop-0"},
                "incident": "0123456789abcdef0123456789abcdef",
                "episode": 2,
                "targetUid": _UID,
            },
        },
        "dryRun": True,
        "retryFrom": {"name": "crash-loop-0"},
        "parent": {"name": "whole-1", "uid": _UID, "step": "each/0/repair", "depth": 2},
        "control": {
            "cancel": True,
            "paused": True,
            "approvals": [
                {
                    "step": "ask",
                    "decision": "Approve",
                    "by": "ada",
                    "reason": "looks right",
                    "parameters": [{"name": "replicas", "value": "2"}],
                }
            ],
            "interventions": [
                {
                    "step": "each/0/restart",
                    "attempt": 1,
                    "remedy": "Skip",
                    "by": "ada",
                    "reason": "done by hand",
                }
            ],
            "migrateTo": "crash-loop-9876543210",
        },
    }
    step = {
        "name": "roll-back",
        "phase": "Succeeded",
        "attempt": 1,
        "startedAt": _MICRO,
        "finishedAt": _MICRO,
        "retryAt": _MICRO,
        "reason": "Completed",
        "message": "Rolled back.",
        "undoAttempt": 1,
        "branch": "many",
        "progress": "1/2",
        "intent": {"revision": 3},
        "outputs": {"symptoms": ["CrashLoopBackOff"], "restarts": 4, "none": None},
        "changed": ["Deployment shop: revision 4 to 3"],
    }
    status = {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "verdict": "Remediated",
        "outcome": "Succeeded",
        "progress": "1/1",
        "eta": {"expected": _MICRO, "earliest": _MICRO, "latest": _MICRO, "runs": 20},
        "startedAt": _MICRO,
        "finishedAt": _MICRO,
        "verifySince": _MICRO,
        "healthySince": _MICRO,
        "metrics": [
            {"name": "error-rate", "state": "Held", "value": "0.01", "samples": 1, "reason": "MetricMissing"}
        ],
        "rollbackSince": _MICRO,
        "workflow": {
            "name": "crash-loop",
            "uid": _UID,
            "contentHash": "0123456789abcdef",
            "snapshot": "crash-loop-0123456789",
            "revision": 1,
            "serviceAccountName": "kubernaut-repair",
            "ttlSecondsAfterFinished": 3600,
            "successfulRunsHistoryLimit": 3,
            "failedRunsHistoryLimit": 10,
        },
        "target": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "shop",
            "uid": "00000000-0000-0000-0000-000000000002",
        },
        "reason": "ExpectationMet",
        "message": "The Deployment is ready.",
        "highRisk": ["drain_node"],
        "outputs": {"restarts": 4},
        "steps": [step],
        "conditions": [_CONDITION],
    }
    return _object("WorkflowExecution", spec, status)


def full_pattern() -> Object:
    """Return a pattern with a recommendation."""
    status = {
        "observedGeneration": 1,
        "version": 2,
        "support": 4,
        "success": _SUCCESS,
        "signature": {
            "summary": "OOMKilled in Deployments",
            "features": [{"name": "symptom=OOMKilled", "share": 1, "elsewhere": 0.1}],
        },
        "exemplars": [
            {
                "namespace": "shop",
                "name": "run-1",
                "uid": "00000000-0000-0000-0000-000000000003",
                "verdict": "Remediated",
            }
        ],
        "recommended": {"workflow": "oom-killed", "success": _SUCCESS, "runs": 4, "medianSeconds": 12.5},
        "quality": {"silhouette": -0.5, "membership": 0.9, "stability": 1.0},
        "algorithm": "hdbscan",
        "parameters": {"min_cluster_size": 5},
        "firstSeen": _MICRO,
        "lastSeen": _MICRO,
        "conditions": [_CONDITION],
    }
    spec = {"pinned": True, "muted": True, "note": "Ask the shop team."}
    return _object("DiscoveredPattern", spec, status)


FULL = {
    "Workflow": full_workflow,
    "WorkflowExecution": full_execution,
    "DiscoveredPattern": full_pattern,
}
