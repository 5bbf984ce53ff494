"""Marks on objects that a step creates: who made it, signed, in the request that creates it.

An object of a fixed name is created once: AlreadyExists means done, if the one that is there carries the mark. The
mark covers run, step, attempt, the object's name, and what was asked for; the UID is not known yet, so a step that
has to hold on to its very object stores the UID as its intent.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kubernaut.api.names import API_VERSION, CREATED_PREFIX, LABEL_PART_OF
from kubernaut.api.reasons import Reason
from kubernaut.core.action import StepContext
from kubernaut.core.errors import AlreadyExists, NotFound, StepError, UnknownOutcome
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

_ROUNDS = 4


def marked(context: StepContext, manifest: Manifest, asked: Any) -> Manifest:
    """Return a manifest with the step's mark in it.

    Args:
        asked: what the step was asked for, as JSON; the mark holds for that alone.
    """
    meta = manifest["metadata"]
    annotations = {**(meta.get("annotations") or {}), _key(context): _value(context, manifest, asked)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def ours(context: StepContext, seen: Manifest, asked: Any) -> bool:
    """Whether an object as read was created by this attempt of this step, for this."""
    found = (seen["metadata"].get("annotations") or {}).get(_key(context), "")
    return bool(found == _value(context, seen, asked))


def owned_by_run(context: StepContext, manifest: Manifest) -> Manifest:
    """Return a manifest that goes when the run goes."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": "WorkflowExecution",
        "name": context.run_name,
        "uid": context.run_uid,
    }
    meta = manifest["metadata"]
    labels = {**(meta.get("labels") or {}), LABEL_PART_OF: "kubernaut"}
    return {**manifest, "metadata": {**meta, "labels": labels, "ownerReferences": [owner]}}


async def create(cluster: Cluster, context: StepContext, manifest: Manifest, asked: Any) -> Manifest:
    """Create a marked object once, and return it as it is there; one that exists and is this step's is done.

    Raises:
        StepError: PreconditionFailed, where another object has the name.
        UnknownOutcome: whether it was created could not be found out.
        ClusterError: as the API server answers.
    """
    body, ref = marked(context, manifest, asked), ObjectRef.of(manifest)
    doubt: UnknownOutcome | None = None
    for _ in range(_ROUNDS):
        try:
            return await cluster.create(body)
        except AlreadyExists:
            return await _there(cluster, context, ref, asked)
        except UnknownOutcome as error:
            # Sent again under the same name: if the first one landed, this one finds it.
            doubt = error
        except StepError as error:
            raise (doubt or error) from error
    assert doubt is not None
    raise doubt


async def _there(cluster: Cluster, context: StepContext, ref: ObjectRef, asked: Any) -> Manifest:
    """Read an object that is known to exist, and see whose it is."""
    try:
        seen = await cluster.get(ref)
    except NotFound as error:
        raise StepError(
            f"{ref} was deleted while it was looked at; find out who deleted it",
            reason=Reason.PRECONDITION_FAILED,
        ) from error
    except StepError as error:
        # It may well be ours: another attempt, and so another name, must not be begun before that is known.
        raise UnknownOutcome(f"{ref} exists, and whose it is could not be read: {error}") from error
    if not ours(context, seen, asked):
        raise not_ours(context, ref)
    return seen


def not_ours(context: StepContext, ref: ObjectRef) -> StepError:
    """Return the refusal to take somebody else's object for the step's own."""
    return StepError(
        f"{ref} exists and was not created by this attempt of step {context.step} of run {context.run_name}; find "
        "out who created it, and delete it",
        reason=Reason.PRECONDITION_FAILED,
    )


def _key(context: StepContext) -> str:
    return CREATED_PREFIX + context.run_uid


def _value(context: StepContext, manifest: Manifest, asked: Any) -> str:
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    meta = manifest["metadata"]
    what = (manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])
    who = {"step": context.step, "attempt": context.attempt}
    text = "\n".join(("created", context.run_uid, context.step, str(context.attempt), *what, digest))
    return json.dumps({**who, "sig": context.signer.sign(text)}, sort_keys=True)
