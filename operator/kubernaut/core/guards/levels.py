"""The levels at which guards are declared; every one holds by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from kubernaut.api.duration import format_duration
from kubernaut.api.guards import WAIT_AT_MOST, ApprovalPolicy, Breaker, Guards
from kubernaut.api.reasons import Reason


class Reach(Enum):
    """Whose runs a level counts: those of one Workflow, of a namespace, of the cluster."""

    WORKFLOW = "Workflow"
    NAMESPACE = "namespace"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Level:
    """The guards of one level; ``problem`` says why they can't be understood, and then none may pass."""

    reach: Reach
    name: str
    guards: Guards
    problem: str = ""

    def __str__(self) -> str:
        return "the cluster" if self.reach is Reach.CLUSTER else f"{self.reach.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run may not go on now, in one line.

    Attributes:
        until: when that may be otherwise; None where only looking again tells.
        final: whether waiting can't help.
    """

    reason: Reason
    message: str
    until: datetime | None = None
    final: bool = False


#: what holds in every namespace though nobody declared anything
BREAKER: Final = Breaker()
_STRICTNESS: Final = {ApprovalPolicy.NEVER: 0, ApprovalPolicy.ON_RISK: 1, ApprovalPolicy.ALWAYS: 2}


def approval(levels: Sequence[Level]) -> tuple[ApprovalPolicy, Level | None]:
    """Return the strictest policy of all levels, and the level that has it; ByPolicy leaves it to the wider ones."""
    found: tuple[ApprovalPolicy, Level | None] = ApprovalPolicy.NEVER, None
    said = [(level.guards.approval, level) for level in levels if level.guards.approval is not None]
    plain = [(policy, level) for policy, level in said if policy is not ApprovalPolicy.BY_POLICY]
    for policy, level in said:
        wider = [other for _, other in plain if _WIDTH[other.reach] > _WIDTH[level.reach]]
        if policy is ApprovalPolicy.BY_POLICY and not wider:
            plain.append((ApprovalPolicy.ON_RISK, level))
    for policy, level in plain:
        if _STRICTNESS[policy] > _STRICTNESS[found[0]]:
            found = policy, level
    return found


_WIDTH: Final = {Reach.WORKFLOW: 0, Reach.NAMESPACE: 1, Reach.CLUSTER: 2}


def breakers(levels: Sequence[Level], namespace: str) -> list[tuple[Level, Breaker]]:
    """Return the breakers that count; that of the namespace is there also where nobody declared it."""
    found = [(level, level.guards.breaker) for level in levels if level.guards.breaker is not None]
    if not any(level.reach is not Reach.WORKFLOW for level, _ in found):
        found.append((Level(Reach.NAMESPACE, namespace, Guards()), BREAKER))
    return found


def wait_at_most(levels: Sequence[Level]) -> timedelta:
    """Return how long a run waits for its guards before it is declined."""
    said = [level.guards.wait_at_most for level in levels if level.guards.wait_at_most is not None]
    return min(said, default=WAIT_AT_MOST)


def lookback(levels: Sequence[Level]) -> timedelta:
    """Return for how long after its end a run may matter to these guards, its breaker apart."""
    longest = timedelta(0)
    for level in levels:
        guards = level.guards
        longest = max(longest, guards.cooldown or timedelta(0))
        if guards.max_per_hour is not None:
            longest = max(longest, timedelta(hours=1))
        if guards.storm is not None:
            longest = max(longest, guards.storm.cooldown + guards.storm.within)
    return longest


def most_unavailable(levels: Sequence[Level]) -> tuple[int, Level] | None:
    """Return the smallest share that any level lets be unavailable, and that level; None where none says any."""
    said = [
        (level.guards.max_unavailable_percent, level)
        for level in levels
        if level.guards.max_unavailable_percent is not None
    ]
    return min(said, key=lambda one: one[0], default=None)


def protects(levels: Sequence[Level]) -> bool:
    """Whether any level has something asked before each request that would change an object."""
    return most_unavailable(levels) is not None or any(
        level.guards.protected_namespaces or level.guards.protected_labels or level.guards.respect_budgets
        for level in levels
    )


def protected_namespace(levels: Sequence[Level], namespace: str) -> str:
    """Return which level protects a namespace, in words; empty where none does."""
    for level in levels:
        for pattern in level.guards.protected_namespaces:
            if namespace == pattern or (pattern.endswith("*") and namespace.startswith(pattern[:-1])):
                return f"namespace {namespace} is protected by guards of {level} ({pattern})"
    return ""


def protected_labels(levels: Sequence[Level], labels: Mapping[str, str]) -> str:
    """Return which level protects an object with these labels, in words; empty where none does."""
    for level in levels:
        for one in level.guards.protected_labels:
            if one.key in labels and one.value in (None, labels[one.key]):
                return f"label {one.key}: {labels[one.key]!r} is protected by guards of {level}"
    return ""


def guard_problems(guards: Guards, path: str) -> list[tuple[str, str]]:
    """Return the path and what is wrong for all that bounds and patterns can't see: zones and dates."""
    found: list[tuple[str, str]] = []
    for at, window in enumerate(guards.change_windows):
        where = f"{path}.changeWindows[{at}]"
        try:
            ZoneInfo(window.time_zone)
        except (KeyError, ValueError, OSError):
            found.append((f"{where}.timeZone", f"there is no time zone {window.time_zone!r}."))
        dates: list[date] = []
        for name, text in (("firstDate", window.first_date), ("lastDate", window.last_date)):
            try:
                dates += [date.fromisoformat(text)] if text is not None else []
            except ValueError:
                found.append((f"{where}.{name}", f"{text!r} is not in the calendar."))
        if len(dates) == 2 and dates[1] < dates[0]:
            found.append((f"{where}.lastDate", "it is before firstDate."))
        if window.start == window.end or window.start == "24:00":
            found.append(
                (f"{where}.start", "the window begins when it ends; write 00:00 to 24:00 for a day.")
            )
    return found


def span(value: timedelta) -> str:
    """Write a duration as people type it, as in 10m."""
    return format_duration(value)


def moment(value: datetime) -> str:
    """Write a time to the second, as in 2026-01-31 23:59:59Z."""
    return f"{value:%Y-%m-%d %H:%M:%S}Z"
