"""What a shape is: a Workflow, and the end and the effects that each of its runs must have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ACCOUNT = "kubernaut-repair"
Manifest = dict[str, Any]
#: what a step did that started a run
STARTED = "start"
#: (step, "do", "undo" or STARTED) -> how often
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
        replicas, memory, annotations: what must be on the Deployment at the end.
        begins_with: how many replicas it has at first.
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

    def workflow(self, namespace: str) -> Manifest:
        """Return the Workflow."""
        parameters = [{"name": "deployment", "required": True}]
        parameters += [{"name": name, "default": ""} for name in ("evicted", "deleted")]
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": self.name, "namespace": namespace},
            "spec": {
                "serviceAccountName": ACCOUNT,
                "parameters": parameters,
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
                "steps": list(self.steps),
                **self.spec,
            },
        }

    def execution(
        self, namespace: str, name: str, parameters: Mapping[str, str], labels: Mapping[str, str]
    ) -> Manifest:
        """Return a run against the Deployment of the same name."""
        given = [{"name": key, "value": value} for key, value in {"deployment": name, **parameters}.items()]
        return {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
            "spec": {"workflowRef": {"name": self.name}, "parameters": given},
        }

    def deployment(self, namespace: str, name: str, labels: Mapping[str, str]) -> Manifest:
        """Return a Deployment for one run."""
        limits = {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}
        container = {"name": "app", "image": "kubernaut.local/busybox:1", "resources": limits}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **labels}},
            "spec": {
                "replicas": self.begins_with,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
            },
        }
