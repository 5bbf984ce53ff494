"""What a simulation refuses, and what an apply comes to in it, is what the API server makes of the same request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from apiserver.acting import Place
from apiserver.fidelity import differences
from kubernaut.api.names import API_VERSION
from kubernaut.core.errors import Conflict, Invalid, OwnedByOthers
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.simulation.simulating import shadow_of

_LABELS = {"app": "api"}
_CONTAINER: Manifest = {
    "name": "app",
    "image": "kubernaut.local/pause:1",
    "resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "10m"}},
}
_TEMPLATE: Manifest = {"metadata": {"labels": _LABELS}, "spec": {"containers": [_CONTAINER]}}
_SELECTING: Manifest = {"selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}
_NOWHERE: Manifest = {**_TEMPLATE["spec"], "nodeSelector": {"kubernaut.local/nowhere": "here"}}
_OBJECTS: dict[str, tuple[str, str, Manifest]] = {
    "Deployment": ("apps/v1", "deployments", {"spec": {**_SELECTING, "replicas": 0}}),
    "StatefulSet": ("apps/v1", "statefulsets", {"spec": {**_SELECTING, "replicas": 0, "serviceName": "api"}}),
    "DaemonSet": (
        "apps/v1",
        "daemonsets",
        {"spec": {**_SELECTING, "template": {**_TEMPLATE, "spec": _NOWHERE}}},
    ),
    "Job": (
        "batch/v1",
        "jobs",
        {"spec": {"suspend": True, "template": {"spec": {**_TEMPLATE["spec"], "restartPolicy": "Never"}}}},
    ),
    "Pod": ("v1", "pods", {"spec": {**_NOWHERE, "tolerations": [{"key": "a", "operator": "Exists"}]}}),
    "PersistentVolumeClaim": (
        "v1",
        "persistentvolumeclaims",
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "none-such",
                "resources": {"requests": {"storage": "1Gi"}},
            }
        },
    ),
    "Service": ("v1", "services", {"spec": {"selector": _LABELS, "ports": [{"port": 80}]}}),
    "ConfigMap": ("v1", "configmaps", {"data": {"level": "info"}, "immutable": True}),
    "Secret": ("v1", "secrets", {"stringData": {"word": "open"}}),
    "HorizontalPodAutoscaler": (
        "autoscaling/v2",
        "horizontalpodautoscalers",
        {
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
                "minReplicas": 2,
                "maxReplicas": 4,
            }
        },
    ),
    "PodDisruptionBudget": (
        "policy/v1",
        "poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "selector": {"matchLabels": _LABELS}}},
    ),
}
_MEMORY = {"requests": {"cpu": "20m"}, "limits": {"cpu": "10m"}}
#: merge patches, and whether the API server takes them
PATCHES: list[tuple[str, Manifest, bool]] = [
    ("Deployment", {"spec": {"replicas": 3}}, True),
    ("Deployment", {"spec": {"replicas": -1}}, False),
    ("Deployment", {"spec": {"replicas": "abc"}}, False),
    ("Deployment", {"spec": {"replicas": 2.5}}, False),
    ("Deployment", {"spec": {"selector": {"matchLabels": {"app": "other"}}}}, False),
    ("Deployment", {"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}}, False),
    ("Deployment", {"spec": {"template": {"metadata": {"labels": {"tier": "web"}}}}}, True),
    ("Deployment", {"spec": {"template": {"spec": {"containers": None}}}}, False),
    ("Deployment", {"spec": {"template": {"spec": {"containers": ["app"]}}}}, False),
    ("Deployment", {"spec": {"template": {"spec": {"containers": [_CONTAINER, _CONTAINER]}}}}, False),
    ("Deployment", {"spec": {"template": {"spec": {"containers": [{**_CONTAINER, "image": ""}]}}}}, False),
    (
        "Deployment",
        {"spec": {"template": {"spec": {"containers": [{**_CONTAINER, "resources": _MEMORY}]}}}},
        False,
    ),
    ("Deployment", {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "1"}}}}, False),
    ("Deployment", {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "40%"}}}}, True),
    ("Deployment", {"spec": {"strategy": {"type": "Recreate"}}}, False),
    ("Deployment", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}, True),
    ("Deployment", {"metadata": {"labels": {"version": 3}}}, False),
    ("Deployment", {"metadata": {"labels": {"version": "not valid!"}}}, False),
    ("Deployment", {"metadata": {"labels": {"-bad": "x"}}}, False),
    ("Deployment", {"metadata": {"labels": {"example.com/version": "1.2_b"}}}, True),
    ("Deployment", {"metadata": {"annotations": {"example.com/note": 3}}}, False),
    ("Deployment", {"metadata": {"annotations": {"example.com/note": "x" * 300_000}}}, False),
    ("StatefulSet", {"spec": {"replicas": 2}}, True),
    ("StatefulSet", {"spec": {"serviceName": "other"}}, False),
    ("StatefulSet", {"spec": {"podManagementPolicy": "Parallel"}}, False),
    ("StatefulSet", {"spec": {"minReadySeconds": 3}}, True),
    ("StatefulSet", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}, True),
    ("DaemonSet", {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}, True),
    ("DaemonSet", {"spec": {"selector": {"matchLabels": {"app": "other"}}}}, False),
    ("Job", {"spec": {"suspend": False}}, True),
    ("Job", {"spec": {"parallelism": 2}}, True),
    ("Job", {"spec": {"completions": 2}}, False),
    ("Job", {"spec": {"completionMode": "Indexed"}}, False),
    ("Job", {"spec": {"backoffLimit": 2}}, True),
    ("Job", {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}, True),
    # A list is replaced as a whole, so the mount that the API server added is taken out.
    ("Pod", {"spec": {"containers": [{**_CONTAINER, "image": "kubernaut.local/pause:2"}]}}, False),
    ("Pod", {"spec": {"restartPolicy": "Never"}}, False),
    ("Pod", {"spec": {"nodeName": "none"}}, False),
    ("Pod", {"spec": {"activeDeadlineSeconds": 60}}, True),
    ("Pod", {"spec": {"tolerations": []}}, False),
    ("Pod", {"metadata": {"labels": {"app": "api"}}}, True),
    ("PersistentVolumeClaim", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, False),
    ("PersistentVolumeClaim", {"spec": {"storageClassName": "other"}}, False),
    ("Service", {"spec": {"selector": {"app": "other"}}}, True),
    ("Service", {"spec": {"clusterIP": "10.0.0.1"}}, False),
    ("ConfigMap", {"data": {"level": "debug"}}, False),
    ("ConfigMap", {"immutable": False}, False),
    ("ConfigMap", {"metadata": {"labels": {"a": "b"}}}, True),
    ("Secret", {"type": "kubernetes.io/tls"}, False),
    ("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 6}}, True),
    ("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 1}}, False),
    ("HorizontalPodAutoscaler", {"spec": {"maxReplicas": None}}, False),
    ("PodDisruptionBudget", {"spec": {"maxUnavailable": 1}}, False),
    ("PodDisruptionBudget", {"spec": {"minAvailable": "50%"}}, True),
]


async def test_the_copy_and_the_api_server_refuse_the_same(place: Place) -> None:
    for version, resource, content in _OBJECTS.values():
        place.create(version, resource, {"metadata": {"name": "one"}, **content})
    own = place.connection.own()
    shadow = shadow_of(datetime.now(UTC), own)
    otherwise: list[str] = []
    for kind, body, taken in PATCHES:
        ref = ObjectRef(_OBJECTS[kind][0], kind, place.namespace, "one")
        for cluster in (own, shadow):
            version = (await cluster.get(ref))["metadata"]["resourceVersion"]
            try:
                await cluster.patch(ref, body, resource_version=version, dry_run=True)
                told = ""
            except Invalid as error:
                told = str(error)
            if bool(told) is taken:
                otherwise.append(f"{type(cluster).__name__}: {kind} {body}: {told[:200] or 'taken'}")
    assert not otherwise, "\n".join(otherwise)


_APPLIED: Manifest = {
    **_CONTAINER,
    "args": ["a", "b"],
    "env": [{"name": "LEVEL", "value": "info"}],
    "ports": [{"containerPort": 80, "name": "http"}],
    "volumeMounts": [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/b"}],
}
_VOLUMES: list[Manifest] = [{"name": "data", "emptyDir": {}}]


def _deployment(**container: Any) -> Manifest:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", **container}]}}}}


#: what is applied to what another manager applied before, and whether that one owns what would change
APPLIES: list[tuple[str, Manifest, bool]] = [
    ("Deployment", _deployment(image="kubernaut.local/pause:2"), True),
    ("Deployment", _deployment(image=_CONTAINER["image"]), False),
    ("Deployment", _deployment(env=[{"name": "LEVEL", "value": "debug"}]), True),
    ("Deployment", _deployment(env=[{"name": "MORE", "value": "yes"}]), False),
    ("Deployment", _deployment(args=["a"]), True),
    ("Deployment", _deployment(ports=[{"containerPort": 80, "name": "http"}]), False),
    ("Deployment", _deployment(ports=[{"containerPort": 80, "name": "web"}]), True),
    ("Deployment", _deployment(ports=[{"containerPort": 81, "name": "more"}]), False),
    ("Deployment", _deployment(volumeMounts=[{"name": "data", "mountPath": "/c"}]), False),
    ("Deployment", _deployment(volumeMounts=[{"name": "data", "mountPath": "/b", "readOnly": True}]), False),
    ("Deployment", _deployment(volumeMounts=[{"name": "other", "mountPath": "/b"}]), True),
    ("Deployment", {"spec": {"replicas": 3}}, True),
    ("Deployment", {"metadata": {"labels": {"team": "a"}}}, False),
    ("Service", {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}, True),
    ("Service", {"spec": {"ports": [{"port": 81, "name": "more"}]}}, False),
    ("Workflow", {"spec": {"steps": [{"name": "two", "action": "restart_deployment"}]}}, False),
    ("Workflow", {"spec": {"steps": [{"name": "one", "action": "collect_diagnostics"}]}}, True),
]


async def test_an_apply_meets_the_same_owners_and_comes_to_the_same(place: Place) -> None:
    container = {"template": {**_TEMPLATE, "spec": {"containers": [_APPLIED], "volumes": _VOLUMES}}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one"}
    steps = [{"name": "one", "action": "restart_deployment"}]
    kinds: dict[str, tuple[str, str, Manifest]] = {
        "Deployment": ("apps/v1", "deployments", {"spec": {**_SELECTING, **container, "replicas": 0}}),
        "Service": (
            "v1",
            "services",
            {"spec": {"selector": _LABELS, "ports": [{"port": 80, "name": "http"}]}},
        ),
        "Workflow": (
            API_VERSION,
            "workflows",
            {"spec": {"serviceAccountName": "repair", "target": target, "steps": steps}},
        ),
    }
    own = place.connection.own()
    for kind, (version, resource, content) in kinds.items():
        head = {"apiVersion": version, "kind": kind, "metadata": {"name": "one"}}
        place.create(version, resource, {**head, **content})
        given = {"apiVersion": version, "kind": kind, **content}
        await _applied(own, place, given, "other", force=True, dry_run=False)
    shadow = shadow_of(datetime.now(UTC), own)
    otherwise: list[str] = []
    for kind, body, owned in APPLIES:
        given = {"apiVersion": kinds[kind][0], "kind": kind, **body}
        real, simulated = [await _applied(one, place, given, "ours") for one in (own, shadow)]
        told = [f"{kind} {body}: "]
        if (real is None, simulated is None) != (owned, owned):
            otherwise.append(f"{told}: owned: {real is None}, simulated: {simulated is None}")
        elif real is not None and simulated is not None:
            otherwise += [f"{told} {one}" for one in differences(simulated["spec"], real["spec"])]
    assert not otherwise, "\n".join(otherwise)


async def _applied(
    cluster: Any, place: Place, body: Manifest, manager: str, *, force: bool = False, dry_run: bool = True
) -> Manifest | None:
    """Apply to the object that is there; None where another manager owns what would change."""
    meta = {**body.get("metadata", {}), "name": "one", "namespace": place.namespace}
    ref = ObjectRef(body["apiVersion"], body["kind"], place.namespace, "one")
    while True:
        seen = (await cluster.get(ref))["metadata"]
        version, uid = seen["resourceVersion"], seen["uid"]
        options: dict[str, Any] = {"manager": manager, "force": force, "dry_run": dry_run}
        try:
            done: Manifest = await cluster.apply(
                {**body, "metadata": meta}, uid=uid, resource_version=version, **options
            )
        except OwnedByOthers:
            return None
        except Conflict:
            # A controller has written the Deployment's status since it was read.
            continue
        return done
