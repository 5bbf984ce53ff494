"""Whether the operator may act at all, and by which features: the stop switch, its flags, the admission policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.core.run import Hold
from kubernaut.engine.ports import Switch
from kubernaut.metrics import ACTING_STOPPED


class Flags(Protocol):
    """Which features are on, and how much there is of named resources."""

    @property
    def off(self) -> frozenset[Feature]: ...

    def capacity(self, resource: str) -> int: ...


class AllOn:
    """Every feature is on, and there is one of every resource."""

    off: frozenset[Feature] = frozenset()

    def capacity(self, resource: str) -> int:
        return 1


class Gate:
    """Asked before every effect. Not knowing is a reason not to act."""

    def __init__(self, switch: Switch, flags: Flags | None = None) -> None:
        self._switch = switch
        self._flags: Flags = flags or AllOn()
        self._problems: Sequence[str] | None = None
        self._told: Reason | None = None

    def policies(self, problems: Sequence[str]) -> None:
        """Take note of what is missing or weakened among the admission policies."""
        self._problems = problems

    def off(self) -> frozenset[Feature]:
        """Return the features that are off now."""
        return self._flags.off

    def on(self, feature: Feature) -> bool:
        """Whether a feature is on now."""
        return feature not in self._flags.off

    def capacity(self, resource: str) -> int:
        """Return how much of a named resource there is now."""
        return self._flags.capacity(resource)

    def hold(self) -> Hold | None:
        """Return why nothing may be done now, or None."""
        found = self._hold()
        reason = found.reason if found else None
        if reason is not self._told:
            for known in (Reason.STOPPED, Reason.POLICIES_MISSING):
                ACTING_STOPPED.labels(known.value).set(1 if reason is known else 0)
            self._told = reason
        return found

    def _hold(self) -> Hold | None:
        if not self._switch.acting_allowed():
            return Hold(Reason.STOPPED, f"Acting is stopped: {self._switch.refusal()}.")
        if self._problems is None:
            return Hold(Reason.POLICIES_MISSING, "The admission policies were not checked yet.")
        if self._problems:
            told = "; ".join(self._problems)
            return Hold(Reason.POLICIES_MISSING, f"The admission policies are not in place: {told}.")
        return None

    def watcher(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function that calls ``changed`` whenever hold or features differ from the last time."""
        last: list[tuple[Hold | None, frozenset[Feature]]] = [(Hold(Reason.STOPPED, ""), frozenset())]

        def look() -> None:
            now = (self.hold(), self.off())
            if now != last[0]:
                last[0] = now
                changed()

        return look
