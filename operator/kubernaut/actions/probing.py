"""What the probes of actions share: marks, what is gone, what was created, and how a workload fares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kubernaut.actions import faring, pods
from kubernaut.actions.faring import Health
from kubernaut.actions.fencing import births
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark, read_marker
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.core.probing import Answer, Look, Probed, Said, Sight, not_there, there, unknown

#: kinds whose status tells how they fare
_TELLING: Final = frozenset({*faring.WORKLOADS, "HorizontalPodAutoscaler", "Pod"})
_ANSWERS: Final = {Health.HEALTHY: Answer.YES, Health.UNHEALTHY: Answer.NO}
_TOLD: Final = 3


class NothingToSee:
    """The probe of an action that leaves nothing on the cluster by which it could be known."""

    def looks_at(self, context: StepContext, parameters: Any) -> tuple[Look, ...]:
        """Return nothing."""
        return ()

    def probe(self, sight: Sight, context: StepContext, parameters: Any) -> Probed:
        """Nothing on the cluster tells whether it happened or helped, so both are Unknown."""
        return unknown("nothing on the cluster tells; the step's own record is all there is")


# Whether it is there


def mark_on(sight: Sight, ref: ObjectRef, context: StepContext) -> tuple[Manifest, StepMark] | Probed:
    """Return an object that carries the step's signed mark, and the mark; or what its absence says.

    Raises:
        StepError: the object can't be read, or carries a mark that was forged.
    """
    seen = sight.of(ref)
    if seen is None:
        told = (
            f"{ref} is not there" if context.done is None else f"{ref} is gone, and the step's mark with it"
        )
        return lacking(context, told)
    if ref.uid and seen["metadata"]["uid"] != ref.uid:
        return not_there(f"{ref} was made anew since, without the change")
    mark = read_marker(seen, context.run_uid, context.signer).steps.get(context.step)
    if mark is None:
        return lacking(context, f"{ref} carries no mark of step {context.step}")
    if mark.undone:
        return not_there(f"{ref} was put back, as the mark of step {context.step} says")
    return seen, mark


def lacking(context: StepContext, told: str) -> Probed:
    """Return what a mark that is not there says: of a step that is known to have acted, nothing.

    The mark goes with its object, and the next run that writes an object prunes those of runs that are over.
    """
    return not_there(told) if context.done is None else unknown(told)


def carries(ref: ObjectRef, mark: StepMark, context: StepContext) -> str:
    """Say that an object carries the step's mark, and for which fields."""
    paths = mark.kept.paths if mark.kept is not None else tuple(mark.after)
    more = f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else ""
    return f"{ref} carries the mark of step {context.step} ({', '.join(paths[:_TOLD])}{more})"


def gone(sight: Sight, refs: Sequence[ObjectRef], helped: Said) -> Probed:
    """Say whether pinned objects are gone or going: another UID of the same name is another object."""
    staying = [ref for ref in refs if not _is_gone(sight.of(ref), ref)]
    if staying:
        return not_there(f"still there, by UID: {_some(staying)}")
    return there(f"gone, by UID: {_some(refs)}", helped)


def created(sight: Sight, ref: ObjectRef, context: StepContext, asked: Any) -> Manifest | Probed:
    """Return the object that the step created, or what its absence says."""
    seen = sight.of(ref)
    uid = str((context.done.outputs.get("uid") if context.done else "") or "")
    uid = uid or str((context.intent or {}).get("uid", ""))
    if seen is None:
        return lacking(context, f"{ref} is not there")
    if births.ours(context, seen, asked) or (uid and seen["metadata"]["uid"] == uid):
        return seen
    return lacking(context, f"{ref} was not created by this attempt of step {context.step}")


def _is_gone(seen: Manifest | None, ref: ObjectRef) -> bool:
    if seen is None:
        return True
    return seen["metadata"]["uid"] != ref.uid or bool(seen["metadata"].get("deletionTimestamp"))


def _some(refs: Sequence[ObjectRef]) -> str:
    more = f" and {len(refs) - _TOLD} more" if len(refs) > _TOLD else ""
    return ", ".join(map(str, refs[:_TOLD])) + more


# Whether it helped


def judges(context: StepContext, *refs: ObjectRef) -> tuple[ObjectRef, ...]:
    """Return those of the objects, and the run's target, whose status tells how they fare."""
    return tuple(ref for ref in dict.fromkeys((*refs, context.target)) if ref.kind in _TELLING)


def fares(sight: Sight, judged: Iterable[ObjectRef]) -> Said:
    """Say whether what was repaired fares well: all of them, by their own statuses."""
    said = [_fares(sight, ref) for ref in judged]
    for answer in (Answer.NO, Answer.UNKNOWN, Answer.YES):
        for one in said:
            if one.answer is answer:
                return one
    return Said(Answer.UNKNOWN, "whether it helped nothing on the cluster tells")


def _fares(sight: Sight, ref: ObjectRef) -> Said:
    try:
        seen = sight.of(ref)
    except StepError as error:
        return Said(Answer.UNKNOWN, str(error))
    if seen is None:
        return Said(Answer.UNKNOWN, f"{ref} is not there")
    if ref.kind == "Pod":
        healthy = pods.healthy(seen) and not pods.leaving(seen)
        return Said(_answer(healthy), f"{ref}: condition Ready {'holds' if healthy else 'does not hold'}")
    if ref.uid and seen["metadata"].get("uid") != ref.uid:
        return Said(Answer.UNKNOWN, f"{ref} was made anew since; how that fares says nothing of the step")
    if seen["metadata"].get("deletionTimestamp"):
        return Said(Answer.UNKNOWN, f"{ref} is being deleted")
    found = faring.own(seen)
    return Said(_ANSWERS.get(found.health, Answer.UNKNOWN), f"{ref}: {found.why} (status)")


def _answer(holds: bool) -> Answer:
    return Answer.YES if holds else Answer.NO
