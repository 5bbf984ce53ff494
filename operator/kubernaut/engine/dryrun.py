"""Dry runs: the API server checks every change as it would check the real one, and stores none of them.

An action under it reads, decides and sends what it always sends, so its ``Done.changed`` is the diff. Each change is
checked against the cluster as it is: what an earlier step of the same dry run would have changed is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from kubernaut.core.action import Done
from kubernaut.core.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    NotFound,
    OwnedByOthers,
    TooManyRequests,
    Unavailable,
    UnknownOutcome,
)
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.reading import ReadsThrough

T = TypeVar("T")
# What these say is true of a dry run as of the real thing, and actions decide by them.
_AS_THEY_ARE = (AlreadyExists, Conflict, NotFound, OwnedByOthers, TooManyRequests, Unavailable)


class DryRunCluster(ReadsThrough):
    """A cluster in which every change is a server-side dry run (``dryRun=All``); reads are as ever."""

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
        """Return the object as it would be."""
        return await _checked(
            self._cluster.patch(
                ref,
                body,
                resource_version=resource_version,
                strategic=strategic,
                subresource=subresource,
                dry_run=True,
            )
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
        """Return the object as it would be."""
        return await _checked(
            self._cluster.apply(
                manifest,
                uid=uid,
                resource_version=resource_version,
                manager=manager,
                force=force,
                dry_run=True,
            )
        )

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Return the object as it would be; its UID is no object's."""
        return await _checked(self._cluster.create(manifest, dry_run=True))

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
        await _checked(
            self._cluster.delete(
                ref,
                uid=uid,
                resource_version=resource_version,
                grace_period_seconds=grace_period_seconds,
                propagation=propagation,
                dry_run=True,
            )
        )

    async def evict(self, ref: ObjectRef, *, uid: str, dry_run: bool = False) -> None:
        await _checked(self._cluster.evict(ref, uid=uid, dry_run=True))


async def _checked(request: Awaitable[T]) -> T:
    """Wait for a dry run, and say of a refusal that it is one.

    Raises:
        Unavailable: also for a lost answer, for nothing can have happened.
        ClusterError: what the change would be refused for, of the class and reason of the real refusal.
    """
    try:
        return await request
    except UnknownOutcome as error:
        raise Unavailable(f"dry run: {error}", status=error.status, retry_after=error.retry_after) from error
    except _AS_THEY_ARE:
        raise
    except ClusterError as error:
        raise type(error)(
            f"the change would be refused: {error}",
            status=error.status,
            retry_after=error.retry_after,
            reason=error.reason,
        ) from error


def as_dry_run(done: Done) -> Done:
    """Return what an action did under a ``DryRunCluster`` as what it would do: nothing was changed."""
    if not done.acted:
        return done
    return replace(done, acted=False, awaits=None, message=f"dry run, nothing was changed: {done.message}")
