"""Reconciling a Workflow: is it ready to run, and if not, what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from kubernaut.api.reasons import REASONS, Reason
from kubernaut.api.workflow import MAX_REVISIONS, Lifecycle, Revision, WorkflowSpec, WorkflowStatus
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.core.compiling import compile_plan
from kubernaut.core.conditions import PERMISSIONS_READY, ready
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.errors import Conflict, NotFound
from kubernaut.core.features import Feature, used_by
from kubernaut.core.permissions import Permissions
from kubernaut.core.plan import Catalogue, Plan, PlanInvalid
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.fights import Fights
from kubernaut.engine.keys import WorkflowKey
from kubernaut.engine.permissions import PermissionWatch
from kubernaut.engine.ports import OperatorCluster
from kubernaut.engine.store import merge_patch_of
from kubernaut.metrics import WRITES

_LIFE: Final = {
    Lifecycle.DRAFT: "only dry runs of it start",
    Lifecycle.DEPRECATED: "only runs that a person or another run starts",
}


class WorkflowReconciler:
    """Says in a Workflow's status whether runs of it can start."""

    def __init__(
        self,
        cluster: OperatorCluster,
        catalogue: Catalogue,
        clock: Callable[[], datetime],
        off: Callable[[], frozenset[Feature]] = frozenset,
        permissions: PermissionWatch | None = None,
        fights: Fights | None = None,
    ) -> None:
        self.fights = fights or Fights(clock)
        self._off = off
        self.permissions = permissions
        self._cluster = cluster
        self._catalogue = catalogue
        self._clock = clock
        self._snapshots = Snapshots(cluster)

    async def reconcile(self, manifest: Manifest) -> None:
        """Write the status where it is not what it should be.

        Raises:
            ClusterError: the API server refused or is away; try again later.
        """
        while True:
            old = WorkflowStatus.model_validate(manifest.get("status") or {})
            new = self._status(manifest, old)
            if new == old or manifest["metadata"].get("deletionTimestamp"):
                return
            ref = ObjectRef.of(manifest)
            if new.snapshot is not None and new.snapshot != old.snapshot:
                await self._keep(manifest)
            body = {"status": merge_patch_of(new)}
            try:
                WRITES.labels("workflow").inc()
                version = manifest["metadata"]["resourceVersion"]
                await self._cluster.patch_status(ref, body, resource_version=version)
                return
            except Conflict:
                manifest = await self._cluster.get(ref)
            except NotFound:
                return

    async def _keep(self, manifest: Manifest) -> None:
        """Keep the content as a revision that runs can follow and people can go back to."""
        meta = manifest["metadata"]
        spec = WorkflowSpec.model_validate(manifest["spec"])
        WRITES.labels("snapshot").inc()
        await self._snapshots.ensure(meta["namespace"], meta["name"], spec, int(meta.get("generation", 1)))

    def _status(self, manifest: Manifest, old: WorkflowStatus) -> WorkflowStatus:
        meta = manifest["metadata"]
        generation, now = int(meta.get("generation", 0)), self._clock()
        try:
            spec = WorkflowSpec.model_validate(manifest["spec"])
            plan = compile_plan(spec, self._catalogue)
        except ValidationError as error:
            self._forget(manifest)
            detail = error.errors()[0]
            where = ".".join(("spec", *map(str, detail["loc"])))
            fix = REASONS[Reason.INVALID_SPEC].fix
            told = ready(
                old.conditions,
                False,
                Reason.INVALID_SPEC,
                f"{where}: {detail['msg']}. {fix}",
                now,
                generation,
            )
            return old.replace(observed_generation=generation, conditions=told)
        except PlanInvalid as error:
            self._forget(manifest)
            told = ready(old.conditions, False, error.problems[0].reason, str(error), now, generation)
            return old.replace(observed_generation=generation, conditions=told)
        return self._ready(manifest, plan, old)

    def _ready(self, manifest: Manifest, plan: Plan, old: WorkflowStatus) -> WorkflowStatus:
        meta, spec = manifest["metadata"], plan.spec
        generation, now = int(meta.get("generation", 0)), self._clock()
        digest = content_hash(spec)
        revision = old.revision or 0
        snapshot = snapshot_name(meta["name"], digest)
        if digest != old.content_hash:
            revision += 1
        revisions = old.revisions
        if digest != old.content_hash or not revisions:
            newest = Revision(snapshot=snapshot, content_hash=digest, revision=revision)
            others = [one for one in revisions if one.snapshot != snapshot]
            revisions = [newest, *others][:MAX_REVISIONS]
        message = f"{len(spec.steps)} steps; acts as ServiceAccount {spec.service_account_name}."
        if spec.lifecycle is not Lifecycle.ACTIVE:
            message += f" It is {spec.lifecycle.value}: {_LIFE[spec.lifecycle]}."
        return old.replace(
            observed_generation=generation,
            content_hash=digest,
            snapshot=snapshot,
            revision=revision,
            revisions=revisions,
            conditions=ready(
                old.conditions,
                True,
                Reason.VALID,
                message,
                now,
                generation,
                used_by(spec) & self._off(),
                self._may(manifest, plan, old),
                self.fights.told(WorkflowKey(meta["namespace"], meta["name"])),
            ),
        )

    def _may(self, manifest: Manifest, plan: Plan, old: WorkflowStatus) -> Permissions | None:
        """Return what is known of the rights of the Workflow's account."""
        if self.permissions is None:
            return None
        generation = int(manifest["metadata"].get("generation", 0))
        told = any(
            one.type == PERMISSIONS_READY and one.observed_generation == generation for one in old.conditions
        )
        return self.permissions.look(manifest, plan, told)

    def _forget(self, manifest: Manifest) -> None:
        if self.permissions is not None:
            meta = manifest["metadata"]
            self.permissions.forget(WorkflowKey(meta["namespace"], meta["name"]))
