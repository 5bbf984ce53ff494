"""Made-up histories with a known truth: runs of fault families, with noise, the same for the same seed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kubernaut.history.records import RunRecord, StepRecord

_EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
_STRAY = ("BackOff", "NotReady", "Unschedulable", "FailedMount")


@dataclass(frozen=True)
class Family:
    """One kind of fault: what it looks like and what is done about it."""

    workflow: str
    symptoms: tuple[str, ...]
    sometimes: tuple[str, ...]
    action: str
    seconds: float
    helps: float = 0.9
    kind: str = "Deployment"


FAMILIES = (
    Family("crash-loop", ("CrashLoopBackOff", "ExitCode3"), (), "rollback_deployment", 12),
    Family("bad-image", ("ImagePullBackOff",), ("ErrImagePull",), "rollback_deployment", 8),
    Family("increase-memory", ("ExitCode137", "OOMKilled"), ("CrashLoopBackOff",), "increase_resources", 30),
    Family("scale-up", ("ScaledToZero",), (), "scale_deployment", 4),
    Family("bad-rollout", ("ProgressDeadlineExceeded",), (), "rollback_deployment", 60),
)


def history(
    runs: int, *, families: tuple[Family, ...] = FAMILIES, seed: int = 0, stray: float = 0.05
) -> Iterator[tuple[RunRecord, int]]:
    """Yield finished runs with the index of their family.

    Args:
        runs: how many; families take turns.
        seed: same seed, same history.
        stray: share of runs that show one symptom that is none of their family's.
    """
    dice = random.Random(seed)
    for number in range(runs):
        index = number % len(families)
        yield _run(dice, families[index], number, stray), index


def _run(dice: random.Random, family: Family, number: int, stray: float) -> RunRecord:
    symptoms = {*family.symptoms, *(one for one in family.sometimes if dice.random() < 0.4)}
    if dice.random() < stray:
        symptoms.add(dice.choice(_STRAY))
    began = _EPOCH + timedelta(minutes=7 * number)
    seconds = family.seconds * dice.lognormvariate(0, 0.4)
    helped = dice.random() < family.helps
    actions = ("collect_diagnostics", family.action)
    return RunRecord(
        uid=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        namespace=f"team-{number % 7}",
        name=f"{family.workflow}-{number}",
        workflow=family.workflow,
        phase="Succeeded" if helped else "Failed",
        created_at=began,
        verdict="Remediated" if helped else "NotFixed",
        target_kind=family.kind,
        target_name="web",
        started_at=began,
        finished_at=began + timedelta(seconds=seconds),
        duration_seconds=seconds,
        reason="ExpectationMet" if helped else "ExpectationNotMet",
        symptoms=tuple(sorted(symptoms)),
        steps=tuple(
            StepRecord(name=f"s{at}", position=at, phase="Succeeded", action=action, attempts=1)
            for at, action in enumerate(actions)
        ),
    )
