"""The analyst's own metrics, in a registry of their own: another process than the operator serves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from kubernaut.patterns.analysis import Round
from kubernaut.patterns.discovery import Pattern

REGISTRY: Final = CollectorRegistry(auto_describe=True)
ROUNDS: Final = Counter("kubernaut_analysis_rounds", "Rounds done.", registry=REGISTRY)
ROUND_SECONDS: Final = Histogram(
    "kubernaut_analysis_round_duration_seconds",
    "Duration of one phase of a round.",
    ["phase"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
    registry=REGISTRY,
)
LAST: Final = Gauge(
    "kubernaut_analysis_last_success_timestamp_seconds", "When a round last ended well.", registry=REGISTRY
)
RUNS: Final = Gauge("kubernaut_analysis_runs", "Finished runs analysed.", registry=REGISTRY)
NOISE: Final = Gauge("kubernaut_analysis_noise_runs", "Runs that are in no pattern.", registry=REGISTRY)
PATTERNS: Final = Gauge("kubernaut_patterns", "Patterns that runs belong to now.", registry=REGISTRY)
PATTERN_RUNS: Final = Gauge(
    "kubernaut_pattern_runs", "Runs of a pattern (of the 20 largest).", ["pattern"], registry=REGISTRY
)
PATTERN_SUCCESS: Final = Gauge(
    "kubernaut_pattern_success_ratio",
    "Share of a pattern's concluded runs that ended Remediated (of the 20 largest), and the bounds of its 95 % "
    "interval: rate, lower, upper.",
    ["pattern", "bound"],
    registry=REGISTRY,
)
WRITES: Final = Counter(
    "kubernaut_analysis_api_writes",
    "Mutating requests for DiscoveredPatterns, by purpose.",
    ["purpose"],
    registry=REGISTRY,
)


#: patterns that are shown by name at most
MOST_PATTERNS: Final = 20
for _purpose in ("create", "status"):
    WRITES.labels(_purpose)


def observe(done: Round, patterns: Sequence[Pattern] = ()) -> None:
    """Account for a round, and for the patterns it found, the largest first."""
    ROUNDS.inc()
    LAST.set_to_current_time()
    RUNS.set(done.runs)
    NOISE.set(done.noise)
    PATTERNS.set(done.patterns)
    WRITES.labels("create").inc(done.objects_created)
    WRITES.labels("status").inc(done.objects_patched)
    for phase in ("read", "discover", "keep", "publish", "vectors"):
        ROUND_SECONDS.labels(phase).observe(getattr(done, f"{phase}_seconds"))
    _show(patterns)


def serve(host: str, port: int) -> None:
    """Serve ``/metrics`` from a thread of its own. Raises OSError where the port is taken."""
    start_http_server(port, host, registry=REGISTRY)


def _show(patterns: Sequence[Pattern]) -> None:
    PATTERN_RUNS.clear()
    PATTERN_SUCCESS.clear()
    for pattern in patterns[:MOST_PATTERNS]:
        PATTERN_RUNS.labels(pattern.name).set(pattern.status.support)
        success = pattern.status.success
        if success is None:
            continue
        bounds = (
            ("rate", success.rate),
            ("lower", success.interval.lower),
            ("upper", success.interval.upper),
        )
        for bound, share in bounds:
            PATTERN_SUCCESS.labels(pattern.name, bound).set(share)
