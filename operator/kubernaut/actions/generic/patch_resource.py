"""``patch_resource``: the guarded way to change a field for which there is no action."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from kubernaut.actions import guards
from kubernaut.actions.fencing import fence, images
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import rights, scaling_rights
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import MAX_BEFORE_IMAGE
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

_VERSION = r"^([a-z0-9.-]+/)?v[0-9]+([a-z]+[0-9]+)?$"


class PatchResourceParameters(ActionParameters):
    """Parameters of ``patch_resource``."""

    api_version: Annotated[
        str,
        StringConstraints(pattern=_VERSION, max_length=253),
        Field(description="API version, as in apps/v1."),
    ]
    kind: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63),
        Field(description="Kind, as in Deployment."),
    ]
    name: Annotated[DnsName, Field(description="Name of the object, in the run's namespace.")]
    patch: Annotated[
        dict[str, JsonValue],
        Field(
            min_length=1,
            description="A JSON merge patch (RFC 7386): null removes a field, lists are replaced.",
        ),
    ]
    expect: Annotated[
        dict[str, JsonValue],
        Field(
            max_length=16,
            description="Field paths, as in `spec.replicas` or `spec.template.spec.containers[name=app].image`, and "
            "the values they must have right before the change; null means absent.",
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        refusal = guards.object_refusal(self.api_version, self.kind, self.name)
        refusal = refusal or guards.patch_refusal(self.patch)
        if refusal is not None:
            raise ValueError(refusal)
        for path in self.expect:
            fields.parse(path)
        return self


class PatchResource(MarkedAction[PatchResourceParameters, Manifest]):
    """Sends a JSON merge patch for one namespaced object of the run's namespace.

    Never patched: Secrets, ServiceAccounts, Nodes and Namespaces; everything of RBAC, admission, certificates,
    storage classes and the like; Kubernaut's own objects, labels and annotations; `status`; metadata other than
    labels and annotations; fields that give a pod more rights (service account, host namespaces, ports and paths,
    privileges, capabilities, user, references to Secrets).

    What it changed is remembered for putting it back: up to 2 KiB on the object itself; more, or where a field may
    hold a secret (environment variables, names such as `password` or `token`), in a Secret that belongs to the run
    and goes with it. For that the account needs `create` and `get` on secrets, and the values are told nowhere.

    `expect` names values that must be there right before the change; where one is not, nothing is changed. The
    patch is first sent as a dry run, so that undo knows the values as the API server writes them; one that changes
    labels and annotations only needs none.
    """

    name: ClassVar = "patch_resource"
    summary: ClassVar = "Change fields of one object by a guarded JSON merge patch"
    parameters = PatchResourceParameters
    example: ClassVar = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "settings",
        "patch": {"data": {"level": "info"}},
        "expect": {"data.level": "debug"},
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: PatchResourceParameters) -> ObjectRef:
        ref = ObjectRef(parameters.api_version, parameters.kind, namespace, parameters.name)
        same = (target.api_version, target.kind, target.name) == (ref.api_version, ref.kind, ref.name)
        return ObjectRef(ref.api_version, ref.kind, namespace, ref.name, target.uid) if same else ref

    def rights(self, target: ObjectRef | None, parameters: PatchResourceParameters) -> tuple[Right, ...]:
        needed = rights(("get", "patch"), parameters.api_version, parameters.kind, (parameters.name,))
        needed += scaling_rights(parameters.api_version, parameters.kind, parameters.patch)
        kept = (
            guards.secretive_value(parameters.patch) or len(json.dumps(parameters.patch)) > MAX_BEFORE_IMAGE
        )
        return (*needed, *images.RIGHTS) if kept else needed

    def may_keep(self, target: ObjectRef | None, parameters: PatchResourceParameters) -> tuple[Right, ...]:
        """Return what keeping takes, where the patch replaces or removes what may be large or hold a secret."""
        # A value in a ConfigMap is often a whole file; of a patch that is not known yet nothing can be said.
        file = parameters.kind == "ConfigMap" and not set(parameters.patch) <= {"metadata"}
        whole = file or not isinstance(parameters.patch, dict) or _replaces(parameters.patch)
        return images.RIGHTS if whole else ()

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: PatchResourceParameters, seen: Manifest
    ) -> Manifest:
        """Return the object as the API server would write it, by a dry run."""
        desired = self._desired(seen, parameters)
        body = fields.merge_patch(seen, desired)
        if not body:
            return seen
        if set(body) == {"metadata"}:
            # Labels and annotations are written as they are given: nothing is to be learned of the API server.
            return desired
        version = seen["metadata"]["resourceVersion"]
        return await cluster.patch(ObjectRef.of(seen), body, resource_version=version, dry_run=True)

    def plan(
        self, seen: Manifest, evidence: Manifest, parameters: PatchResourceParameters, context: StepContext
    ) -> fence.Change:
        desired = self._desired(seen, parameters)
        written = seen
        for one in fields.diff(seen, desired):
            written = fields.put(written, one.path, fields.get(evidence, one.path))
        ref = ObjectRef.of(seen)
        change = fence.change(seen, written, f"{ref} was patched")
        if change.desired is None:
            return fence.nothing(f"nothing to do: {ref} is as the patch says already")
        return replace(change, secret=guards.secretive(seen, written))

    @staticmethod
    def _desired(seen: Manifest, parameters: PatchResourceParameters) -> Manifest:
        """Return the object with the patch applied.

        Raises:
            StepError: PreconditionFailed, where an expected value is not there or a guard refuses the change.
        """
        ref = ObjectRef.of(seen)
        refusal = guards.expect_refusal(seen, parameters.expect)
        if refusal is not None:
            raise StepError(f"{ref}: {refusal}; nothing was done", reason=Reason.PRECONDITION_FAILED)
        desired: dict[str, Any] = fields.apply_merge_patch(seen, parameters.patch)
        refusal = guards.change_refusal(seen, desired)
        if refusal is not None:
            raise StepError(f"{ref} was not patched: {refusal}", reason=Reason.PRECONDITION_FAILED)
        return desired


def _replaces(node: Any) -> bool:
    """Whether a merge patch removes something, or replaces a list, of which it does not say what was there."""
    if isinstance(node, dict):
        return any(map(_replaces, node.values()))
    return node is None or isinstance(node, list)
