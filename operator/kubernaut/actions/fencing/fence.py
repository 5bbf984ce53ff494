"""The loop through which every marked action changes an object once (docs/architecture.md).

Read, look for the step's mark, decide, and send one merge patch that holds the change, the mark and the
resourceVersion that was read. Whatever goes wrong with that patch, what is read next says what happened.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import JsonValue

from kubernaut.actions.fencing import images
from kubernaut.api.names import MARKER_PREFIX
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, StepContext
from kubernaut.core.errors import ClusterError, Conflict, NotFound, StepError, UnknownOutcome
from kubernaut.core.marker import MAX_BEFORE_IMAGE, Marker, StepMark, read_marker
from kubernaut.core.ports import Cluster, Manifest, ObjectRef

ROUNDS: Final = 8
#: seconds between reads of an object whose controller is about to write it
ANSWER_WITHIN: Final = (0.002, 0.004, 0.006, 0.008)
# Beside the marks of steps, whose names are never so.
FENCED: Final = "~fenced"
Finished = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Applied:
    """What is sent by server-side apply in place of a merge patch: the fields it names are its manager's then."""

    manifest: Manifest
    manager: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a step intends for one object.

    Attributes:
        desired: the object as it should be; None where there is nothing to do.
        before: what undo needs, by field path; with ``after``, what the mark on the object holds.
        after: what undo compares with, by field path.
        message: one sentence for people.
        outputs: small values for later steps.
        secret: whether a value before or after may be a secret; then none of them is told.
        applied: what is applied to come to ``desired``; None for a merge patch.
    """

    desired: Manifest | None
    before: Mapping[str, JsonValue] = field(default_factory=dict)
    after: Mapping[str, JsonValue] = field(default_factory=dict)
    message: str = ""
    outputs: Mapping[str, JsonValue] = field(default_factory=dict)
    secret: bool = False
    applied: Applied | None = None


def nothing(message: str, outputs: Mapping[str, JsonValue] | None = None) -> Change:
    """Return the decision that the object is as it should be already."""
    return Change(None, message=message, outputs=outputs or {})


def change(
    seen: Manifest, desired: Manifest, message: str, outputs: Mapping[str, JsonValue] | None = None
) -> Change:
    """Return the change from one manifest to another, with every field that differs recorded."""
    differences = list(fields.diff(seen, desired))
    if not differences:
        return nothing(f"nothing to do: {message}", outputs)
    before = {fields.render(one.path): one.before for one in differences}
    after = {fields.render(one.path): one.after for one in differences}
    return Change(desired, before, after, message, outputs or {})


def never(run_uid: str) -> bool:
    """Say of no run that it is finished: no marker of another run is pruned."""
    return False


async def read(cluster: Cluster, context: StepContext, ref: ObjectRef) -> Manifest:
    """Read the object that is to be acted on.

    Raises:
        StepError: TargetReplaced, where it has another UID than the run pinned; PreconditionFailed, where it is
            not in the run's namespace.
        ClusterError: as the API server answers.
    """
    seen = await cluster.get(ref)
    _check(seen, context, ref)
    return seen


def _check(seen: Manifest, context: StepContext, ref: ObjectRef) -> None:
    meta = seen["metadata"]
    where = meta.get("namespace", "")
    # What belongs to no namespace is for actions that name it so; whether the run may is asked before the request.
    if where != ref.namespace or where not in ("", context.namespace):
        raise StepError(
            f"{ref} is not in the run's namespace {context.namespace}; a step acts in its own namespace only",
            reason=Reason.PRECONDITION_FAILED,
        )
    if ref.uid and meta.get("uid") != ref.uid:
        raise StepError(
            f"{ref} was deleted and made anew: its UID is {meta.get('uid')}, the run pinned {ref.uid}",
            reason=Reason.TARGET_REPLACED,
        )


def _demand_staying(seen: Manifest, ref: ObjectRef) -> None:
    """Refuse to change what is being deleted: its controller does nothing for it any more."""
    since = seen["metadata"].get("deletionTimestamp")
    if since:
        held = ", ".join(seen["metadata"].get("finalizers") or ()) or "its grace period"
        raise StepError(
            f"{ref} is being deleted since {since}, held by {held}; nothing was done",
            reason=Reason.PRECONDITION_FAILED,
        )


class _Doubt:
    """Remembers a patch whose outcome is not known, until what is read proves it did or can't land."""

    def __init__(self) -> None:
        self.error: UnknownOutcome | None = None
        self._version = ""

    def arises(self, error: UnknownOutcome, seen: Manifest) -> None:
        self.error, self._version = error, seen["metadata"]["resourceVersion"]

    def read(self, seen: Manifest) -> None:
        # The patch carries the version it was decided on: on any other version it can't land any more.
        if seen["metadata"]["resourceVersion"] != self._version:
            self.error = None


async def apply(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    decide: Callable[[Manifest], Awaitable[Change]],
    *,
    finished: Finished = never,
) -> Done:
    """Change an object once; a step that is marked as done is not decided again.

    Args:
        decide: returns the intended change of the object as read, or raises StepError where it must not be made;
            a Conflict has it read and decided anew.
        finished: says of which other runs the markers may be pruned in the same patch.

    Raises:
        StepError: what ``decide`` raises; TargetReplaced; PreconditionFailed, where the step was put back before,
            or the object is being deleted.
        Conflict: others kept changing the object.
        UnknownOutcome: whether the patch landed could not be found out.
    """
    doubt = _Doubt()
    done = await _apply_to_recent(cluster, context, ref, decide, finished, doubt)
    return done or await _apply(cluster, context, ref, decide, finished, doubt)


async def _apply_to_recent(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    decide: Callable[[Manifest], Awaitable[Change]],
    finished: Finished,
    doubt: _Doubt,
) -> Done | None:
    """Change an object that this run has just read or written, without reading it again.

    Returns None where that can't be: there is none such, it has changed since, or nothing would be changed. A
    refusal, too, has to rest on the object as it is.
    """
    seen = context.recent.take(ref)
    if seen is None:
        return None
    try:
        if context.recent.races(ref) and _answer_is_due(seen):
            seen = await _answered(cluster, context, ref, seen)
        _check(seen, context, ref)
        marker = read_marker(seen, context.run_uid, context.signer)
        if context.step in marker.steps or FENCED in marker.steps:
            return None
        _demand_staying(seen, ref)
        wanted = await decide(seen)
        if wanted.desired is None:
            return None
        return await _send(cluster, context, ref, seen, marker, wanted, finished)
    except UnknownOutcome as error:
        doubt.arises(error, seen)
    except Conflict:
        context.recent.lost(ref)
    except StepError:
        pass
    return None


def _answer_is_due(seen: Manifest) -> bool:
    """Whether the object's controller will write its status yet, for the last change of its spec."""
    told = (seen.get("status") or {}).get("observedGeneration")
    return told is not None and told < seen["metadata"].get("generation", 0)


async def _answered(cluster: Cluster, context: StepContext, ref: ObjectRef, seen: Manifest) -> Manifest:
    """Give an object's controller time to write its status; a patch before that would meet a conflict with it.

    A controller that takes longer has others to see to, and is not waited for by this run again.
    """
    for seconds in ANSWER_WITHIN:
        await asyncio.sleep(seconds)
        seen = await read(cluster, context, ref)
        if not _answer_is_due(seen):
            return seen
    context.recent.won(ref)
    return seen


async def _send(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    seen: Manifest,
    marker: Marker,
    wanted: Change,
    finished: Finished,
) -> Done:
    assert wanted.desired is not None
    new = StepMark(context.attempt, wanted.before, wanted.after, wanted.outputs)
    if wanted.secret or new.image_bytes > MAX_BEFORE_IMAGE:
        new = await images.keep(cluster, context, seen, new)
    marks = marker.with_step(context.step, new).annotation(context.signer)
    version = seen["metadata"]["resourceVersion"]
    if wanted.applied is not None:
        written = await _apply_fields(cluster, seen, wanted.applied, marks, finished)
    else:
        body = _patch(seen, wanted.desired, {**_pruned(seen, finished), **marks})
        written = await cluster.patch(ref, body, resource_version=version)
    context.recent.put(ref, written)
    return Done(True, wanted.message, wanted.outputs, sentences(ref, new))


async def _apply_fields(
    cluster: Cluster, seen: Manifest, applied: Applied, marks: Mapping[str, str], finished: Finished
) -> Manifest:
    """Apply a manifest and the step's mark; marks of other runs are named too, lest they go as fields left out."""
    meta, there = applied.manifest["metadata"], seen["metadata"].get("annotations") or {}
    others = {
        key: text
        for key, text in there.items()
        if key.startswith(MARKER_PREFIX) and not finished(key.removeprefix(MARKER_PREFIX))
    }
    annotations = {**(meta.get("annotations") or {}), **others, **marks}
    # Forced for the sake of the marks: whether the other fields may be taken was decided at this very version.
    return await cluster.apply(
        {**applied.manifest, "metadata": {**meta, "annotations": annotations}},
        uid=seen["metadata"]["uid"],
        resource_version=seen["metadata"]["resourceVersion"],
        manager=applied.manager,
        force=True,
    )


async def _apply(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    decide: Callable[[Manifest], Awaitable[Change]],
    finished: Finished,
    doubt: _Doubt,
) -> Done:
    last: StepError | None = None
    try:
        for _ in range(ROUNDS):
            seen = await read(cluster, context, ref)
            doubt.read(seen)
            marker = read_marker(seen, context.run_uid, context.signer)
            mark = marker.steps.get(context.step)
            if mark is not None:
                return _found(ref, context, mark)
            if FENCED in marker.steps and not context.beyond_fence:
                raise StepError(f"{ref} was fenced off: the run had ended there", reason=Reason.FENCED)
            _demand_staying(seen, ref)
            try:
                wanted = await decide(seen)
                if wanted.desired is None:
                    return Done(False, wanted.message, wanted.outputs)
                return await _send(cluster, context, ref, seen, marker, wanted, finished)
            except Conflict as error:
                last = error
            except UnknownOutcome as error:
                doubt.arises(error, seen)
    except StepError as error:
        if doubt.error is not None and error is not doubt.error:
            raise doubt.error from error
        raise
    raise doubt.error or Conflict(
        f"{ref} was changed by others {ROUNDS} times between reading and patching it: {last}", status=409
    )


async def restore(
    cluster: Cluster,
    context: StepContext,
    ref: ObjectRef,
    put_back: Callable[[Manifest, StepMark], Awaitable[Manifest]],
    *,
    alone: bool = False,
) -> Done:
    """Put back, once, what the step changed; an object that is gone has nothing to put back.

    Args:
        put_back: returns the object with the former fields, or raises StepError (ChangedSince) where it must not.
        alone: whether the step changes no other object, so that one that acted has left its mark here.

    Raises:
        StepError: what ``put_back`` raises; ChangedSince, where the mark was taken away.
    """
    last: ClusterError | None = None
    for _ in range(ROUNDS):
        try:
            seen = await read(cluster, context, ref)
        except NotFound:
            return Done(False, f"{ref} is gone, and what was changed on it")
        except StepError as error:
            if error.reason is Reason.TARGET_REPLACED:
                return Done(False, f"{ref} was made anew without the change; there is nothing to put back")
            raise
        marker = read_marker(seen, context.run_uid, context.signer)
        mark = marker.steps.get(context.step)
        if mark is None and alone and context.done is not None:
            raise _mark_lost(ref, context, context.done)
        if mark is None:
            return Done(False, f"the step changed nothing on {ref}")
        if mark.undone:
            return Done(True, f"{ref} was put back before", changed=sentences(ref, mark, undo=True))
        desired = await put_back(seen, await images.fetch(cluster, context, seen, mark))
        new = replace(mark, undone=True)
        body = _patch(seen, desired, marker.with_step(context.step, new).annotation(context.signer))
        try:
            await cluster.patch(ref, body, resource_version=seen["metadata"]["resourceVersion"])
        except (Conflict, UnknownOutcome) as error:
            last = error
        else:
            told = sentences(ref, mark, undo=True)
            return Done(True, f"{ref} is as it was before the step", changed=told)
    assert last is not None
    raise last


def _mark_lost(ref: ObjectRef, context: StepContext, done: Done) -> StepError:
    return StepError(
        f"{ref} carries the mark of step {context.step} no more, which says how it was before: it was made anew, or "
        f"somebody removed annotation {MARKER_PREFIX}{context.run_uid}; look whether this is to be put back: "
        f"{'; '.join(done.changed[:4])}",
        reason=Reason.CHANGED_SINCE,
    )


async def recall(cluster: Cluster, context: StepContext, ref: ObjectRef) -> Done | None:
    """Return what the step's mark on an object tells; None where there is no mark, or no such object.

    Raises:
        ClusterError: the object can't be read now.
    """
    try:
        seen = await read(cluster, context, ref)
        mark = read_marker(seen, context.run_uid, context.signer).steps.get(context.step)
    except ClusterError as error:
        if error.transient:
            raise
        return None
    except StepError:
        return None
    return None if mark is None or mark.undone else _found(ref, context, mark)


async def fence_off(cluster: Cluster, context: StepContext, ref: ObjectRef) -> Done:
    """Write to an object that the run is over there: a patch that was sent before finds another resourceVersion.

    Returns what the step did, where its mark is there already.

    Raises:
        ClusterError: the object can't be read or written now.
    """
    last: ClusterError | None = None
    for _ in range(ROUNDS):
        try:
            seen = await read(cluster, context, ref)
        except NotFound:
            return Done(False, f"{ref} is gone")
        except StepError as error:
            if error.reason is Reason.TARGET_REPLACED:
                return Done(False, f"{ref} was made anew")
            raise
        marker = read_marker(seen, context.run_uid, context.signer)
        mark = marker.steps.get(context.step)
        if mark is not None:
            return _found(ref, context, mark)
        before = marker.steps.get(FENCED)
        if before is not None and not context.beyond_fence:
            return Done(False, f"{ref} is fenced off")
        # What was begun beyond the last fence rests on a version since then: each fence has to make another one.
        times = 0 if before is None else before.attempt + 1
        marks = marker.with_step(FENCED, StepMark(times, {}, {}, undone=True)).annotation(context.signer)
        body: Manifest = {"metadata": {"annotations": dict(marks)}}
        try:
            await cluster.patch(ref, body, resource_version=seen["metadata"]["resourceVersion"])
        except (Conflict, UnknownOutcome) as error:
            last = error
        else:
            return Done(False, f"{ref} is fenced off")
    assert last is not None
    raise last


async def put_fields_back(seen: Manifest, mark: StepMark) -> Manifest:
    """Return the object with every recorded field as it was before.

    Raises:
        StepError: ChangedSince, naming the field that is no longer as the step left it.
    """
    desired = seen
    for text, after in mark.after.items():
        path = fields.parse(text)
        now = fields.get(seen, path)
        if not fields.same(now, after):
            if mark.kept is not None:
                raise _changed_in_secret(ObjectRef.of(seen), text)
            raise changed_since(ObjectRef.of(seen), text, after, now)
        desired = fields.put(desired, path, mark.before.get(text))
    return desired


def changed_since(ref: ObjectRef, path: str, after: Any, now: Any) -> StepError:
    """Return the refusal to put back a field that someone changed after the step."""
    return StepError(
        f"{ref}: {path} is {short(now)}, but the step had set {short(after)}; it was changed since and is left alone",
        reason=Reason.CHANGED_SINCE,
    )


def _changed_in_secret(ref: ObjectRef, path: str) -> StepError:
    return StepError(
        f"{ref}: {path} is no longer as the step had set it; it was changed since and is left alone",
        reason=Reason.CHANGED_SINCE,
    )


def sentences(ref: ObjectRef, mark: StepMark, *, undo: bool = False) -> tuple[str, ...]:
    """Return one sentence for each changed field, at most 16."""
    if mark.kept is not None:
        what = "as it was" if undo else "changed"
        told = [f"{ref}: {path}: {what} (for undo see Secret {mark.kept.secret})" for path in mark.kept.paths]
    else:
        old, new = (mark.after, mark.before) if undo else (mark.before, mark.after)
        told = [f"{ref}: {path}: {short(old.get(path))} -> {short(new.get(path))}" for path in mark.after]
    return (*told[:15], f"{ref}: {len(told) - 15} more fields") if len(told) > 16 else tuple(told)


def short(value: Any) -> str:
    """Return a JSON value in at most 120 characters; an absent one is ``unset``."""
    text = "unset" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _found(ref: ObjectRef, context: StepContext, mark: StepMark) -> Done:
    if mark.undone:
        raise StepError(
            f"step {context.step} was put back on {ref} already and is not done again in this run",
            reason=Reason.PRECONDITION_FAILED,
        )
    return Done(True, f"{ref} was changed by this step before", mark.outputs, sentences(ref, mark))


def _patch(seen: Manifest, desired: Manifest, annotations: Mapping[str, str | None]) -> Manifest:
    body = fields.merge_patch(seen, desired)
    meta = body.get("metadata") or {}
    return {**body, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **annotations}}}


def _pruned(seen: Manifest, finished: Finished) -> dict[str, None]:
    """Return the removal of markers of runs that are finished."""
    annotations = seen["metadata"].get("annotations") or {}
    runs = (name.removeprefix(MARKER_PREFIX) for name in annotations if name.startswith(MARKER_PREFIX))
    return {MARKER_PREFIX + uid: None for uid in runs if finished(uid)}
