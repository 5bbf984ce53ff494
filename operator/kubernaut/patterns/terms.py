"""What a run looked like, as a small hashable value: the raw material of its feature vector.

Equal runs have equal terms, so that a history of 100,000 runs shrinks to the few rows that differ. To
that end durations are kept in octaves and the time of day in slots of three hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from kubernaut.api.reasons import Reason

SLOTS_A_DAY = 8
# A Workflow's outputs may hold symptoms of any length, and features have names of at most 253 characters.
LONGEST_SYMPTOM = 200
_MOST_SYMPTOMS = 64
_MOST_ACTIONS = 1_000
# A run that began before its machine knew the time seems to have lasted since 1970.
_LONGEST_SECONDS = 1e9
_PERFORMED = frozenset({"Succeeded", "Failed", "RolledBack"})
# A kubelet alternates between the two: one trouble, seen at two moments.
_SAME_AS = {"ErrImagePull": "ImagePullBackOff"}
# These restate the verdict, or another step's or run's failure; they say nothing of the incident itself.
_OUTCOMES = frozenset(
    {
        Reason.COMPLETED,
        Reason.STEP_FAILED,
        Reason.ROLLED_BACK,
        Reason.EXPECTATION_MET,
        Reason.EXPECTATION_NOT_MET,
        Reason.NO_EXPECTATION,
        Reason.DEPENDENCY_FAILED,
        Reason.SUBFLOW_FAILED,
        Reason.WHEN_FALSE,
        Reason.RUNNING,
        Reason.WAITING,
        Reason.VERIFYING,
        Reason.CANCELLED,
    }
)


class StepLike(Protocol):
    """The part of ``history.records.StepRecord`` that features are made of."""

    @property
    def position(self) -> int: ...
    @property
    def action(self) -> str | None: ...
    @property
    def phase(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def reason(self) -> str | None: ...


class RunLike(Protocol):
    """The part of ``history.records.RunRecord`` that discovery reads."""

    @property
    def uid(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def verdict(self) -> str | None: ...
    @property
    def target_kind(self) -> str | None: ...
    @property
    def target_uid(self) -> str | None: ...
    @property
    def parent_uid(self) -> str | None: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def duration_seconds(self) -> float | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def symptoms(self) -> Sequence[str]: ...
    @property
    def steps(self) -> Sequence[StepLike]: ...


@dataclass(frozen=True, slots=True)
class RunTerms:
    """One distinct look of a run.

    Attributes:
        symptoms: sorted, unique, of at most 200 characters.
        reasons: typed reasons of failed steps and of the run that are not outcomes; sorted, unique.
        actions: the actions really performed, in the order of the plan.
        kind: the target's kind, or "".
        octave: duration in octaves, ``round(log2(1 + seconds))``; -1 where it is not known.
        slot: which eighth of the day (UTC) it began in, 0-7.
        namespace: only where the settings ask for it, else "".
    """

    symptoms: tuple[str, ...]
    reasons: tuple[str, ...]
    actions: tuple[str, ...]
    kind: str
    octave: int
    slot: int
    namespace: str = ""


def known_seconds(seconds: float | None) -> float:
    """Return a duration; -1 where it is unknown, or no clock that goes right can have told it."""
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_SECONDS else -1.0


def octave_of(seconds: float | None) -> int:
    """Return a duration in octaves; -1 where it is not known."""
    known = known_seconds(seconds)
    return -1 if known < 0 else round(math.log2(1.0 + known))


def slot_of(moment: datetime) -> int:
    """Return which eighth of the day (UTC) a moment falls in."""
    return moment.astimezone(UTC).hour * SLOTS_A_DAY // 24


def terms_of(run: RunLike, *, with_namespace: bool = False) -> RunTerms:
    """Reduce a finished run to its terms.

    The verdict is deliberately no term. It is an outcome: were it clustered on, each pattern's success
    rate would be near 0 or 1 by construction, and no repair could be compared with another within it.
    The namespace says where, not what; it is left out unless asked for, so that one team's fault is
    recognised in another's.
    """
    performed = [step for step in run.steps if step.phase in _PERFORMED and step.attempts > 0]
    reasons = {step.reason for step in performed if step.phase == "Failed" and step.reason}
    if run.reason:
        reasons.add(run.reason)
    return RunTerms(
        symptoms=tuple(sorted({_SAME_AS.get(name, name)[:LONGEST_SYMPTOM] for name in run.symptoms})),
        reasons=tuple(sorted(reasons - _OUTCOMES)),
        actions=tuple(
            step.action for step in sorted(performed, key=lambda step: step.position) if step.action
        ),
        kind=run.target_kind or "",
        octave=octave_of(run.duration_seconds),
        slot=slot_of(run.created_at),
        namespace=run.namespace if with_namespace else "",
    )


def with_parts(run: RunTerms, parts: Iterable[RunTerms]) -> RunTerms:
    """Return the terms of a run and of those it started for the same incident, in the order they were created."""
    every = [run, *parts]
    return replace(
        run,
        symptoms=tuple(sorted({name for one in every for name in one.symptoms})[:_MOST_SYMPTOMS]),
        reasons=tuple(sorted({name for one in every for name in one.reasons})),
        actions=tuple(name for one in every for name in one.actions)[:_MOST_ACTIONS],
        kind=next((one.kind for one in every if one.kind), ""),
    )
