"""The shapes of Workflows that faults are tried on, each with the end and the effects it must have.

Their effects are of the kind that shows when it happens twice: memory is doubled, replicas are added, pods go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NAMESPACE = "faults"
ACCOUNT = "kubernaut-repair"
Manifest = dict[str, Any]
#: (step, "do" or "undo") -> how often
Effects = Counter[tuple[str, str]]


class Nudge(StrEnum):
    """What somebody outside does when a step is seen waiting."""

    LABEL = "label the Deployment"
    CANCEL = "cancel the run"
    APPROVE = "approve the step"


@dataclass(frozen=True)
class Shape:
    """One Workflow, and what must come of each of its runs.

    Attributes:
        effects: what the API server must have seen of each run.
        nudge: the step that waits for somebody outside, and what that one does.
        fields: what must be on the Deployment at the end, beside what all have.
        spec: more of the Workflow's spec.
        races: how far it comes is a matter of time; whatever of ``effects`` it did once, it must have undone once.
    """

    name: str
    steps: tuple[Manifest, ...]
    effects: Effects
    phase: str = "Succeeded"
    verdict: str = "Inconclusive"
    replicas: int = 0
    memory: str = "64Mi"
    annotations: Mapping[str, str] = field(default_factory=dict)
    begins_with: int = 0
    nudge: tuple[str, Nudge] | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    races: bool = False

    def workflow(self) -> Manifest:
        """Return the Workflow."""
        parameters = [{"name": "deployment", "required": True}]
        parameters += [{"name": name, "default": ""} for name in ("evicted", "deleted")]
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "serviceAccountName": ACCOUNT,
                "parameters": parameters,
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
                "steps": list(self.steps),
                **self.spec,
            },
        }

    def execution(self, name: str, parameters: Mapping[str, str]) -> Manifest:
        """Return a run against the Deployment of the same name."""
        given = [{"name": key, "value": value} for key, value in {"deployment": name, **parameters}.items()]
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"workflowRef": {"name": self.name}, "parameters": given},
        }

    def deployment(self, name: str) -> Manifest:
        """Return a Deployment for one run."""
        limits = {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}
        container = {"name": "app", "image": "kubernaut.local/busybox:1", "resources": limits}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
            "spec": {
                "replicas": self.begins_with,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
            },
        }


def _step(name: str, action: str, /, *needs: str, **parameters: Any) -> Manifest:
    return {"name": name, "action": action, "dependsOn": list(needs), "with": parameters}


def _grow(*needs: str) -> Manifest:
    return _step("grow", "increase_resources", *needs, name="=params.deployment", memoryFactor=2)


def _scale(*needs: str, name: str = "scale", by: int = 1) -> Manifest:
    return _step(name, "scale_deployment", *needs, name="=params.deployment", delta=by)


def _restart(*needs: str) -> Manifest:
    return _step("restart", "restart_deployment", *needs, name="=params.deployment")


def _note(name: str, /, *needs: str, value: str = "done", **more: Any) -> Manifest:
    patch = {"metadata": {"annotations": {f"faults/{name}": value}}}
    what = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}
    return _step(name, "patch_resource", *needs, **what, patch=patch, **more)


def _pod(name: str, parameter: str, method: str, *needs: str) -> Manifest:
    return _step(name, "restart_pod", *needs, name=f"=params.{parameter}", method=method)


def _gate(name: str, *needs: str, label: str = "go", **more: Any) -> Manifest:
    holds = f"has(target.metadata.labels) && '{label}' in target.metadata.labels"
    return {"name": name, "dependsOn": list(needs), "wait": {"until": holds}, "timeout": "5m", **more}


def _once(*steps: str, undone: tuple[str, ...] = ()) -> Effects:
    return Counter([*((step, "do") for step in steps), *((step, "undo") for step in undone)])


def _impossible(name: str, *needs: str) -> Manifest:
    return _note(name, *needs, expect={"metadata.labels.never": "yes"})


SHAPES: tuple[Shape, ...] = (
    Shape(
        "sequential",
        (_grow(), _restart("grow"), _scale("restart")),
        _once("grow", "restart", "scale"),
        replicas=1,
        memory="128Mi",
    ),
    Shape(
        "outputs",
        (
            _step("diagnose", "collect_diagnostics", logs=False, events=False),
            {**_scale("diagnose", by=2), "when": "steps.diagnose.outputs.desired == 0"},
            _note("note", "scale", value="='replicas ' + string(steps.scale.outputs.replicas)"),
            {
                **_scale("note", name="more", by=3),
                "when": "steps.scale.outputs.replicas == 2 && steps.scale.outputs.before == 0",
            },
        ),
        _once("scale", "note", "more"),
        replicas=5,
        annotations={"faults/note": "replicas 2"},
    ),
    Shape(
        "parallel",
        (_grow(), _scale(), _note("a"), _note("b"), _restart("grow", "scale", "a", "b")),
        _once("grow", "scale", "a", "b", "restart"),
        replicas=1,
        memory="128Mi",
        annotations={"faults/a": "done", "faults/b": "done"},
    ),
    Shape(
        "retry",
        (
            {
                **_note("try", expect={"metadata.labels.go": "yes"}),
                "retry": {"limit": 20, "backoff": {"initial": "200ms", "factor": 2, "max": "2s"}},
            },
            _scale("try"),
        ),
        _once("try", "scale"),
        replicas=1,
        annotations={"faults/try": "done"},
        nudge=("try", Nudge.LABEL),
    ),
    Shape(
        "rollback",
        (_grow(), _scale("grow"), _impossible("fail", "scale")),
        _once("grow", "scale", undone=("scale", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback"},
    ),
    Shape(
        "parallel-rollback",
        (_grow(), _note("a"), _note("b"), _impossible("fail", "grow", "a", "b")),
        _once("grow", "a", "b", undone=("b", "a", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback", "parallelism": 3},
    ),
    Shape(
        "timeout",
        (_grow(), _gate("gate", "grow", label="never", timeout="2s")),
        _once("grow", undone=("grow",)),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback"},
    ),
    Shape(
        "race",
        (
            _grow(),
            _note("a", "grow"),
            {"name": "pause", "dependsOn": ["a"], "wait": {"duration": "800ms"}},
            _scale("pause"),
            _note("b", "scale"),
            _gate("gate", "b", label="never"),
        ),
        _once("grow", "a", "scale", "b", undone=("b", "scale", "a", "grow")),
        phase="Failed",
        verdict="RolledBack",
        spec={"onFailure": "Rollback", "timeout": "1200ms"},
        races=True,
    ),
    Shape(
        "wait",
        (_scale(), _gate("gate", "scale"), _scale("gate", name="more", by=2)),
        _once("scale", "more"),
        replicas=3,
        nudge=("gate", Nudge.LABEL),
    ),
    Shape(
        "pods",
        (
            _pod("evict", "evicted", "evict"),
            _pod("delete", "deleted", "delete", "evict"),
            _note("note", "delete"),
        ),
        _once("evict", "delete", "note"),
        replicas=2,
        begins_with=2,
        annotations={"faults/note": "done"},
    ),
    Shape(
        "cancel",
        (_grow(), _gate("gate", "grow", label="never"), _scale("gate")),
        _once("grow"),
        phase="Cancelled",
        memory="128Mi",
        nudge=("gate", Nudge.CANCEL),
    ),
    Shape(
        "approval",
        (
            _scale(),
            {
                "name": "ask",
                "dependsOn": ["scale"],
                "approval": {"message": "Go on?", "expiresAfter": "10m"},
            },
            _grow("ask"),
        ),
        _once("scale", "grow"),
        replicas=1,
        memory="128Mi",
        nudge=("ask", Nudge.APPROVE),
    ),
    Shape(
        "verified",
        (_grow(), _note("note", "grow")),
        _once("grow", "note"),
        verdict="Remediated",
        memory="128Mi",
        annotations={"faults/note": "done"},
        spec={
            "verify": {
                "expect": ["target.metadata.annotations['faults/note'] == 'done'"],
                "stabilization": "1s",
            }
        },
    ),
)
