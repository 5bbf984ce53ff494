"""Snapshots: the content of a Workflow as runs follow it, kept as a ControllerRevision named for its hash."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from kubernaut.api import names
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.parts import Keeps
from kubernaut.core.content import content_hash, snapshot_name
from kubernaut.core.errors import AlreadyExists, ClusterError, OfLaterVersion
from kubernaut.core.ports import Manifest, ObjectRef


def snapshot_manifest(namespace: str, workflow: str, spec: WorkflowSpec, revision: int) -> Manifest:
    """Return the ControllerRevision that holds this content of this Workflow."""
    digest = content_hash(spec)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": snapshot_name(workflow, digest),
            "namespace": namespace,
            "labels": {
                names.LABEL_WORKFLOW: workflow[:63],
                names.LABEL_CONTENT_HASH: digest[:63],
                names.LABEL_MANAGED_BY: names.MANAGER,
            },
        },
        "data": spec.wire(),
        "revision": revision,
    }


class Snapshots:
    """Keeps and reads snapshots, as the operator."""

    def __init__(self, cluster: Keeps) -> None:
        self._cluster = cluster

    async def ensure(self, namespace: str, workflow: str, spec: WorkflowSpec, revision: int) -> str:
        """Keep this content; return the snapshot's name. One that exists with the same content is fine.

        Raises:
            ClusterError: PreconditionFailed, where an object of that name holds something else.
        """
        manifest = snapshot_manifest(namespace, workflow, spec, revision)
        name: str = manifest["metadata"]["name"]
        try:
            await self._cluster.create(manifest)
        except AlreadyExists:
            if content_hash(await self.get(namespace, name)) != content_hash(spec):
                raise _not_ours(namespace, name) from None
        return name

    async def get(self, namespace: str, name: str) -> WorkflowSpec:
        """Read a snapshot.

        Raises:
            NotFound: there is none. ClusterError: PreconditionFailed, where it can't be read as a Workflow's content;
                OfLaterVersion, where that is because it has fields that this version does not know.
        """
        found = await self._cluster.get(ObjectRef("apps/v1", "ControllerRevision", namespace, name))
        try:
            return WorkflowSpec.model_validate(found.get("data"))
        except ValidationError as error:
            unknown = [one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"]
            if unknown:
                raise _of_later_version(namespace, name, unknown[0]) from None
            raise _not_ours(namespace, name) from None


def _of_later_version(namespace: str, name: str, field: Sequence[object]) -> OfLaterVersion:
    return OfLaterVersion(
        f"ControllerRevision {namespace}/{name}, which the run follows, has a field that this version does not know "
        f"({'.'.join(map(str, field))}): upgrade the operator again; or delete the run, and take its finalizer off"
    )


def _not_ours(namespace: str, name: str) -> ClusterError:
    return ClusterError(
        f"ControllerRevision {namespace}/{name} is not the snapshot that its name says; find out who wrote it, and "
        "delete it if nobody needs it",
        reason=Reason.PRECONDITION_FAILED,
    )
