"""Actions on a real API server: an account with just the rights given, and the context of a step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from apiserver.rest import MERGE_PATCH, Client
from kubernaut.cluster.call import Call
from kubernaut.cluster.client import REQUEST_SECONDS, ApiConnection
from kubernaut.core.action import StepContext
from kubernaut.core.errors import Conflict
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.engine.remembering import HistoryMemory
from kubernaut.history.knowngood import GoodSighting
from localcluster import Cluster as LocalCluster
from localrun.access import account_kubeconfig

ACTOR = "test-actor"
_SYSTEM = "kubernaut-system"
SIGNER = Signer(b"a key of these tests")
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
# Rights on these are given for the whole cluster; on anything else in the namespace.
_CLUSTER_WIDE = frozenset(
    {"nodes", "persistentvolumes", "storageclasses", "namespaces", "validatingwebhookconfigurations"}
)


def _is_wide(right: Right) -> bool:
    return right.everywhere or right.resource in _CLUSTER_WIDE


def actor(cluster: LocalCluster, folder: Path) -> Path:
    """Return a kubeconfig of an administrator in the operator's namespace, whose reads the audit log keeps, too."""
    account = {"name": ACTOR, "namespace": _SYSTEM}
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", **account}],
    }
    # An apply would take away labels that it has already.
    if not cluster.run_kubectl("get", "namespace", _SYSTEM, "--ignore-not-found", "-o", "name"):
        cluster.run_kubectl("create", "namespace", _SYSTEM)
    for manifest in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACTOR},
            **binding,
        },
    ):
        cluster.run_kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
    return account_kubeconfig(cluster, ACTOR, folder, _SYSTEM)


class Nothing:
    """No memory of ReplicaSets."""

    async def seen_available(self, uids: Sequence[str]) -> frozenset[str]:
        return frozenset()


class KnownGoods:
    """What is remembered of objects, in memory."""

    def __init__(self) -> None:
        self._newest: dict[str, GoodSighting] = {}

    def remember(self, seen: GoodSighting) -> None:
        self._newest[seen.uid] = seen

    async def newest(self, uid: str, good_for: timedelta) -> GoodSighting | None:
        return self._newest.get(uid)


class Counting(ApiConnection):
    """A connection that counts conflicts: a change that met one changed nothing, and is asked for once more.

    On a real node a controller may write the status of any object between a read and the change that follows.
    """

    conflicts = 0

    async def send(
        self, call: Call, *, account: str = "", timeout: float = REQUEST_SECONDS, urgent: bool = False
    ) -> bytes:
        try:
            return await super().send(call, account=account, timeout=timeout, urgent=urgent)
        except Conflict:
            self.conflicts += 1
            raise


class Place:
    """A namespace on a real API server, seen by its administrator and by accounts with few rights."""

    def __init__(self, admin: Client, namespace: str, connection: Counting) -> None:
        self.admin = admin
        self.namespace = namespace
        self.connection = connection
        self.known_good = KnownGoods()
        self._accounts = 0
        self._also: list[str] = []
        self._ends: list[Callable[[], object]] = []

    def account(self, rights: Iterable[Right]) -> Cluster:
        """Return the cluster as a new ServiceAccount sees it, which has these rights and no other."""
        self._accounts += 1
        name = f"repair-{self._accounts}"
        rights = tuple(rights)
        self.create("v1", "serviceaccounts", {"metadata": {"name": name}})
        wide = [right for right in rights if _is_wide(right)]
        self._allow(name, [right for right in rights if right not in wide])
        if wide:
            self._allow(name, wide, wide=True)
        for right in rights:
            await_true(partial(self._allowed, name, right), f"{name} may not {right} yet")
        return self.connection.as_account(self.namespace, name)

    def _allow(self, account: str, rights: Iterable[Right], *, wide: bool = False) -> None:
        kind, name = ("ClusterRole", f"{self.namespace}-{account}") if wide else ("Role", account)
        resource = f"{kind.lower()}s"
        rules = [
            {
                "verbs": [right.verb],
                "apiGroups": [right.group],
                "resources": [right.resource],
                **({"resourceNames": list(right.names)} if right.names else {}),
            }
            for right in rights
        ]
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.namespace}],
        }
        role = {"metadata": {"name": name}, "rules": rules}
        for what, thing in ((resource, role), (f"{kind.lower()}bindings", binding)):
            path = f"{_RBAC}/{what}" if wide else self.path(_RBAC, what)
            answer = self.admin.request("POST", path, thing)
            assert answer.ok, answer

    def _allowed(self, account: str, right: Right) -> bool:
        resource, _, subresource = right.resource.partition("/")
        wanted = {
            "namespace": "" if _is_wide(right) else self.namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.names[0] if right.names else "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{self.namespace}:{account}",
                "resourceAttributes": wanted,
            },
        }
        answer = self.admin.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer.body["status"]["allowed"])

    def also_delete(self, base: str, resource: str, name: str) -> None:
        """Have an object deleted at the end that does not go with the namespace."""
        self._also.append(self.path(base, resource, name))

    def at_the_end(self, end: Callable[[], object]) -> None:
        """Have something done at the end, such as stopping what plays a part."""
        self._ends.append(end)

    def leave(self) -> None:
        """Delete what does not go with the namespace."""
        for end in self._ends:
            end()
        for path in self._also:
            self.admin.request("DELETE", path)

    def path(self, base: str, resource: str, name: str = "") -> str:
        root = base if base.startswith("/") else f"/api/{base}" if base == "v1" else f"/apis/{base}"
        where = "" if resource in _CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        return f"{root}{where}/{resource}" + (f"/{name}" if name else "")

    def create(self, base: str, resource: str, thing: Manifest) -> Manifest:
        answer = self.admin.request("POST", self.path(base, resource), thing)
        assert answer.ok, answer
        made: Manifest = answer.body
        return made

    def get(self, base: str, resource: str, name: str) -> Manifest:
        answer = self.admin.request("GET", self.path(base, resource, name))
        assert answer.ok, answer
        found: Manifest = answer.body
        return found

    def items(self, base: str, resource: str) -> list[Manifest]:
        found: list[Manifest] = self.admin.request("GET", self.path(base, resource)).body["items"]
        return found

    def patch(self, base: str, resource: str, name: str, body: Manifest) -> Manifest:
        path = self.path(base, resource, name)
        answer = self.admin.request("PATCH", path, body, content_type=MERGE_PATCH)
        assert answer.ok, answer
        patched: Manifest = answer.body
        return patched

    def deployment(self, name: str = "api") -> Manifest:
        return self.get("apps/v1", "deployments", name)

    def settled(self, name: str = "api") -> Manifest:
        """Return a Deployment once its controller has rolled its newest generation out."""

        def done() -> bool:
            found = self.deployment(name)
            status, wanted = found.get("status", {}), found["spec"]["replicas"]
            counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
            return (
                status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3
            )

        await_true(done, f"Deployment {name} was not rolled out")
        return self.deployment(name)

    def context(self, target: Manifest, **more: Any) -> StepContext:
        """Return the context of a step of a run on this target."""
        ref = ObjectRef(
            target["apiVersion"],
            target["kind"],
            target["metadata"].get("namespace", ""),
            target["metadata"]["name"],
            target["metadata"]["uid"],
        )
        given: dict[str, Any] = {
            "run_uid": "5c8a2f5e-run",
            "run_name": "run",
            "namespace": self.namespace,
            "step": "repair",
            "attempt": 1,
            "target": ref,
            "now": datetime.now(UTC),
            "signer": SIGNER,
            "evidence": Nothing(),
            "memory": HistoryMemory(self.known_good),
        }
        return StepContext(**(given | more))


def await_true(holds: Callable[[], bool], otherwise: str, seconds: float = 60) -> None:
    """Ask again until it holds: RBAC's and the controllers' caches tell nobody when they have caught up."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def deployment(image: str = "kubernaut.local/pause:1", replicas: int = 2, **pod: Any) -> Manifest:
    """Return a Deployment named api."""
    container = {
        "name": "app",
        "image": image,
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}},
    }
    return {
        "metadata": {"name": "api"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "api"}},
            "template": {
                "metadata": {"labels": {"app": "api"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **pod},
            },
        },
    }
