"""A cluster as one account sees it: ``core.ports.Cluster``, and what the operator itself needs beyond that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from kubernaut.cluster.call import APPLY, JSON, MERGE, STRATEGIC, Call, on
from kubernaut.cluster.collections import Event, together, watch_collection
from kubernaut.cluster.errors import Expired, parsed
from kubernaut.cluster.resources import ACCESS_REVIEW, RULES_REVIEW, Resource
from kubernaut.cluster.watching import PAGE, Sighting, Stream, sight, watch_names, watch_object
from kubernaut.core.errors import AlreadyExists, Invalid, NoSuchKind
from kubernaut.core.ports import Manifest, ObjectRef, Right

_Page = tuple[list[Manifest], Mapping[str, Any]]
_LIST_ATTEMPTS: Final = 3


class Connection(Stream, Protocol):
    """What an account needs of a connection."""

    async def resource(self, api_version: str, kind: str) -> Resource: ...

    async def send(
        self, call: Call, *, account: str = "", timeout: float = 30.0, urgent: bool = False
    ) -> bytes: ...


class AccountCluster:
    """The cluster as one account sees it. Cheap to make; all accounts share one connection."""

    def __init__(self, connection: Connection, account: str = "") -> None:
        self._connection = connection
        self._account = account

    async def _json(self, call: Call, **options: Any) -> Any:
        return parsed(call, await self._connection.send(call, account=self._account, **options))

    async def _call(self, ref: ObjectRef, verb: str, **more: Any) -> Call:
        return on(ref, await self._connection.resource(ref.api_version, ref.kind), verb, **more)

    async def get(self, ref: ObjectRef, *, timeout: float = 30.0, urgent: bool = False) -> Manifest:
        """Read one object from etcd's quorum, not from a cache. Raises NotFound, Forbidden, Unavailable."""
        call = await self._call(ref, "get")
        try:
            manifest: Manifest = await self._json(call, timeout=timeout, urgent=urgent)
        except NoSuchKind:
            again = await self._call(ref, "get")
            # Another scope is another kind to whoever wrote the reference; it counts from the next request on.
            if again == call or again.resource.namespaced is not call.resource.namespaced:
                raise
            manifest = await self._json(again, timeout=timeout, urgent=urgent)
        return manifest

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> list[Manifest]:
        """Read all objects that match, of one moment; apiVersion and kind are set on each."""
        for attempt in range(_LIST_ATTEMPTS):
            found: list[Manifest] = []
            try:
                async for items, _ in self._pages(
                    api_version, kind, namespace, label_selector, field_selector, limit
                ):
                    found += items
            except Expired:
                # The pages of one list are of one moment; where that is gone, so is the list.
                if attempt == _LIST_ATTEMPTS - 1:
                    raise
                continue
            return found
        raise AssertionError("not reached")

    async def _pages(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        label_selector: str,
        field_selector: str,
        limit: int,
        *,
        resume: bool = False,
    ) -> AsyncIterator[_Page]:
        resource = await self._connection.resource(api_version, kind)
        query = {"limit": str(limit), "labelSelector": label_selector, "fieldSelector": field_selector}
        token = ""
        while True:
            asked = {name: value for name, value in {**query, "continue": token}.items() if value}
            call = Call("list", resource, namespace if resource.namespaced else "", query=urlencode(asked))
            try:
                page = await self._json(call)
            except Expired as error:
                if not (resume and error.resume):
                    raise
                token = error.resume
                continue
            items = page.get("items") or []
            for item in items:
                item["apiVersion"], item["kind"] = api_version, kind
            yield items, page["metadata"]
            token = page["metadata"].get("continue", "")
            if not token:
                return

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
        """Merge-patch an object; a late resend finds another resourceVersion and has no effect.

        Raises:
            Conflict: the object changed since ``resource_version``.
            Unfenced: ``resource_version`` is empty or "0".
        """
        kind = STRATEGIC if strategic else MERGE
        return await self._patch(
            ref, body, resource_version, content_type=kind, subresource=subresource, dry_run=dry_run
        )

    async def _patch(self, ref: ObjectRef, body: Manifest, resource_version: str, **more: Any) -> Manifest:
        metadata = {**(body.get("metadata") or {}), "resourceVersion": resource_version}
        call = await self._call(ref, "patch", body={**body, "metadata": metadata}, **more)
        patched: Manifest = await self._json(call)
        return patched

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
        """Apply to an object that exists, on the server's side; UID and resourceVersion are put into it.

        Raises:
            OwnedByOthers: other managers own fields that would get other values.
            Conflict: the object changed since ``resource_version``, or is another or gone.
            Unfenced: the UID or ``resource_version`` is empty.
        """
        metadata = {**manifest["metadata"], "uid": uid, "resourceVersion": resource_version}
        query = urlencode({"fieldManager": manager, "force": "true" if force else "false"})
        ref = ObjectRef.of({**manifest, "metadata": metadata})
        body = {**manifest, "metadata": metadata}
        call = await self._call(ref, "patch", body=body, content_type=APPLY, query=query, dry_run=dry_run)
        applied: Manifest = await self._json(call)
        return applied

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object of a fixed name. Raises AlreadyExists."""
        meta = manifest.get("metadata") or {}
        name, namespace = meta.get("name", ""), meta.get("namespace", "")
        ref = ObjectRef(manifest.get("apiVersion", ""), manifest.get("kind", ""), namespace, name)
        call = await self._call(ref, "create", body=manifest, content_type=JSON, dry_run=dry_run)
        created: Manifest = await self._json(call)
        return created

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
        """Delete the object with this UID (and this resourceVersion, where one is given).

        Raises:
            Conflict: it is another object, or has changed. NotFound: it is gone.
        """
        preconditions = {"uid": uid}
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": propagation,
        }
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if dry_run:
            # Of a delete with a body the API server reads no options from the query: this alone keeps the object.
            options["dryRun"] = ["All"]
        await self._json(await self._call(ref, "delete", body=options, dry_run=dry_run))

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        """Evict the pod with this UID.

        Raises:
            TooManyRequests: a disruption budget refuses. Conflict: it is another pod. NotFound: it is gone.
        """
        if (ref.api_version, ref.kind) != ("v1", "Pod"):
            raise Invalid(f"{ref} can't be evicted: only pods can; name a Pod")
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self._json(await self._call(ref, "create", body=body, subresource="eviction", dry_run=dry_run))

    async def logs(
        self,
        ref: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 100,
        limit_bytes: int = 65536,
    ) -> str:
        """Read a container's log; what is not UTF-8 in it is replaced.

        Raises:
            Invalid: there is no such container, or no previous one.
        """
        query = {"container": container, "tailLines": str(tail_lines), "limitBytes": str(limit_bytes)}
        if previous:
            query["previous"] = "true"
        call = await self._call(ref, "get", subresource="log", query=urlencode(query))
        data = await self._connection.send(call, account=self._account)
        return data.decode(errors="replace")

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        """Yield the object now and after each change, None where it does not exist (see ``watching``)."""
        resource = await self._connection.resource(ref.api_version, ref.kind)
        watched = watch_object(self._connection, resource, ref, account=self._account, since=since)
        async for manifest in watched:
            yield manifest

    async def sight(self, ref: ObjectRef) -> Sighting:
        """Return an object as it is now, and as of when it does not exist. Raises ClusterError."""
        resource = await self._connection.resource(ref.api_version, ref.kind)
        return await sight(self._connection, resource, ref, self._account)

    async def watch_names(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        names: Callable[[], Collection[str]],
        *,
        only: str = "",
    ) -> AsyncIterator[Sighting]:
        """Yield objects of these names now and after each change (see ``watching``)."""
        resource = await self._connection.resource(api_version, kind)
        async for sighting in watch_names(
            self._connection, resource, namespace, names, only=only, account=self._account
        ):
            yield sighting

    async def rules(self, namespace: str) -> Sequence[Mapping[str, Any]]:
        """Return the rules by which the account may do something in a namespace, as far as authorizers tell.

        Rules of ClusterRoles that hold in the whole cluster are among them; an authorizer other than RBAC may allow
        more than it tells.

        Raises:
            ClusterError: as the API server answers; MayNotActAs, where the account can't be acted as.
        """
        answer = await self._review(RULES_REVIEW, {"namespace": namespace})
        rules: Sequence[Mapping[str, Any]] = answer["status"].get("resourceRules") or ()
        return rules

    async def allowed(self, right: Right, namespace: str) -> bool:
        """Whether the account has a right (of one name, or of none), in a namespace or in the whole cluster.

        Raises:
            ClusterError: as ``rules``.
        """
        resource, _, subresource = right.resource.partition("/")
        asked = {
            "namespace": namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.names[0] if right.names else "",
        }
        answer = await self._review(ACCESS_REVIEW, {"resourceAttributes": asked})
        return bool(answer["status"].get("allowed"))

    async def _review(self, resource: Resource, spec: Mapping[str, Any]) -> Any:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}
        return await self._json(Call("create", resource, body=body))


class OperatorCluster(AccountCluster):
    """The cluster as the operator's own account sees it; ``namespaces`` are those it works in, by default all."""

    def __init__(self, connection: Connection, namespaces: Sequence[str] = ()) -> None:
        super().__init__(connection)
        self._namespaces = tuple(namespaces) or ("",)

    async def list_pages(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE,
    ) -> AsyncIterator[list[Manifest]]:
        """Yield pages of objects of one namespace or, without one, of all that the operator works in.

        Where a list takes so long that its moment is forgotten, later pages are of a later moment.
        """
        for place in (namespace,) if namespace else self._namespaces:
            async for items, _ in self._pages(
                api_version, kind, place, label_selector, field_selector, limit, resume=True
            ):
                yield items

    async def watch_all(
        self, api_version: str, kind: str, *, field_selector: str = "", label_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Yield what happens from now on in all namespaces that the operator works in (see ``collections``)."""
        resource = await self._connection.resource(api_version, kind)
        streams = [
            watch_collection(
                self._connection,
                resource,
                namespace,
                field_selector=field_selector,
                label_selector=label_selector,
            )
            for namespace in self._namespaces
        ]
        async for event in streams[0] if len(streams) == 1 else together(streams):
            yield event

    async def watch_in(
        self, api_version: str, kind: str, namespace: str, *, field_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Yield what happens from now on to objects of one namespace (see ``collections``)."""
        resource = await self._connection.resource(api_version, kind)
        async for event in watch_collection(
            self._connection, resource, namespace, field_selector=field_selector
        ):
            yield event

    async def patch_status(self, ref: ObjectRef, body: Manifest, *, resource_version: str) -> Manifest:
        """Merge-patch the status subresource with ``{"status": {...}}`` under an optimistic lock.

        Raises:
            Conflict: the object changed since ``resource_version``.
        """
        return await self._patch(ref, body, resource_version, content_type=MERGE, subresource="status")

    async def patch_metadata(self, ref: ObjectRef, metadata: Manifest, *, resource_version: str) -> Manifest:
        """Merge-patch annotations, labels or finalizers under an optimistic lock."""
        return await self.patch(ref, {"metadata": metadata}, resource_version=resource_version)

    async def create_event(self, event: Manifest) -> None:
        """Create a Kubernetes Event of a fixed name; one that exists already is fine."""
        try:
            await self.create(event)
        except AlreadyExists:
            return
