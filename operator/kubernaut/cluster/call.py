"""One request to the API server, and the fence every mutating one must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.api.reasons import Reason
from kubernaut.cluster.resources import REVIEWS, Resource
from kubernaut.core.errors import ClusterError, Invalid
from kubernaut.core.ports import ObjectRef

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "patch": "PATCH",
    "delete": "DELETE",
}


class Unfenced(ClusterError, AssertionError):
    """A mutating request without a precondition: a defect in Kubernaut; it was not sent."""

    reason = Reason.INTERNAL


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        verb: the verb as RBAC knows it; it determines the HTTP method.
        query: the query string, encoded.
        dry_run: the server checks everything and stores nothing.
    """

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: str = ""
    body: Mapping[str, Any] | None = None
    content_type: str = JSON
    dry_run: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return _METHODS[self.verb]

    @property
    def mutates(self) -> bool:
        """Whether the request may change what the API server stores."""
        return self.method != "GET" and not any(self.resource is review for review in REVIEWS)

    @property
    def path(self) -> str:
        """Path and query."""
        # A new object goes to its collection; what belongs to an object goes below that object.
        in_path = self.name if self.verb != "create" or self.subresource else ""
        path = self.resource.path(self.namespace, in_path, self.subresource)
        query = "&".join(filter(None, (self.query, "dryRun=All" if self.dry_run else "")))
        return f"{path}?{query}" if query else path

    @property
    def object(self) -> str:
        """The object for messages, e.g. ``Deployment shop/web``."""
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.resource.kind} {where}{self.name}".rstrip()

    def __str__(self) -> str:
        what = f"{self.verb} {self.object}"
        return f"{what} ({self.subresource})" if self.subresource else what


def on(ref: ObjectRef, resource: Resource, verb: str, **more: Any) -> Call:
    """Return a call on one object.

    Raises:
        Invalid: the reference lacks a name, or a namespace that its kind needs; or names one for a change of what
            has none.
    """
    if not ref.name or (resource.namespaced and not ref.namespace):
        missing = "namespace" if ref.name else "name"
        raise Invalid(f"{verb} {ref.kind}: the {missing} of the object is empty; give one")
    if not resource.namespaced and ref.namespace and _METHODS[verb] != "GET":
        # Whether a run may act beyond its namespace is decided by the reference.
        raise Invalid(
            f"{verb} {ref}: a {ref.kind} belongs to no namespace, so the reference must not name one"
        )
    return Call(verb, resource, ref.namespace if resource.namespaced else "", ref.name, **more)


def demand_precondition(call: Call) -> None:
    """Let a mutating call pass only if a late resend of it can't have a second effect.

    A patch carries a resourceVersion ("0" would mean any), a server-side apply the object's UID as well, for it
    would create what is gone; a create carries a fixed name, a delete or an eviction the object's UID.

    Raises:
        Unfenced: it carries none; nothing was sent.
    """
    if not call.mutates:
        return
    body = call.body or {}
    meta = body.get("metadata") or {}
    match call.verb:
        case "patch":
            fenced = bool(call.name) and _text(meta.get("resourceVersion")) not in ("", "0")
            want = "metadata.resourceVersion"
            if call.content_type == APPLY:
                fenced = fenced and bool(_text(meta.get("uid")))
                want = "metadata.uid and metadata.resourceVersion"
        case "delete":
            fenced = bool(call.name and _text((body.get("preconditions") or {}).get("uid")))
            want = "preconditions.uid"
        case "create" if call.subresource:
            options = body.get("deleteOptions") or {}
            fenced = bool(call.name and _text((options.get("preconditions") or {}).get("uid")))
            want = "deleteOptions.preconditions.uid"
        case _:
            named = bool(call.name) and _text(meta.get("name")) == call.name
            fenced = named and "generateName" not in meta
            want = "a fixed metadata.name"
    if not fenced:
        raise Unfenced(f"{call} was not sent: it carries no precondition ({want}); report this as a defect")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
