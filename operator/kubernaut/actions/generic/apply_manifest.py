"""``apply_manifest``: server-side apply of one object, with a field manager of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import guards
from kubernaut.actions.fencing import births, fence, images, pinned
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.generic.manifest import AppliedManifest, content, declared
from kubernaut.actions.objects import rights, scaling_rights
from kubernaut.api.names import CREATED_PREFIX, MANAGER
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, Done, Risk, StepContext
from kubernaut.core.errors import NotFound, OwnedByOthers, StepError, UnknownOutcome
from kubernaut.core.marker import MAX_BEFORE_IMAGE, StepMark, read_marker
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Probed, Said, Sight, there

# Where the mark of a created object holds what it was then; no field of an object is called so.
_CREATED: Final = "created"


class WhenAbsent(StrEnum):
    """What to do where there is no such object."""

    CREATE = "Create"
    REFUSE = "Refuse"


class ApplyManifestParameters(ActionParameters):
    """Parameters of ``apply_manifest``."""

    manifest: Annotated[
        AppliedManifest,
        Field(
            description="The object, or some of its fields, as for `kubectl apply --server-side`; at most 64 KiB. Of "
            "its metadata: name, labels and annotations."
        ),
    ]
    force: Annotated[
        bool,
        Field(description="Whether fields that other managers own are taken from them where they differ."),
    ] = False
    field_manager: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$", max_length=63),
        Field(
            description="In whose name it is applied. What an earlier apply of the same manager set, and this "
            "manifest does not name, is removed: give Workflows that apply to the same object one each."
        ),
    ] = "kubernaut-apply"
    when_absent: Annotated[
        WhenAbsent, Field(description="Where there is no such object: create it, or refuse.")
    ] = WhenAbsent.CREATE
    expect: Annotated[
        dict[str, JsonValue],
        Field(
            max_length=16,
            description="Field paths, as in `spec.replicas`, and the values they must have right before the change; "
            "null means absent.",
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.field_manager == MANAGER:
            raise ValueError(
                f"fieldManager {MANAGER} is what other actions write as; choose another, as in team-a"
            )
        for path in self.expect:
            fields.parse(path)
        return self


class ApplyManifest(MarkedAction[ApplyManifestParameters, Manifest]):
    """Applies a manifest to one namespaced object of the run's namespace, on the server's side, with a field manager
    of its own; creates the object where there is none.

    It is first applied as a dry run: that tells who else owns a field that would change, and every field as the API
    server would write it. Where others own one, the step is refused, naming them and the fields, unless
    `force: true`. Then it is applied with the UID and the resourceVersion of the object that was read, so what was
    decided on is what is changed; the step's mark is in the same request. An object that is as the manifest says
    already is left alone, and its fields keep their owners.

    Never applied: what [patch_resource](patch_resource.md) never patches (Secrets, ServiceAccounts, Nodes and
    Namespaces; everything of RBAC, admission, certificates, storage classes and the like; Kubernaut's own objects,
    labels and annotations; `status`; other metadata; fields that give a pod more rights). An object that is created
    may hold such fields with the values that restrain it, as `runAsNonRoot: true`.

    A new object is created under its own name, with the step's signed mark; then its fields become the manager's,
    which is one more request. What was changed on an object that was there is remembered for undo, as for
    patch_resource: up to 2 KiB on the object itself; more, or where a field may hold a secret, in a Secret that
    belongs to the run, and the values are told nowhere. For that the account needs `create` and `get` on secrets.
    """

    name: ClassVar = "apply_manifest"
    summary: ClassVar = "Apply a manifest to one object on the server's side, guarded, or create it"
    risk: ClassVar = Risk.LOW
    parameters = ApplyManifestParameters
    example: ClassVar = {
        "manifest": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings"},
            "data": {"level": "info"},
        },
    }
    outputs: ClassVar[Mapping[str, str]] = {
        "created": "Whether the object was created.",
        "first": "Whether its manager had applied nothing to it before.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: ApplyManifestParameters) -> ObjectRef:
        given = parameters.manifest
        where = given.metadata.namespace
        if where is not None and where != namespace:
            raise StepError(
                f"the manifest names namespace {where}; a step acts in its own, {namespace}: leave it out",
                reason=Reason.INVALID_PARAMETERS,
            )
        ref = ObjectRef(given.api_version, given.kind, namespace, given.metadata.name)
        same = (target.api_version, target.kind, target.name) == (ref.api_version, ref.kind, ref.name)
        return replace(ref, uid=target.uid) if same else ref

    def rights(self, target: ObjectRef | None, parameters: ApplyManifestParameters) -> tuple[Right, ...]:
        """Return get and patch on the object; create and delete on its kind where it may be created."""
        given = parameters.manifest
        what, names = (given.api_version, given.kind), (given.metadata.name,)
        needed = rights(("get", "patch"), *what, names)
        if parameters.when_absent is not WhenAbsent.REFUSE:
            needed += (*rights(("create",), *what, ()), *rights(("delete",), *what, names))
        rest = given.rest
        needed += scaling_rights(*what, rest)
        kept = guards.secretive_value(rest) or len(json.dumps(rest)) > MAX_BEFORE_IMAGE
        return (*needed, *images.RIGHTS) if kept else needed

    def may_keep(self, target: ObjectRef | None, parameters: ApplyManifestParameters) -> tuple[Right, ...]:
        """Return what keeping takes: what is replaced or left out may be large or secret."""
        return images.RIGHTS

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: ApplyManifestParameters, seen: Manifest
    ) -> Manifest:
        """Return the object as the API server would write it, by a dry run.

        Raises:
            OwnedByOthers: others own fields that would change, and they are not to be taken from them.
        """
        _expect(ObjectRef.of(seen), seen, parameters)

        async def applied(force: bool) -> Manifest:
            return await cluster.apply(
                parameters.manifest.plain(context.namespace),
                uid=seen["metadata"]["uid"],
                resource_version=seen["metadata"]["resourceVersion"],
                manager=parameters.field_manager,
                force=force,
                dry_run=True,
            )

        try:
            return await applied(parameters.force)
        except OwnedByOthers as error:
            # What other actions wrote, or an undo put back, is nobody else's.
            if error.managers != {MANAGER}:
                raise
            return await applied(True)

    def plan(
        self, seen: Manifest, evidence: Manifest, parameters: ApplyManifestParameters, context: StepContext
    ) -> fence.Change:
        ref = ObjectRef.of(seen)
        before, after = declared(seen), declared(evidence)
        refusal = guards.change_refusal(before, after)
        if refusal is not None:
            raise StepError(f"{ref} was not applied: {refusal}", reason=Reason.PRECONDITION_FAILED)
        first = not any(_applied_by(entry, parameters) for entry in _managed(seen))
        outputs: dict[str, JsonValue] = {"created": False, "first": first}
        change = fence.change(before, after, f"{ref} was applied", outputs)
        if change.desired is None:
            return replace(change, message=f"nothing to do: {ref} is as the manifest says")
        given = parameters.manifest.plain(context.namespace)
        return replace(
            change,
            secret=guards.secretive(before, after),
            applied=fence.Applied(given, parameters.field_manager),
        )

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: ApplyManifestParameters
    ) -> Done:
        """Apply it once to the object that is there, or create it once."""
        ref = self.ref(context.namespace, context.target, parameters)
        given = parameters.manifest.plain(context.namespace)

        async def decide(seen: Manifest) -> fence.Change:
            if births.ours(context, seen, given):
                return _taken_over(context, seen, parameters)
            evidence = await self.look(cluster, context, parameters, seen)
            return self.plan(seen, evidence, parameters, context)

        try:
            done = await fence.apply(cluster, context, ref, decide, finished=self._finished)
        except NotFound:
            if parameters.when_absent is WhenAbsent.REFUSE or ref.uid:
                raise
            await _create(cluster, context, given, parameters)
            try:
                done = await fence.apply(cluster, context, ref, decide, finished=self._finished)
            except NotFound:
                # A dry run stores nothing; and who deleted it at once may.
                done = Done(True, outputs={"created": True, "first": True})
        return _told(ref, done)

    def probe(self, sight: Sight, context: StepContext, parameters: ApplyManifestParameters) -> Probed:
        """It happened where the object carries the step's signed mark and was not put back; an object that undo
        deleted, for the step had created it, is gone with its mark, and that is Unknown. It helped where the object
        itself and the run's target, as far as they are workloads, autoscalers or pods, fare well by their own
        status; else that is Unknown.
        """
        ref = self.ref(context.namespace, context.target, parameters)
        seen, given = sight.of(ref), parameters.manifest.plain(context.namespace)
        if seen is not None and births.ours(context, seen, given):
            marked = read_marker(seen, context.run_uid, context.signer).steps.get(context.step)
            told = f"{ref} carries the mark of step {context.step}, which created it"
            text = _signed(context, seen, parameters)
            if marked is not None and not context.signer.holds(text, str(marked.after.get(_CREATED))):
                return there(told, Said(Answer.UNKNOWN, "it was changed since"))
            return there(told, self.helped(sight, seen, context, parameters))
        return super().probe(sight, context, parameters)

    async def recall(
        self, cluster: Cluster, context: StepContext, parameters: ApplyManifestParameters
    ) -> Done | None:
        """Look for the step's mark; None where there is none, or where it is not finished."""
        ref = self.ref(context.namespace, context.target, parameters)
        done = await super().recall(cluster, context, parameters)
        return None if done is None else _told(ref, done)

    async def fence(
        self, cluster: Cluster, context: StepContext, parameters: ApplyManifestParameters
    ) -> Done:
        """See to it that the step can't happen any more; a create that was sent before can't be stopped.

        Raises:
            UnknownOutcome: there is no such object, and it may still be created.
        """
        ref = self.ref(context.namespace, context.target, parameters)
        try:
            seen = await cluster.get(ref)
        except NotFound:
            if parameters.when_absent is WhenAbsent.REFUSE or ref.uid:
                return Done(False, f"{ref} does not exist")
            raise UnknownOutcome(
                f"{ref} does not exist; a create of it that was sent before may still come: look for it"
            ) from None
        done = _told(ref, await super().fence(cluster, context, parameters))
        if not done.acted and births.ours(context, seen, parameters.manifest.plain(context.namespace)):
            return _told(ref, Done(True, outputs={"created": True, "first": True}))
        return done

    async def undo(self, cluster: Cluster, context: StepContext, parameters: ApplyManifestParameters) -> Done:
        """Every field that was changed gets its former value, and the manager lets go of the fields where it had none
        before; refused where one was changed since. An object that the step created is deleted, unless it was changed
        since. Who owned a field that was taken by force owns it again with its own next apply.
        """
        ref = self.ref(context.namespace, context.target, parameters)
        try:
            seen = await fence.read(cluster, context, ref)
        except NotFound:
            return Done(False, f"{ref} is gone, and what was applied to it")
        except StepError as error:
            if error.reason is Reason.TARGET_REPLACED:
                return Done(False, f"{ref} was made anew; there is nothing to put back")
            raise
        marker = read_marker(seen, context.run_uid, context.signer)
        mark = marker.steps.get(context.step)
        given = parameters.manifest.plain(context.namespace)
        if _created(mark) or (mark is None and births.ours(context, seen, given)):
            return await _delete(cluster, context, seen, parameters)

        async def put_back(now: Manifest, mark: StepMark) -> Manifest:
            former = await fence.put_fields_back(now, mark)
            return _let_go(former, parameters) if mark.outputs.get("first") else former

        return await fence.restore(cluster, context, ref, put_back, alone=True)


async def _create(
    cluster: Cluster, context: StepContext, given: Manifest, parameters: ApplyManifestParameters
) -> None:
    """Create the object with the step's mark.

    Raises:
        StepError: PreconditionFailed, where a guard refuses it.
        UnknownOutcome, ClusterError: as ``births.create``.
    """
    ref = ObjectRef.of(given)
    _expect(ref, {}, parameters)
    refusal = guards.create_refusal(given)
    if refusal is not None:
        raise StepError(f"{ref} was not created: {refusal}", reason=Reason.PRECONDITION_FAILED)
    await births.create(cluster, context, given, given)


def _expect(ref: ObjectRef, seen: Mapping[str, Any], parameters: ApplyManifestParameters) -> None:
    refusal = guards.expect_refusal(seen, parameters.expect)
    if refusal is not None:
        raise StepError(f"{ref}: {refusal}; nothing was done", reason=Reason.PRECONDITION_FAILED)


def _taken_over(context: StepContext, seen: Manifest, parameters: ApplyManifestParameters) -> fence.Change:
    """Return the change by which the fields of an object that the step has created become its manager's.

    A create is an update as the API server keeps account of managers, and an apply can't be created under a
    precondition; a later apply could so neither remove nor freely change what was created.
    """
    entries = [
        {**entry, "manager": parameters.field_manager, "operation": "Apply"}
        if _creator(entry, context)
        else entry
        for entry in _managed(seen)
    ]
    desired = {**seen, "metadata": {**seen["metadata"], "managedFields": entries}}
    outputs: dict[str, JsonValue] = {"created": True, "first": True}
    after: dict[str, JsonValue] = {_CREATED: _sign(context, seen, parameters)}
    return fence.Change(desired, {}, after, "", outputs)


async def _delete(
    cluster: Cluster, context: StepContext, seen: Manifest, parameters: ApplyManifestParameters
) -> Done:
    """Delete the object that the step created, where it is as it was then."""
    ref = ObjectRef.of(seen)

    async def check(now: Manifest) -> None:
        mark = read_marker(now, context.run_uid, context.signer).steps.get(context.step)
        if mark is not None and mark.after.get(_CREATED) != _sign(context, now, parameters):
            raise StepError(
                f"{ref} is no longer as the step had created it; it was changed since and is left alone",
                reason=Reason.CHANGED_SINCE,
            )

    await pinned.delete(cluster, ref, check)
    told = f"{ref}: deleted, for the step had created it"
    return Done(True, told, changed=(told,))


def _sign(context: StepContext, seen: Manifest, parameters: ApplyManifestParameters) -> str:
    return context.signer.sign(_signed(context, seen, parameters))


def _signed(context: StepContext, seen: Manifest, parameters: ApplyManifestParameters) -> str:
    # Signed, not only hashed: from a hash on the object a short secret could be guessed.
    text = content(seen, sorted(parameters.manifest.metadata.annotations))
    return f"created\n{context.run_uid}\n{seen['metadata'].get('uid', '')}\n{text}"


def _created(mark: StepMark | None) -> bool:
    return mark is not None and bool(mark.outputs.get("created"))


def _told(ref: ObjectRef, done: Done) -> Done:
    """Return what was done, with a created object told as such."""
    if not done.outputs.get("created"):
        return done
    return replace(done, message=f"{ref} was created", changed=(f"{ref}: created",))


def _managed(seen: Manifest) -> list[dict[str, Any]]:
    return list(seen["metadata"].get("managedFields") or ())


def _applied_by(entry: Mapping[str, Any], parameters: ApplyManifestParameters) -> bool:
    return (entry.get("manager"), entry.get("operation")) == (parameters.field_manager, "Apply")


def _creator(entry: Mapping[str, Any], context: StepContext) -> bool:
    """Whether an entry of managedFields is that of the request that created the object: it holds the mark."""
    owned = fields.get(entry.get("fieldsV1"), ("f:metadata", "f:annotations")) or {}
    return entry.get("operation") == "Update" and f"f:{CREATED_PREFIX}{context.run_uid}" in owned


def _let_go(seen: Manifest, parameters: ApplyManifestParameters) -> Manifest:
    entries = [entry for entry in _managed(seen) if not _applied_by(entry, parameters)]
    return {**seen, "metadata": {**seen["metadata"], "managedFields": entries}}
