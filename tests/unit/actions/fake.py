"""A cluster in memory that keeps the preconditions of the API server, and fails where it is told to."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from kubernaut.core.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    NotFound,
    TooManyRequests,
    UnknownOutcome,
)
from kubernaut.core.fields import apply_merge_patch, same, without_nulls
from kubernaut.core.ports import Manifest, ObjectRef
from unit.actions.applying import Owners, applied

Key = tuple[str, str, str]
Trouble = ClusterError | Callable[[], None]


@dataclass
class FakeCluster:
    """Objects by kind, namespace and name.

    Attributes:
        writes: every mutation that changed an object, in order: verb, object, body.
        requests: every request, in order.
        troubles: by verb, what the next requests meet: an error instead of the effect; ``lost(landed=True)`` for an
            effect whose answer is lost; a callable that is run first (another writer); None for no trouble.
        forbidden: "verb resource-kind" pairs that are refused.
        refusal: what is said then.
        owners: by object, which fields managers own by server-side apply, and others that the test names.
        budgets: names of pods that a disruption budget protects.
    """

    objects: dict[Key, Manifest] = field(default_factory=dict)
    writes: list[tuple[str, str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    troubles: dict[str, list[Any]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    refusal: str = "{verb} {kind}: the account lacks verb {verb} on {kind}"
    budgets: set[str] = field(default_factory=set)
    log_texts: dict[str, str | ClusterError] = field(default_factory=dict)
    normalise: Callable[[Manifest], Manifest] = lambda manifest: manifest
    linger: bool = True
    owners: dict[Key, Owners] = field(default_factory=dict)
    _version: int = 100

    def add(self, *manifests: Manifest) -> FakeCluster:
        for manifest in manifests:
            one = copy.deepcopy(manifest)
            meta = one["metadata"]
            self._version += 1
            meta.setdefault("namespace", "shop")
            meta.setdefault("uid", f"uid-{one['kind'].lower()}-{meta['name']}")
            meta.setdefault("generation", 1)
            meta["resourceVersion"] = str(self._version)
            self.objects[(one["kind"], meta["namespace"], meta["name"])] = one
        return self

    def find(self, kind: str, name: str, namespace: str = "shop") -> Manifest:
        return self.objects[(kind, namespace, name)]

    def edit(self, kind: str, name: str, patch: Manifest, namespace: str = "shop") -> None:
        """Change an object as someone else."""
        self._store((kind, namespace, name), apply_merge_patch(self.find(kind, name, namespace), patch))

    def edit_status(self, kind: str, name: str, status: Manifest) -> None:
        """Write an object's status as its controller, which leaves the generation as it is."""
        self._version += 1
        old = self.find(kind, name)
        meta = {**old["metadata"], "resourceVersion": str(self._version)}
        self.objects[(kind, "shop", name)] = {**old, "metadata": meta, "status": copy.deepcopy(status)}

    def drop(self, kind: str, name: str, namespace: str = "shop") -> None:
        """Delete an object as someone else."""
        del self.objects[(kind, namespace, name)]

    def _store(self, key: Key, manifest: Manifest) -> Manifest:
        old = self.objects.get(key)
        new: Manifest = without_nulls(self.normalise(copy.deepcopy(manifest)))
        if old is not None and same({**old, "metadata": 0}, {**new, "metadata": 0}):
            generation = old["metadata"]["generation"]
        else:
            generation = (old or new)["metadata"].get("generation", 0) + 1
        self._version += 1
        new["metadata"] |= {"resourceVersion": str(self._version), "generation": generation}
        self.objects[key] = new
        return new

    def _request(self, verb: str, kind: str, name: str) -> UnknownOutcome | None:
        self.requests.append(f"{verb} {kind} {name}")
        if f"{verb} {kind}" in self.forbidden:
            raise Forbidden(self.refusal.format(verb=verb, kind=kind, name=name), status=403)
        queue = self.troubles.get(verb) or []
        trouble = queue.pop(0) if queue else None
        if isinstance(trouble, Lost):
            if not trouble.landed:
                raise UnknownOutcome(f"the answer to {verb} {kind} {name} was lost")
            return UnknownOutcome(f"the answer to {verb} {kind} {name} was lost")
        if isinstance(trouble, ClusterError):
            raise trouble
        if trouble is not None:
            trouble()
        return None

    def _existing(self, ref: ObjectRef) -> tuple[Key, Manifest]:
        key = (ref.kind, ref.namespace, ref.name)
        if key not in self.objects:
            raise NotFound(f"{ref} does not exist", status=404)
        return key, self.objects[key]

    async def get(self, ref: ObjectRef) -> Manifest:
        self._request("get", ref.kind, ref.name)
        return copy.deepcopy(self._existing(ref)[1])

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> list[Manifest]:
        self._request("list", kind, "")
        _, _, node = field_selector.partition("spec.nodeName=")
        wanted = [part.split("=") for part in label_selector.split(",") if part]
        return [
            copy.deepcopy(one)
            for (k, n, _), one in self.objects.items()
            if k == kind
            and n in (namespace or n,)
            and (not node or one["spec"].get("nodeName") == node)
            and all((one["metadata"].get("labels") or {}).get(key) == value for key, value in wanted)
        ]

    async def patch(
        self,
        ref: ObjectRef,
        body: Manifest,
        *,
        resource_version: str,
        strategic: bool = False,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        assert resource_version, "a patch without precondition"
        verb = "dry-run" if dry_run else "patch"
        lost = self._request(verb, ref.kind, ref.name)
        key, old = self._existing(ref)
        if old["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(f"{ref} changed since it was read", status=409)
        merged = apply_merge_patch(old, _written(body, subresource))
        if dry_run:
            result: Manifest = without_nulls(self.normalise(copy.deepcopy(merged)))
            return result
        new = self._store(key, merged)
        if subresource == "status":
            new["metadata"]["generation"] = old["metadata"]["generation"]
        self.writes.append(("patch", str(ref), body))
        if lost is not None:
            raise lost
        return copy.deepcopy(new)

    async def apply(
        self,
        manifest: Manifest,
        *,
        uid: str,
        resource_version: str,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> Manifest:
        assert uid, "an apply without precondition"
        assert resource_version, "an apply without precondition"
        ref = ObjectRef.of({**manifest, "metadata": {**manifest["metadata"], "uid": uid}})
        lost = self._request("dry-run" if dry_run else "apply", ref.kind, ref.name)
        key = (ref.kind, ref.namespace, ref.name)
        old = self.objects.get(key, {"metadata": {}})["metadata"]
        if (old.get("uid"), old.get("resourceVersion")) != (uid, resource_version):
            raise Conflict(f"{ref} changed since it was read", status=409)
        merged, owners = applied(self.objects[key], self.owners.get(key, {}), manifest, manager, force=force)
        if dry_run:
            result: Manifest = without_nulls(self.normalise(copy.deepcopy(merged)))
            return result
        new = self._store(key, merged)
        self.owners[key] = owners
        self.writes.append(("apply", str(ref), manifest))
        if lost is not None:
            raise lost
        return copy.deepcopy(new)

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        kind, meta = manifest["kind"], manifest["metadata"]
        lost = self._request("dry-run" if dry_run else "create", kind, meta["name"])
        if (kind, meta["namespace"], meta["name"]) in self.objects:
            raise AlreadyExists(f"{kind} {meta['name']} exists already", status=409)
        if dry_run:
            return copy.deepcopy({**manifest, "metadata": {**meta, "uid": "not stored"}})
        self.add(manifest)
        self.writes.append(("create", f"{kind} {meta['namespace']}/{meta['name']}", manifest))
        if lost is not None:
            raise lost
        return copy.deepcopy(self.find(kind, meta["name"], meta["namespace"]))

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str,
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> None:
        self._remove("delete", ref, uid, version=resource_version, dry_run=dry_run, how=propagation)

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        if ref.name in self.budgets:
            self.requests.append(f"evict Pod {ref.name}")
            raise TooManyRequests(
                "Cannot evict pod as it would violate the pod's disruption budget.", status=429
            )
        self._remove("evict", ref, uid, dry_run=dry_run)

    def _remove(
        self,
        verb: str,
        ref: ObjectRef,
        uid: str,
        *,
        version: str = "",
        dry_run: bool = False,
        how: str | None = None,
    ) -> None:
        assert uid, "a delete without precondition"
        lost = self._request("dry-run" if dry_run else verb, ref.kind, ref.name)
        key, old = self._existing(ref)
        if old["metadata"]["uid"] != uid:
            raise Conflict(f"{ref} has another UID", status=409)
        if version and old["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{ref} changed since it was read", status=409)
        if dry_run:
            return
        if self.linger:
            old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            del self.objects[key]
        self.writes.append((verb, str(ref), how))
        if lost is not None:
            raise lost

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        self._request("log", ref.kind, ref.name)
        text = self.log_texts[f"{ref.name}/{container}{'/previous' if previous else ''}"]
        if isinstance(text, ClusterError):
            raise text
        return text

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        yield await self.get(ref)


def _written(body: Manifest, subresource: str) -> Manifest:
    """Return what a subresource takes of a patch."""
    match subresource:
        case "status":
            return {"status": body["status"]}
        case "ephemeralcontainers":
            return {"spec": {"ephemeralContainers": body["spec"]["ephemeralContainers"]}}
    return body


@dataclass(frozen=True)
class Lost:
    """A request whose answer is lost: ``landed`` says whether it had its effect."""

    landed: bool
