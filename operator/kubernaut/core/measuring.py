"""What metrics say of a run after its act: each answer of Prometheus is a fact, judged by what is expected of it.

An answer counts for a while only, and the one upon which a run ends as a success was asked for when its window was
over. What is not known is never success; how it is told from what is known to be bad, `Lack` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kubernaut.api.execution import MetricState, MetricStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.draft import Draft
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import VALUE
from kubernaut.core.features import Feature
from kubernaut.core.plan import PlannedMetric
from kubernaut.core.redacting import redacted
from kubernaut.core.run import MetricSeen, Sample

#: how often a metric is asked for while it is waited for
METRIC_LOOK: Final = timedelta(seconds=5)
#: how long an answer counts
METRIC_FRESH: Final = timedelta(seconds=10)
#: how many samples a query may give
MOST_SAMPLES: Final = 100
_LABELS: Final = 160


@dataclass(frozen=True, slots=True)
class Lack:
    """Why metrics do not say that all is well.

    Attributes:
        known: whether one is known not to be as expected; else nobody can tell.
        again: whether to ask again may help.
    """

    known: bool
    reason: Reason
    message: str
    again: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of looking at all metrics of a run.

    Attributes:
        statuses: of each metric; empty while an answer is waited for.
        lack: what is wrong, the known before the unknown; None where every metric is as expected.
    """

    statuses: tuple[MetricStatus, ...] = ()
    lack: Lack | None = None


def measure(draft: Draft, since: datetime) -> Measured | None:
    """Judge a run's metrics by answers asked for at ``since`` or later; None where one is awaited, and asked for."""
    off = Feature.METRICS in draft.facts.off
    found: list[tuple[MetricStatus, Lack | None]] = []
    since = max(since, draft.now - METRIC_FRESH)
    for metric in draft.plan.metrics:
        if off:
            told = f"feature {Feature.METRICS.value} is switched off"
            found.append(_unknown(metric, Reason.FEATURE_OFF, told, again=False))
            continue
        try:
            query = _query(draft, metric)
        except StepError as error:
            found.append(_unknown(metric, error.reason, str(error)))
            continue
        seen = draft.facts.metrics.get(query)
        if seen is None or seen.asked_at <= draft.now - METRIC_LOOK or seen.asked_at < since:
            draft.queries.add(query)
        if seen is not None and seen.asked_at >= since:
            found.append(_judged(draft, metric, seen))
    if len(found) < len(draft.plan.metrics):
        return None
    lacks = sorted((lack for _, lack in found if lack is not None), key=lambda lack: not lack.known)
    return Measured(tuple(status for status, _ in found), lacks[0] if lacks else None)


def told(statuses: Sequence[MetricStatus]) -> str:
    """Say what metrics that are as expected gave."""
    return ", ".join(f"{one.name} is {one.value}" for one in statuses)


def _query(draft: Draft, metric: PlannedMetric) -> str:
    steps = [name for one in metric.query.expressions for name in one.steps]
    query = metric.query.render(draft.scope(names=steps))
    if not isinstance(query, str) or not query.strip():
        raise StepError("its query is not a text", reason=Reason.EXPRESSION_FAILED)
    return query


def _judged(draft: Draft, metric: PlannedMetric, seen: MetricSeen) -> tuple[MetricStatus, Lack | None]:
    if seen.reason is not None:
        return _unknown(metric, seen.reason, seen.told, again=seen.again)
    numbers = [one for one in seen.samples if not math.isnan(one.value)]
    try:
        bad = [one for one in numbers if not _as_expected(draft, metric, one.value)]
    except StepError as error:
        return _unknown(metric, error.reason, str(error), len(seen.samples))
    count = len(seen.samples)
    if bad:
        return _status(metric, MetricState.NOT_MET, bad[0], count), Lack(
            True, Reason.METRIC_NOT_MET, _not_met(metric, bad, count)
        )
    if len(numbers) < count:
        return _unknown(
            metric, Reason.METRIC_MISSING, f"{count - len(numbers)} of {count} samples are NaN", count
        )
    if not numbers:
        return _unknown(metric, Reason.METRIC_MISSING, "its query gives no sample")
    return _status(metric, MetricState.HELD, numbers[0], count), None


def _as_expected(draft: Draft, metric: PlannedMetric, value: float) -> bool:
    return metric.expect.holds(draft.scope(names=metric.expect.steps, more={VALUE: value}))


def _not_met(metric: PlannedMetric, bad: list[Sample], count: int) -> str:
    first = bad[0]
    # Others wrote the labels, as they did what Prometheus says.
    labels = f" ({redacted(first.labels)[:_LABELS]})" if first.labels else ""
    others = f" in each of {count} samples, of which {len(bad)} differ" if count > 1 else ""
    return (
        f"metric {metric.name} is {write(first.value)}{labels}, but {metric.expect.text} is expected{others}"
    )


def _status(metric: PlannedMetric, state: MetricState, sample: Sample, count: int) -> MetricStatus:
    return MetricStatus(name=metric.name, state=state, value=write(sample.value), samples=count)


def _unknown(
    metric: PlannedMetric, reason: Reason, why: str, count: int = 0, *, again: bool = True
) -> tuple[MetricStatus, Lack]:
    status = MetricStatus(name=metric.name, state=MetricState.UNKNOWN, samples=count, reason=reason.value)
    return status, Lack(False, reason, f"metric {metric.name} is not known: {redacted(why)}", again)


def write(value: float) -> str:
    """Write a sample as Prometheus does."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
