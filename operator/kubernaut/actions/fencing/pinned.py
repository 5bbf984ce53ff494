"""Deleting one object once: it is pinned by its UID first, and looked at again right before it is deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from kubernaut.core.errors import Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

_ROUNDS: Final = 8


async def delete(
    cluster: Cluster,
    ref: ObjectRef,
    check: Callable[[Manifest], Awaitable[None]],
    *,
    propagation: str = "Background",
) -> None:
    """Delete the object with this UID; one that is gone, going or replaced is done.

    Its resourceVersion is a precondition too, so that what ``check`` saw is what is deleted.

    Args:
        check: raises StepError where the object as read must not be deleted.

    Raises:
        StepError: what ``check`` raises.
        Conflict: others kept changing the object.
        UnknownOutcome: whether it was deleted could not be found out.
        ClusterError: as the API server answers.
    """
    doubt: UnknownOutcome | None = None
    for _ in range(_ROUNDS):
        try:
            seen = await cluster.get(ref)
            meta = seen["metadata"]
            if meta["uid"] != ref.uid or meta.get("deletionTimestamp"):
                return
            await check(seen)
            await cluster.delete(
                ref, uid=ref.uid, resource_version=meta["resourceVersion"], propagation=propagation
            )
        except UnknownOutcome as error:
            doubt = error
        except Conflict:
            continue
        except NotFound:
            return
        except StepError as error:
            raise (doubt or error) from error
        else:
            return
    raise doubt or Conflict(
        f"{ref} was changed by others {_ROUNDS} times between reading and deleting it; try again later",
        status=409,
    )
