"""What faults are tried on: a control plane with places for several operators, a Workflow of each shape in each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from faults.places import Place
from faults.shapes import SHAPES
from faults.shapes.model import ACCOUNT, Manifest
from faults.witness import Witness
from kubernaut.api.names import SYSTEM_NAMESPACE
from kubernaut.api.rbac import before_image_manifests, tenant_manifests
from localcluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
NAME = os.environ.get("KUBERNAUT_FAULTS_NAME", "faults")
OPERATORS = 4


class Arena:
    """A control plane with places for operators."""

    def __init__(self, cluster: Cluster, places: Sequence[Place]) -> None:
        assert cluster.audit_log is not None
        self.cluster = cluster
        self.places = tuple(places)
        self.witness = Witness(cluster.audit_log)

    @classmethod
    @contextmanager
    def up(cls, name: str = NAME, operators: int = OPERATORS) -> Iterator[Arena]:
        """Bring up a control plane with the operator's manifests and all places; take it away in the end."""
        cluster = Cluster.up(name, nodes="kwok", kwok_nodes=1)
        try:
            places = [Place.numbered(number) for number in range(1, operators + 1)]
            _set_up(cluster, places)
            yield cls(cluster, places)
        finally:
            cluster.down()


def _set_up(cluster: Cluster, places: Sequence[Place]) -> None:
    cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
    crds = ["workflows", "workflowexecutions", "discoveredpatterns"]
    names = [f"crd/{name}.kubernaut.io" for name in crds]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    system = _system(cluster)
    manifests: list[Manifest] = []
    for place in places:
        manifests += [_namespace(place.namespace), _namespace(place.system)]
        manifests += [_moved(one, place.system) for one in system]
        manifests += tenant_manifests(place.namespace) + before_image_manifests(place.namespace)
        manifests += _jobs(place.namespace)
        manifests += [shape.workflow(place.namespace) for shape in SHAPES]
    cluster.run_kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(manifests))


def _jobs(namespace: str) -> list[Manifest]:
    """Return what lets a Workflow's account run Jobs."""
    meta = {"name": "jobs", "namespace": namespace}
    verbs = ["create", "get", "list", "watch", "delete"]
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs}]
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "jobs"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
    return [role, binding]


def _system(cluster: Cluster) -> list[Manifest]:
    """Return what an operator needs in its system namespace."""
    kinds = "roles,rolebindings,configmaps,secrets"
    answer = cluster.run_kubectl("get", kinds, "-n", SYSTEM_NAMESPACE, "-o", "json")
    ours = [one for one in json.loads(answer)["items"] if one["metadata"]["name"].startswith("kubernaut-")]
    return [dict(one) for one in ours]


def _moved(manifest: Manifest, namespace: str) -> Manifest:
    kept = {key: manifest["metadata"][key] for key in ("name", "labels") if key in manifest["metadata"]}
    body: dict[str, Any] = {
        key: value for key, value in manifest.items() if key not in ("metadata", "status")
    }
    return {**body, "metadata": {**kept, "namespace": namespace}}


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
