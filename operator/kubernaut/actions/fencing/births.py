"""Marks on objects that a step creates: who made it, signed, in the request that creates it.

An object of a fixed name is created once: AlreadyExists means done, if the one that is there carries the mark. The
mark covers run, step, attempt, the object's name, and what was asked for; the UID is not known yet, so a step that
has to hold on to its very object stores the UID as its intent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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
    text = (seen["metadata"].get("annotations") or {}).get(_key(context), "")
    try:
        found = json.loads(text)
    except ValueError:
        return False
    signature = found.pop("sig", "") if isinstance(found, dict) else ""
    return found == _who(context) and context.signer.holds(_text(context, seen, asked), str(signature))


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
    ref = ObjectRef.of(manifest)

    def demand_ours(seen: Manifest) -> None:
        if not ours(context, seen, asked):
            raise not_ours(context, ref)

    return await once(cluster, marked(context, manifest, asked), demand_ours, "find out who deleted it")


async def once(
    cluster: Cluster, body: Manifest, demand_ours: Callable[[Manifest], object], if_gone: str
) -> Manifest:
    """Create an object whose name is the step's own, and return it as it is there.

    Args:
        demand_ours: raises StepError where an object of that name, as read, is somebody else's.
        if_gone: what a person does where the object was there and is gone by now.

    Raises:
        StepError: what ``demand_ours`` raises; PreconditionFailed, where the object is gone by now.
        UnknownOutcome: whether it was created, or whose it is, could not be found out.
        ClusterError: as the API server answers.
    """
    ref = ObjectRef.of(body)
    doubt: UnknownOutcome | None = None
    for _ in range(_ROUNDS):
        try:
            return await cluster.create(body)
        except AlreadyExists:
            seen = await _existing(cluster, ref, if_gone)
            demand_ours(seen)
            return seen
        except UnknownOutcome as error:
            # Sent again under the same name: if the first one landed, this one finds it.
            doubt = error
        except StepError as error:
            raise (doubt or error) from error
    assert doubt is not None
    raise doubt


async def _existing(cluster: Cluster, ref: ObjectRef, if_gone: str) -> Manifest:
    try:
        return await cluster.get(ref)
    except NotFound as error:
        raise StepError(
            f"{ref} was deleted while it was looked at; {if_gone}", reason=Reason.PRECONDITION_FAILED
        ) from error
    except StepError as error:
        # It may well be ours: another attempt, and so another name, must not be begun before that is known.
        raise UnknownOutcome(f"{ref} exists, and whose it is could not be read: {error}") from error


def not_ours(context: StepContext, ref: ObjectRef) -> StepError:
    """Return the refusal to take somebody else's object for the step's own."""
    return StepError(
        f"{ref} exists and was not created by this attempt of step {context.step} of run {context.run_name}; find "
        "out who created it, and delete it",
        reason=Reason.PRECONDITION_FAILED,
    )


def _key(context: StepContext) -> str:
    return CREATED_PREFIX + context.run_uid


def _who(context: StepContext) -> dict[str, str | int]:
    return {"step": context.step, "attempt": context.attempt}


def _value(context: StepContext, manifest: Manifest, asked: Any) -> str:
    signature = context.signer.sign(_text(context, manifest, asked))
    return json.dumps({**_who(context), "sig": signature}, sort_keys=True)


def _text(context: StepContext, manifest: Manifest, asked: Any) -> str:
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    meta = manifest["metadata"]
    what = (manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])
    return "\n".join(("created", context.run_uid, context.step, str(context.attempt), *what, digest))
