"""Which past runs would have gone otherwise: one after the other, in the order in which they began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.api.reasons import GUARD_REASONS, Reason
from kubernaut.api.workflow import Lifecycle, WorkflowSpec
from kubernaut.core.compiling import compile_plan
from kubernaut.core.content import content_hash
from kubernaut.core.errors import StepError
from kubernaut.core.expressions import Scope
from kubernaut.core.guards.deciding import Subject
from kubernaut.core.guards.levels import Refusal
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import Catalogue, Plan, PlanInvalid
from kubernaut.core.redacting import HIDDEN
from kubernaut.history.records import RunRecord
from kubernaut.replaying import comparing, guarding
from kubernaut.replaying.guarding import SLACK, Admission, Entry, Timeline
from kubernaut.replaying.playing import Played, Player
from kubernaut.replaying.recalling import Stage, remembering
from kubernaut.replaying.recorded import Difference, Ending, Recorded, Result, Unrecorded
from kubernaut.replaying.refused import of_refused

SAME: Final = "Same"
OTHERWISE: Final = "Otherwise"
UNKNOWN: Final = "Unknown"
_EARLIER_VERSION: Final = (
    "the content of its Workflow: the version that stored it did not keep that, or a secret was hidden in it"
)


@dataclass(frozen=True, slots=True)
class Content:
    """A content of a Workflow, compiled; ``asking`` is the same with expressions that ask the record."""

    digest: str
    plan: Plan
    asking: Plan


class Replay:
    """Replays runs of one Workflow under a new content; runs are given in the order in which they began.

    Args:
        spec: the new content; it has to be one that compiles.
    """

    def __init__(self, workflow: str, namespace: str, spec: WorkflowSpec, catalogue: Catalogue) -> None:
        self._workflow, self._catalogue = workflow, catalogue
        self._stage = Stage()
        self.new = self._content(spec)
        keep = guarding.keep_for(self.new.plan, workflow, namespace) * 2
        self._then, self._now = Timeline(keep), Timeline(keep)
        self._targets: dict[tuple[str, str], str] = {}

    def content(self, digest: str, kept: Mapping[str, Any] | None) -> Content | None:
        """Return a content as it is kept, compiled; None where it was not kept whole, or compiles no more."""
        if digest == self.new.digest:
            return self.new
        if kept is None:
            return None
        try:
            spec = WorkflowSpec.from_wire(kept)
            return self._content(spec) if content_hash(spec) == digest else None
        except (ValueError, PlanInvalid):
            return None

    def _content(self, spec: WorkflowSpec) -> Content:
        plan = compile_plan(spec, self._catalogue)
        return Content(content_hash(spec), plan, remembering(plan, self._stage))

    def skip(self, run: RunRecord) -> None:
        """Take note of a run that is not asked about, for guards of later ones."""
        if run.target_uid is None:
            return
        self._seen(run)
        past = guarding.entry(run, run.target_uid, (run.facts or {}).get("highRisk", ()))
        told = past.verdict == run.verdict
        self._then.add(Entry(past, sure=told))
        self._now.add(Entry(past, sure=told))

    def one(self, run: RunRecord, old: Content | None) -> Result:
        """Say of one run whether it would have gone otherwise."""
        ending = Ending(run.phase, run.verdict, run.reason)
        if run.target_uid is None:
            return self._refused(run, ending)
        self._seen(run)
        played: Played | None = None
        try:
            params = self._params(run)
            if isinstance(params, Difference):
                result = Result(run, OTHERWISE, ending, _declined(Reason.INVALID_PARAMETERS), (params,))
            elif old is None or run.facts is None:
                raise Unrecorded(_EARLIER_VERSION)
            else:
                result, played = self._admitted(Recorded(run, old.plan), old, params)
        except Unrecorded as missing:
            result = Result(run, UNKNOWN, ending, unknown=str(missing))
        except ValueError:
            # Another version may have stored words that this one does not know.
            result = Result(run, UNKNOWN, ending, unknown="its record as this version reads it")
        self._note(run, result, played)
        return result

    # Refused then

    def _refused(self, run: RunRecord, ending: Ending) -> Result:
        plan = self.new.plan
        try:
            target = self._targets.get((plan.spec.target.kind, self._target_name(run)), "")
        except StepError:
            target = ""
        who = guarding.subject(run, plan, target)
        levels = guarding.own(plan, self._workflow)

        def admit() -> Admission:
            found = guarding.admit(who, levels, self._now, run.created_at, _ready(run), None)
            self._sure(who, found, run.created_at, _ready(run))
            return found

        try:
            difference = of_refused(run, plan, self._target_name, admit)
        except Unrecorded as missing:
            return Result(run, UNKNOWN, ending, unknown=str(missing))
        if difference is None:
            return Result(run, SAME, ending, ending)
        if difference.kind == "Admitted" and run.started_at is not None:
            began = replace(run, finished_at=None, phase="Running", verdict=None)
            self._now.add(Entry(guarding.entry(began, target, ()), sure=False))
            return Result(run, OTHERWISE, ending, None, (difference,), "what it would have done")
        return Result(run, OTHERWISE, ending, None, (difference,))

    # Begun then

    def _admitted(
        self, recorded: Recorded, old: Content, params: Mapping[str, Any]
    ) -> tuple[Result, Played | None]:
        run, new = recorded.run, self.new
        if recorded.facts.get("migrated"):
            raise Unrecorded("which steps followed which revision: the run moved to another one")
        then, base = self._baseline(recorded, old)
        ending = comparing.was(recorded)
        if found := self._otherwise_begun(recorded):
            return Result(run, OTHERWISE, ending, None, (found,), "what it would have done there"), None
        if old.digest != new.digest:
            self._comparable(recorded, old)
        who = guarding.subject(run, new.plan, run.target_uid or "")
        admission, delayed = self._begin(recorded, old, who, then)
        if admission.refusal is not None:
            return Result(run, OTHERWISE, ending, _declined(admission.refusal.reason), tuple(delayed)), None
        if old.digest == new.digest and not delayed:
            # It has just been played.
            return Result(run, SAME, ending, ending), base
        played = self._play(
            recorded, new, params, admission.began, who, self._now, base, self._blind(recorded, old)
        )
        found_all = _unique(
            [
                *delayed,
                *played.differences,
                *comparing.differences(recorded, played),
                *comparing.declared(recorded, new.plan, played),
            ]
        )
        verdict = OTHERWISE if found_all else UNKNOWN if played.unknown else SAME
        return Result(run, verdict, ending, comparing.would(played), found_all, played.unknown), played

    def _baseline(self, recorded: Recorded, old: Content) -> tuple[Admission, Played]:
        """Replay a run under the content that it followed: what does not come to what is recorded proves nothing.

        Raises:
            Unrecorded: it does not.
        """
        run = recorded.run
        try:
            params = parse_parameters(old.plan.spec, run.parameters)
        except StepError as error:
            raise Unrecorded(f"its parameters: {error}") from None
        who = guarding.subject(run, old.plan, run.target_uid or "")
        levels = guarding.own(old.plan, self._workflow)
        admission = guarding.admit(who, levels, self._then, run.created_at, _ready(run), None)
        if admission.refusal is not None or admission.began > recorded.began + SLACK:
            told = (admission.refusal or admission.waited or Refusal(Reason.INTERNAL, "")).message
            raise Unrecorded(f"why guards let it begin: {told}")
        base = self._play(recorded, old, params, recorded.began, who, self._then, None, "")
        if base.unknown:
            raise Unrecorded(f"{base.unknown}, already under the content that it followed")
        found = [*base.differences, *comparing.differences(recorded, base)]
        if found:
            raise Unrecorded(f"why it went as it did: under the content that it followed {found[0].told}")
        return admission, base

    def _begin(
        self, recorded: Recorded, old: Content, who: Subject, then: Admission
    ) -> tuple[Admission, list[Difference]]:
        """Return when the run begins under the new guards, and what is otherwise in that."""
        run, began, levels = recorded.run, recorded.began, guarding.own(self.new.plan, self._workflow)
        held = then.began > _ready(run) and began - then.began <= SLACK
        # What else held it up is not known; where guards did, it was ready at once.
        ready = _ready(run) if held else began
        found = guarding.admit(who, levels, self._now, run.created_at, ready, None)
        self._sure(who, found, run.created_at, ready)
        if found.refusal is not None:
            reason = found.refusal.reason.value
            return found, [Difference("Refused", f"guards refuse it ({reason})", found.refusal.message)]
        if found.began > began + SLACK and found.waited is not None:
            what = f"guards have it begin later ({found.waited.reason.value})"
            return found, [Difference("BeginsLater", what, found.waited.message)]
        if found.began < began - SLACK:
            what = "guards let it begin earlier"
            told = f"{what}: {(began - found.began).total_seconds():.0f} s"
            return found, [Difference("BeginsEarlier", what, told)]
        return Admission(began), []

    def _sure(self, who: Subject, found: Admission, created: datetime, ready: datetime) -> None:
        """Demand that an admission does not hang on runs of which is not known what they came to."""
        unsure = self._now.unsure()
        if not unsure:
            return
        levels = guarding.own(self.new.plan, self._workflow)
        other = guarding.admit(who, levels, self._now, created, ready, True)
        alike = (other.refusal is None) == (found.refusal is None) and abs(other.began - found.began) <= SLACK
        if not alike:
            raise Unrecorded(f"what guards would have said: it hangs on what became of run {unsure}")

    def _otherwise_begun(self, recorded: Recorded) -> Difference | None:
        run, spec = recorded.run, self.new.plan.spec
        if spec.lifecycle is Lifecycle.DRAFT:
            return Difference(
                "Refused", "the Workflow is a draft", "the Workflow is a draft; only dry runs start"
            )
        try:
            name = self._target_name(run)
        except StepError as error:
            return Difference("Refused", "the name of its target can't be had", str(error))
        if (spec.target.kind, name) != (run.target_kind, run.target_name):
            told = f"{spec.target.kind} {name} and not {run.target_kind} {run.target_name}"
            return Difference("TargetChanged", "its target is another one", f"its target is {told}")
        return None

    def _comparable(self, recorded: Recorded, old: Content) -> None:
        """Demand that nothing is declared otherwise that would need facts about other runs."""
        run, before, now = recorded.run, old.plan.spec, self.new.plan.spec
        waited = recorded.began - run.created_at > SLACK
        if before.concurrency_policy != now.concurrency_policy and (waited or run.reason == Reason.REPLACED):
            raise Unrecorded("whether another run held its target (concurrencyPolicy)")
        if run.retry_from is not None:
            here = {step.name: step.spec for step in self.new.plan.steps}
            for step in old.plan.steps:
                record = recorded.steps.get(step.name)
                taken = record is not None and record.reason == Reason.CARRIED_OVER
                if taken and here.get(step.name) != step.spec:
                    raise Unrecorded(
                        f"what step {step.name} would have done, which was taken over from another run"
                    )

    def _blind(self, recorded: Recorded, old: Content) -> str:
        account = self.new.plan.spec.service_account_name
        if account != recorded.run.service_account:
            return f"what account {account} may do"
        if self.new.plan.spec.target.api_version != old.plan.spec.target.api_version:
            return "the target in another version of its API"
        return guarding.blind(old.plan.spec.guards, self.new.plan.spec.guards)

    def _play(
        self,
        recorded: Recorded,
        content: Content,
        params: Mapping[str, Any],
        began: datetime,
        who: Subject,
        timeline: Timeline,
        base: Played | None,
        blind: str,
    ) -> Played:
        def guards(now: datetime, acted: bool) -> Any:
            return guarding.within(recorded, content.plan, who, timeline, began, now, acted)

        player = Player(recorded, content.asking, params, began, guards, base, blind)
        self._stage.answers = player
        try:
            return player.play()
        finally:
            self._stage.answers = None

    # Parameters and targets

    def _params(self, run: RunRecord) -> Mapping[str, Any] | Difference:
        try:
            return parse_parameters(self.new.plan.spec, run.parameters)
        except StepError as error:
            if HIDDEN in run.parameters.values():
                raise Unrecorded("the value of a parameter, which is not kept") from None
            return Difference("Refused", "its parameters are refused", str(error))

    def _target_name(self, run: RunRecord) -> str:
        params = parse_parameters(self.new.plan.spec, run.parameters)
        place = {"uid": run.uid, "namespace": run.namespace, "name": run.name}
        return str(self.new.plan.target_name.render(Scope(params, {}, place)))

    def _seen(self, run: RunRecord) -> None:
        if len(self._targets) > 100_000:
            self._targets.clear()
        self._targets[run.target_kind or "", run.target_name or ""] = run.target_uid or ""

    def _note(self, run: RunRecord, result: Result, played: Played | None) -> None:
        """Take note of what later runs meet."""
        past = guarding.entry(run, run.target_uid or "", (run.facts or {}).get("highRisk", ()))
        self._then.add(Entry(past))
        if result.verdict == SAME:
            self._now.add(Entry(past))
        elif result.would is not None and played is not None:
            status = played.status
            began, ended = status.started_at or past.started, status.finished_at
            risky = tuple(status.high_risk or ())
            later = began > past.started + SLACK
            changed = replace(
                past, started=began, ended=ended, phase=status.phase, verdict=status.verdict, risky=risky
            )
            # Others may have come between while it waited.
            self._now.add(Entry(changed, sure=not later))
        elif result.would is None:
            self._now.add(Entry(replace(past, ended=None, verdict=None), sure=False))


def _ready(run: RunRecord) -> datetime:
    """Return when a run was looked at first: creationTimestamp is cut to seconds."""
    later = run.created_at.replace(microsecond=0) + timedelta(seconds=1)
    return later if run.started_at is None else min(later, run.started_at)


def _declined(reason: Reason) -> Ending:
    guard = reason in GUARD_REASONS
    return Ending("Failed", "Declined" if guard else "NotFixed", reason.value)


def _unique(found: list[Difference]) -> tuple[Difference, ...]:
    kept: dict[tuple[str, str], Difference] = {}
    for one in found:
        key = (one.kind, one.what.split(" (")[0])
        kept.setdefault(key, one)
    return tuple(kept.values())
