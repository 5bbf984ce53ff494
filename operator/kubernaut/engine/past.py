"""What guards know of other runs: those that live and those that ended within the last day.

It is filled from what is stored: from every run that is listed or watched, whoever drives it. Nothing is taken out
because an object was deleted, only because it is old, so deleting a run lifts no guard while this replica lives.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import LONGEST
from kubernaut.core.guards.counting import Past
from kubernaut.core.ports import Manifest
from kubernaut.engine.live import LiveRun

#: a storm looks back for its window and its cooldown, each of which may be a day
_KEPT: Final = LONGEST * 2
_TIDY_EVERY: Final = 1_000
#: beyond so many (half a KiB each) only those are kept that a guard needs; those that still exist are seen again
MOST: Final = 1_000


class PastRuns:
    """Other runs by target, by when they began, and those that ended badly by what they did.

    Attributes:
        complete: whether all runs that exist were seen; before that nobody can say that there is none.
        needed: whether any guard looks at a run that has ended, now or later.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.complete = False
        self.needed: Callable[[Past], bool] = lambda run: True
        self._runs: dict[str, Past] = {}
        self._on: dict[str, set[str]] = {}
        self._bad: dict[str, set[str]] = {}
        self._begun: list[tuple[datetime, str]] = []
        self._till_tidy = _TIDY_EVERY

    def __len__(self) -> int:
        return len(self._runs)

    # What happens

    def see(self, manifest: Manifest) -> None:
        """Take note of a run as read; one that never began is none."""
        status = manifest.get("status") or {}
        target, spec, meta = status.get("target"), manifest["spec"], manifest["metadata"]
        if not target or spec.get("dryRun") or not status.get("startedAt"):
            return
        phase = RunPhase(status.get("phase", RunPhase.PENDING))
        known = self._runs.get(meta["uid"])
        if known is not None and (known.verdict is not None or not phase.final):
            return
        verdict = status.get("verdict")
        self._put(
            Past(
                meta["uid"],
                meta["namespace"],
                meta["name"],
                spec["workflowRef"]["name"],
                target["uid"],
                datetime.fromisoformat(status["startedAt"]),
                datetime.fromisoformat(status["finishedAt"])
                if phase.final and status.get("finishedAt")
                else None,
                phase if phase.final else None,
                Verdict(verdict) if phase.final and verdict else None,
                tuple(status.get("highRisk") or ()),
                any(step.get("changed") for step in status.get("steps") or ()),
            )
        )

    def learn(self, live: LiveRun) -> None:
        """Take note of a run of our own as it is now, before anybody else can know."""
        status, spec = live.status, live.execution.spec
        if status.target is None or status.started_at is None or spec.dry_run:
            return
        final = status.phase.final
        self._put(
            Past(
                live.uid,
                live.key.namespace,
                live.key.name,
                spec.workflow_ref.name,
                status.target.uid,
                status.started_at,
                status.finished_at if final else None,
                status.phase if final else None,
                status.verdict if final else None,
                tuple(status.high_risk or ()),
                any(step.changed for step in status.steps),
            )
        )

    def lost(self, uid: str) -> None:
        """Take note that a run is not there any more; where it had not ended, it counts as ended now."""
        known = self._runs.get(uid)
        if known is not None and known.ended is None:
            self._put(replace(known, ended=self._clock()))

    def _put(self, run: Past) -> None:
        before = self._runs.get(run.uid)
        if before is None:
            insort(self._begun, (run.started, run.uid))
            self._on.setdefault(run.target, set()).add(run.uid)
            self._till_tidy -= 1
        elif before.started != run.started:
            del self._begun[bisect_left(self._begun, (before.started, run.uid))]
            insort(self._begun, (run.started, run.uid))
        for action in run.risky if run.bad else ():
            self._bad.setdefault(action, set()).add(run.uid)
        self._runs[run.uid] = run
        if self._till_tidy <= 0:
            self._tidy()

    def _tidy(self) -> None:
        """Forget what is too old for any guard, and of very many what none needs."""
        self._till_tidy = _TIDY_EVERY
        oldest = self._clock() - _KEPT
        ended = [(run, run.ended) for run in self._runs.values() if run.ended is not None]
        many = len(self._runs) > MOST
        gone = {run.uid: run for run, at in ended if at < oldest or (many and not self.needed(run))}
        if not gone:
            return
        self._begun = [one for one in self._begun if one[1] not in gone]
        for uid, run in gone.items():
            del self._runs[uid]
            for index, keys in ((self._on, (run.target,)), (self._bad, run.risky if run.bad else ())):
                for key in keys:
                    index[key].discard(uid)
                    if not index[key]:
                        del index[key]

    # What is asked

    def get(self, uid: str) -> Past | None:
        """Return a run, or None where it is not known or never began."""
        return self._runs.get(uid)

    def on_target(self, target: str, but: str) -> Sequence[Past]:
        """Return the runs on a target, but for one."""
        return [self._runs[uid] for uid in self._on.get(target, ()) if uid != but]

    def since(self, began: datetime, but: str) -> Sequence[Past]:
        """Return the runs that began since then, in order, but for one."""
        at = bisect_left(self._begun, (began, ""))
        return [self._runs[uid] for _, uid in self._begun[at:] if uid != but]

    def bad(self, actions: Collection[str]) -> dict[str, list[Past]]:
        """Return by action the runs that began it and ended badly."""
        return {action: [self._runs[uid] for uid in self._bad.get(action, ())] for action in actions}
