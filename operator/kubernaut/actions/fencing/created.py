"""The one object that an attempt of a step creates under a name of its own, and then waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kubernaut.actions.fencing import births, pinned
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import ClusterError, NotFound, StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef


class _Ended(StepError):
    """The object came to its end by itself."""


async def recalled(cluster: Cluster, context: StepContext, ref: ObjectRef, asked: Any) -> Manifest | None:
    """Look for the object; None where there is none of this attempt.

    Raises:
        ClusterError: that can't be seen now.
    """
    try:
        seen = await cluster.get(ref)
    except ClusterError as error:
        if error.transient:
            raise
        return None
    return seen if births.ours(context, seen, asked) else None


async def still_there(cluster: Cluster, ref: ObjectRef, uid: str) -> Manifest | None:
    """Read the object that is known to have been created; None where it is gone, or another has its name.

    Raises:
        ClusterError: as the API server answers.
    """
    try:
        seen = await cluster.get(ref)
    except NotFound:
        return None
    return seen if seen["metadata"]["uid"] == uid else None


async def take_name(cluster: Cluster, context: StepContext, stub: Manifest, asked: Any) -> StepError | None:
    """Take the name with an object of nothing, which a create that was sent before finds.

    Returns None, or by what error it is told that something else has the name already.

    Raises:
        UnknownOutcome: whether the name is taken could not be found out.
        ClusterError: as the API server answers.
    """
    try:
        await births.create(cluster, context, stub, asked)
    except StepError as error:
        if error.reason is not Reason.PRECONDITION_FAILED:
            raise
        return error
    return None


async def withdraw(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    asked: Any,
    ended: Callable[[Manifest], bool],
    *,
    kept: str,
) -> Done | Manifest:
    """Delete the object where it has not ended; return it as it was, or why it is left alone.

    Args:
        kept: what is told of one that has ended.

    Raises:
        NotFound: it is gone.
        ClusterError: as the API server answers.
    """
    seen = await cluster.get(ref)
    uid = (context.intent or {}).get("uid", seen["metadata"]["uid"])
    if not births.ours(context, seen, asked) or seen["metadata"]["uid"] != uid:
        return Done(False, f"{ref} was not created by this step and is left alone")
    if ended(seen):
        return Done(False, kept)

    async def check(again: Manifest) -> None:
        if ended(again):
            raise _Ended(kept)

    try:
        await pinned.delete(cluster, replace(ref, uid=str(uid)), check)
    except _Ended as error:
        return Done(False, str(error))
    return seen
