"""Replicated databases as CloudNativePG and Patroni keep them: recorded statuses and annotations."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from kubernaut.core.ports import Manifest
from unit.actions.builders import NOW, pod
from unit.actions.fake import FakeCluster

NAMES = ("db-1", "db-2", "db-3")
EPOCH = "2026-03-01T08:00:00.000000Z"


def claim(name: str, **labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-claim-{name}", "labels": labels},
        "spec": {},
    }


def instance(name: str, labels: dict[str, str], **annotations: str) -> Manifest:
    made = pod(name)
    made["metadata"] |= {"labels": labels, "annotations": annotations}
    made["spec"]["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": f"pgdata-{name}"}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "backups"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    return made


def cnpg_cluster(healthy: tuple[str, ...] = NAMES, **status: Any) -> Manifest:
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "db", "namespace": "shop", "uid": "uid-cluster-db"},
        "spec": {"instances": 3},
        "status": {
            "currentPrimary": "db-1",
            "targetPrimary": "db-1",
            "targetPrimaryTimestamp": EPOCH,
            "instanceNames": list(NAMES),
            "instancesStatus": {"healthy": list(healthy)},
            "timelineID": 3,
            "instancesReportedState": {name: {"timeLineID": 3} for name in NAMES},
            **status,
        },
    }


def cnpg(healthy: tuple[str, ...] = NAMES, **status: Any) -> FakeCluster:
    found = FakeCluster().add(cnpg_cluster(healthy, **status))
    for name in NAMES:
        labels = {"cnpg.io/cluster": "db", "cnpg.io/instanceName": name}
        found.add(instance(name, labels), claim(f"pgdata-{name}", **labels))
    return found


def told(*, leads: bool = False, at: int = 5000, **more: Any) -> str:
    role = {"role": "primary"} if leads else {"role": "replica", "replication_state": "streaming"}
    return json.dumps({"state": "running", "xlog_location": at, "timeline": 3} | role | more)


def lock(leader: str = "db-1", renewed: datetime = NOW, **more: str) -> dict[str, str]:
    times = {"ttl": "30", "renewTime": renewed.isoformat(), "acquireTime": "2026-03-01T08:00:00+00:00"}
    return {"leader": leader, "optime": "5000", "transitions": "4", **times, **more}


def lead(kind: str = "Endpoints", **annotations: str) -> Manifest:
    name = "db" if kind == "Endpoints" else "db-leader"
    labels = {"application": "patroni", "cluster-name": "db"}
    meta = {"name": name, "namespace": "shop", "uid": "uid-lead", "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**meta, "annotations": annotations or lock()}}


def failover(kind: str = "Endpoints", **annotations: str) -> Manifest:
    meta = {"name": "db-failover", "namespace": "shop", "uid": "uid-failover", "annotations": annotations}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta}


def patroni(there: Manifest | None = None, **members: str) -> FakeCluster:
    """Return a database of three members; what one tells of itself may be given by its name with an underscore."""
    found = FakeCluster().add(there or lead())
    for name in NAMES:
        state = members.get(name.replace("-", "_"), told(leads=name == "db-1"))
        found.add(instance(name, {"cluster-name": "db"}, status=state), claim(f"pgdata-{name}"))
    return found


def lapsed() -> Manifest:
    """Return the lead of a primary that does not renew its lock any more."""
    return lead(**lock(renewed=NOW - timedelta(minutes=5)))
