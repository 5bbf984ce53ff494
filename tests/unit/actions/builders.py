"""Objects as the API server would return them, and the context of a step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kubernaut.core.action import StepContext
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Manifest, ObjectRef

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SIGNER = Signer(b"a key of these tests")


class Seen:
    """Evidence of ReplicaSets that were seen available."""

    def __init__(self, *uids: str) -> None:
        self._uids = frozenset(uids)

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        return self._uids & frozenset(uids)


def context(
    target: Manifest | None = None,
    *,
    step: str = "repair",
    run: str = "run-1",
    seen: Sequence[str] = (),
    intent: Mapping[str, Any] | None = None,
) -> StepContext:
    ref = ObjectRef.of(target) if target else ObjectRef("apps/v1", "Deployment", "shop", "api")
    return StepContext(
        run_uid=run,
        run_name=run,
        namespace="shop",
        step=step,
        attempt=1,
        target=replace(
            ref,
            namespace="" if ref.kind == "Node" else "shop",
            uid=ref.uid or f"uid-{ref.kind.lower()}-{ref.name}",
        ),
        now=NOW,
        signer=SIGNER,
        evidence=Seen(*seen),
        intent=intent,
    )


def container(name: str = "app", image: str = "shop/api:1", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def template(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "api"}},
        "spec": {"containers": list(containers) or [container()], **spec},
    }


def deployment(
    name: str = "api", pod: dict[str, Any] | None = None, *, replicas: int = 2, **spec: Any
) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-deployment-{name}"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": copy.deepcopy(pod or template()),
            **spec,
        },
    }


def workload(kind: str, pod: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    """Return a Deployment, StatefulSet or DaemonSet named api."""
    made = deployment(pod=pod, **spec)
    return {**made, "kind": kind, "metadata": {**made["metadata"], "uid": f"uid-{kind.lower()}-api"}}


def node(name: str = "n1", *, ready: bool = True, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "namespace": "", "uid": f"uid-node-{name}"},
        "spec": {"podCIDR": "10.0.0.0/24", **spec},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def replica_set(
    revision: int, pod: dict[str, Any], *, available: int = 0, owner: str = "api", **annotations: str
) -> Manifest:
    labelled = copy.deepcopy(pod)
    labelled["metadata"] = {
        "creationTimestamp": None,
        **labelled.get("metadata", {}),
        "labels": {**labelled.get("metadata", {}).get("labels", {}), "pod-template-hash": f"h{revision}"},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{owner}-{revision}",
            "namespace": "shop",
            "uid": f"uid-rs-{revision}",
            "labels": {"app": owner},
            "annotations": {"deployment.kubernetes.io/revision": str(revision), **annotations},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": owner,
                    "uid": f"uid-deployment-{owner}",
                    "controller": True,
                }
            ],
        },
        "spec": {"template": labelled},
        "status": {"replicas": available, **({"availableReplicas": available} if available else {})},
    }


def pod(
    name: str = "api-1",
    *statuses: dict[str, Any],
    ready: bool = True,
    controlled: bool = True,
    phase: str = "Running",
    **status: Any,
) -> Manifest:
    owners = [
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "api-1",
            "uid": "uid-rs-1",
            "controller": True,
        }
    ]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", ())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-pod-{name}",
            "labels": {"app": "api"},
            **({"ownerReferences": owners} if controlled else {}),
        },
        "spec": {"containers": [container(readinessProbe={"httpGet": {"path": "/", "port": 80}})]},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": list(statuses) or [running(ready=ready)],
            **status,
        },
    }


def running(
    *,
    ready: bool = True,
    restarts: int = 0,
    since: str = "2026-03-01T08:00:00Z",
    name: str = "app",
    **last: Any,
) -> dict[str, Any]:
    return _status(name, {"running": {"startedAt": since}}, ready=ready, restarts=restarts, last=last)


def waiting(state: str, *, restarts: int = 0, name: str = "app", **last: Any) -> dict[str, Any]:
    return _status(name, {"waiting": {"reason": state}}, ready=False, restarts=restarts, last=last)


def ended(*, restarts: int = 0, name: str = "app", **how: Any) -> dict[str, Any]:
    return _status(name, {"terminated": how}, ready=False, restarts=restarts, last={})


def _status(name: str, state: Any, *, ready: bool, restarts: int, last: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def warning(reason: str, message: str, about: Manifest, when: str = "2026-03-01T11:59:00Z") -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{reason}-{about['metadata']['name']}-{when}".lower(), "namespace": "shop"},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
        "involvedObject": {
            "kind": about["kind"],
            "name": about["metadata"]["name"],
            "uid": about["metadata"]["uid"],
        },
    }
