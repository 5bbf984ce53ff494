"""What is counted of other runs: the last end, begins in an hour, storms, bad ends of what is of high risk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import Breaker, Storm

_HOUR: Final = timedelta(hours=1)
#: how long the next run that an alert starts waits after one that did not help; twice as long after each more
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = _HOUR
# Where nothing was changed under finally either, these wear nothing out.
_NO_RUN: Final = frozenset({Verdict.DECLINED, Verdict.NO_ACTION_REQUIRED, Verdict.SELF_HEALED})
_NO_HELP: Final = (Verdict.NOT_FIXED, Verdict.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Past:
    """Another run, as far as guards look at it.

    Attributes:
        ended: None while it goes on.
        verdict: None while it goes on, and where it was lost sight of.
        risky: the actions of high risk that it began.
        acted: whether a step of it changed an object. What is under finally acts after the verdict is given.
    """

    uid: str
    namespace: str
    name: str
    workflow: str
    target: str
    started: datetime
    ended: datetime | None = None
    phase: RunPhase | None = None
    verdict: Verdict | None = None
    risky: tuple[str, ...] = ()
    acted: bool = False

    @property
    def counts(self) -> bool:
        """Whether it began and may have changed anything."""
        return self.acted or self.verdict not in _NO_RUN

    @property
    def bad(self) -> bool:
        """Whether it ended so that a breaker counts it.

        A run that did all it was to do, and whose Workflow expects nothing, is Inconclusive and not bad.
        """
        if self.verdict in _NO_HELP:
            return True
        return self.verdict is Verdict.INCONCLUSIVE and self.phase is not RunPhase.SUCCEEDED


def cooling(runs: Collection[Past], cooldown: timedelta, now: datetime) -> Past | None:
    """Return the run after whose end it is still to be waited."""
    ended = [run for run in runs if run.counts and run.ended is not None and run.ended + cooldown > now]
    return max(ended, key=lambda run: (run.ended or run.started, run.uid), default=None)


def crowded(runs: Collection[Past], most: int, now: datetime) -> datetime | None:
    """Return when one more may begin, where as many as may in an hour have begun; else None."""
    begun = sorted(run.started for run in runs if run.counts and run.started + _HOUR > now)
    return begun[-most] + _HOUR if len(begun) >= most else None


def storming(begun: Sequence[datetime], storm: Storm, now: datetime) -> datetime | None:
    """Return when a storm is over; None where there is none.

    Args:
        begun: when runs began, in order.
    """
    for at in range(len(begun) - 1, storm.runs - 2, -1):
        over = begun[at] + storm.cooldown
        if over <= now:
            return None
        if begun[at] - begun[at - storm.runs + 1] < storm.within:
            return over
    return None


def tripped(runs: Collection[Past], breaker: Breaker, now: datetime) -> int:
    """Return how many runs ended badly where these are enough for the breaker; else 0."""
    bad = sum(run.bad and run.ended is not None and run.ended + breaker.within > now for run in runs)
    return bad if bad >= breaker.bad_runs else 0


def ineffective(runs: Collection[Past], now: datetime) -> tuple[Past, int, datetime] | None:
    """Return the last run, how many in a row did not help, and until when the next one waits; None where it need not.

    A run that helped ends the row; one of which that is not known, or that did nothing, says nothing.
    """
    over = [run for run in runs if run.ended is not None and run.verdict in (*_NO_HELP, Verdict.REMEDIATED)]
    over.sort(key=lambda run: (run.ended or run.started, run.uid), reverse=True)
    row = 0
    for run in over:
        if run.verdict not in _NO_HELP:
            break
        row += 1
    if row == 0:
        return None
    last = over[0]
    assert last.ended is not None
    # No more than the longest is ever asked for, however long the row is.
    until = last.ended + min(FIRST_PAUSE * 2 ** min(row - 1, 16), LONGEST_PAUSE)
    return (last, row, until) if until > now else None
