"""A cluster, and a way out, that refuse what may not be done now: by the stop switch, the lease, and guards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError, TooManyRequests
from kubernaut.core.ports import Cluster, HttpAnswer, HttpRequest, Manifest, ObjectRef, Web
from kubernaut.core.run import Hold
from kubernaut.engine.disruption import Disruption
from kubernaut.engine.owning import Owning
from kubernaut.engine.protection import Protection
from kubernaut.engine.reading import ReadsThrough


class GatedCluster(ReadsThrough):
    """A cluster that refuses to change anything while acting is not allowed.

    The gate is asked before every mutating request, so a stop takes hold between two requests of one action. What
    changes an object outside the run's namespace has to be allowed there, whatever the account may do.

    Args:
        namespace: the run's.
        beyond: raises StepError where runs of that namespace may not act on what is told, which is outside it.
        dry: whether the requests are those of a dry run.
        protection: says what guards protect from this effect, where they protect anything.
        disruption: says how much this effect may take down, where guards bound that.
        owning: says whose the fields are that this effect would change.
    """

    def __init__(
        self,
        cluster: Cluster,
        hold: Callable[[], Hold | None],
        namespace: str,
        beyond: Callable[[str, str], Awaitable[None]],
        *,
        dry: bool = False,
        protection: Protection | None = None,
        owning: Owning | None = None,
        disruption: Disruption | None = None,
    ) -> None:
        super().__init__(cluster)
        self._disruption = disruption
        self._owning = owning
        self._protection = protection
        self._hold = hold
        self._namespace = namespace
        self._beyond = beyond
        self._dry = dry

    async def _pass(self, what: str, namespace: str, dry_run: bool) -> None:
        if namespace != self._namespace:
            await self._beyond(self._namespace, what)
        hold = self._hold()
        if hold is not None and hold.binds(dry_run=self._dry and dry_run):
            raise StepError(f"{what} was not sent: {hold.message}", reason=Reason.STOPPED)

    async def get(self, ref: ObjectRef) -> Manifest:
        found = await super().get(ref)
        self._note(found)
        return found

    def _note(self, found: Manifest) -> None:
        if self._protection is not None:
            self._protection.note(found)
        if self._disruption is not None:
            self._disruption.note(found)
        if self._owning is not None:
            self._owning.note(found)

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
        found = await super().list(
            api_version,
            kind,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
        )
        for one in found:
            self._note(one)
        if self._owning is not None and not (label_selector or field_selector):
            self._owning.note_list(api_version, kind, namespace)
        return found

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
        await self._pass(f"the patch of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand(ref, f"the patch of {ref}")
        if self._disruption is not None and not subresource:
            await self._disruption.demand_change(ref, body, resource_version, f"the patch of {ref}")
        if self._owning is not None and not subresource:
            what = f"the patch of {ref}"
            await self._owning.patched(ref, body, resource_version, what, strategic=strategic, dry=dry_run)
        return await self._cluster.patch(
            ref,
            body,
            resource_version=resource_version,
            strategic=strategic,
            subresource=subresource,
            dry_run=dry_run,
        )

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
        meta = manifest["metadata"]
        what = f"the apply of {manifest.get('kind')} {meta['name']}"
        await self._pass(what, meta.get("namespace", ""), dry_run)
        if self._protection is not None:
            await self._protection.demand(ObjectRef.of(manifest), what)
        if self._disruption is not None:
            await self._disruption.demand_change(ObjectRef.of(manifest), manifest, resource_version, what)
        if self._owning is not None:
            await self._owning.applied(manifest, resource_version, what, dry=dry_run)
        return await self._cluster.apply(
            manifest,
            uid=uid,
            resource_version=resource_version,
            manager=manager,
            force=force,
            dry_run=dry_run,
        )

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        meta = manifest["metadata"]
        what = f"the create of {manifest.get('kind')} {meta['name']}"
        await self._pass(what, meta.get("namespace", ""), dry_run)
        if self._protection is not None:
            await self._protection.demand_namespace(meta.get("namespace", ""), what)
        return await self._cluster.create(manifest, dry_run=dry_run)

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
        await self._pass(f"the delete of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand_deletion(ref, uid, f"the delete of {ref}")
        if self._disruption is not None:
            await self._disruption.demand_deletion(ref, uid, propagation, f"the delete of {ref}")
        if self._owning is not None:
            await self._owning.deleted(ref, uid, f"the delete of {ref}", dry=dry_run)
        await self._cluster.delete(
            ref,
            uid=uid,
            resource_version=resource_version,
            grace_period_seconds=grace_period_seconds,
            propagation=propagation,
            dry_run=dry_run,
        )

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        await self._pass(f"the eviction of {ref}", ref.namespace, dry_run)
        if self._protection is not None:
            await self._protection.demand(ref, f"the eviction of {ref}")
        if self._disruption is None:
            await self._cluster.evict(ref, uid=uid, dry_run=dry_run)
            return
        await self._disruption.demand_removal(ref, uid, f"the eviction of {ref}")
        try:
            await self._cluster.evict(ref, uid=uid, dry_run=dry_run)
        except TooManyRequests:
            self._disruption.not_removed(uid)
            raise


class GatedWeb:
    """A way out that sends nothing while acting is not allowed, and in a dry run nothing but what reads."""

    def __init__(
        self,
        web: Web,
        hold: Callable[[], Hold | None],
        namespace: str,
        beyond: Callable[[str, str], Awaitable[None]],
        *,
        dry: bool = False,
    ) -> None:
        self._web = web
        self._hold = hold
        self._namespace = namespace
        self._beyond = beyond
        self._dry = dry

    @property
    def alertmanager(self) -> str:
        return self._web.alertmanager

    async def send(self, request: HttpRequest) -> HttpAnswer:
        what = f"the {request.method} request"
        if request.beyond:
            await self._beyond(self._namespace, what)
        hold = self._hold()
        if hold is not None and hold.binds(dry_run=self._dry):
            raise StepError(f"{what} was not sent: {hold.message}", reason=Reason.STOPPED)
        if self._dry and not request.reads:
            return HttpAnswer(0)
        return await self._web.send(request)
