"""Objects in each state that Argo CD and Flux are to tell apart, as the real operator leaves them.

The names are those of ``unit/argocd/recording.py``, which brings about the same on a cluster in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from apiserver.rest import MERGE_PATCH, Client
from e2e.feed import Manifest
from e2e.test_features import features
from e2e.world import REPAIR, SWITCH, Place, Run, World, condition, steps, until, web
from unit.argocd.recording import VERIFY
from unit.engine.world import scale

SETTLE: Final[Manifest] = {"name": "settle", "wait": {"duration": "5m"}, "dependsOn": ["scale"]}
ASK: Final[Manifest] = {"name": "ask", "approval": {"message": "Scale web?", "expiresAfter": "30m"}}
WORKFLOW, RUN = "fix", "fix-x2k4z"
_READS: Final = {"verbs": ["get", "list", "watch"]}
#: all that scaling needs but the patch
_READER: Final = (
    {"apiGroups": ["apps"], "resources": ["deployments"], **_READS},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], **_READS},
)
#: what differs from cluster to cluster, or with each new field of a Workflow, and says nothing here
_OPAQUE: Final = ("contentHash", "snapshot", "resourceVersion", "managedFields", "creationTimestamp")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|uid-[a-z0-9-]+")


def comparable(value: Any, namespace: str) -> Any:
    """Return an object without what is another one each time."""
    if isinstance(value, dict):
        return {key: comparable(part, namespace) for key, part in value.items() if key not in _OPAQUE}
    if isinstance(value, list):
        return [comparable(part, namespace) for part in value]
    if not isinstance(value, str):
        return value
    text = _UID.sub("UID", _TIME.sub("TIME", value))
    return re.sub(rf"\b{namespace}\b", "shop", text).replace(REPAIR, "repair")


class Stage:
    """One namespace in which one state is brought about."""

    def __init__(self, world: World, ann: Client, *, stuck: bool = False, rights: bool = True) -> None:
        self.ann = ann
        self.place = world.place(rights=rights, deployment=not stuck)
        if stuck:
            self._stuck()
        if not rights:
            self._may_read()

    def _stuck(self) -> None:
        """Have a Deployment of which no pod is ever ready."""
        manifest = web_nowhere()
        self.place.create("Deployment", manifest)

    def _may_read(self) -> None:
        name = {"metadata": {"name": "reader"}}
        self.place.create("Role", {**name, "rules": list(_READER)})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        self.place.create("RoleBinding", {**name, "roleRef": reference, "subjects": [subject(self.place)]})
        asked = {"verb": "get", "group": "apps", "resource": "deployments"}
        self.place.await_right(self.place.account, asked, True)

    def workflow(self, *declared: Manifest, ready: bool = True, **spec: Any) -> Manifest:
        """Declare the Workflow, and return it once the operator has looked at it."""
        return self.place.workflow(*(declared or (scale("scale", 2),)), name=WORKFLOW, ready=ready, **spec)

    def run(self, client: Client | None = None, *, annotations: Manifest | None = None, **spec: Any) -> Run:
        """Start a run as ann, or as somebody else."""
        manifest = {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {
                "name": RUN,
                "namespace": self.place.namespace,
                "finalizers": ["kubernaut.io/mirror"],
                **({"annotations": annotations} if annotations else {}),
            },
            "spec": {"workflowRef": {"name": WORKFLOW}, "trigger": {"type": "Manual", "by": "ann"}, **spec},
        }
        answer = self.place.post("WorkflowExecution", manifest, client or self.ann)
        assert answer.ok, answer
        return Run(self.place, answer.body)

    def control(self, **control: Any) -> Manifest:
        """Change what may be changed of a run, as ann."""
        answer = self.place.patch("WorkflowExecution", RUN, {"spec": {"control": control}}, self.ann)
        assert answer.ok, answer
        body: Manifest = answer.body
        return body


def subject(place: Place) -> Manifest:
    """Return the account that repairs in a place, as a RoleBinding names it."""
    return {"kind": "ServiceAccount", "name": REPAIR, "namespace": place.namespace}


def web_nowhere() -> Manifest:
    """Return the Deployment ``web`` whose pods find no node."""
    manifest = web()
    manifest["spec"]["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}
    return manifest


Brought = tuple[str, Manifest]
Holds = Callable[[Manifest], bool]


def over(run: Manifest) -> bool:
    return "finishedAt" in run.get("status", {})


def step(name: str, phase: str) -> Holds:
    """Return whether a step has a phase, and the run says nothing newer than that it is under way."""
    return lambda run: steps(run.get("status", {})).get(name, {}).get("phase") == phase


def says(reason: str) -> Holds:
    """Return whether a run is not ready for a reason, and has seen what was asked of it last."""

    def holds(run: Manifest) -> bool:
        seen = run.get("status", {}).get("observedGeneration") == run["metadata"]["generation"]
        return seen and condition(run, "Ready").get("reason") == reason

    return holds


class Gallery:
    """Brings all about side by side, then looks at each."""

    def __init__(self, world: World, ann: Client) -> None:
        self.world = world
        self._ann = ann
        self.stages: dict[str, Stage] = {}

    def runs(self) -> Iterator[Brought]:
        """Yield each state of a run by its name, with the object and its namespace in it."""
        waits = self._begin()
        for name, (run, holds) in waits.items():
            found = run.wait(holds, f"it is {name}")
            yield name, found
            if name == "running":
                yield "changed", self.stages[name].control(paused=True)
            elif name == "inconclusive":
                yield "commented", self.stages[name].control(paused=True)
                yield "new", run.versions()[0]
        yield from self._while_stopped()

    def workflows(self) -> Iterator[Brought]:
        """Yield each state of a Workflow by its name, but for that of one that another manager undoes."""
        up, down = scale("up", 2, "down"), scale("down", 1, "up")
        yield "ready", self._declared("ready")
        seen = self.world.workflows.versions((self.stages["ready"].place.namespace, WORKFLOW))
        yield "new", seen[0]
        steps = {"spec": {"steps": [scale("scale", 3)]}}
        yield "changed", self.stages["ready"].place.change("Workflow", WORKFLOW, steps)
        yield "deprecated", self._declared("deprecated", lifecycle="Deprecated")
        yield "draft", self._declared("draft", lifecycle="Draft")
        yield "cycle", self._declared("cycle", up, down, ready=False)
        self._stage("without-rights", rights=False)
        yield "without-rights", self._looked_at("without-rights", "PermissionsReady", "False")
        features(self.world, rollback="off")
        try:
            self._declared("feature-off", onFailure="Rollback")
            yield "feature-off", self._looked_at("feature-off", "FeatureOff", "True")
        finally:
            features(self.world, rollback="on")

    def _declared(self, name: str, *declared: Manifest, ready: bool = True, **spec: Any) -> Manifest:
        stage = self.stages[name] = Stage(self.world, self._ann)
        stage.workflow(*declared, ready=ready, **spec)
        return (
            self._looked_at(name, "PermissionsReady", "True")
            if ready
            else stage.place.get("Workflow", WORKFLOW)
        )

    def _looked_at(self, name: str, kind: str, truth: str) -> Manifest:
        return self.world.workflows.wait(
            (self.stages[name].place.namespace, WORKFLOW),
            # Rights are looked up a moment after the content.
            lambda found: (
                condition(found, kind).get("status") == truth and bool(condition(found, "PermissionsReady"))
            ),
            f"{kind} of the Workflow is {truth}",
        )

    def _stage(
        self, name: str, *declared: Manifest, stuck: bool = False, rights: bool = True, **spec: Any
    ) -> Stage:
        stage = self.stages[name] = Stage(self.world, self._ann, stuck=stuck, rights=rights)
        stage.workflow(*declared, **spec)
        return stage

    def _begin(self) -> dict[str, tuple[Run, Holds]]:
        patient = {**VERIFY, "timeout": "10m"}
        impatient = {**VERIFY, "timeout": "5s"}
        further = scale("further", 3, "settle")
        begun = {
            "rolled-back": (
                self._stage("rolled-back", stuck=True, verify=impatient, onFailure="Rollback").run(),
                over,
            ),
            "running": (self._stage("running", scale("scale", 2), SETTLE).run(), step("settle", "Waiting")),
            "verifying": (self._stage("verifying", stuck=True, verify=patient).run(), says("Verifying")),
            "asking": (self._stage("asking", ASK, scale("scale", 2, "ask")).run(), step("ask", "Waiting")),
            "unsure": (self._stage("unsure", rights=False, onFailure="Manual").run(), says("NeedsPerson")),
            "failed": (self._stage("failed", rights=False).run(), over),
            "remediated": (self._stage("remediated", verify=VERIFY).run(), over),
            "inconclusive": (self._stage("inconclusive").run(), over),
            "cancelled": (self._stage("cancelled").run(control={"cancel": True}), over),
        }
        paused = self._stage("paused", scale("scale", 2), SETTLE, further).run()
        paused.wait(step("settle", "Waiting"), "it is under way")
        self.stages["paused"].control(paused=True)
        return {**begun, "paused": (paused, says("Paused"))}

    def _while_stopped(self) -> Iterator[Brought]:
        stopped, healed = self._stage("stopped"), self._stage("self-healed")
        data = {"acting": "stopped", "by": "ann", "reason": "too noisy", "since": "2026-01-01T00:00:00Z"}
        assert self.world.admin.request("PATCH", SWITCH, {"data": data}, content_type=MERGE_PATCH).ok
        try:
            until("acting is stopped", lambda: self.world.operator.metric("kubernaut_acting_stopped"))
            yield "stopped", stopped.run().wait(says("Stopped"), "it is stopped")
            yield "self-healed", healed_run(healed, self.world).wait(over, "it is over")
        finally:
            self.world.switch("on")


def healed_run(stage: Stage, world: World) -> Run:
    """Start the run of an alert that was resolved before it began, as the operator does."""
    since, ended = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:20.000000Z"
    target = stage.place.get("Deployment", "web")["metadata"]["uid"]
    alert = {
        "name": "KubePodCrashLooping",
        "fingerprint": "91f8c5d3a0b7e642",
        "startsAt": since,
        "labels": {"alertname": "KubePodCrashLooping", "deployment": "web"},
        "incident": "5f0c9d1be1a4",
        "episode": 1,
        "targetUid": target,
    }
    trigger = {"type": "Alert", "by": "alertmanager", "reason": "KubePodCrashLooping", "alert": alert}
    alerts = {
        "seenAt": ended,
        "overAt": ended,
        "cooldownSeconds": 600.0,
        "alerts": {alert["fingerprint"]: [since, ended]},
    }
    told = {"kubernaut.io/alerts": json.dumps(alerts, separators=(",", ":"))}
    with world.admin.account("kubernaut-system", "kubernaut-operator") as operator:
        return stage.run(operator, annotations=told, trigger=trigger)
