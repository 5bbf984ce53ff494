"""Owners of fields, asked for before each request that would change some: whether it may be sent is what guards say.

Nothing is read for an object that has no marks of an owner: what the action itself read tells. Where it has, the
owner's own object is read, as the same account, once for each effect. An autoscaler that has not scaled yet leaves no
mark, so where replicas change those of the namespace are listed, unless that has just been done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from kubernaut.api.guards import GitOpsMode, PauseSync
from kubernaut.api.names import MARKER_PREFIX
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import ClusterError, Forbidden, NotFound, StepError
from kubernaut.core.fields import FieldChange
from kubernaut.core.gitops import oscillating, pausing
from kubernaut.core.gitops.changing import by_apply, by_patch, mode, pause_terms, refused, told
from kubernaut.core.gitops.owners import AUTOSCALER, REPLICAS, Owner, Tool, marked, names_replicas, owners
from kubernaut.core.gitops.standing import standing
from kubernaut.core.guards.levels import Level, protected_labels, protected_namespace
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from kubernaut.core.recent import Recent
from kubernaut.core.run import Hold
from kubernaut.engine.autoscalers import Autoscalers
from kubernaut.engine.live import LiveRun
from kubernaut.engine.proposing import Nobody, Proposed, Tells, proposal
from kubernaut.metrics import CHANGES_UNDONE, OWNED_CHANGES

#: nobody keeps these in Git: they are made from templates, and made anew
_MADE: Final = frozenset({("v1", "Pod"), ("batch/v1", "Job")})
_CLAIMS: Final = (AUTOSCALER[1],)


class PausesSyncs(Protocol):
    """What pauses the sync of an owner; ``signer`` signs what it leaves there."""

    signer: Signer

    async def pause(
        self, live: LiveRun, account: Cluster, said: Manifest, declared: PauseSync, argo_namespace: str
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class GitOps:
    """How owners are looked for.

    Attributes:
        levels: the guards of a run, the Workflow's own first.
        on: whether owners are looked for at all.
        argo_namespace: where Argo CD keeps Applications that name no namespace.
        proposals: is told of changes that are proposed.
        pauses: pauses the sync of owners; None where that can't be.
        signer: has signed what earlier runs left on objects; None where nobody looks whether that was undone.
        autoscalers: lists those that have not scaled yet.
    """

    levels: Callable[[LiveRun], tuple[Level, ...]]
    on: Callable[[], bool] = lambda: True
    argo_namespace: str = "argocd"
    proposals: Tells = field(default_factory=Nobody)
    pauses: PausesSyncs | None = None
    signer: Signer | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    autoscalers: Autoscalers = field(default_factory=Autoscalers)

    def of(
        self, live: LiveRun, cluster: Cluster, recent: Recent, hold: Callable[[], Hold | None]
    ) -> Owning | None:
        """Return what is asked in one effect of a run; None where nothing is.

        Args:
            cluster: as the Workflow's account sees it.
            hold: why nothing may be sent now, or None.
        """
        return Owning(self, live, cluster, recent, hold) if self.on() else None

    async def undone(self, live: LiveRun, cluster: Cluster, ref: ObjectRef) -> str:
        """Say who has undone what a run changed on an object; empty where nobody has, as far as the object tells.

        It is read for this: what is watched comes without the managers of its fields.
        """
        if self.signer is None or not self.on():
            return ""
        try:
            seen = await cluster.get(ref)
        except ClusterError:
            return ""
        found = oscillating.undone(seen, self.signer, oscillating.terms(self.levels(live)), self.clock())
        return next((oscillating.told(one) for one in found if one.run_uid == live.uid), "")


class Owning:
    """Whose fields one effect would change.

    Attributes:
        notes: what is to be told of owners that may undo what was done.
    """

    def __init__(
        self,
        gitops: GitOps,
        live: LiveRun,
        cluster: Cluster,
        recent: Recent,
        hold: Callable[[], Hold | None],
    ) -> None:
        self._gitops = gitops
        self._live = live
        self._cluster = cluster
        self._recent = recent
        self._hold = hold
        self._levels = gitops.levels(live)
        self._mode, self._level = mode(self._levels)
        self._counted: set[Tool] = set()
        self._stopped = False
        self._seen: dict[ObjectRef, Manifest] = {}
        self._autoscalers: list[Manifest] = []
        self._listed: set[str] = set()
        self._said: dict[ObjectRef, Manifest | None] = {}
        self.notes: list[str] = []

    def note(self, manifest: Manifest) -> None:
        """Take note of an object that was read."""
        if "metadata" not in manifest:
            return
        if manifest.get("kind") in _CLAIMS:
            self._autoscalers.append(manifest)
        self._seen[_key(ObjectRef.of(manifest))] = manifest

    def note_list(self, api_version: str, kind: str, namespace: str) -> None:
        """Take note that all of a kind in a namespace were read: there may have been none."""
        if (api_version, kind) == AUTOSCALER:
            self._listed.add(namespace)

    # Asked before requests

    async def patched(
        self, ref: ObjectRef, body: Manifest, version: str, what: str, *, strategic: bool, dry: bool
    ) -> None:
        """Let a patch be sent.

        Raises:
            StepError: KeptByAnother, where an owner would set a field back, and guards refuse that.
            ClusterError: it can't be found out whose the fields are.
        """
        seen = await self._as_read(ref, version)
        if not (_owned(ref, seen) or names_replicas(body)):
            return
        changed = by_apply(seen, body) if strategic else by_patch(seen, body)
        if changed:
            self._undone(seen, changed, what)
            await self._ask(ref, seen, changed, what, dry=dry)

    async def applied(self, manifest: Manifest, version: str, what: str, *, dry: bool) -> None:
        """Let a manifest be applied; raises as ``patched``."""
        ref = ObjectRef.of(manifest)
        seen = await self._as_read(ref, version)
        if not (_owned(ref, seen) or names_replicas(manifest)):
            return
        changed = by_apply(seen, manifest)
        if changed:
            self._undone(seen, changed, what)
            await self._ask(ref, seen, changed, what, dry=dry)

    def _undone(self, seen: Manifest, changed: Sequence[FieldChange], what: str) -> None:
        """Leave alone what another manager has undone before; who has its sync paused is in no fight.

        Raises:
            StepError: UndoneByAnother, which names that manager.
        """
        signer = self._gitops.signer
        if signer is None or self._mode is GitOpsMode.PAUSE_SYNC:
            return
        declared = oscillating.terms(self._levels)
        found = oscillating.undone(seen, signer, declared, self._gitops.clock())
        one = oscillating.stops(found, self._live.uid, [change.path for change in changed])
        if one is not None:
            if not self._stopped:
                CHANGES_UNDONE.inc()
            self._stopped = True
            message = oscillating.refused(what, one, declared)
            raise StepError(message, reason=Reason.UNDONE_BY_ANOTHER)

    async def deleted(self, ref: ObjectRef, uid: str, what: str, *, dry: bool) -> None:
        """Let an object be deleted; raises as ``patched``."""
        if (ref.api_version, ref.kind) in _MADE:
            return
        seen = self._seen.get(_key(ref))
        if seen is None or seen["metadata"].get("uid") != uid:
            try:
                seen = await self._cluster.get(ref)
            except (NotFound, Forbidden):
                # What is gone is told by the request itself; who may not read it can't be asked to.
                return
        if _owned(ref, seen):
            await self._ask(ref, seen, (), what, dry=dry)

    async def _as_read(self, ref: ObjectRef, version: str) -> Manifest:
        """Return the object as the action decided on it."""
        for seen in (self._seen.get(_key(ref)), self._recent.seen(ref)):
            if seen is not None and seen["metadata"].get("resourceVersion") == version:
                return seen
        seen = await self._cluster.get(ref)
        self.note(seen)
        return seen

    async def _ask(
        self, ref: ObjectRef, seen: Manifest, changed: Sequence[FieldChange], what: str, *, dry: bool
    ) -> None:
        paths = [one.path for one in changed]
        if REPLICAS in paths:
            await self._list_autoscalers(ref)
        namespace = self._gitops.argo_namespace
        told_by = owners(seen, paths, argo_namespace=namespace, autoscalers=self._autoscalers)
        found = [await self._standing(owner, ref) for owner in told_by]
        undoing = [owner for owner in found if owner.undoes]
        for owner in undoing:
            # Asked twice where the object was read again before it was refused, and still one change.
            if owner.tool not in self._counted:
                self._counted.add(owner.tool)
                OWNED_CHANGES.labels(owner.tool.value, self._mode.value).inc()
        if self._mode is GitOpsMode.PAUSE_SYNC:
            for owner in found:
                await self._pause(owner, what, dry=dry)
            return
        if self._mode is GitOpsMode.ACT and (undoing or self._level is not None):
            self._tell(map(told, found))
        if self._mode is GitOpsMode.ACT or not undoing:
            return
        message = refused(what, undoing[0], self._mode, self._level)
        if self._mode is GitOpsMode.PROPOSE:
            raise Proposed(f"{message}; the change is proposed", ref, undoing[0], proposal(seen, changed))
        raise StepError(message, reason=Reason.KEPT_BY_ANOTHER)

    async def _pause(self, owner: Owner, what: str, *, dry: bool) -> None:
        """Pause the sync of an owner that would set a field back, or hold on to a pause that another run made."""
        pauses = self._gitops.pauses
        said = self._said.get(owner.ref) if owner.ref is not None else None
        held = pauses is not None and said is not None and pausing.read(said, pauses.signer) is not None
        if not owner.undoes and not held:
            return
        why = "" if pauses is not None else "; nothing can be paused here"
        if said is None or said.get("kind") not in pausing.FIELDS:
            why = "; it can't be paused from here"
        elif protected := self._protected(said):
            why = f"; it was not paused: {protected}"
        if why or said is None or pauses is None:
            message = refused(what, owner, self._mode, self._level, more=why)
            raise StepError(message, reason=Reason.KEPT_BY_ANOTHER)
        if dry:
            self._tell([f"the sync of {owner.name} would be paused"])
            return
        hold = self._hold()
        if hold is not None:
            raise StepError(f"{what} was not sent: {hold.message}", reason=Reason.STOPPED)
        terms = pause_terms(self._levels)
        line = await pauses.pause(self._live, self._cluster, said, terms, self._gitops.argo_namespace)
        self._tell([line])

    def _protected(self, said: Manifest) -> str:
        meta = said["metadata"]
        return protected_namespace(self._levels, meta.get("namespace", "")) or protected_labels(
            self._levels, meta.get("labels") or {}
        )

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self.notes:
                self.notes.append(line)

    async def _list_autoscalers(self, ref: ObjectRef) -> None:
        """Learn of the autoscalers beside an object once an effect; where that may not be, say so."""
        if ref.namespace in self._listed:
            return
        self._listed.add(ref.namespace)
        account = f"{self._live.key.namespace}/{self._live.service_account}"
        found = await self._gitops.autoscalers.beside(self._cluster, account, ref.namespace)
        if found is None:
            told = "the account may not list horizontalpodautoscalers.autoscaling there"
            self._tell([f"whether an autoscaler keeps spec.replicas of {ref} is not known: {told}"])
        self._autoscalers += found or ()

    async def _standing(self, owner: Owner, target: ObjectRef) -> Owner:
        if owner.ref is None or not owner.undoes or owner.tool is Tool.AUTOSCALER:
            return owner
        if owner.ref not in self._said:
            try:
                self._said[owner.ref] = await self._cluster.get(owner.ref)
            except NotFound:
                self._said[owner.ref] = None
            except Forbidden:
                return replace(
                    owner, why=f"{owner.why}; the account may not read it, so it counts as syncing"
                )
        return standing(owner, self._said[owner.ref], target)


def _owned(ref: ObjectRef, seen: Manifest) -> bool:
    if (ref.api_version, ref.kind) in _MADE:
        return False
    notes = seen["metadata"].get("annotations") or {}
    return marked(seen) or any(key.startswith(MARKER_PREFIX) for key in notes)


def _key(ref: ObjectRef) -> ObjectRef:
    return replace(ref, uid="")
