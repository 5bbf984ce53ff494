"""Five real faults: how each is made, how it shows, and which sample Workflow repairs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

SERVE = "mkdir -p /tmp/www && echo ready >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
# awk is process 1 here, so the kernel's kill ends the container as a real memory hog's would.
HOLD_40_MIB = (
    'exec awk \'BEGIN { for (i = 0; i < 40; i++) held[i] = sprintf("%1048576s", "x"); '
    'system("touch /tmp/ready"); while (1) system("sleep 5") }\''
)
HTTP_READY = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "failureThreshold": 2}
FILE_READY = {"exec": {"command": ["test", "-f", "/tmp/ready"]}, "periodSeconds": 1}


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        workflow: the sample Workflow that repairs it.
        told: what is done to the Deployment, in words.
        good: the Deployment's first, good revision.
        broken: the same Deployment after somebody broke it.
        shows: whether the fault is to be seen in a pod (or in the Deployment where there is none).
        expected: the action that must have repaired it.
    """

    workflow: str
    told: str
    good: Callable[[str], Manifest]
    broken: Callable[[str], Manifest]
    shows: Callable[[Manifest, list[Manifest]], bool]
    expected: str


def deployment(
    namespace: str,
    image: str,
    command: str = SERVE,
    *,
    replicas: int = 1,
    memory: str = "64Mi",
    readiness: Manifest | None = None,
    deadline: int = 600,
    note: str = "first revision",
) -> Manifest:
    """Return the Deployment ``web``: one container ``app``; a rollout takes the old pod away first."""
    container = {
        "name": "app",
        "image": image,
        "command": ["sh", "-c", command],
        "readinessProbe": readiness or HTTP_READY,
        "resources": {
            "requests": {"cpu": "5m", "memory": "16Mi"},
            "limits": {"cpu": "500m", "memory": memory},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": namespace,
            "annotations": {"kubernetes.io/change-cause": note},
        },
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": deadline,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }


def _statuses(pods: list[Manifest]) -> list[Manifest]:
    return [status for pod in pods for status in pod.get("status", {}).get("containerStatuses", [])]


def _crash_loops(_: Manifest, pods: list[Manifest]) -> bool:
    return any(
        status.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        for status in _statuses(pods)
    )


def _cannot_pull(_: Manifest, pods: list[Manifest]) -> bool:
    reasons = ("ImagePullBackOff", "ErrImagePull")
    return any(
        status.get("state", {}).get("waiting", {}).get("reason") in reasons for status in _statuses(pods)
    )


def _oom_killed(_: Manifest, pods: list[Manifest]) -> bool:
    return any(
        (status.get(state, {}).get("terminated") or {}).get("reason") == "OOMKilled"
        for status in _statuses(pods)
        for state in ("state", "lastState")
    )


def _at_zero(found: Manifest, pods: list[Manifest]) -> bool:
    return found["spec"]["replicas"] == 0 and not pods


def _never_ready(found: Manifest, pods: list[Manifest]) -> bool:
    running = [status for status in _statuses(pods) if status.get("state", {}).get("running")]
    return not found["status"].get("readyReplicas") and any(not status["ready"] for status in running)


def faults(image: str) -> list[Fault]:
    """Return the five faults, for an image with a shell that the nodes can run."""
    missing = image.rsplit(":", 1)[0] + ":no-such-tag"
    crash = "echo starting; echo 'fatal: cannot read /etc/shop.conf: no such file' >&2; exit 3"
    return [
        Fault(
            "crash-loop",
            "a new revision exits with 3 because a file is missing",
            lambda ns: deployment(ns, image),
            lambda ns: deployment(ns, image, crash, note="read the new configuration"),
            _crash_loops,
            "rollback_deployment",
        ),
        Fault(
            "bad-image",
            "a new revision names an image that does not exist",
            lambda ns: deployment(ns, image),
            lambda ns: deployment(ns, missing, note="ship 2.0"),
            _cannot_pull,
            "rollback_deployment",
        ),
        Fault(
            "oom-killed",
            "the memory limit is lowered below what the process holds, so the kernel kills it",
            lambda ns: deployment(ns, image, HOLD_40_MIB, memory="160Mi", readiness=FILE_READY),
            lambda ns: deployment(ns, image, HOLD_40_MIB, memory="24Mi", readiness=FILE_READY, note="save"),
            _oom_killed,
            "increase_resources",
        ),
        Fault(
            "scaled-to-zero",
            "somebody scales it to zero and forgets it",
            lambda ns: deployment(ns, image),
            lambda ns: deployment(ns, image, replicas=0),
            _at_zero,
            "scale_deployment",
        ),
        Fault(
            "bad-rollout",
            "a new revision runs but serves on another port, so it never gets ready and the rollout is stuck",
            lambda ns: deployment(ns, image, deadline=5),
            lambda ns: deployment(
                ns, image, SERVE.replace("8080", "9090"), deadline=5, note="move to port 9090"
            ),
            _never_ready,
            "rollback_deployment",
        ),
    ]
