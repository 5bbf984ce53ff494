"""The key that signs markers: kept in a Secret that is shipped empty, made by the first operator that starts."""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
from collections.abc import Callable
from typing import Final

from kubernaut.api.names import SIGNING_SECRET, SYSTEM_NAMESPACE
from kubernaut.api.reasons import Reason
from kubernaut.cluster.parts import Keeps
from kubernaut.core.errors import ClusterError, Conflict, NotFound, UnknownOutcome
from kubernaut.core.marker import Signer
from kubernaut.core.ports import Manifest, ObjectRef

KEY_BYTES: Final = 32
_TRIES: Final = 8


async def load_signer(
    cluster: Keeps,
    namespace: str = SYSTEM_NAMESPACE,
    *,
    make: Callable[[int], bytes] = secrets.token_bytes,
) -> Signer:
    """Return the signer; fill the Secret if it has no key yet. Two that start at once end with the same key.

    Raises:
        NotFound: there is no such Secret. ClusterError: its key is not one, or it could not be read or written.
    """
    ref = ObjectRef("v1", "Secret", namespace, SIGNING_SECRET)
    for _ in range(_TRIES):
        try:
            secret = await cluster.get(ref)
        except NotFound:
            raise NotFound(
                f"{ref} does not exist; apply manifests/base, which ships it empty", status=404
            ) from None
        signer = _signer(ref, secret)
        if signer is not None:
            return signer
        body = {"data": {"key": base64.b64encode(make(KEY_BYTES)).decode()}}
        # Whoever was first: the key is what the Secret holds when it is read again.
        with contextlib.suppress(Conflict, UnknownOutcome):
            await cluster.patch(ref, body, resource_version=secret["metadata"]["resourceVersion"])
    raise Conflict(f"{ref} keeps being changed by others while its key is made; find out by whom", status=409)


def _signer(ref: ObjectRef, secret: Manifest) -> Signer | None:
    text = (secret.get("data") or {}).get("key")
    if not text:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES:
        raise ClusterError(
            f"the key in {ref} has {len(key)} bytes, and {KEY_BYTES} are needed; empty data.key, and a new one is "
            "made (runs under way then no longer know their own markers)",
            reason=Reason.PRECONDITION_FAILED,
        )
    return Signer(key)
