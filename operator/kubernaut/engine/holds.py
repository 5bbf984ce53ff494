"""Whether the operator may act at all: the stop switch, and the admission policies that guard who may what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold
from kubernaut.engine.ports import Switch
from kubernaut.metrics import ACTING_STOPPED


class Gate:
    """Asked before every effect. Not knowing is a reason not to act."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._problems: Sequence[str] | None = None
        self._told: Reason | None = None

    def policies(self, problems: Sequence[str]) -> None:
        """Take note of what is missing or weakened among the admission policies."""
        self._problems = problems

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
        """Return a function that calls ``changed`` whenever the answer differs from the last time."""
        last: list[Hold | None] = [Hold(Reason.STOPPED, "")]

        def look() -> None:
            now = self.hold()
            if now != last[0]:
                last[0] = now
                changed()

        return look
