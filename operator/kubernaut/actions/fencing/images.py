"""Before-images that can't ride in the marker, because they are large or may be secret: kept in a Secret of the run.

The Secret is written before the change, as the Workflow's account, and owned by the run, so it goes when the run
goes. Its name is a signature of what it holds: the same change decided again finds it there, another change gets
another one, and nobody can lay one ready. What it holds is never told in a status, an Event or a log.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from kubernaut.api.names import API_VERSION, LABEL_PART_OF
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import AlreadyExists, Forbidden, NotFound, StepError, Unavailable, UnknownOutcome
from kubernaut.core.marker import KeptImages, StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right

SECRET_TYPE: Final = "kubernaut.io/before-image"
# A Secret may hold 1 MiB in base64.
MAX_KEPT: Final = 700 * 1024
RIGHTS: Final = (Right("create", "", "secrets", ()), Right("get", "", "secrets", ()))
_HELP: Final = (
    "what a step changes is kept in a Secret of the run where it is large or may be secret: give the Workflow's "
    "account create and get on secrets, or change fewer and smaller fields"
)


async def keep(cluster: Cluster, context: StepContext, seen: Manifest, mark: StepMark) -> StepMark:
    """Store a mark's images in a Secret, and return the mark that names it instead.

    Raises:
        StepError: OutputTooLarge, where they take more than 700 KiB.
        Forbidden: the account may not create the Secret, or not read it again.
        ClusterError: as the API server answers; the object itself was not touched.
    """
    kept, text = named(context, seen, mark), _text(mark)
    ref = ObjectRef("v1", "Secret", context.namespace, kept.secret)
    try:
        await cluster.create(_secret(context, ref, text))
    except AlreadyExists:
        pass
    except Forbidden as error:
        raise _explained(error) from error
    except UnknownOutcome as error:
        # Nothing was done to the object: that alone is what the step's outcome hangs on.
        raise Unavailable(f"the before-image in {ref} may not be stored: {error}") from error
    # Who may not read it could not put anything back. A dry run stores nothing; and who deletes it now could as well
    # do so a moment later.
    with contextlib.suppress(NotFound):
        await _read(cluster, context, ref, kept, seen)
    return replace(mark, before={}, after={}, kept=kept)


def named(context: StepContext, seen: Manifest, mark: StepMark) -> KeptImages:
    """Return where a mark's images are kept, or will be.

    Raises:
        StepError: OutputTooLarge, where they take more than 700 KiB.
    """
    text = _text(mark)
    if len(text.encode()) > MAX_KEPT:
        raise StepError(
            f"the fields that step {context.step} changes take {len(text.encode())} bytes before and after; at most "
            f"{MAX_KEPT} can be kept for putting them back: change fewer or smaller fields in one step",
            reason=Reason.OUTPUT_TOO_LARGE,
        )
    digest = _digest(context, seen, text)
    return KeptImages(f"kubernaut-{digest[:32]}", digest, tuple(mark.after))


async def fetch(cluster: Cluster, context: StepContext, seen: Manifest, mark: StepMark) -> StepMark:
    """Return a mark with its images in it, from the Secret that it names.

    Raises:
        StepError: PreconditionFailed, where the Secret is gone or holds something else.
        Forbidden: the account may not read it.
        ClusterError: as the API server answers.
    """
    if mark.kept is None:
        return mark
    ref = ObjectRef("v1", "Secret", context.namespace, mark.kept.secret)
    try:
        images = await _read(cluster, context, ref, mark.kept, seen)
    except NotFound:
        raise StepError(
            f"{ref} is gone, and with it what step {context.step} changed; put it back by hand",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return replace(mark, before=images["before"], after=images["after"])


async def _read(
    cluster: Cluster, context: StepContext, ref: ObjectRef, kept: KeptImages, seen: Manifest
) -> Mapping[str, Any]:
    try:
        secret = await cluster.get(ref)
    except Forbidden as error:
        raise _explained(error) from error
    try:
        text = base64.b64decode((secret.get("data") or {}).get("images", ""), validate=True).decode()
        if _digest(context, seen, text) != kept.digest:
            raise ValueError("another content")
        images: Mapping[str, Any] = json.loads(text)
    except ValueError:
        raise StepError(
            f"{ref} does not hold what step {context.step} kept in it; find out who wrote it, and put the fields "
            "back by hand",
            reason=Reason.PRECONDITION_FAILED,
        ) from None
    return images


def _secret(context: StepContext, ref: ObjectRef, text: str) -> Manifest:
    owner = {
        "apiVersion": API_VERSION,
        "kind": "WorkflowExecution",
        "name": context.run_name,
        "uid": context.run_uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": {LABEL_PART_OF: "kubernaut"},
            "ownerReferences": [owner],
        },
        "type": SECRET_TYPE,
        "immutable": True,
        "data": {"images": base64.b64encode(text.encode()).decode()},
    }


def _text(mark: StepMark) -> str:
    images = {"before": dict(mark.before), "after": dict(mark.after)}
    return json.dumps(images, sort_keys=True, separators=(",", ":"))


def _digest(context: StepContext, seen: Manifest, text: str) -> str:
    # Signed, not only hashed: from a hash in a name a short secret could be guessed.
    object_uid = seen["metadata"].get("uid", "")
    return context.signer.sign(f"images\n{context.run_uid}\n{object_uid}\n{context.step}\n{text}")


def _explained(error: Forbidden) -> Forbidden:
    return Forbidden(f"{error}; {_HELP}", status=error.status, reason=error.reason)
