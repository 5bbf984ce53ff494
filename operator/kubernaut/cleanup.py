"""The end of the operator in a cluster: ``python -m kubernaut.cleanup``.

The operator is stopped, and then runs are let go of, for nobody will take the finalizer off any more, and neither
their namespaces nor their kind could be deleted; the leases of shards, replicas and units go. The chart has it done
before the release is deleted. An operator that still worked would take hold of its runs again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from kubernaut import logs
from kubernaut.api.names import API_VERSION, FINALIZER, LABEL_PART_OF, LABEL_PAUSE, OPERATOR_ACCOUNT
from kubernaut.cluster.account import OperatorCluster
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.leases import API as LEASES
from kubernaut.config import Settings
from kubernaut.core.errors import Conflict, KubernautError, NotFound
from kubernaut.core.ports import Manifest, ObjectRef

log = logging.getLogger(__name__)
Sleep = Callable[[float], Awaitable[None]]
_TRIES = 8
#: seconds; pods are killed after 30
_LOOKS = 90
_PODS = f"app.kubernetes.io/name={OPERATOR_ACCOUNT}"


class StillThere(KubernautError):
    """The operator does not end."""


async def stop_operator(cluster: OperatorCluster, namespace: str, sleep: Sleep = asyncio.sleep) -> None:
    """Scale the operator to nothing, and wait until its last pod is gone.

    Raises:
        ClusterError: it could not be scaled or looked at.
        StillThere: it does not end.
    """
    ref = ObjectRef("apps/v1", "StatefulSet", namespace, OPERATOR_ACCOUNT)
    try:
        found = await cluster.get(ref)
        version = found["metadata"]["resourceVersion"]
        await cluster.patch(ref, {"spec": {"replicas": 0}}, resource_version=version)
    except NotFound:
        log.info("there is no operator to stop", extra={"namespace": namespace})
    for _ in range(_LOOKS):
        if not await cluster.list("v1", "Pod", namespace, label_selector=_PODS):
            return
        await sleep(1.0)
    raise StillThere(
        f"the operator's pods in namespace {namespace} do not end; look at them, and do this again"
    )


async def let_go(cluster: OperatorCluster) -> int:
    """Take our finalizer off every run; return of how many.

    Raises:
        ClusterError: not all could be listed or changed; to do it again does no harm.
    """
    count = 0
    try:
        async for page in cluster.list_pages(API_VERSION, "WorkflowExecution"):
            for run in page:
                count += await _release(cluster, run)
    except NotFound:
        # The kind is gone, and so are all runs.
        return count
    return count


async def _release(cluster: OperatorCluster, run: Manifest) -> bool:
    meta = run["metadata"]
    finalizers = meta.get("finalizers") or []
    if FINALIZER not in finalizers:
        return False
    ref = ObjectRef(API_VERSION, "WorkflowExecution", meta["namespace"], meta["name"])
    rest = [one for one in finalizers if one != FINALIZER]
    try:
        await cluster.patch_metadata(ref, {"finalizers": rest}, resource_version=meta["resourceVersion"])
    except NotFound:
        return False
    return True


async def take_leases(cluster: OperatorCluster, namespace: str) -> int:
    """Delete the leases of replicas, shards and units; return how many.

    One that says which sync of Argo CD or Flux is paused stays, for a person who has to let it go on now.

    Raises:
        ClusterError: they could not be listed or deleted.
    """
    leases = await cluster.list(LEASES, "Lease", namespace, label_selector=f"{LABEL_PART_OF}=kubernaut")
    count = 0
    for lease in leases:
        meta = lease["metadata"]
        if LABEL_PAUSE in meta["labels"]:
            told = {"lease": meta["name"], "namespace": namespace}
            log.warning("a sync is still paused; its lease says which, let it go on by hand", extra=told)
            continue
        ref = ObjectRef(LEASES, "Lease", namespace, meta["name"])
        try:
            await cluster.delete(ref, uid=meta["uid"], resource_version=meta["resourceVersion"])
        except NotFound:
            continue
        count += 1
    return count


async def clean_up(settings: Settings) -> None:
    """Do it all; what changed meanwhile is read again.

    Raises:
        ClusterError: the API server does not let us, or is away.
        StillThere: the operator does not end.
    """
    connection = await ApiConnection.load(settings.kubeconfig, namespaces=settings.watched)
    async with connection:
        own = connection.own()
        for attempt in range(_TRIES):
            try:
                await stop_operator(own, settings.namespace)
                runs, leases = await let_go(own), await take_leases(own, settings.namespace)
            except Conflict:
                if attempt == _TRIES - 1:
                    raise
                continue
            log.info("cleaned up", extra={"runs_let_go": runs, "leases_deleted": leases})
            return


def main() -> int:
    """Run it; 1 where it did not succeed, with the reason on stderr."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"kubernaut.cleanup: {error}", file=sys.stderr)
        return 1
    logs.set_up(settings.log_level, settings.log_format)
    try:
        asyncio.run(clean_up(settings))
    except KubernautError as error:
        log.critical("cannot clean up: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
