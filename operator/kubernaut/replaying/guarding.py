"""The Workflow's own guards in the order in which runs began: a run that is refused changes what later ones meet.

Guards of namespaces and of the cluster, alerts, labels and the health of targets are not recorded. What they said
then stands, and where a guard on these is declared otherwise now, nothing is said of what it would say.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pydantic.alias_generators import to_camel

from kubernaut.api.execution import RunPhase, Verdict
from kubernaut.api.guards import GUARD_APPROVAL, Guards
from kubernaut.api.reach import namespace_of
from kubernaut.api.reasons import Reason
from kubernaut.core.guards.counting import Past
from kubernaut.core.guards.deciding import Known, Subject, refusal
from kubernaut.core.guards.facts import Guarded, guarded
from kubernaut.core.guards.levels import Level, Reach, Refusal, breakers, lookback, wait_at_most
from kubernaut.core.plan import Plan
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.replaying.recorded import Recorded

#: how much later than a guard allows a run may have begun for other reasons
SLACK: Final = timedelta(seconds=5)
_LOOK_AGAIN: Final = timedelta(seconds=10)
_MOST_LOOKS: Final = 20_000
#: how a step ends of which owners of fields had their say, and what its message says where it acted all the same
_BY_OWNERS: Final = (Reason.KEPT_BY_ANOTHER, Reason.PROPOSED, Reason.UNDONE_BY_ANOTHER)
_OF_OWNERS: Final = ("may set back", "the sync of ")
_WIDER: Final = "a guard of the namespace or of the cluster asked then"


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that began, as later ones meet it; ``sure`` says whether what is told of it is known."""

    past: Past
    sure: bool = True


class Timeline:
    """Runs of one Workflow that have begun, as long as they matter."""

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep
        self._entries: dict[str, Entry] = {}
        self._on: dict[str, list[tuple[datetime, str]]] = {}
        self._longest = timedelta(0)
        self._begun: list[tuple[datetime, str]] = []

    def add(self, entry: Entry) -> None:
        """Take note of a run, and forget those that are too old."""
        past = entry.past
        self._entries[past.uid] = entry
        insort(self._on.setdefault(past.target, []), (past.started, past.uid))
        insort(self._begun, (past.started, past.uid))
        if past.ended is not None:
            self._longest = max(self._longest, past.ended - past.started)
        while self._begun and self._over(self._entries[self._begun[0][1]].past, past.started):
            first = self._begun.pop(0)
            gone = self._entries.pop(first[1]).past
            self._on[gone.target].remove(first)
            if not self._on[gone.target]:
                del self._on[gone.target]

    def _over(self, past: Past, now: datetime) -> bool:
        return (past.ended or past.started) + self._keep < now

    def unsure(self) -> str:
        """Return the name of a run of which is not known what it came to; empty where there is none."""
        return next((one.past.name for one in self._entries.values() if not one.sure), "")

    def known(
        self,
        target: str,
        but: str,
        until: datetime,
        now: datetime,
        sure: bool | None,
        levels: Sequence[Level],
    ) -> Known:
        """Return what is known at a time, as far as these levels look back.

        Args:
            until: only runs that had begun by then.
            sure: whether to leave out those of which is not known what they came to; None to count them in.
        """
        oldest = now - lookback(levels) - self._longest

        def seen(begun: Sequence[tuple[datetime, str]]) -> list[Past]:
            found = []
            for started, uid in begun[bisect_left(begun, (oldest, "")) :]:
                entry = self._entries[uid]
                if started <= until and uid != but and (entry.sure or not sure):
                    found.append(_at(entry.past, now))
            return found

        storms = any(level.guards.storm is not None for level in levels)
        return Known(seen(self._on.get(target, ())), seen(self._begun) if storms else ())

    def bad(self, actions: frozenset[str], now: datetime) -> Mapping[str, Sequence[Past]]:
        """Return by action the runs that began it and had ended badly by then."""
        if not actions:
            return {}
        pasts = [
            one.past for one in self._entries.values() if one.past.ended is None or one.past.ended <= now
        ]
        return {action: [one for one in pasts if one.bad and action in one.risky] for action in actions}


def _at(past: Past, now: datetime) -> Past:
    """Return a run as it was seen at a time: how it would end was not known before."""
    if past.ended is None or past.ended <= now:
        return past
    return replace(past, ended=None, verdict=None, phase=None)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether, and when, guards let a run begin; ``waited`` is the refusal it waited for last."""

    began: datetime
    refusal: Refusal | None = None
    waited: Refusal | None = None


def own(plan: Plan, workflow: str) -> tuple[Level, ...]:
    """Return a Workflow's guards, but for those that look at what is not recorded."""
    guards = plan.spec.guards
    if guards is None:
        return ()
    return (Level(Reach.WORKFLOW, workflow, _known_part(guards)),)


def _known_part(guards: Guards) -> Guards:
    return guards.replace(
        max_unavailable_percent=None, stop_while_firing=[], protected_labels=[], respect_budgets=False
    )


def keep_for(plan: Plan, workflow: str, namespace: str) -> timedelta:
    """Return for how long after its end a run matters to these guards."""
    levels = own(plan, workflow)
    return max(lookback(levels), *(one.within for _, one in breakers(levels, namespace))) + timedelta(hours=1)


def blind(old: Guards | None, new: Guards | None) -> str:
    """Return which guard is declared more strictly that looks at what is not recorded; empty where none is."""
    before, now = old or Guards(), new or Guards()
    if any(one not in before.stop_while_firing for one in now.stop_while_firing):
        return "whether an alert of stopWhileFiring fired"
    if any(one not in before.protected_labels for one in now.protected_labels):
        return "which labels its target had (protectedLabels)"
    if now.respect_budgets and not before.respect_budgets:
        return "what PodDisruptionBudgets would have let go (respectBudgets)"
    percent, was = now.max_unavailable_percent, before.max_unavailable_percent
    if percent is not None and (was is None or percent < was):
        return "how much of its target was unavailable (maxUnavailablePercent)"
    return ""


def doubt(old: Guards | None, new: Guards | None, step: StepRecord) -> str:
    """Return what is not known of how a step ends, for guards had their say in that and are declared otherwise now.

    They were asked before its requests, about objects that are not recorded; that they were shows by its end.
    """
    before, now, told = old or Guards(), new or Guards(), step.message or ""
    owned = step.reason in _BY_OWNERS or any(words in told for words in _OF_OWNERS)
    asked = {
        ("git_ops", "pause_sync", "oscillation"): owned,
        ("max_unavailable_percent",): step.reason == Reason.TOO_FEW_HEALTHY,
        ("protected_namespaces", "protected_labels"): step.reason == Reason.PROTECTED,
        ("respect_budgets",): "respectBudgets of" in told,
    }
    names = [
        to_camel(name)
        for group, spoke in asked.items()
        for name in group
        if spoke and getattr(before, name) != getattr(now, name)
    ]
    return f"what step {step.name} would have come to with another {' and '.join(names)}" if names else ""


def subject(run: RunRecord, plan: Plan, target: str) -> Subject:
    """Return a run as guards look at it."""
    declared = plan.spec.target
    where = namespace_of(declared.api_version, declared.kind, run.namespace)
    told = f"{declared.kind} {run.target_name or ''}".strip()
    return Subject(run.uid, run.namespace, run.workflow, target, told, where)


def admit(
    who: Subject,
    levels: tuple[Level, ...],
    timeline: Timeline,
    created: datetime,
    ready: datetime,
    sure: bool | None,
) -> Admission:
    """Return when guards let a run begin that was created and ready then; it waits as the engine has it wait."""
    now, end, waited = ready, created + wait_at_most(levels), None
    for _ in range(_MOST_LOOKS):
        found = (
            refusal(who, levels, timeline.known(who.target, who.uid, now, now, sure, levels), now)
            if levels
            else None
        )
        if found is None:
            return Admission(now, None, waited)
        if found.final or now >= end:
            return Admission(now, replace(found, final=True), found)
        waited = found
        later = found.until if found.until is not None and found.until > now else now + _LOOK_AGAIN
        now = min(later, max(end, now))
    return Admission(now, waited, waited)


def within(
    recorded: Recorded,
    plan: Plan,
    who: Subject,
    timeline: Timeline,
    began: datetime,
    now: datetime,
    acted: bool,
) -> Guarded | None:
    """Return what guards say of a run that has begun; ``acted`` says whether it changes things already."""
    levels = own(plan, who.workflow)
    asked = recorded.steps.get(GUARD_APPROVAL)
    if not levels and not plan.high and asked is None:
        return None
    found = None
    if levels and not acted:
        found = refusal(who, levels, timeline.known(who.target, who.uid, began, now, None, levels), now)
    said = guarded(levels, found, who.namespace, who.workflow, timeline.bad(plan.high, now), now)
    if asked is not None and asked.attempts and not (said.asks_always or said.asks_on_risk or said.tripped):
        mine = own(recorded.plan, who.workflow)
        if any(level.guards.approval is not None for level in mine):
            # It was this Workflow that asked, and it does no more.
            return said
        if plan.high:
            return replace(said, tripped=dict.fromkeys(plan.high, _WIDER))
        return replace(said, asks_always=_WIDER)
    return said


def entry(recorded: RunRecord, target: str, risky: Sequence[str]) -> Past:
    """Return a run that began as guards count it; a verdict that this version does not know is none."""
    assert recorded.started_at is not None
    verdict = next((one for one in Verdict if one == recorded.verdict), None)
    return Past(
        recorded.uid,
        recorded.namespace,
        recorded.name,
        recorded.workflow,
        target,
        recorded.started_at,
        recorded.finished_at,
        RunPhase(recorded.phase),
        verdict,
        tuple(risky),
    )
