"""What happened, by the API server's own word: its audit log, and the objects as they are in the end.

An effect is a 2xx by a Workflow's account that changed an object. Whose it was is told by the marker in the request,
what it did by how that marker differs from the one before; never by what the operator says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from faults.shapes.model import STARTED, Effects, Manifest, Shape
from faults.witness import Act, Testimony

#: marks that are no step's: the operator seals an object against requests that are still on their way
_SEAL = "~"


@dataclass(frozen=True)
class Trial:
    """One run of a shape."""

    shape: Shape
    name: str
    uid: str
    #: names of the pods it is given, and the steps that remove them
    pods: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Findings:
    """What was found wrong, over many runs."""

    runs: int = 0
    effects: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    unfenced: int = 0
    ended_otherwise: int = 0
    details: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember one finding, in words."""
        self.details.append(text)

    def add(self, other: Findings) -> None:
        """Count what was found elsewhere, too."""
        for name in ("runs", "effects", "lost", "doubled", "stuck", "unfenced", "ended_otherwise"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.details += other.details

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.unfenced or self.ended_otherwise)

    def report(self) -> dict[str, object]:
        """Return figures for a JSON file."""
        return {
            "runs": self.runs,
            "effects": self.effects,
            "lost": self.lost,
            "doubled": self.doubled,
            "stuck": self.stuck,
            "mutating_requests_without_precondition": self.unfenced,
            "runs_that_ended_otherwise": self.ended_otherwise,
            "details": self.details[:40],
        }


def effects_of(acts: Iterable[Act], trials: Iterable[Trial]) -> dict[str, Effects]:
    """Return what each run did, by its name; what can't be told to a step counts for step ``?``."""
    by_uid = {trial.uid: trial for trial in trials}
    by_pod = {pod: (trial, step) for trial in by_uid.values() for step, pod in trial.pods.items()}
    targets = {trial.name: trial for trial in by_uid.values()}
    found: dict[str, Effects] = defaultdict(Counter)
    marks: dict[str, Manifest] = defaultdict(dict)
    gone: set[str] = set()
    for act in sorted(acts, key=lambda act: act.after):
        if act.resource == "pods":
            # Asked again to go, a pod that goes already does not change: its name counts once.
            if act.name in by_pod:
                trial, step = by_pod.pop(act.name)
                gone.add(act.name)
                found[trial.name][step, "do"] += 1
            elif act.name not in gone:
                owner = act.name.rsplit("-", 2)[0]
                found[owner]["?", "do"] += 1
        elif act.started is not None and act.started[1] in by_uid:
            # What the started run does counts for the one that started it.
            uid, parent, step = act.started
            by_uid[uid] = by_uid[parent]
            found[by_uid[parent].name][step, STARTED] += 1
        elif act.created is not None and act.created[0] in by_uid:
            uid, step = act.created
            found[by_uid[uid].name][step, "do"] += 1
        elif act.name in targets and act.changed:
            told = _marked(act, by_uid, marks)
            if told and all(step.startswith(_SEAL) for step, _ in told):
                continue
            for key in told or [("?", "do")]:
                found[targets[act.name].name][key] += 1
    return found


def _marked(act: Act, trials: Mapping[str, Trial], marks: dict[str, Manifest]) -> list[tuple[str, str]]:
    """Return which steps' marks a request wrote anew: a mark that is put once more with the same content too, where
    the rest of the request changes something."""
    told: list[tuple[str, str]] = []
    for uid, now in act.marks.items():
        if uid not in trials:
            continue
        before = marks[uid]
        told += [
            (step, "undo" if mark["undone"] else "do")
            for step, mark in now.items()
            if mark != before.get(step)
        ]
        marks[uid] = {**before, **now}
    return told


def judge(
    trials: Iterable[Trial],
    runs: Mapping[str, Manifest],
    deployments: Mapping[str, Manifest],
    seen: Testimony,
    findings: Findings,
) -> None:
    """Compare what happened with what each run's shape must do."""
    trials = list(trials)
    done = effects_of(seen.acts, trials)
    for trial in trials:
        findings.runs += 1
        status = (runs.get(trial.name) or {}).get("status") or {}
        shape, effects = trial.shape, done.get(trial.name, Counter())
        findings.effects += effects.total()
        if not status.get("finishedAt"):
            findings.stuck += 1
            findings.note(f"{trial.name} is stuck: {_gist(status)}")
            continue
        lost, doubled = _expected(shape, effects) - effects, effects - shape.effects
        findings.lost += lost.total()
        findings.doubled += doubled.total()
        if lost or doubled:
            findings.note(f"{trial.name}: lost {dict(lost)}, doubled {dict(doubled)}: {_gist(status)}")
        wrong = _otherwise(shape, status, deployments[trial.name], bool(effects))
        if wrong:
            findings.ended_otherwise += 1
            findings.note(
                f"{trial.name} ended otherwise: {'; '.join(wrong)}: {dict(effects)} {_gist(status)}"
            )
    for what in seen.unfenced:
        findings.unfenced += 1
        findings.note(f"no precondition: {what}")
    seen.unfenced.clear()
    uids = {trial.uid for trial in trials}
    started = {act.name for act in seen.acts if act.started is not None and act.started[1] in uids}
    made = {act.name for act in seen.acts if act.created is not None and act.created[0] in uids}
    seen.forget({trial.name for trial in trials} | started | made)


def _expected(shape: Shape, effects: Effects) -> Effects:
    """Return what a run must have done; of one that races with time, to undo what it did."""
    if not shape.races:
        return shape.effects
    return Counter((step, "undo") for step, what in effects if what == "do")


def _otherwise(shape: Shape, status: Manifest, deployment: Manifest, acted: bool) -> list[str]:
    spec, meta = deployment["spec"], deployment["metadata"]
    container = spec["template"]["spec"]["containers"][0]
    annotations = {k: v for k, v in meta.get("annotations", {}).items() if k.startswith("faults/")}
    verdict = shape.verdict if acted or not shape.races else "NotFixed"
    compared = {
        "phase": (shape.phase, status.get("phase")),
        "verdict": (verdict, status.get("verdict")),
        "replicas": (shape.replicas, spec["replicas"]),
        "memory": (shape.memory, container["resources"]["limits"]["memory"]),
        "annotations": (dict(shape.annotations), annotations),
    }
    return [f"{name} is {is_}, not {want}" for name, (want, is_) in compared.items() if want != is_]


def _gist(status: Manifest) -> str:
    steps = [f"{s['name']} {s.get('phase')} {s.get('reason', '')}".strip() for s in status.get("steps", [])]
    told = status.get("message") or ""
    return f"{status.get('phase')}/{status.get('verdict')} [{', '.join(steps)}] {told}"
