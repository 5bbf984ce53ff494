"""Shares with honest intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kubernaut.api.execution import Verdict
from kubernaut.api.pattern import Interval, SuccessRate

# Two-sided 95 % quantile of the standard normal distribution.
Z_95 = 1.959963984540054
_CONCLUDED = frozenset({Verdict.REMEDIATED, Verdict.NOT_FIXED, Verdict.ROLLED_BACK})


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Return the score interval of a share (E. B. Wilson, JASA 22 (1927) 209-212), without continuity correction.

    Unlike the interval around the mean it stays within [0, 1] and is honest for few trials: 3 of 3 gives
    (0.438, 1), not (1, 1). No trials give (0, 1).

    Raises:
        ValueError: successes are not within 0..trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials: give 0 <= successes <= trials")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    squared = z * z
    centre = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = z / (1 + squared / trials) * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    lower = 0.0 if successes == 0 else centre - half
    upper = 1.0 if successes == trials else centre + half
    return max(0.0, lower), min(1.0, upper)


def success_rate(verdicts: Iterable[str]) -> SuccessRate | None:
    """Return how often concluded runs ended Remediated; None where none concluded.

    SelfHealed, NoActionRequired, Declined and Inconclusive neither help nor harm the rate: nothing was
    tried, or nothing is known.
    """
    concluded = [verdict for verdict in verdicts if verdict in _CONCLUDED]
    if not concluded:
        return None
    remediated = sum(verdict == Verdict.REMEDIATED for verdict in concluded)
    lower, upper = wilson_interval(remediated, len(concluded))
    return SuccessRate(
        rate=round(remediated / len(concluded), 4),
        interval=Interval(lower=round(lower, 4), upper=round(upper, 4)),
        remediated=remediated,
        concluded=len(concluded),
    )
