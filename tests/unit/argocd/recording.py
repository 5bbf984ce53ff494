"""Objects as the operator and the analyst leave them, for Argo CD's and kstatus' eyes.

The statuses are written by the reconcilers themselves, at work on a cluster in memory whose clock stands where the
test puts it: none is made up, and each is the same whenever it is recorded.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.base import format_time
from kubernaut.api.crd import WORKFLOW, crd_manifest
from kubernaut.api.names import API_VERSION, FINALIZER
from kubernaut.api.reasons import Reason
from kubernaut.core.features import Feature
from kubernaut.core.permissions import Permissions
from kubernaut.core.ports import Manifest
from kubernaut.core.run import Hold
from kubernaut.engine.workflows import WorkflowReconciler
from kubernaut.patterns.publish import publish_off
from unit.engine.test_oscillating import again, undone
from unit.engine.world import EPOCH, World, scale
from unit.patterns.test_rounds import World as History

_SCHEMA: Final = crd_manifest(WORKFLOW)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
    "spec"
]
DEFAULTS: Final = {
    name: field["default"] for name, field in _SCHEMA["properties"].items() if "default" in field
}
Recorder = Callable[[], Awaitable[Manifest]]
READY: Final = "has(target.status.readyReplicas) && target.status.readyReplicas == target.spec.replicas"
VERIFY: Final = {"expect": [READY], "timeout": "1m"}


# Workflows


async def _workflow(*steps: Manifest, off: frozenset[Feature] = frozenset(), **spec: Any) -> Manifest:
    world = World()
    world.workflow(*(steps or (scale("scale", 2),)), **spec)
    return await _looked_at(world, off=off)


class _Rights:
    """Rights that are known, as the watch of rights tells them."""

    def __init__(self, granted: bool = True) -> None:
        self._known = Permissions(True, Reason.GRANTED, "ServiceAccount repair may do what the steps need.")
        if not granted:
            lacks = "ServiceAccount repair lacks patch deployments.apps web (scale)."
            fix = "Fix: kubernaut rbac fix -n shop | kubectl apply -f -"
            self._known = Permissions(False, Reason.MISSING_RIGHT, f"{lacks} {fix}")

    def look(self, manifest: Manifest, plan: object, told: bool) -> Permissions:
        return self._known

    def forget(self, uid: str) -> None:
        """Nothing is remembered."""


async def _looked_at(
    world: World, off: frozenset[Feature] = frozenset(), rights: _Rights | None = None
) -> Manifest:
    registry = ActionRegistry(installed=False)
    known: Any = rights or _Rights()
    reconciler = WorkflowReconciler(world.cluster, registry, world.clock, lambda: off, permissions=known)
    await reconciler.reconcile(world.cluster.find("Workflow", "fix"))
    return world.cluster.find("Workflow", "fix")


async def new_workflow() -> Manifest:
    """Not looked at by anybody."""
    world = World()
    world.workflow(scale("scale", 2))
    return world.cluster.find("Workflow", "fix")


async def changed_workflow() -> Manifest:
    """Changed after it was looked at."""
    world = World()
    world.workflow(scale("scale", 2))
    await _looked_at(world)
    world.cluster.edit("Workflow", "fix", {"spec": {"steps": [scale("scale", 3)]}})
    return world.cluster.find("Workflow", "fix")


async def workflow_without_rights() -> Manifest:
    """Its account lacks a right."""
    world = World()
    world.workflow(scale("scale", 2))
    return await _looked_at(world, rights=_Rights(granted=False))


async def undone_workflow() -> Manifest:
    """Another manager undid what its runs had changed."""
    world = World()
    await undone(world)
    await again(world)
    registry, known = ActionRegistry(installed=False), _Rights()
    reconciler = WorkflowReconciler(world.cluster, registry, world.clock, permissions=known)  # type: ignore[arg-type]
    assert reconciler.fights.see(world.cluster.find("WorkflowExecution", "later")) is not None
    await reconciler.reconcile(world.cluster.find("Workflow", "fix"))
    return world.cluster.find("Workflow", "fix")


# Runs


class _Run:
    """A run of a Workflow, reconciled as far as it goes by itself."""

    def __init__(self, *steps: Manifest, control: Manifest | None = None, **spec: Any) -> None:
        self.world = World()
        self.world.workflow(*(steps or (scale("scale", 2),)), **spec)
        self.spec: Manifest = {"workflowRef": {"name": "fix"}, "trigger": {"type": "Manual", "by": "ann"}}
        if control:
            self.spec["control"] = control
        self.meta: Manifest = {"name": "fix-x2k4z", "creationTimestamp": format_time(EPOCH)}

    async def go(self, rounds: int = 12) -> Manifest:
        cluster, name = self.world.cluster, self.meta["name"]
        if ("WorkflowExecution", "shop", name) not in cluster.objects:
            cluster.add(
                {
                    "apiVersion": API_VERSION,
                    "kind": "WorkflowExecution",
                    "metadata": {"finalizers": [FINALIZER], **self.meta},
                    "spec": self.spec,
                }
            )
        if rounds:
            await _looked_at(self.world)
        live, reconciler = self.world.take_up(name), self.world.reconciler()
        for _ in range(rounds):
            delay = await reconciler.reconcile(live)
            if live.stored.phase.final or (delay is not None and delay > 30):
                break
            await asyncio.sleep(min(delay or 0, 1))
        return cluster.find("WorkflowExecution", name)

    def may_not_patch(self) -> None:
        """Have the account lack a right, and the API server say so in its own words."""
        self.world.cluster.forbidden.add("patch Deployment")
        self.world.cluster.refusal = (
            "{verb} {kind} shop/{name}: system:serviceaccount:shop:repair may not {verb} deployments.apps in "
            "namespace shop; add verb {verb} on deployments.apps to a Role bound to it"
        )

    def control(self, **control: Any) -> None:
        """Change what may be changed of a run, as a person does."""
        self.world.cluster.edit("WorkflowExecution", self.meta["name"], {"spec": {"control": control}})


async def new_run() -> Manifest:
    """Not taken up."""
    return await _Run().go(rounds=0)


async def running_run() -> Manifest:
    """Under way."""
    wait = {"name": "settle", "wait": {"duration": "5m"}, "dependsOn": ["scale"]}
    return await _Run(scale("scale", 2), wait).go()


async def verifying_run() -> Manifest:
    """Done, and waiting for evidence."""
    run = _Run(verify={**VERIFY, "timeout": "10m"})
    return await run.go()


async def stopped_run() -> Manifest:
    """Not begun, for a person has stopped all acting."""
    run = _Run()
    run.world.hold = Hold(Reason.STOPPED, "Acting is stopped: stopped by ann: too noisy.")
    return await run.go()


async def paused_run() -> Manifest:
    """Paused by a person."""
    wait = {"name": "settle", "wait": {"duration": "5m"}, "dependsOn": ["scale"]}
    run = _Run(scale("scale", 2), wait, scale("further", 3, "settle"))
    await run.go()
    run.control(paused=True)
    return await run.go()


async def changed_run() -> Manifest:
    """Paused by a person, which the operator has not seen yet."""
    wait = {"name": "settle", "wait": {"duration": "5m"}, "dependsOn": ["scale"]}
    run = _Run(scale("scale", 2), wait)
    await run.go()
    run.control(paused=True)
    return await run.go(rounds=0)


async def asking_run() -> Manifest:
    """Waiting for an approval."""
    ask = {"name": "ask", "approval": {"message": "Scale web?", "expiresAfter": "30m"}}
    return await _Run(ask, scale("scale", 2, "ask")).go()


async def unsure_run() -> Manifest:
    """Waiting for a person to say what becomes of a failed step."""
    run = _Run(onFailure="Manual")
    run.may_not_patch()
    return await run.go()


async def remediated_run() -> Manifest:
    """Over, with evidence that it helped."""
    run = _Run(verify=VERIFY)
    await run.go()
    status = {"readyReplicas": 2, "observedGeneration": 99}
    run.world.cluster.edit_status("Deployment", "web", status)
    return await run.go()


async def inconclusive_run() -> Manifest:
    """Over, and nothing says whether it helped."""
    return await _Run().go()


async def commented_run() -> Manifest:
    """Over, and changed afterwards by a person, to no effect."""
    run = _Run()
    await run.go()
    run.control(paused=True)
    return await run.go(rounds=0)


async def failed_run() -> Manifest:
    """Failed for want of a right."""
    run = _Run()
    run.may_not_patch()
    return await run.go()


async def rolled_back_run() -> Manifest:
    """It did not help, and was put back."""
    return await _Run(verify={**VERIFY, "timeout": "5s"}, onFailure="Rollback").go(rounds=40)


async def cancelled_run() -> Manifest:
    """Cancelled by a person before it began."""
    return await _Run(control={"cancel": True}).go()


async def self_healed_run() -> Manifest:
    """Its alert was resolved before it began."""
    run = _Run()
    since, until = format_time(EPOCH), format_time(EPOCH + timedelta(seconds=20))
    run.spec["trigger"] = {
        "type": "Alert",
        "by": "alertmanager",
        "reason": "KubePodCrashLooping",
        "alert": {
            "name": "KubePodCrashLooping",
            "fingerprint": "91f8c5d3a0b7e642",
            "startsAt": since,
            "labels": {"alertname": "KubePodCrashLooping", "deployment": "web"},
            "incident": "5f0c9d1be1a4",
            "episode": 1,
            "targetUid": "uid-deployment-web",
        },
    }
    alerts = f'{{"91f8c5d3a0b7e642":["{since}","{until}"]}}'
    told = f'{{"seenAt":"{until}","overAt":"{until}","cooldownSeconds":600.0,"alerts":{alerts}}}'
    run.meta["annotations"] = {"kubernaut.io/alerts": told}
    return await run.go()


# Patterns


async def _learned() -> tuple[History, Manifest]:
    history = History()
    await history.analysis.round()
    name = next(name for name in history.sink.objects if name.startswith("scaled-to-zero"))
    return history, history.sink.objects[name]


async def learned_pattern() -> Manifest:
    """Learned from runs."""
    return (await _learned())[1]


async def new_pattern() -> Manifest:
    """Made, and its status not written yet."""
    pattern = copy.deepcopy((await _learned())[1])
    del pattern["status"]
    return pattern


async def changed_pattern() -> Manifest:
    """Pinned by a person after it was learned."""
    pattern = (await _learned())[1]
    pattern["metadata"]["generation"] = 2
    pattern["spec"]["pinned"] = True
    return pattern


async def muted_pattern() -> Manifest:
    """Muted by a person, and looked at since."""
    history, pattern = await _learned()
    pattern["metadata"]["generation"] = 2
    pattern["spec"]["muted"] = True
    await history.analysis.round()
    return pattern


async def vanished_pattern() -> Manifest:
    """The history holds no such runs any more."""
    history, pattern = await _learned()
    history.source.runs = [run for run in history.source.runs if run.workflow != "scale-up"]
    await history.restarted().round()
    return pattern


async def pattern_while_off() -> Manifest:
    """Discovery is switched off."""
    history, pattern = await _learned()
    await publish_off(history.sink, EPOCH)
    return pattern


def _cycle() -> Awaitable[Manifest]:
    return _workflow(scale("up", 2, "down"), scale("down", 1, "up"))


def _stored(recorder: Recorder) -> Recorder:
    """Have an object as the API server stores it, with what the CRD fills in."""

    async def record() -> Manifest:
        manifest = await recorder()
        return {**manifest, "spec": {**DEFAULTS, **manifest["spec"]}}

    return record


#: by kind, and by name of the file below testdata
RECORDERS: Final[dict[str, dict[str, Recorder]]] = {
    "Workflow": {
        "new": _stored(new_workflow),
        "changed": _stored(changed_workflow),
        "ready": _stored(_workflow),
        "feature-off": _stored(lambda: _workflow(onFailure="Rollback", off=frozenset({Feature.ROLLBACK}))),
        "deprecated": _stored(lambda: _workflow(lifecycle="Deprecated")),
        "draft": _stored(lambda: _workflow(lifecycle="Draft")),
        "cycle": _stored(_cycle),
        "without-rights": _stored(workflow_without_rights),
        "undone": _stored(undone_workflow),
    },
    "WorkflowExecution": {
        "new": new_run,
        "running": running_run,
        "verifying": verifying_run,
        "changed": changed_run,
        "stopped": stopped_run,
        "paused": paused_run,
        "asking": asking_run,
        "unsure": unsure_run,
        "remediated": remediated_run,
        "inconclusive": inconclusive_run,
        "commented": commented_run,
        "failed": failed_run,
        "rolled-back": rolled_back_run,
        "cancelled": cancelled_run,
        "self-healed": self_healed_run,
    },
    "DiscoveredPattern": {
        "new": new_pattern,
        "changed": changed_pattern,
        "learned": learned_pattern,
        "muted": muted_pattern,
        "vanished": vanished_pattern,
        "off": pattern_while_off,
    },
}
