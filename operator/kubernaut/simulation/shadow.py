"""A cluster that is a copy: reads go to the real one once, changes stay here, with the API server's preconditions."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from kubernaut.core.errors import AlreadyExists, ClusterError, Conflict, Invalid, NotFound
from kubernaut.core.fields import apply_merge_patch, without_nulls
from kubernaut.core.kinds import group_of
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.simulation import admission, applying, disruption, validating
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.selecting import selected
from kubernaut.simulation.state import Key, State

#: the parts of an object that only the API server writes
_OWN: Final = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "managedFields")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A request of a step that the shadow took instead of the cluster, with all that is needed to send it.

    Attributes:
        account: the ServiceAccount that would send it.
    """

    step: str
    verb: str
    ref: ObjectRef
    body: Manifest | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""


@dataclass(slots=True)
class Shadow:
    """A copy of a cluster's state that steps act on.

    Attributes:
        reader: where objects that are not known yet are read, or None where all there is is in the state.
        step: whose requests are being answered.
        account: the ServiceAccount that sends them.
        mutations: what steps asked for, in order.
        reads: how often the reader was asked.
    """

    state: State
    assumptions: Assumptions
    reader: Cluster | None = None
    step: str = ""
    account: str = ""
    mutations: list[Mutation] = field(default_factory=list)
    reads: int = 0
    _listed: set[tuple[str, str, str]] = field(default_factory=set)
    _refused: dict[tuple[str, str, str], ClusterError] = field(default_factory=dict)

    async def get(self, ref: ObjectRef) -> Manifest:
        """Read one object, from the cluster where it was not read before."""
        await self._load(ref)
        return copy.deepcopy(self.state.get(Key.of(ref)))

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
        """Read all objects of a kind; selectors are evaluated here, for what steps changed counts too."""
        await self.know(api_version, kind, namespace)
        return [
            copy.deepcopy(one)
            for one in self.state.all(group_of(api_version), kind, namespace)
            if selected(one, label_selector, field_selector)
        ]

    async def know(self, api_version: str, kind: str, namespace: str) -> None:
        """Have all objects of a kind in a namespace, or in all, in the state.

        Raises:
            ClusterError: they can't be read.
        """
        group = group_of(api_version)
        asked = (group, kind, namespace)
        if self.reader is None or self._listed & {asked, (group, kind, "")}:
            return
        if asked in self._refused:
            raise self._refused[asked]
        self.reads += 1
        try:
            found = await self.reader.list(api_version, kind, namespace)
        except ClusterError as error:
            self._refused[asked] = error
            raise
        self._listed.add(asked)
        for one in found:
            self.state.take(one)

    async def tries_to_know(self, api_version: str, kind: str, namespace: str, what: str) -> bool:
        """Have all objects of a kind, or say what is left out where they can't be read."""
        try:
            await self.know(api_version, kind, namespace)
        except ClusterError as error:
            self.assumptions.say(f"{what} not taken into account: they can't be read ({error})")
            self.state.unread.add((group_of(api_version), kind))
            return False
        return True

    async def _load(self, ref: ObjectRef) -> None:
        key = Key.of(ref)
        if key in self.state.objects or self.reader is None:
            return
        if self._listed & {(key.group, key.kind, key.namespace), (key.group, key.kind, "")}:
            return
        self.reads += 1
        try:
            found = await self.reader.get(ObjectRef(ref.api_version, ref.kind, ref.namespace, ref.name))
        except NotFound:
            self.state.absent(key)
            raise
        self.state.take(found)

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
        """Merge-patch an object of the copy."""
        if strategic:
            raise Invalid(f"a strategic merge patch of {ref} can't be simulated", status=400)
        await self._load(ref)
        await self._know_limits_of(ref)
        old = self.state.demand(Key.of(ref), version=resource_version)
        claimed = (body.get("metadata") or {}).get("uid")
        if claimed and claimed != old["metadata"].get("uid"):
            raise Conflict(f"{ref} has another UID", status=409)
        merged = apply_merge_patch(old, _written(body, subresource))
        options = {"resource_version": resource_version, "subresource": subresource}
        return self._stored(ref, old, merged, dry_run, self._mutation("patch", ref, body, options))

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
        """Apply fields on the server's side, as far as managedFields tell whose they are."""
        ref = ObjectRef.of(manifest)
        await self._load(ref)
        await self._know_limits_of(ref)
        old = self.state.demand(Key.of(ref), uid=uid, version=resource_version)
        if not old["metadata"].get("managedFields"):
            self.assumptions.say(f"whose the fields of {ref} are is not known: nobody else's are applied to")
        merged = applying.applied(old, manifest, manager, force=force, stamp=self.state.stamp)
        options = {"uid": uid, "resource_version": resource_version, "manager": manager, "force": force}
        return self._stored(ref, old, merged, dry_run, self._mutation("apply", ref, manifest, options))

    def _mutation(
        self,
        verb: str,
        ref: ObjectRef,
        body: Manifest | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Mutation:
        return Mutation(self.step, verb, ref, body, options or {}, self.account)

    def _stored(
        self, ref: ObjectRef, old: Manifest, merged: Manifest, dry_run: bool, mutation: Mutation
    ) -> Manifest:
        kept = {name: old["metadata"][name] for name in _OWN if name in old["metadata"]}
        managed = merged["metadata"].get("managedFields")
        new = {**merged, "metadata": {**merged["metadata"], **kept}}
        if mutation.verb == "apply":
            new["metadata"]["managedFields"] = managed
        new = _as_stored(new)
        validating.demand(old, new)
        admission.changed(self.state, old, new)
        if dry_run:
            return copy.deepcopy(new)
        stored = self.state.put(new, self.step)
        if stored["metadata"].get("deletionTimestamp") and not stored["metadata"].get("finalizers"):
            self.state.remove(Key.of(ref), self.step)
        self.mutations.append(mutation)
        return copy.deepcopy(stored)

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object in the copy, as far as quotas of its namespace allow."""
        meta = manifest["metadata"]
        ref = ObjectRef(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])
        with suppress(NotFound):
            await self._load(ref)
        if self.state.objects.get(Key.of(ref)) is not None:
            raise AlreadyExists(f"{ref} exists already", status=409)
        await self._know_limits(ref.namespace)
        new = _as_stored(manifest)
        validating.demand(None, new)
        new = admission.created(self.state, new)
        if dry_run:
            return copy.deepcopy({**new, "metadata": {**new["metadata"], "uid": "not stored"}})
        stored = self.state.add(new, self.step)
        self.mutations.append(self._mutation("create", ref, manifest))
        return copy.deepcopy(stored)

    async def _know_limits_of(self, ref: ObjectRef) -> None:
        if ref.kind == "PersistentVolumeClaim":
            await self._know_limits(ref.namespace)

    async def _know_limits(self, namespace: str) -> None:
        if namespace:
            await self.tries_to_know("v1", "ResourceQuota", namespace, f"quotas of {namespace} are")
            await self.tries_to_know("v1", "LimitRange", namespace, f"limit ranges of {namespace} are")
            for quota in self.state.all("", "ResourceQuota", namespace):
                if scope := admission.beyond(quota):
                    told = f"quota {quota['metadata']['name']} is taken to allow all: its scope {scope}"
                    self.assumptions.say(f"{told} is not looked at")

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
        """Delete an object of the copy; what it owns goes when controllers next look."""
        await self._load(ref)
        self.state.demand(Key.of(ref), uid=uid, version=resource_version)
        if dry_run:
            return
        options = {
            "uid": uid,
            "resource_version": resource_version,
            "grace_period_seconds": grace_period_seconds,
            "propagation": propagation,
        }
        self.mutations.append(self._mutation("delete", ref, None, options))
        if propagation == "Orphan":
            await self._orphan(ref, uid)
        self._gone(ref)

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        """Evict a pod of the copy, where its disruption budgets allow that."""
        await self._load(ref)
        pod = self.state.demand(Key.of(ref), uid=uid)
        await self.tries_to_know(
            "policy/v1", "PodDisruptionBudget", ref.namespace, f"budgets of {ref.namespace} are"
        )
        await self.know("v1", "Pod", ref.namespace)
        disruption.demand(self.state, pod)
        if dry_run:
            return
        self.mutations.append(self._mutation("evict", ref, None, {"uid": uid}))
        self._gone(ref)

    def _gone(self, ref: ObjectRef) -> None:
        """Remove an object; a pod is on its way out until its kubelet, a controller here, has ended it."""
        key = Key.of(ref)
        found = self.state.get(key)
        if ref.kind == "Pod" and (found.get("spec") or {}).get("nodeName"):
            meta = {**found["metadata"], "deletionTimestamp": self.state.stamp}
            self.state.put({**found, "metadata": meta}, self.step)
        else:
            self.state.remove(key, self.step)

    async def _orphan(self, ref: ObjectRef, uid: str) -> None:
        for kind in ("ReplicaSet", "Pod", "Job", "ControllerRevision"):
            version = {"Pod": "v1", "Job": "batch/v1"}.get(kind, "apps/v1")
            if not await self.tries_to_know(version, kind, ref.namespace, f"{kind}s left behind are"):
                continue
            for one in list(self.state.all(group_of(version), kind, ref.namespace)):
                owners = one["metadata"].get("ownerReferences") or []
                kept = [owner for owner in owners if owner.get("uid") != uid]
                if len(kept) != len(owners):
                    meta = {**one["metadata"], "ownerReferences": kept or None}
                    self.state.put({**one, "metadata": meta}, self.step)

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        """Read a log of the real pod; one that the simulation made has none."""
        key = Key.of(ref)
        if self.reader is None or self.state.first.get(key, self) is None:
            self.state.get(key)
            self.assumptions.say(f"the log of {ref} is taken to be empty: there is none to read")
            return ""
        return await self.reader.logs(
            ref, container=container, previous=previous, tail_lines=tail_lines, limit_bytes=limit_bytes
        )

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        """Yield the object as it is now."""
        try:
            found: Manifest | None = await self.get(ref)
        except NotFound:
            found = None
        yield found


def _written(body: Manifest, subresource: str) -> Manifest:
    """Return what a request takes of a patch: a subresource only its part."""
    match subresource:
        case "status":
            return {"status": body.get("status")}
        case "ephemeralcontainers":
            return {"spec": {"ephemeralContainers": body["spec"]["ephemeralContainers"]}}
    return {name: part for name, part in body.items() if name != "status"}


def _as_stored(manifest: Mapping[str, Any]) -> Manifest:
    """Return an object in the form in which the API server keeps it."""
    new: Manifest = without_nulls(copy.deepcopy(dict(manifest)))
    texts: Mapping[str, str] = new.pop("stringData", None) or {} if new.get("kind") == "Secret" else {}
    if texts:
        encoded = {name: applying.base64_of(text) for name, text in texts.items()}
        new["data"] = {**(new.get("data") or {}), **encoded}
    return new
