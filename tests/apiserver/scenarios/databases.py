"""Replicated Postgres that fails.

Neither CloudNativePG nor Patroni runs here: the CRD is a stand-in with the status subresource of the real one, and
statuses and annotations are written as theirs are recorded. What the managers make of what is asked is played by the
test. For Patroni at work see ``test_patroni.py``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apiserver.acting import Place, await_true
from apiserver.rest import MERGE_PATCH
from apiserver.scenarios.scenario import Scenario, Where
from kubernaut.core.ports import Manifest
from kubernaut.core.probing import Answer

CNPG: Final = "postgresql.cnpg.io/v1"
NAMES: Final = ("db-1", "db-2", "db-3")
SCOPE: Final = {"application": "patroni", "cluster-name": "db"}
_CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def define_clusters(place: Place) -> None:
    """Define CloudNativePG's kind, as far as it is looked at."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusters.postgresql.cnpg.io"},
        "spec": {
            "group": "postgresql.cnpg.io",
            "names": {"kind": "Cluster", "plural": "clusters", "singular": "cluster"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
    answer = place.admin.request("POST", _CRD, crd)
    assert answer.ok or answer.status == 409, answer
    path = place.path(CNPG, "clusters")
    await_true(lambda: place.admin.request("GET", path).ok, "the kind Cluster is not served")


def instance(
    place: Place, name: str, labels: dict[str, str], annotations: dict[str, str] | None = None
) -> None:
    """Create the volume of an instance, and its pod once the volume is bound."""
    claim = f"pgdata-{name}"
    storage = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    owner = place.get("v1", "namespaces", place.namespace)["metadata"]
    owners = [{"apiVersion": "v1", "kind": "Namespace", "name": owner["name"], "uid": owner["uid"]}]
    meta = {"name": f"{place.namespace}-{name}", "ownerReferences": owners}
    volume = {
        **storage,
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/tmp"},
        "claimRef": {"namespace": place.namespace, "name": claim},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    # A claim that was there before its volume waits for the binder's next round, and its pod for the scheduler's.
    place.create("v1", "persistentvolumes", {"metadata": meta, "spec": volume})
    wanted = {**storage, "volumeName": meta["name"], "resources": {"requests": {"storage": "1Gi"}}}
    place.create(
        "v1", "persistentvolumeclaims", {"metadata": {"name": claim, "labels": labels}, "spec": wanted}
    )
    await_true(lambda: _bound(place, claim), f"the volume of {name} is not bound")
    spec = {
        "containers": [{"name": "postgres", "image": "kubernaut.local/pause:1"}],
        "volumes": [{"name": "pgdata", "persistentVolumeClaim": {"claimName": claim}}],
        "terminationGracePeriodSeconds": 0,
    }
    place.create(
        "v1",
        "pods",
        {"metadata": {"name": name, "labels": labels, "annotations": annotations or {}}, "spec": spec},
    )


def _bound(place: Place, claim: str) -> bool:
    phase: str = place.get("v1", "persistentvolumeclaims", claim).get("status", {}).get("phase", "")
    return phase == "Bound"


def _ready(place: Place) -> bool:
    found = place.items("v1", "pods")
    conditions = [one for pod in found for one in pod.get("status", {}).get("conditions", ())]
    ready = [one for one in conditions if one["type"] == "Ready" and one["status"] == "True"]
    return len(ready) == len(NAMES)


def write_status(place: Place, status: dict[str, Any]) -> None:
    path = place.path(CNPG, "clusters", "db") + "/status"
    answer = place.admin.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert answer.ok, answer


def cnpg(place: Place) -> Manifest:
    """Return a Cluster of three instances, of which the first leads."""
    define_clusters(place)
    place.create(
        CNPG,
        "clusters",
        {"apiVersion": CNPG, "kind": "Cluster", "metadata": {"name": "db"}, "spec": {"instances": 3}},
    )
    for name in NAMES:
        instance(place, name, {"cnpg.io/cluster": "db", "cnpg.io/instanceName": name})
    state = {
        "currentPrimary": NAMES[0],
        "targetPrimary": NAMES[0],
        "targetPrimaryTimestamp": "2026-01-01T00:00:00.000000Z",
        "instanceNames": list(NAMES),
        "instancesStatus": {"healthy": list(NAMES)},
        "timelineID": 1,
        "instancesReportedState": {name: {"timeLineID": 1} for name in NAMES},
    }
    write_status(place, state)
    await_true(lambda: _ready(place), "the instances are not ready")
    return place.get(CNPG, "clusters", "db")


def unhealthy(name: str) -> Any:
    def fault(place: Place) -> None:
        healthy = [one for one in NAMES if one != name]
        write_status(place, {"instancesStatus": {"healthy": healthy, "failed": [name]}})

    return fault


def healthy_again(place: Place) -> None:
    write_status(place, {"instancesStatus": {"healthy": list(NAMES), "failed": None}})


def _status(place: Place) -> Manifest:
    found: Manifest = place.get(CNPG, "clusters", "db")["status"]
    return found


def led_by_a_failing_one(place: Place) -> bool:
    """Whether an instance that fails leads and is to go on leading."""
    status = _status(place)
    return status["targetPrimary"] not in status["instancesStatus"]["healthy"]


def has_a_failing_replica(place: Place) -> bool:
    there = {pod["metadata"]["name"] for pod in place.items("v1", "pods")}
    return bool(there - set(_status(place)["instancesStatus"]["healthy"]))


def told(name: str, *, leads: bool, at: int = 1000) -> str:
    """Return what a member tells of itself."""
    role = {"role": "primary"} if leads else {"role": "replica", "replication_state": "streaming"}
    return json.dumps({"state": "running", "xlog_location": at, "timeline": 1, "version": "4.1.5"} | role)


def lock(leader: str, renewed: datetime) -> dict[str, str]:
    return {
        "leader": leader,
        "ttl": "30",
        "renewTime": renewed.isoformat(),
        "acquireTime": "2026-01-01T00:00:00+00:00",
        "transitions": "0",
        "optime": "1000",
    }


def patroni(objects: str, *, asked_before: bool) -> Any:
    def healthy(place: Place) -> Manifest:
        for name in NAMES:
            instance(place, name, SCOPE, {"status": told(name, leads=name == NAMES[0])})
        lead = "db" if objects == "endpoints" else "db-leader"
        annotations = lock(NAMES[0], datetime.now(UTC))
        place.create("v1", objects, {"metadata": {"name": lead, "labels": SCOPE, "annotations": annotations}})
        if asked_before:
            place.create("v1", objects, {"metadata": {"name": "db-failover", "labels": SCOPE}})
        await_true(lambda: _ready(place), "the members are not ready")
        return {"apiVersion": "v1", "kind": "Pod", **place.get("v1", "pods", NAMES[0])}

    return healthy


def lock_ran_out(objects: str, lead: str) -> Any:
    def fault(place: Place) -> None:
        annotations = lock(NAMES[0], datetime.now(UTC) - timedelta(hours=1))
        place.patch("v1", objects, lead, {"metadata": {"annotations": annotations}})

    return fault


def renewed(objects: str, lead: str) -> Any:
    def mended(place: Place) -> None:
        annotations = lock(NAMES[0], datetime.now(UTC) + timedelta(hours=1))
        place.patch("v1", objects, lead, {"metadata": {"annotations": annotations}})

    return mended


def nobody_asked(objects: str, lead: str) -> Any:
    """Return whether the lock has run out and no other member is asked to lead."""

    def symptom(place: Place) -> bool:
        until = place.get("v1", objects, lead)["metadata"]["annotations"]["renewTime"]
        found = {one["metadata"]["name"]: one["metadata"] for one in place.items("v1", objects)}
        asked = (found.get("db-failover", {}).get("annotations") or {}).get("member")
        return datetime.fromisoformat(until) < datetime.now(UTC) - timedelta(minutes=5) and not asked

    return symptom


def stopped(place: Place) -> None:
    state = json.dumps({"state": "start failed", "role": "replica"})
    place.patch("v1", "pods", "db-2", {"metadata": {"annotations": {"status": state}}})


def starts_again(place: Place) -> None:
    place.patch("v1", "pods", "db-2", {"metadata": {"annotations": {"status": told("db-2", leads=False)}}})


def has_a_stopped_member(place: Place) -> bool:
    states = [pod["metadata"]["annotations"]["status"] for pod in place.items("v1", "pods")]
    return any("start failed" in state for state in states)


_CLUSTER: Final = (Where(CNPG, "clusters", "db"),)
SCENARIOS: Final = (
    Scenario(
        "failover_database",
        {},
        told="CloudNativePG",
        healthy=cnpg,
        fault=unhealthy("db-1"),
        symptom=led_by_a_failing_one,
        changes=_CLUSTER,
        undoes=False,
        mended=healthy_again,
        # Nobody is there who promotes.
        helped=Answer.NO,
    ),
    *(
        Scenario(
            "failover_database",
            {"manager": "Patroni", "name": "db", "patroniObjects": kind},
            told=f"Patroni {kind} {'asked before' if before else ''}",
            healthy=patroni(objects, asked_before=before),
            fault=lock_ran_out(objects, lead),
            symptom=nobody_asked(objects, lead),
            changes=(Where("v1", objects, lead),),
            undoes=False,
            mended=renewed(objects, lead),
            later=(f"{'create' if before else 'patch'} {objects}",),
            helped=Answer.NO,
        )
        for kind, objects, lead, before in (
            ("Endpoints", "endpoints", "db", False),
            ("ConfigMap", "configmaps", "db-leader", True),
        )
    ),
    Scenario(
        "repair_database",
        {"instance": "db-2"},
        told="CloudNativePG",
        healthy=cnpg,
        fault=unhealthy("db-2"),
        symptom=has_a_failing_replica,
        changes=_CLUSTER,
        undoes=False,
        mended=healthy_again,
        writes=2,
        helped=Answer.UNKNOWN,
    ),
    Scenario(
        "repair_database",
        {"manager": "Patroni", "name": "db", "instance": "db-2"},
        told="Patroni",
        healthy=patroni("endpoints", asked_before=False),
        fault=stopped,
        symptom=has_a_stopped_member,
        changes=(Where("v1", "endpoints", "db"),),
        undoes=False,
        mended=starts_again,
        writes=2,
        helped=Answer.UNKNOWN,
    ),
)
