"""The waits of which somebody has to be told: what is due, what was told, what became of them. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.api.base import format_time
from kubernaut.api.execution import StepPhase, StepStatus, WorkflowExecution, WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.core.asking import Asked, Asks, asked, waits
from kubernaut.core.redacting import redacted
from kubernaut.engine.keys import RunKey
from kubernaut.engine.live import LiveRun
from kubernaut.notify.message import Event, Message, Subject, link_of

#: waits that are kept track of; what comes beyond is told once there is room again
MOST_WAITS: Final = 1_000
#: how long what an earlier life told is kept, where its run was not seen yet
GRACE: Final = timedelta(minutes=10)
#: how long it is tried to tell what became of a wait
RESOLVED_FOR: Final = timedelta(hours=1)
_RETRY_FIRST: Final = 2.0
_OVER: Final = "The run is over."


@dataclass(slots=True)
class _Told:
    """What one channel was told of a wait: how many times, and when last; ``failures`` in a row since.

    Attributes:
        telling: whether it is being told, and may know already.
        not_now: since when, and until when, it is left alone after a failure.
    """

    times: int = 0
    last: datetime | None = None
    failures: int = 0
    not_now: tuple[datetime, datetime] | None = None
    telling: bool = False

    def left_alone(self, now: datetime) -> bool:
        # Where the clock was set back since, nobody knows how long it has been.
        return self.not_now is not None and self.not_now[0] <= now < self.not_now[1]


@dataclass(slots=True)
class Wait:
    """One wait; ``became`` says what became of it, once that is known."""

    id: str
    subject: Subject
    asked: Asked
    live: LiveRun | None = None
    became: str | None = None
    ended_at: datetime | None = None
    by_channel: dict[str, _Told] = field(default_factory=dict)

    def told(self, channel: str) -> _Told:
        return self.by_channel.setdefault(channel, _Told())

    @property
    def known_to_anybody(self) -> bool:
        return any(one.times for one in self.by_channel.values())

    @property
    def may_be_known(self) -> bool:
        return any(one.times or one.telling for one in self.by_channel.values())


@dataclass(frozen=True, slots=True)
class Policy:
    """How often is told.

    Attributes:
        remind_after: after which time without an answer it is told again, each time after twice as long; or never.
        resolved: whether it is told that nobody is waited for any more.
        link: template of a link.
    """

    remind_after: timedelta | None = None
    resolved: bool = True
    link: str = ""


class Waits:
    """Keeps track. Level-triggered: it looks at runs, again and again, and at no event.

    Attributes:
        overflow: waits that there was no room for, when it was last looked.
    """

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], datetime],
        over: Callable[[str], bool],
        elsewhere: Callable[[RunKey], bool],
    ) -> None:
        """``over`` says of a run's UID that it has certainly ended, ``elsewhere`` that another replica drives it."""
        self._policy = policy
        self._clock = clock
        self._over = over
        self._elsewhere = elsewhere
        self._waits: dict[str, Wait] = {}
        self._recalled: dict[str, dict[str, Any]] = {}
        self._recalled_at = clock()
        # What was found of a run, as long as its status and what people said are the same objects.
        self._seen: dict[str, tuple[WorkflowExecutionStatus, WorkflowExecution, list[Asked]]] = {}
        self.overflow = 0

    # What an earlier life told

    def recall(self, entries: Mapping[str, dict[str, Any]]) -> None:
        """Take note of what an earlier life told."""
        self._recalled = {
            key: entry for key, entry in entries.items() if key not in self._waits and _readable(key, entry)
        }
        self._recalled_at = self._clock()

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what a later life has to know."""
        told = {one.id: _entry(one) for one in self._waits.values() if one.known_to_anybody}
        return {**self._recalled, **told}

    # Looking

    def look(self, runs: Iterable[LiveRun]) -> bool:
        """Look who is waited for now; return whether something is to be written down."""
        before = len(self._recalled), len(self._waits)
        present: set[str] = set()
        uids: dict[str, LiveRun] = {}
        unsure: set[str] = set()
        self.overflow, now = 0, self._clock()
        for live in runs:
            if _unsure(live):
                unsure.add(live.uid)
                continue
            uids[live.uid] = live
            for one in self._asked(live):
                present.add(one.id_in(live.uid))
                self._keep(live, one)
        for wait in [one for one in self._waits.values() if one.id not in present and one.became is None]:
            if wait.subject.uid not in unsure:
                self._ended(wait, uids.get(wait.subject.uid) or wait.live)
        self._look_at_recalled(uids, present, unsure)
        self._seen = {uid: one for uid, one in self._seen.items() if uid in uids}
        for wait in list(self._waits.values()):
            if wait.ended_at is not None and now > wait.ended_at + RESOLVED_FOR:
                del self._waits[wait.id]
        return before != (len(self._recalled), len(self._waits))

    def _asked(self, live: LiveRun) -> list[Asked]:
        stored = live.stored
        if live.plan is None or not any(waits(stored.phase, record) for record in stored.steps):
            return []
        seen = self._seen.get(live.uid)
        if seen is not None and seen[0] is stored and seen[1] is live.execution:
            return seen[2]
        found = asked(live.view(), live.plan, self._clock())
        self._seen[live.uid] = (stored, live.execution, found)
        return found

    def _keep(self, live: LiveRun, one: Asked) -> None:
        key = one.id_in(live.uid)
        wait = self._waits.get(key)
        if wait is not None:
            wait.asked, wait.live, wait.became, wait.ended_at = one, live, None, None
            return
        if len(self._waits) >= MOST_WAITS:
            self.overflow += 1
            return
        target = live.stored.target
        subject = Subject(
            live.key.namespace,
            live.key.name,
            live.uid,
            live.execution.spec.workflow_ref.name,
            f"{target.kind} {target.name}" if target is not None else "",
        )
        self._waits[key] = wait = Wait(key, subject, one, live)
        entry = self._recalled.pop(key, None)
        if entry is not None:
            wait.by_channel = _told_in(entry)

    def _ended(self, wait: Wait, live: LiveRun | None) -> None:
        """Find out what became of a wait; forget it where nobody was told."""
        if live is not None and live.gone and self._elsewhere(live.key):
            # It may come back, as after an API server that was away; then it was told already.
            del self._waits[wait.id]
            if wait.known_to_anybody and len(self._recalled) < MOST_WAITS:
                self._recalled[wait.id] = {**_entry(wait), "elsewhere": True}
        elif live is None or not wait.may_be_known or not self._policy.resolved:
            del self._waits[wait.id]
        else:
            self._resolve(wait, _became(wait.asked, live))

    def _resolve(self, wait: Wait, became: str) -> None:
        wait.became, wait.ended_at, wait.live = redacted(became), self._clock(), None
        for told in wait.by_channel.values():
            told.failures, told.not_now = 0, None

    def _look_at_recalled(
        self, uids: Mapping[str, LiveRun], present: Collection[str], unsure: Collection[str]
    ) -> None:
        """See to what was told before a restart, or before another replica had the run, and waits here no more."""
        for key, entry in list(self._recalled.items()):
            namespace, name, uid = entry["run"]
            live = uids.get(uid)
            if key in present or uid in unsure:
                continue
            if live is None and self._elsewhere(RunKey(namespace, name)):
                entry["elsewhere"] = True
                continue
            over = live is None and self._over(uid)
            if live is None and not over and self._clock() - self._recalled_at < GRACE:
                continue
            del self._recalled[key]
            # What became of a run that another replica had is told by that one.
            told_here = live is not None or (over and not entry.get("elsewhere"))
            if told_here and self._policy.resolved and len(self._waits) < MOST_WAITS:
                wait = _wait_of(key, entry)
                self._waits[key] = wait
                self._resolve(wait, _became(wait.asked, live) if live is not None else _OVER)

    # Telling

    def due(self, channel: str) -> Message | None:
        """Return what a channel is to be told next, or None."""
        now = self._clock()
        for wait in self._waits.values():
            told = wait.told(channel)
            if not told.left_alone(now) and (message := self._message(wait, told, now)):
                told.telling = True
                return message
        return None

    def pending(self, channel: str) -> int:
        """Return how many waits a channel is still to be told of, those included that are tried again later."""
        now = self._clock()
        due = sum(self._message(one, one.told(channel), now) is not None for one in self._waits.values())
        return due + self.overflow

    def _message(self, wait: Wait, told: _Told, now: datetime) -> Message | None:
        link = link_of(self._policy.link, wait.subject, wait.asked.step) if self._policy.link else ""
        if wait.became is not None:
            if not told.times:
                return None
            return Message(Event.RESOLVED, wait.id, wait.subject, wait.asked, became=wait.became, link=link)
        if not told.times:
            return Message(Event.ASKED, wait.id, wait.subject, wait.asked, link=link)
        after = self._policy.remind_after
        if after is None or told.last is None or now < told.last + after * 2.0 ** min(told.times - 1, 20):
            return None
        return Message(Event.REMINDER, wait.id, wait.subject, wait.asked, number=told.times, link=link)

    def sent(self, channel: str, message: Message) -> None:
        """Take note that a channel was told."""
        wait = self._waits.get(message.id)
        if wait is None:
            return
        told = wait.told(channel)
        told.failures, told.not_now, told.telling = 0, None, False
        if message.event is Event.RESOLVED:
            del wait.by_channel[channel]
            if not wait.known_to_anybody:
                del self._waits[message.id]
        else:
            told.times += 1
            told.last = self._clock()

    def failed(self, channel: str, message: Message, most: float) -> None:
        """Take note that it was not, and is tried again, each time after twice as long, up to ``most`` s."""
        wait = self._waits.get(message.id)
        if wait is not None:
            told = wait.told(channel)
            told.failures, told.telling = told.failures + 1, False
            seconds = min(_RETRY_FIRST * 2.0 ** min(told.failures - 1, 20), most)
            now = self._clock()
            told.not_now = now, now + timedelta(seconds=seconds)

    def __iter__(self) -> Iterator[Wait]:
        return iter(self._waits.values())


def _unsure(live: LiveRun) -> bool:
    """Whether it can't be told now who a run waits for: its lease has lapsed, or it is still being taken up."""
    return not live.stored.phase.final and (live.lease() is not None or live.plan is None)


def _became(one: Asked, live: LiveRun) -> str:
    """Say what became of a wait, by what people said and what is stored."""
    control, status = live.execution.spec.control, live.stored
    if one.asks is Asks.REMEDY:
        for said in control.interventions:
            if (said.step, said.attempt) == (one.step, one.attempt):
                return _said(said.remedy.value, said.by, said.reason)
    else:
        for answer in control.approvals:
            if answer.step == one.step:
                done = "Approved" if answer.decision.value == "Approve" else "Denied"
                return _said(done, answer.by, answer.reason)
        record = next((record for record in status.steps if record.name == one.step), None)
        if record is not None and record.phase.final:
            return _end_of(record)
    if control.cancel or live.deleting:
        return "The run was cancelled." if control.cancel else "The run is being deleted."
    if live.gone:
        return _OVER
    if status.phase.final:
        return f"The run has ended: {status.phase.value}{f', {status.reason}' if status.reason else ''}."
    return "The run waits for this no more."


def _said(what: str, by: str, reason: str) -> str:
    return f"{what} by {by}" + (f": {reason}" if reason else ".")


def _end_of(record: StepStatus) -> str:
    if record.reason == Reason.APPROVAL_EXPIRED:
        return f"Nobody answered in time: {record.message or record.reason}."
    phase = record.phase.value if record.phase is not StepPhase.SKIPPED else "Not asked any more"
    return f"{phase}{f': {record.message or record.reason}' if record.message or record.reason else ''}."


def _entry(wait: Wait) -> dict[str, Any]:
    subject, one = wait.subject, wait.asked
    return {
        "run": [subject.namespace, subject.run, subject.uid],
        "workflow": subject.workflow,
        "target": subject.target,
        "asks": one.asks.value,
        "step": one.step,
        "attempt": one.attempt,
        "since": format_time(one.since),
        "until": format_time(one.until),
        "told": {
            name: {"times": told.times, "last": format_time(told.last)}
            for name, told in wait.by_channel.items()
            if told.times and told.last is not None
        },
    }


def _told_in(entry: Mapping[str, Any]) -> dict[str, _Told]:
    return {
        name: _Told(int(one["times"]), datetime.fromisoformat(one["last"]))
        for name, one in entry["told"].items()
    }


def _wait_of(key: str, entry: Mapping[str, Any]) -> Wait:
    namespace, name, uid = entry["run"]
    one = Asked(
        Asks(entry["asks"]),
        entry["step"],
        int(entry["attempt"]),
        "",
        "",
        datetime.fromisoformat(entry["since"]),
        datetime.fromisoformat(entry["until"]),
        (),
    )
    subject = Subject(namespace, name, uid, entry["workflow"], entry["target"])
    return Wait(key, subject, one, by_channel=_told_in(entry))


def _readable(key: str, entry: dict[str, Any]) -> bool:
    """Whether an entry is one: its file may be another version's, or damaged."""
    try:
        _wait_of(key, entry)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True
