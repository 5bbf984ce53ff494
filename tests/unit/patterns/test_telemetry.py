"""What the analyst shows of rounds and patterns, with a bounded number of series."""

from __future__ import annotations

from dataclasses import replace

from kubernaut.patterns import telemetry
from kubernaut.patterns.telemetry import MOST_PATTERNS, REGISTRY, observe
from unit.patterns.test_rounds import World


def shown() -> set[str]:
    """Return the patterns that are shown by name."""
    samples = [sample for metric in telemetry.PATTERN_RUNS.collect() for sample in metric.samples]
    return {sample.labels["pattern"] for sample in samples}


async def test_patterns_are_shown_with_runs_and_success_and_those_that_are_gone_are_not() -> None:
    world = World()
    done = await world.analysis.round()
    assert world.analysis.discovery is not None
    patterns = world.analysis.discovery.patterns
    observe(done, patterns)
    assert shown() == {one.name for one in patterns}
    for pattern in patterns:
        success = pattern.status.success
        assert success is not None
        labels = {"pattern": pattern.name}
        assert REGISTRY.get_sample_value("kubernaut_pattern_runs", labels) == pattern.status.support
        found = [
            REGISTRY.get_sample_value("kubernaut_pattern_success_ratio", {**labels, "bound": bound})
            for bound in ("rate", "lower", "upper")
        ]
        assert found == [success.rate, success.interval.lower, success.interval.upper]
    observe(done, patterns[:1])
    assert shown() == {patterns[0].name}


async def test_only_the_largest_patterns_are_shown_by_name() -> None:
    world = World()
    done = await world.analysis.round()
    assert world.analysis.discovery is not None
    (first, *_) = world.analysis.discovery.patterns
    many = [replace(first, name=f"p{number:02}") for number in range(MOST_PATTERNS + 5)]
    observe(done, many)
    assert shown() == {one.name for one in many[:MOST_PATTERNS]}
