"""What the history says of earlier runs of a Workflow: how long they took, and whether they helped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernaut.api.pattern import SuccessRate
from kubernaut.cli.historic import reading_history
from kubernaut.history.database import Database
from kubernaut.history.pages import Durations, DurationStatistics
from kubernaut.history.repository import Repository
from kubernaut.patterns.statistics import success_rate

_NO_DSN = "no history was asked (--dsn)"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be expected; ``why`` says why there is nothing.

    Attributes:
        took: how long succeeded runs took, with the 95 % interval of the median.
        same: the same of runs with the same content, with the 10th and 90th percentile, where there are enough.
        success: how often concluded runs helped, with Wilson's interval.
    """

    why: str = _NO_DSN
    took: DurationStatistics | None = None
    same: Durations | None = None
    success: SuccessRate | None = None

    def wire(self) -> dict[str, Any]:
        """Return it for programs."""
        took, rate = self.took, self.success
        return {
            "noneBecause": self.why or None,
            "duration": None
            if took is None
            else {
                "runs": took.runs,
                "medianSeconds": took.median_seconds,
                "medianInterval95": [took.lower_seconds, took.upper_seconds],
                "p90Seconds": took.p90_seconds,
            },
            "success": None if rate is None else rate.wire(),
        }


async def expected(dsn: str, namespace: str, workflow: str, digest: str) -> Expected:
    """Ask the history.

    Raises:
        CliError: it can't be reached.
    """
    if not dsn:
        return Expected()
    with reading_history():
        database = Database(dsn, migrating=False, connections=1)
        try:
            repository = Repository(database)
            took = await repository.duration_statistics(namespace, workflow)
            same = await repository.durations(namespace, workflow, digest)
            verdicts = (await repository.verdict_counts(namespace=namespace)).get((namespace, workflow), {})
        finally:
            await database.close()
    rate = success_rate(verdict for verdict, count in verdicts.items() for _ in range(count))
    why = "" if took is not None or rate is not None else "the history has no finished run of this Workflow"
    return Expected(why, took, same, rate)
