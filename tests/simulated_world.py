"""A model of a cluster: what exists outside of the operator, and outlives it.

It has one level per field, a set of pods, runs of other Workflows, and Jobs. A marked step sets a field and leaves
its mark in the same act; where the field is as wanted already, it leaves none. A pinned step removes the pod it
pinned. A read-only step gives the level of a field. A subflow creates a run under a fixed name, and other steps Jobs.
Nothing here looks at a clock or draws a number: the test says what happens next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from builders import TARGET_UID
from kubernaut.api.reasons import Reason
from kubernaut.core.action import Awaits, Idempotency
from kubernaut.core.run import Act, Outcome, OutcomeKind, Seen, Watched

# How an attempt may end though it had its effect.
_MAY_HAVE_ACTED = (Reason.INTERNAL, Reason.STEP_TIMEOUT)
_LOOKS_UNTIL_OVER = 2


@dataclass
class Child:
    """A run that a subflow started: it ends after it was looked at some times, or when it is cancelled."""

    uid: str
    ends: str
    looks: int = 0
    cancelled: bool = False

    def seen(self) -> Seen:
        self.looks += 1
        over = self.cancelled or self.looks >= _LOOKS_UNTIL_OVER
        phase = "Cancelled" if self.cancelled else self.ends if over else "Running"
        status: dict[str, Any] = {"phase": phase, "progress": "2/2" if over else "1/2"}
        if phase == "Succeeded":
            status |= {"verdict": "Remediated", "outputs": {"level": 2}}
        return Seen({"metadata": {"uid": self.uid}, "status": status})


@dataclass
class Job:
    """A Job that a step created: it ends after it was looked at some times. A stub only takes its name.

    ``doubted``: no answer said that it was created.
    """

    uid: str
    fails: bool = False
    stub: bool = False
    looks: int = 0
    stopped: bool = False
    doubted: bool = False

    @property
    def over(self) -> bool:
        return self.looks >= _LOOKS_UNTIL_OVER

    def seen(self) -> Seen:
        self.looks += not self.stopped
        return Seen(None if self.stopped else {"metadata": {"uid": self.uid}, "status": {"phase": self.over}})


@dataclass
class World:
    """What exists outside of the operator, and outlives it.

    Attributes:
        fields: by step, the field it sets; one that is not named has a field of its own.
        troubles: by the last part of a step's name, how its attempts end before the one that works: without their
            effect, or (an unexpected error, a timeout) with it.
        objects: how many objects a selection finds.
        versions: by field, how often it (or its fence) was written.
    """

    fields: dict[str, str]
    troubles: dict[str, list[Reason]]
    objects: int = 2
    levels: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    fenced: set[str] = field(default_factory=set)
    children: dict[str, Child] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    landed: Counter[str] = field(default_factory=Counter)
    restored: Counter[str] = field(default_factory=Counter)

    def field_of(self, name: str) -> str:
        return self.fields.get(name.split("/")[0], name)

    def perform(self, act: Act) -> Outcome:
        """Perform an act as a fenced action does, and return its outcome."""
        name, action = act.step.name, act.step.action
        assert action is not None
        if isinstance(action, Awaits):
            return self._job(act)
        if act.fence:
            return self._take_name(act) if action.idempotency is Idempotency.NAMED else self._fence(name)
        if act.undo:
            return self._cancel(act) if action.idempotency is Idempotency.NAMED else self._undo(name)
        if act.prepare:
            return Outcome(OutcomeKind.PREPARED, intent={"pod": self._pod_of(name)})
        if action.idempotency is Idempotency.MARKED and name in self.marks:
            return Outcome(
                OutcomeKind.DONE, "marked", acted=True, changed=("level",), outputs=self._outputs(name)
            )
        if action.idempotency is Idempotency.PINNED and act.intent and act.intent["pod"] in self.removed:
            return Outcome(OutcomeKind.DONE, "gone", acted=True, changed=("pod",))
        if action.idempotency is Idempotency.NAMED:
            return self._start(act)
        trouble = self.trouble(name, act.attempt)
        if trouble is not None and trouble not in _MAY_HAVE_ACTED:
            return Outcome(OutcomeKind.FAILED, "no", trouble)
        outcome = self._act(name, action.idempotency, act)
        return Outcome(OutcomeKind.FAILED, "oh", trouble) if trouble is not None else outcome

    def trouble(self, name: str, attempt: int) -> Reason | None:
        troubles = self.troubles.get(name.split("/")[-1], [])
        return troubles[attempt - 1] if attempt <= len(troubles) else None

    def _pod_of(self, name: str) -> str:
        return next(pod for at in range(20) if (pod := f"{name}-{at}") not in self.removed)

    def _act(self, name: str, kind: Idempotency, act: Act) -> Outcome:
        if "labelSelector" in act.parameters:
            items: list[JsonValue] = [{"name": f"pod-{at}", "uid": str(at)} for at in range(self.objects)]
            return Outcome(OutcomeKind.DONE, "selected", outputs={"items": items})
        if kind is Idempotency.READ_ONLY:
            return Outcome(OutcomeKind.DONE, "read", outputs=self._outputs(name))
        if kind is Idempotency.PINNED:
            assert act.intent is not None
            self.removed.add(str(act.intent["pod"]))
            self.landed[name] += 1
            return Outcome(OutcomeKind.DONE, "removed", acted=True, changed=("pod",))
        where, wanted = self.field_of(name), int(act.parameters.get("replicas", 1))
        if self.levels[where] == wanted:
            return Outcome(OutcomeKind.DONE, "as it should be", outputs=self._outputs(name))
        self.marks[name] = (where, self.levels[where])
        self.levels[where] = wanted
        self.versions[where] += 1
        self.landed[name] += 1
        return Outcome(OutcomeKind.DONE, "set", acted=True, changed=("level",), outputs=self._outputs(name))

    def _job(self, act: Act) -> Outcome:
        name = job_of(act)
        job = self.jobs.get(name)
        if act.undo:
            if job is None or job.stub or job.over or job.stopped:
                return Outcome(OutcomeKind.DONE, "nothing to stop")
            job.stopped = True
            return Outcome(OutcomeKind.DONE, "stopped", acted=True, changed=("job",))
        if act.intent is not None:
            assert job is not None
            return self._read(act, job)
        trouble = self.trouble(act.step.name, act.attempt)
        if job is None:
            job = self.jobs[name] = Job(f"uid-of-{name}", fails=trouble is not None, stub=act.fence)
            self.landed[name] += not act.fence
            if trouble in _MAY_HAVE_ACTED and not act.fence:
                job.doubted = True
                return Outcome(OutcomeKind.FAILED, "oh", trouble)
        if job.stub:
            if act.fence:
                return Outcome(OutcomeKind.DONE, "can't be created any more")
            return Outcome(OutcomeKind.FAILED, "somebody has the name", Reason.PRECONDITION_FAILED)
        return self._goes_on(name, job)

    @staticmethod
    def _goes_on(name: str, job: Job) -> Outcome:
        awaits: dict[str, JsonValue] = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job.uid}
        return Outcome(OutcomeKind.DONE, "begun", None, True, ("job",), awaits=awaits)

    def _read(self, act: Act, job: Job) -> Outcome:
        if job.stopped or (job.over and job.fails):
            return Outcome(OutcomeKind.FAILED, "exit code 1", Reason.JOB_FAILED, outputs={"level": 1})
        if not job.over:
            return self._goes_on(job_of(act), job)
        return Outcome(
            OutcomeKind.DONE, "exit code 0", None, True, ("job",), outputs=self._outputs(act.step.name)
        )

    def _start(self, act: Act) -> Outcome:
        name = str(act.parameters["name"])
        if name not in self.children:
            trouble = self.trouble(act.step.name, act.attempt)
            self.children[name] = Child(f"uid-of-{name}", "Failed" if trouble is not None else "Succeeded")
            self.landed[f"{act.step.name} {act.attempt}"] += 1
            if trouble in _MAY_HAVE_ACTED:
                return Outcome(OutcomeKind.FAILED, "oh", trouble)
        return Outcome(OutcomeKind.DONE, "started", outputs={"run": name, "uid": self.children[name].uid})

    def _take_name(self, act: Act) -> Outcome:
        name = str(act.parameters["name"])
        if name in self.children:
            return Outcome(OutcomeKind.DONE, "found", outputs={"run": name, "uid": self.children[name].uid})
        self.children[name] = Child(f"uid-of-{name}", "Cancelled", cancelled=True)
        return Outcome(OutcomeKind.DONE, "can't be started any more")

    def _cancel(self, act: Act) -> Outcome:
        child = self.children.get(str(act.parameters["name"]))
        if child is None or child.looks >= _LOOKS_UNTIL_OVER:
            return Outcome(OutcomeKind.DONE, "nothing to cancel")
        child.cancelled = True
        return Outcome(OutcomeKind.DONE, "being cancelled", acted=True)

    def _fence(self, name: str) -> Outcome:
        if name in self.marks:
            return Outcome(OutcomeKind.DONE, "found", acted=True, changed=("level",))
        if name not in self.fenced:
            self.fenced.add(name)
            self.versions[self.field_of(name)] += 1
        return Outcome(OutcomeKind.DONE, "fenced off")

    def _undo(self, name: str) -> Outcome:
        if name not in self.marks:
            return Outcome(OutcomeKind.DONE, "nothing to put back")
        if name not in self.undone:
            where, before = self.marks[name]
            self.levels[where] = before
            self.versions[where] += 1
            self.undone.add(name)
            self.restored[name] += 1
        return Outcome(OutcomeKind.DONE, "put back", acted=True, changed=("level",))

    def _outputs(self, name: str) -> dict[str, Any]:
        return {"level": self.levels[self.field_of(name)]}

    def target(self) -> Seen:
        meta = {"name": "web", "uid": TARGET_UID, "generation": 1}
        return Seen({"metadata": meta, "status": {"observedGeneration": 1, "level": self.levels["level"]}})

    def look(self, watched: Watched) -> Seen:
        found = self.children.get(watched.name) or self.jobs.get(watched.name)
        return found.seen() if found is not None else Seen(None)


def job_of(act: Act) -> str:
    """Return the name of the Job that an attempt of a step creates."""
    return f"{act.step.name} {act.attempt}"
