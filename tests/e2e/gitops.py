"""GitOps as another actor: CRDs with the fields of Argo CD and Flux that are used, and a controller that re-applies.

The controllers themselves are not run here: there are their CRDs, written with the fields that count, and an actor
that does with real requests what they do. It applies what it calls Git on the server's side, under their field
manager's name, for as long as their own objects do not tell it to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import definitions
from apiserver.defined import define
from apiserver.kinds import crd
from apiserver.rest import MERGE_PATCH, Answer, Client
from e2e.world import REPAIR, Place, World, until, web

Manifest = dict[str, Any]
ARGO = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
FLUX = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
APPLY_PATCH = "application/apply-patch+yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{}"
_BOOL, _TEXT = {"type": "boolean"}, {"type": "string"}


def _of(**properties: Any) -> Manifest:
    return {"type": "object", "properties": properties}


def _list(items: Manifest) -> Manifest:
    return {"type": "array", "items": items}


# Its controller's module, with its CRD, can't be had.
_HELM_RELEASE = _of(
    interval=_TEXT,
    suspend=_BOOL,
    chartRef=_of(kind=_TEXT, name=_TEXT),
    driftDetection=_of(
        mode={"type": "string", "enum": ["enabled", "warn", "disabled"]},
        ignore=_list(_of(paths=_list(_TEXT), target=_of(kind=_TEXT, name=_TEXT))),
    ),
)


def install(world: World) -> None:
    """Have the CRDs and the namespaces that Argo CD and Flux have."""
    define(world.cluster, *definitions.argocd(), definitions.flux())
    made = crd("helm.toolkit.fluxcd.io", "v2", "HelmRelease", _HELM_RELEASE)
    answer = world.admin.request("POST", CRDS, made)
    assert answer.ok or answer.status == 409, answer
    name = made["metadata"]["name"]
    until(f"{name} is served", lambda: _established(world, name))
    for name in ("argocd", "flux-system"):
        answer = world.admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert answer.ok or answer.status == 409, answer


def _established(world: World, name: str) -> bool:
    found = world.admin.request("GET", f"{CRDS}/{name}").body.get("status", {}).get("conditions")
    return any(one["type"] == "Established" and one["status"] == "True" for one in found or ())


def application(name: str, **spec: Any) -> Manifest:
    """Return an Application that self-heals."""
    policy = {"automated": {"prune": True, "selfHeal": True}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd"},
        "spec": {"project": "default", "destination": {"name": "in-cluster"}, "syncPolicy": policy, **spec},
    }


def kustomization(name: str) -> Manifest:
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {
            "interval": "10m",
            "prune": True,
            "sourceRef": {"kind": "GitRepository", "name": "platform"},
        },
    }


class Git:
    """What Git says of Deployment ``web`` of a place, and who applies it: Argo CD or Flux, as far as it is played."""

    def __init__(self, place: Place, tool: str = "argo") -> None:
        self.place = place
        self.tool = tool
        self.name = place.namespace
        self.path = f"{ARGO if tool == 'argo' else FLUX}/{self.name}"
        # Its own connection, for it is played by another thread; one request at a time.
        self._client, self._turn = Client(place.world.cluster.kubeconfig), threading.Lock()
        made = application(self.name) if tool == "argo" else kustomization(self.name)
        answer = self._request("POST", self.path.rpartition("/")[0], made)
        assert answer.ok, answer
        self.apply()

    def _request(self, *arguments: Any, **more: Any) -> Answer:
        with self._turn:
            return self._client.request(*arguments, **more)

    def close(self) -> None:
        """Close its connection."""
        self._client.__exit__()

    def manifest(self) -> Manifest:
        found = web(replicas=1)
        meta = found["metadata"]
        if self.tool == "argo":
            tracking = f"{self.name}:apps/Deployment:{self.place.namespace}/web"
            meta["annotations"] = {"argocd.argoproj.io/tracking-id": tracking}
        else:
            prefix = "kustomize.toolkit.fluxcd.io"
            meta["labels"] |= {f"{prefix}/name": self.name, f"{prefix}/namespace": "flux-system"}
        return found

    def apply(self) -> None:
        """Apply what Git says."""
        manager = "argocd-controller" if self.tool == "argo" else "kustomize-controller"
        answer = self._request(
            "PATCH",
            self.place.path("Deployment", "web"),
            self.manifest(),
            content_type=APPLY_PATCH,
            fieldManager=manager,
            force="true",
        )
        assert answer.ok, answer

    def own(self) -> Manifest:
        """Return the Application or Kustomization as it is."""
        answer = self._request("GET", self.path)
        assert answer.ok, answer
        found: Manifest = answer.body
        return found

    def change(self, body: Manifest) -> None:
        """Change the Application or Kustomization, as a person."""
        answer = self._request("PATCH", self.path, body, content_type=MERGE_PATCH)
        assert answer.ok, answer

    @property
    def syncs(self) -> bool:
        spec = self.own()["spec"]
        if self.tool == "flux":
            return not spec.get("suspend")
        automated = (spec.get("syncPolicy") or {}).get("automated") or {}
        return bool(automated.get("selfHeal")) and automated.get("enabled") is not False

    def differs(self) -> bool:
        answer = self._request("GET", self.place.path("Deployment", "web"))
        return answer.ok and answer.body["spec"]["replicas"] != 1

    @contextmanager
    def healing(self) -> Iterator[None]:
        """Have what differs from Git set back, again and again, while the tool's own object lets it."""
        over = threading.Event()

        def heal() -> None:
            while not over.wait(0.05):
                if self.differs() and self.syncs:
                    self.apply()

        thread = threading.Thread(target=heal, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)


def grant(place: Place, *verbs: str, tool: str = "argo") -> None:
    """Let the account of a place do this with the one Application or Kustomization of the same name."""
    group, resource, where = (
        ("argoproj.io", "applications", "argocd")
        if tool == "argo"
        else ("kustomize.toolkit.fluxcd.io", "kustomizations", "flux-system")
    )
    name = f"{place.namespace}-sync"
    rule = {
        "apiGroups": [group],
        "resources": [resource],
        "resourceNames": [place.namespace],
        "verbs": list(verbs),
    }
    subject = {"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    for kind, more in (
        ("roles", {"rules": [rule]}),
        ("rolebindings", {"subjects": [subject], "roleRef": ref}),
    ):
        body = {"metadata": {"name": name}, **more}
        answer = place.world.admin.request("POST", _RBAC.format(where, kind), body)
        assert answer.ok, answer
    review = {
        "spec": {
            "user": place.account,
            "resourceAttributes": {
                "namespace": where,
                "group": group,
                "resource": resource,
                "name": place.namespace,
                "verb": verbs[-1],
            },
        }
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    until(
        "the right is known",
        lambda: place.world.admin.request("POST", path, review).body["status"]["allowed"],
    )


def scale(to: int, **more: Any) -> Manifest:
    return {"name": "grow", "action": "scale_deployment", "with": {"replicas": to}, **more}
