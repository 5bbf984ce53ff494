"""The analyst's own metrics, in a registry of their own: another process than the operator serves them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from kubernaut.patterns.analysis import Round

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
WRITES: Final = Counter(
    "kubernaut_analysis_api_writes",
    "Mutating requests for DiscoveredPatterns, by purpose.",
    ["purpose"],
    registry=REGISTRY,
)


def observe(done: Round) -> None:
    """Account for a round."""
    ROUNDS.inc()
    LAST.set_to_current_time()
    RUNS.set(done.runs)
    NOISE.set(done.noise)
    PATTERNS.set(done.patterns)
    WRITES.labels("create").inc(done.objects_created)
    WRITES.labels("status").inc(done.objects_patched)
    for phase in ("read", "discover", "keep", "publish", "vectors"):
        ROUND_SECONDS.labels(phase).observe(getattr(done, f"{phase}_seconds"))


def serve(host: str, port: int) -> None:
    """Serve ``/metrics`` from a thread of its own. Raises OSError where the port is taken."""
    start_http_server(port, host, registry=REGISTRY)
