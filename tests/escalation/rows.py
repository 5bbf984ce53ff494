"""What an attempt to get more rights is: a request, who must refuse it, and its twin that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from apiserver.rest import MERGE_PATCH
from kubernaut.api.names import GROUP, SYSTEM_NAMESPACE, VERSION

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"

#: two tenants, one that may repair nodes, one where nothing is repaired, the system's own, and that of Argo CD
SHOP: Final = "esc-shop"
MILL: Final = "esc-mill"
FLEET: Final = "esc-fleet"
VAULT: Final = "esc-vault"
ARGO: Final = "esc-argocd"
SYSTEM: Final = SYSTEM_NAMESPACE
APPLICATION: Final = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}

#: who refuses
RBAC: Final = "RBAC"
SCHEMA: Final = "schema"
POD_SECURITY: Final = "pod security"
DROPPED: Final = "the API server, which drops it"

#: who asks; accounts are NAMESPACE:NAME, all others are people
ROOT: Final = "root"
ADA: Final = "ada"  # kubernaut-edit in the shop
IDA: Final = "ida"  # the same, and may act as kubernaut-repair
MILO: Final = "milo"  # kubernaut-edit in the shop, and may act as kubernaut-repair of the mill
VERA: Final = "vera"  # kubernaut-view in the shop
GRACE: Final = "grace"  # kubernaut-approver in the shop
EDITH: Final = "edith"  # edit in the shop
HEAD: Final = "head"  # admin in the shop
MALLORY: Final = "mallory"  # admin in the mill
KEEPER: Final = "keeper"  # kubernaut-switch
GUEST: Final = "guest"  # nothing
OPERATOR: Final = f"{SYSTEM}:kubernaut-operator"
ANALYST: Final = f"{SYSTEM}:kubernaut-analyst"
REPAIR: Final = f"{SHOP}:kubernaut-repair"
MILLER: Final = f"{MILL}:kubernaut-repair"
PRETENDER: Final = f"{SHOP}:kubernaut-operator"  # has the operator's name, and may edit in the shop
BOSS: Final = f"{MILL}:boss"  # admin in the mill


def policy(name: str) -> str:
    """Return who refuses where an admission policy does."""
    return f"policy {name}"


@dataclass(frozen=True)
class Ask:
    """One request; what would change something is a dry run, which every authorizer and policy decides alike.

    Attributes:
        acting: the user whom the sender, an account, wants to act as.
        headers: more headers.
    """

    who: str
    method: str
    path: str
    body: Any = None
    content: str = JSON
    acting: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    def by(self, who: str) -> Ask:
        """Return the same request of somebody else."""
        return replace(self, who=who)

    def at(self, path: str) -> Ask:
        """Return the same request about something else."""
        return replace(self, path=path)

    def saying(self, body: Any) -> Ask:
        """Return the same request with another content."""
        return replace(self, body=body)


@dataclass(frozen=True)
class Row:
    """One attempt.

    Attributes:
        of: its class.
        what: what is attempted, in words.
        refused_by: who has to refuse it.
        twin: the request next to it that is allowed.
    """

    of: str
    what: str
    attempt: Ask
    refused_by: str
    twin: Ask

    def __str__(self) -> str:
        return f"{self.of}: {self.attempt.who} {self.what}"


def get(who: str, path: str) -> Ask:
    """Return a read."""
    return Ask(who, "GET", path)


def post(who: str, path: str, body: Any) -> Ask:
    """Return a create."""
    return Ask(who, "POST", path, body)


def patch(who: str, path: str, body: Any, content: str = MERGE_PATCH) -> Ask:
    """Return a patch."""
    more = {"fieldManager": "kubectl", "force": "true"} if content == APPLY else {}
    return Ask(who, "PATCH", path, body, content, query=more)


def put(who: str, path: str, body: Any) -> Ask:
    """Return an update: the object as it is, with ``body`` merged into it."""
    return Ask(who, "PUT", path, body)


def delete(who: str, path: str) -> Ask:
    """Return a delete."""
    return Ask(who, "DELETE", path)


def ours(plural: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the path of our own kinds."""
    return _joined(f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}", name, subresource)


def core(resource: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Return a path of the core group."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return _joined(f"/api/v1{where}/{resource}", name, subresource)


def group(api_version: str, resource: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Return a path of another group."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return _joined(f"/apis/{api_version}{where}/{resource}", name, subresource)


def rbac(resource: str, namespace: str = "", name: str = "") -> str:
    """Return a path of RBAC."""
    return group("rbac.authorization.k8s.io/v1", resource, namespace, name)


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))
