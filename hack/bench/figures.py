"""Figures with their intervals, goals and verdicts, as they are written to build/bench/."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_RESAMPLES = 2000


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Return the median with a 95 % bootstrap interval of it (percentiles of 2,000 resamples, fixed seed)."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return {
        "median": rounded(statistics.median(values)),
        "lower_95": rounded(medians[_RESAMPLES // 40]),
        "upper_95": rounded(medians[_RESAMPLES - _RESAMPLES // 40 - 1]),
        "rounds": [rounded(value) for value in values],
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the interval of ours over theirs, round by round."""
    return interval([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share (0 to 1) of them lies: the nearest rank, so always one of them."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, 99th percentile, largest and count."""
    return {
        "p50": rounded(statistics.median(values)),
        "p99": rounded(percentile(values, 0.99)),
        "max": rounded(max(values)),
        "count": len(values),
    }


def rounded(value: float) -> float:
    """Return a number with four significant digits; more would be noise."""
    return float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Goal:
    """What was measured against what was promised.

    Attributes:
        bound: the least (``at_least``) or the most allowed.
        beside: what others were measured to need or get in the same run, in the same unit: the API server or etcd
            by itself, a plain client, or what nobody can do without. It has no say in the verdict.
    """

    name: str
    unit: str
    measured: float
    bound: float
    at_least: bool
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def told(self) -> str:
        """Say it in one line."""
        sign = ">=" if self.at_least else "<="
        verdict = "met   " if self.met else "MISSED"
        beside = ", ".join(f"{who}: {rounded(value):g}" for who, value in self.beside.items())
        told = f"{verdict} {self.name}: {self.measured:g} {self.unit} (goal {sign} {self.bound:g})"
        return f"{told} ({beside})" if beside else told

    def to_json(self) -> dict[str, Any]:
        """Return it for the report."""
        bound = {"at_least" if self.at_least else "at_most": self.bound}
        return {
            "name": self.name,
            "unit": self.unit,
            "measured": rounded(self.measured),
            **bound,
            "met": self.met,
            "beside": {who: rounded(value) for who, value in self.beside.items()},
        }


@dataclass(slots=True)
class Report:
    """What one benchmark found."""

    name: str
    about: str
    figures: dict[str, Any] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def at_least(
        self, name: str, unit: str, measured: float, bound: float, beside: Mapping[str, float] | None = None
    ) -> None:
        """Take note of a goal that is met from ``bound`` up; for an interval give its lower end."""
        self.goals.append(Goal(name, unit, measured, bound, True, beside or {}))

    def at_most(
        self, name: str, unit: str, measured: float, bound: float, beside: Mapping[str, float] | None = None
    ) -> None:
        """Take note of a goal that is met up to ``bound``; for an interval give its upper end."""
        self.goals.append(Goal(name, unit, measured, bound, False, beside or {}))

    def remark(self, text: str) -> None:
        """Have a line printed below the goals: figures that stand beside all of them, not beside one."""
        self.remarks.append(text)

    def told(self) -> list[str]:
        """Return the lines that are printed in the end."""
        return [f"{self.name}: {line}" for line in (*(goal.told() for goal in self.goals), *self.remarks)]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "benchmark": self.name,
            "about": self.about,
            "goals": [goal.to_json() for goal in self.goals],
            "figures": self.figures,
        }
