"""All controllers together: what steps changed is reacted to, until all is at rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kubernaut.api.names import GROUP
from kubernaut.core.kinds import group_of
from kubernaut.core.ports import Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers import deployments, others, pods, sets
from kubernaut.simulation.disruption import counted
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.state import CONTROLLERS, Key, State

#: what is read of a namespace once something in it was changed
_READ: Final = (
    ("v1", "Pod"),
    ("apps/v1", "ReplicaSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "ResourceQuota"),
    ("v1", "LimitRange"),
)
_OWNERS: Final = {
    "Deployment": ("apps/v1", deployments.deployment),
    "ReplicaSet": ("apps/v1", deployments.replica_set),
    "StatefulSet": ("apps/v1", sets.stateful_set),
    "DaemonSet": ("apps/v1", sets.daemon_set),
    "Job": ("batch/v1", others.job),
    "VolumeSnapshot": ("snapshot.storage.k8s.io/v1", others.volume_snapshot),
}
#: kinds that no controller modelled here reacts to
_INERT: Final = frozenset({"ConfigMap", "Secret", "WorkflowExecution", "NetworkPolicy", "ControllerRevision"})
#: what is reacted to here, or what no controller of Kubernetes itself reacts to
_FOLLOWED: Final = frozenset(
    {
        *((group_of(version), kind) for kind, (version, _) in _OWNERS.items()),
        *(("", kind) for kind in ("ConfigMap", "Secret", "Pod", "Node", "ResourceQuota", "LimitRange")),
        ("apps", "ControllerRevision"),
        ("autoscaling", "HorizontalPodAutoscaler"),
        ("policy", "PodDisruptionBudget"),
        (GROUP, "WorkflowExecution"),
    }
)
#: what keeps pods from being made
_LIMITS: Final = (
    *("ResourceQuota", "LimitRange"),
    *("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"),
)
_LIMITED: Final = {"apps/v1": ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")}
_ROUNDS: Final = 20


class Settling:
    """Brings a shadow to rest, again and again; what nobody touched is left as it is."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow
        self._seen: dict[Key, str] = {}

    async def settle(self) -> None:
        """Have the controllers react to what was changed since they last looked."""
        state, assumptions = self._shadow.state, self._shadow.assumptions
        for _ in range(_ROUNDS):
            others.garbage(state)
            changed = self._changed()
            if not changed:
                break
            self._tell_left_out(changed)
            await self._read(changed)
            self._react(state, assumptions, changed)
        else:
            assumptions.say(
                "the controllers had not come to rest after 20 rounds; what is told is where they were"
            )
        for budget in list(state.all("policy", "PodDisruptionBudget")):
            self._tell(state, budget["metadata"]["namespace"], Key.at(budget))

    def _tell_left_out(self, changed: list[Key]) -> None:
        """Say of what no controller here reacts to that something may react to it in the cluster."""
        for key in changed:
            by_step = any(one != CONTROLLERS for one in self._shadow.state.touched[key])
            if by_step and (key.group, key.kind) not in _FOLLOWED:
                what = f"{key.kind}s of {key.group}" if key.group else f"{key.kind}s"
                self._shadow.assumptions.say(f"nothing reacts to changed {what}: that is not simulated")

    def _changed(self) -> list[Key]:
        state, found = self._shadow.state, []
        for key in state.touched:
            now = state.objects.get(key)
            version = now["metadata"]["resourceVersion"] if now is not None else "gone"
            if self._seen.get(key) != version:
                self._seen[key] = version
                found.append(key)
        return found

    async def _read(self, changed: list[Key]) -> None:
        """Read what the controllers look at, and the owners of what was changed."""
        active = [key for key in changed if key.kind not in _INERT]
        for namespace in sorted({key.namespace for key in active if key.namespace} | self._tried(changed)):
            for version, kind in _READ:
                await self._shadow.tries_to_know(version, kind, namespace, f"{kind}s of {namespace} are")
        placing = (*_OWNERS, *_LIMITS, "Pod", "Node", "HorizontalPodAutoscaler")
        if any(key.kind in placing for key in active):
            await self._shadow.tries_to_know("v1", "Node", "", "nodes are")
            await self._shadow.tries_to_know("v1", "Pod", "", "pods of other namespaces are")
        for namespace in self._tried(changed):
            for version, kinds in _LIMITED.items():
                for kind in kinds:
                    await self._shadow.tries_to_know(version, kind, namespace, f"{kind}s of {namespace} are")
        rest = list(changed)
        while rest:
            key = rest.pop()
            for kind, version, name in self._owners_of(key):
                if kind in _OWNERS:
                    await self._shadow.tries_to_know(version, kind, key.namespace, f"{kind} {name} is")
                    rest.append(Key(group_of(version), kind, key.namespace, name))
        for key in changed:
            scaler = self._shadow.state.objects.get(key)
            if key.kind == "HorizontalPodAutoscaler" and scaler is not None:
                scaled = scaler["spec"]["scaleTargetRef"]
                version, kind = scaled.get("apiVersion", "apps/v1"), scaled["kind"]
                await self._shadow.tries_to_know(version, kind, key.namespace, f"{kind} {scaled['name']} is")
        if any(key.kind == "Node" for key in changed):
            await self._shadow.tries_to_know("apps/v1", "DaemonSet", "", "DaemonSets are")

    def _tried(self, changed: list[Key]) -> set[str]:
        """Return the namespaces whose controllers try again to make pods, for what refused them was changed.

        Of what is in no namespace, those that are looked at anyway.
        """
        limits = [key.namespace for key in changed if key.kind in _LIMITS]
        if "" in limits:
            limits += [key.namespace for key in self._shadow.state.objects if _limited(key)]
        return set(limits) - {""}

    def _owners_of(self, key: Key) -> list[tuple[str, str, str]]:
        state = self._shadow.state
        versions = [one for one in (state.objects.get(key), state.first.get(key)) if one is not None]
        return [
            (str(owner["kind"]), str(owner["apiVersion"]), str(owner["name"]))
            for one in versions[:1]
            for owner in one["metadata"].get("ownerReferences") or ()
            if owner.get("controller")
        ]

    def _react(self, state: State, assumptions: Assumptions, changed: list[Key]) -> None:
        due = dict.fromkeys(self._due(changed))
        for scaler in list(state.all("autoscaling", "HorizontalPodAutoscaler")):
            ref = scaler["spec"]["scaleTargetRef"]
            target = Key(
                group_of(ref.get("apiVersion", "apps/v1")),
                ref["kind"],
                scaler["metadata"]["namespace"],
                ref["name"],
            )
            if target in due or Key.at(scaler) in changed:
                scaled = others.autoscaler(state, assumptions, scaler, bounds=Key.at(scaler) in changed)
                due |= {scaled: None} if scaled is not None else {}
        for kind in ("Job", "VolumeSnapshot", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
            for key in [one for one in due if one.kind == kind]:
                found = state.objects.get(key)
                if found is not None and "deletionTimestamp" not in found["metadata"]:
                    if kind in ("StatefulSet", "DaemonSet"):
                        pods.release(state, found)
                    react: Callable[[State, Assumptions, Key], None] = _OWNERS[kind][1]
                    react(state, assumptions, key)
        for key in changed:
            if key.kind == "Pod" and state.objects.get(key) is not None:
                others.debugged(state, assumptions, key)
        nodes = [state.objects[key] for key in changed if key.kind == "Node"]
        for node in nodes:
            if node is not None:
                others.taints(state, node)
        if nodes:
            for one in list(state.all("apps", "DaemonSet")):
                sets.daemon_set(state, assumptions, Key.at(one))
        if nodes or any(key.kind == "Pod" and _freed(state.objects.get(key)) for key in changed):
            others.pending(state, assumptions)

    def _due(self, changed: list[Key]) -> list[Key]:
        """Return whose controllers have to look: what was changed, and what owns it, up to the top."""
        found: dict[Key, None] = {}
        rest = list(changed)
        # Who was refused pods for them tries again.
        for namespace in self._tried(changed):
            rest += [
                one for one in self._shadow.state.objects if one.namespace == namespace and _limited(one)
            ]
        while rest:
            key = rest.pop()
            if key.kind in _OWNERS and key not in found:
                found[key] = None
            for kind, version, name in self._owners_of(key):
                owner = Key(group_of(version), kind, key.namespace, name)
                if owner not in found and kind in _OWNERS:
                    rest.append(owner)
        return [key for key in found if not (key.kind == "ReplicaSet" and self._led(key, found))]

    def _led(self, key: Key, found: dict[Key, None]) -> bool:
        """Whether a ReplicaSet is its Deployment's to look after."""
        return any(
            Key(group_of(version), kind, key.namespace, name) in found
            for kind, version, name in self._owners_of(key)
        )

    def _tell(self, state: State, namespace: str, key: Key) -> None:
        touched = any(one.namespace == namespace and one.kind == "Pod" for one in state.touched)
        budget = state.objects.get(key)
        if touched and budget is not None:
            status = {**(budget.get("status") or {}), **counted(state, budget)}
            stored = state.put({**budget, "status": status}, CONTROLLERS)
            self._seen[key] = stored["metadata"]["resourceVersion"]


def _freed(pod: Manifest | None) -> bool:
    """Whether a pod leaves room on its node."""
    return pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _limited(key: Key) -> bool:
    return key.group == "apps" and key.kind in _LIMITED["apps/v1"]
