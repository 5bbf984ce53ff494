"""Reading Kubernaut's objects from a cluster, with answers for a person where that does not work."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from kubernaut.api.base import ApiModel
from kubernaut.api.execution import WorkflowExecution
from kubernaut.api.names import API_VERSION
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli.errors import CliError, Exit
from kubernaut.cli.outline import spec_of
from kubernaut.cli.output import note
from kubernaut.core.errors import ClusterError, NotFound
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

M = TypeVar("M", bound=ApiModel)
RUN: Final = "WorkflowExecution"
WORKFLOW: Final = "Workflow"
PATTERN: Final = "DiscoveredPattern"
_PLURALS: Final = {RUN: "runs", WORKFLOW: "Workflows", PATTERN: "patterns"}
#: so many of what can't be read are told one by one
_TOLD: Final = 3
_NO_RESOURCE: Final = re.compile(r"has no \S+\.kubernaut\.io\b|could not find the requested resource")


def reference(kind: str, namespace: str, name: str) -> ObjectRef:
    """Return the reference of one of our objects."""
    return ObjectRef(API_VERSION, kind, namespace, name)


def parsed(model: type[M], manifest: Manifest) -> M:
    """Read an object; fields that a newer operator wrote and this version does not know are passed over.

    Raises:
        CliError: it is not such an object at all.
    """
    try:
        return model.model_validate(manifest, extra="ignore")
    except ValidationError as error:
        meta = manifest.get("metadata", {})
        where = f"{manifest.get('kind')} {meta.get('namespace')}/{meta.get('name')}"
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        message = f"{where} can't be read by this version of kubernaut: {path}: {first['msg']}"
        raise CliError(
            message, "Use the version that the operator has; `-o yaml` shows the object."
        ) from None


def readable(model: type[M], manifests: Iterable[Manifest]) -> list[M]:
    """Read those objects of many that can be read; one that can't must not hide all others, so it is told of."""
    found: list[M] = []
    trouble: list[CliError] = []
    for manifest in manifests:
        try:
            found.append(parsed(model, manifest))
        except CliError as error:
            trouble.append(error)
    for one in trouble[:_TOLD]:
        note(f"Left out: {one.message}. {one.fix}")
    if len(trouble) > _TOLD:
        note(f"{len(trouble) - _TOLD} more are left out for such reasons.")
    return found


async def fetch(cluster: Cluster, kind: str, namespace: str, name: str) -> Manifest:
    """Read one object; where it does not exist, say which do."""
    try:
        return await cluster.get(reference(kind, namespace, name))
    except NotFound as error:
        raise await _absent(cluster, error, kind, namespace, name) from None


async def fetch_all(
    cluster: Cluster, kind: str, namespace: str, *, labels: str = "", fields: str = ""
) -> list[Manifest]:
    """Read all objects of a kind; an empty namespace means all namespaces."""
    try:
        return await cluster.list(API_VERSION, kind, namespace, label_selector=labels, field_selector=fields)
    except NotFound as error:
        raise not_installed(error) from None


async def snapshot(cluster: Cluster, run: WorkflowExecution) -> WorkflowSpec | None:
    """Return what the run follows: its snapshot, or its Workflow where that still has the same content.

    None where neither can be had: the steps that have not begun are not known then.
    """
    namespace = run.metadata.namespace
    resolved = run.status.workflow if run.status else None
    if resolved is not None:
        with suppress(ClusterError):
            ref = ObjectRef("apps/v1", "ControllerRevision", namespace, resolved.snapshot)
            return spec_of((await cluster.get(ref)).get("data"))
    with suppress(ClusterError):
        found = await cluster.get(reference(WORKFLOW, namespace, run.spec.workflow_ref.name))
        same = (found.get("status") or {}).get("contentHash")
        if resolved is None or resolved.content_hash == same:
            return spec_of(found.get("spec"))
    return None


async def follow(
    cluster: Cluster, namespace: str, name: str, created: Manifest | None = None
) -> AsyncGenerator[WorkflowExecution]:
    """Yield the run now, and after each change, until it is deleted.

    Args:
        created: the run as it was created just now: then no change since is left out, however quick.

    Raises:
        CliError: there is no such run, or it was deleted before its end.
    """
    uid, since = "", ""
    if created is not None:
        uid, since = created["metadata"]["uid"], created["metadata"]["resourceVersion"]
        yield parsed(WorkflowExecution, created)
    async for manifest in cluster.watch(reference(RUN, namespace, name), since=since):
        if manifest is None and not uid:
            raise await _absent(
                cluster, NotFound(f"there is no run {namespace}/{name}"), RUN, namespace, name
            )
        # A watch that was broken off may come back to another run of that name.
        if manifest is None or manifest["metadata"]["uid"] != (uid or manifest["metadata"]["uid"]):
            raise CliError(
                f"run {namespace}/{name} was deleted",
                f"See `kubernaut why {uid} -n {namespace} --dsn DSN`.",
                Exit.NOT_FOUND,
            )
        uid = manifest["metadata"]["uid"]
        yield parsed(WorkflowExecution, manifest)


def not_installed(error: NotFound) -> CliError:
    """Return what to tell where a cluster does not know our kinds."""
    if _NO_RESOURCE.search(str(error)):
        return CliError(
            "Kubernaut's resources are not installed in this cluster",
            "Apply them with `kubectl apply -k manifests/base`, or name another cluster with --context.",
            Exit.NOT_FOUND,
        )
    return CliError(str(error), "", Exit.NOT_FOUND)


async def _absent(cluster: Cluster, error: NotFound, kind: str, namespace: str, name: str) -> CliError:
    if _NO_RESOURCE.search(str(error)):
        return not_installed(error)
    names = await _names(cluster, kind, namespace)
    what = "run" if kind == RUN else "pattern" if kind == PATTERN else kind
    message = f"there is no {what} {name!r} in namespace {namespace}"
    near = get_close_matches(name, names, 3)
    if near:
        return CliError(message, f"Did you mean {' or '.join(near)}?", Exit.NOT_FOUND)
    if names:
        some = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
        return CliError(message, f"There are: {some}. Another namespace is chosen by -n.", Exit.NOT_FOUND)
    return CliError(
        message, f"That namespace has no {_PLURALS[kind]} at all; choose another with -n.", Exit.NOT_FOUND
    )


async def _names(cluster: Cluster, kind: str, namespace: str) -> Sequence[str]:
    try:
        found: list[dict[str, Any]] = await cluster.list(API_VERSION, kind, namespace)
    except ClusterError:
        return ()
    return sorted(item["metadata"]["name"] for item in found)
