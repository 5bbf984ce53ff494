"""What is run: Deployments, Workflows that change them, runs; and the peer's objects for the same changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Manifest = dict[str, Any]
NAMESPACE = "bench"
ACCOUNT = "kubernaut-repair"
PEER_GROUP = "bench.example.org"
RUNS = f"/apis/kubernaut.io/v1alpha1/namespaces/{NAMESPACE}/workflowexecutions"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
FINALIZER = "kubernaut.io/mirror"


class Change(StrEnum):
    """How a step changes its Deployment.

    SCALE sets ``spec.replicas`` of a paused Deployment, which has no ReplicaSet and so no pods: one read and one
    patch for us. ANNOTATE writes an annotation of a Deployment of no replicas; the deployment controller copies it
    to the ReplicaSet, and our action sends each patch as a dry run first.
    """

    SCALE = "scale"
    ANNOTATE = "annotate"


@dataclass(frozen=True)
class Shape:
    """A Workflow of sequential steps, each of which changes the run's Deployment."""

    steps: int
    change: Change = Change.SCALE
    outputs: bool = False
    ttl_seconds: int = 86_400

    @property
    def name(self) -> str:
        return f"{self.change}-{self.steps}{'-outputs' if self.outputs else ''}-{self.ttl_seconds}"

    def workflow(self) -> Manifest:
        """Return the Workflow."""
        steps = [self._step(at) for at in range(self.steps)]
        return workflow(self.name, steps, ttlSecondsAfterFinished=self.ttl_seconds)

    def _step(self, at: int) -> Manifest:
        step: Manifest = {"name": f"s{at}", **({"dependsOn": [f"s{at - 1}"]} if at else {})}
        if self.change is Change.ANNOTATE:
            patch = {"metadata": {"annotations": {f"bench/s{at}": "=run.name"}}}
            return {**step, "action": "patch_resource", "with": {**_TARGET, "patch": patch}}
        how: Manifest = {"delta": 1}
        if self.outputs and at:
            how = {"replicas": f"=steps.s{at - 1}.outputs.replicas + 1"}
        return {
            **step,
            "action": "scale_deployment",
            "with": {
                "name": "=params.deployment",
                "autoscaler": "Ignore",
                "maxReplicas": 10_000,
                **how,
            },
        }

    def run(self, name: str, deployment: str) -> Manifest:
        """Return a run."""
        return run(name, self.name, deployment)


_TARGET: Manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"}


def workflow(name: str, steps: list[Manifest], **spec: Any) -> Manifest:
    """Return a Workflow on the Deployment that a run names."""
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "parameters": [{"name": "deployment", "required": True}],
            "target": _TARGET,
            "steps": steps,
            **spec,
        },
    }


def run(name: str, workflow_name: str, deployment: str) -> Manifest:
    """Return a run, with the finalizer from birth as the command line makes it."""
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": [FINALIZER]},
        "spec": {
            "workflowRef": {"name": workflow_name},
            "parameters": [{"name": "deployment", "value": deployment}],
        },
    }


#: Deployments of the peer and of plain requests: who sets at random what one of our runs had found undoes its change
OTHERS = "other-"


def target(change: Change, number: int, whose: str = "") -> str:
    """Return the name of a Deployment that is changed this way."""
    return f"{whose}{change}-{number}"


def one_more(seen: Manifest) -> Manifest:
    """Return the patch that gives a Deployment, as it was read, one replica more."""
    meta = {"resourceVersion": seen["metadata"]["resourceVersion"]}
    return {"metadata": meta, "spec": {"replicas": seen["spec"]["replicas"] + 1}}


def deployment(change: Change, number: int, whose: str = "") -> Manifest:
    """Return a Deployment that makes no pods: its object is what matters here."""
    name = target(change, number, whose)
    container = {"name": "app", "image": "kubernaut.local/busybox:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 0,
            "paused": change is Change.SCALE,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


class Peer(StrEnum):
    """How the peer runs several steps: one stateful handler each, or all in one."""

    STEPWISE = "stepwiseruns"
    AT_ONCE = "atonceruns"

    @property
    def path(self) -> str:
        return f"/apis/{PEER_GROUP}/v1/namespaces/{NAMESPACE}/{self}"

    def run(self, name: str, deployment: str, change: Change, steps: int, first: int) -> Manifest:
        """Return a run of the peer; ``first`` is a number of replicas that differs from what is there."""
        return {
            "apiVersion": f"{PEER_GROUP}/v1",
            "kind": _PEER_KINDS[self],
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"deployment": deployment, "change": str(change), "steps": steps, "first": first},
        }

    def crd(self) -> Manifest:
        """Return its CRD, with a status subresource and the phase selectable, as ours has."""
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        status = {**anything, "properties": {"phase": {"type": "string"}}}
        schema = {"type": "object", "properties": {"spec": anything, "status": status}}
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": ".status.phase"}],
        }
        kind = _PEER_KINDS[self]
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self}.{PEER_GROUP}"},
            "spec": {
                "group": PEER_GROUP,
                "scope": "Namespaced",
                "names": {"plural": str(self), "singular": kind.lower(), "kind": kind},
                "versions": [version],
            },
        }


class Storage(StrEnum):
    """Where the peer keeps what it has done and last seen.

    PLAIN is Kopf's own choice: annotations, beside the status that the operator's author writes, so two writes of
    the peer's object for each of the Deployment. STATUS is a tuning: all in the status, in one write.
    """

    PLAIN = "plain"
    STATUS = "status"


_PEER_KINDS = {Peer.STEPWISE: "StepwiseRun", Peer.AT_ONCE: "AtOnceRun"}
