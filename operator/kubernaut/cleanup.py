"""What is left to do once the operator is gone for good: ``python -m kubernaut.cleanup``.

Runs are let go of, for nobody will take the finalizer off any more and their namespaces could not be deleted; the
leases of shards, replicas and units go. The chart has it done when the release is deleted. While an operator works it
must not run: that one would take hold of its runs again.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from pydantic import ValidationError

from kubernaut import logs
from kubernaut.api.names import API_VERSION, FINALIZER, LABEL_PART_OF, LABEL_PAUSE
from kubernaut.cluster.account import OperatorCluster
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.leases import API as LEASES
from kubernaut.config import Settings
from kubernaut.core.errors import Conflict, KubernautError, NotFound
from kubernaut.core.ports import Manifest, ObjectRef

log = logging.getLogger(__name__)
_TRIES = 8


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
    """
    connection = await ApiConnection.load(settings.kubeconfig, namespaces=settings.watched)
    async with connection:
        own = connection.own()
        for attempt in range(_TRIES):
            try:
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
