"""``quarantine_pod``: take one pod out of its Services and from its controller, and leave it running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from kubernaut.actions import pods, probing
from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import DAEMON_SET, rights
from kubernaut.actions.workloads.choosing import (
    NONE,
    PodParameters,
    choice_rights,
    choose,
    known_pod,
    pinned,
)
from kubernaut.api.names import GROUP
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import Done, Idempotency, Risk, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.marker import StepMark
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Look, Probed, Sight, not_there, there
from kubernaut.core.selectors import selected_on, selects

_APPS: Final = DAEMON_SET[0]
_KEY: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_NOBODY: Final[Mapping[str, JsonValue]] = {"pod": "", "uid": "", "labels": [], "services": []}


class Controller(StrEnum):
    """The controllers that make a new pod beside the one that is taken from them."""

    REPLICA_SET = "ReplicaSet"
    DAEMON_SET = "DaemonSet"


def _not_ours(key: str) -> str:
    prefix = key.partition("/")[0]
    if "/" in key and (prefix == GROUP or prefix.endswith(f".{GROUP}")):
        raise ValueError(f"{key} is Kubernaut's own; choose another label")
    return key


Label = Annotated[str, StringConstraints(pattern=_KEY, max_length=253), AfterValidator(_not_ours)]


class QuarantinePodParameters(PodParameters):
    """Parameters of ``quarantine_pod``."""

    controller: Annotated[
        Controller | None,
        Field(
            description="The kind of the pod's controller (a Deployment's pods have a ReplicaSet); by default "
            "`DaemonSet` where the run's target is one, else `ReplicaSet`."
        ),
    ] = None
    label: Annotated[
        Label | None,
        Field(
            description='A label that the pod is given, of the value "true", as for a NetworkPolicy to select.'
        ),
    ] = None


class QuarantinePod:
    """Takes from a running pod the labels on which its Services and its controller select it, and no other: traffic
    goes elsewhere, the controller lets go of it and makes a new one, and the pod stays for people to look at. It is
    chosen as by `restart_pod`, and its UID stored before anything is sent.

    The labels that are taken stay on the pod in the step's record, and undo puts them back, where the pod is still
    there. Its controller has one pod more then, and deletes one: it may be this one.

    Refused for pods of a StatefulSet, whose name a new pod would need; of a Job, whose work would be counted twice;
    and of nothing at all, which nobody would make anew. Refused for a DaemonSet's pod with host ports, for which its
    node has no second place. Where a Service or the controller would still select the pod, nothing is done.

    What it does not do. It is no isolation: the pod goes on, reaches what it reached, and connections that are open
    stay open. A NetworkPolicy that selects on the labels taken holds no longer for this pod; to cut the pod off, have
    a policy that denies all to the label given by `label` in place before. A PodDisruptionBudget is not asked. A
    volume that only one node or one pod may use stays with this pod, and the new one waits for it.
    """

    name: ClassVar = "quarantine_pod"
    summary: ClassVar = "Take one pod out of its Services and from its controller, and leave it running"
    risk: ClassVar = Risk.LOW
    idempotency: ClassVar = Idempotency.PINNED
    parameters = QuarantinePodParameters
    example: ClassVar = {"unhealthy": True, "label": "example.com/quarantine"}
    outputs: ClassVar[Mapping[str, str]] = {
        "pod": "The name of the pod; empty where none was unhealthy.",
        "uid": "Its UID.",
        "labels": "The labels that were taken.",
        "services": "The Services that sent to it.",
    }

    def __init__(self, finished: fence.Finished = fence.never) -> None:
        self._finished = finished

    def rights(self, target: ObjectRef | None, parameters: QuarantinePodParameters) -> tuple[Right, ...]:
        """Return get and patch on pods, and what it takes to see who selects the pod and which is the worst."""
        kind = _kind(target, parameters)
        own = parameters.unhealthy and target is not None and target.kind == kind
        needed = (
            *rights(("get", "patch"), "v1", "Pod", known_pod(target, parameters)),
            *rights(("get",), _APPS, kind, (target.name,) if own and target is not None else ()),
            *rights(("list",), "v1", "Service", ()),
            *choice_rights(target, parameters),
        )
        return tuple(dict.fromkeys(needed))

    async def prepare(
        self, cluster: Cluster, context: StepContext, parameters: QuarantinePodParameters
    ) -> Mapping[str, JsonValue] | None:
        """Choose the pod and return its name and UID; both are empty where no pod is unhealthy."""
        pod = await choose(cluster, context, parameters)
        if pod is None:
            return NONE
        _owner(pod, _kind(context.target, parameters))
        return {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

    async def perform(
        self, cluster: Cluster, context: StepContext, parameters: QuarantinePodParameters
    ) -> Done:
        """Take the labels from the pinned pod, once."""
        ref = pinned(context)
        if ref is None:
            return Done(False, f"no pod of {context.target} is unhealthy", _NOBODY)
        kind = _kind(context.target, parameters)

        async def decide(seen: Manifest) -> fence.Change:
            if parameters.unhealthy and pods.healthy(seen):
                return fence.nothing(f"{ref} is healthy again and stays where it is", _NOBODY)
            owner = _owner(seen, kind)
            controller = await cluster.get(ObjectRef(_APPS, kind, context.namespace, str(owner["name"])))
            services = await cluster.list("v1", "Service", context.namespace)
            return self.plan(seen, controller, services, parameters)

        return await fence.apply(cluster, context, ref, decide, finished=self._finished)

    def plan(
        self,
        seen: Manifest,
        controller: Manifest,
        services: Sequence[Manifest],
        parameters: QuarantinePodParameters,
    ) -> fence.Change:
        """Decide purely which labels go.

        Raises:
            StepError: PreconditionFailed.
        """
        ref, labels = ObjectRef.of(seen), dict(seen["metadata"].get("labels") or {})
        _require_place(seen, controller)
        sending = [one for one in services if selects(_selector(one), labels)]
        selectors = [controller["spec"].get("selector") or {}, *map(_selector, sending)]
        taken = sorted({key for selector in selectors for key in selected_on(selector) if key in labels})
        left = {key: value for key, value in labels.items() if key not in taken}
        if parameters.label is not None:
            left[parameters.label] = "true"
        for one in (controller, *services):
            if selects(_selector(one), left):
                raise StepError(
                    f"{ObjectRef.of(one)} would select {ref} without the labels {', '.join(taken)}, too; "
                    "nothing was done: choose another label, or narrow its selector",
                    reason=Reason.PRECONDITION_FAILED,
                )
        names: list[JsonValue] = sorted(one["metadata"]["name"] for one in sending)
        outputs: dict[str, JsonValue] = {
            "pod": ref.name,
            "uid": ref.uid,
            "labels": [*taken],
            "services": names,
        }
        desired = fields.put(seen, ("metadata", "labels"), left or None)
        controlled = ObjectRef.of(controller)
        message = f"{ref} is out of {controlled}" + (
            f" and Services {', '.join(map(str, names))}" if names else ""
        )
        return fence.change(
            seen, desired, f"{message}; it runs on without the labels {', '.join(taken)}", outputs
        )

    def looks_at(self, context: StepContext, parameters: QuarantinePodParameters) -> tuple[Look, ...]:
        """Return the pinned pod and the run's target."""
        ref = pinned(context)
        return () if ref is None else (ref, *probing.judges(context))

    def probe(self, sight: Sight, context: StepContext, parameters: QuarantinePodParameters) -> Probed:
        """It happened where the pod that was chosen carries the step's signed mark and has not got its labels back.
        It helped where the run's target, a workload, fares well by its own status; where the target is the pod
        itself, or anything else, that is Unknown.
        """
        ref = pinned(context)
        if ref is None:
            return not_there("no pod was chosen")
        found = probing.mark_on(sight, ref, context)
        if isinstance(found, Probed):
            return found
        judged = [one for one in probing.judges(context) if one.kind != "Pod"]
        return there(probing.carries(ref, found[1], context), probing.fares(sight, judged))

    async def undo(self, cluster: Cluster, context: StepContext, parameters: QuarantinePodParameters) -> Done:
        """The pod gets back the labels that were taken, and loses the one it was given; nothing is done where it is
        gone, and it is refused where one of them was changed since. The controller then has a pod too many and
        deletes one, which may be this one.
        """
        ref = pinned(context)
        if ref is None:
            return Done(False, "no pod was chosen, and nothing is left to put back")

        async def put_back(seen: Manifest, mark: StepMark) -> Manifest:
            return await fence.put_fields_back(seen, mark)

        done = await fence.restore(cluster, context, ref, put_back, alone=True)
        told = f"{ref} has its labels back; its controller may have a pod too many now and delete one, perhaps this"
        return replace(done, message=told) if done.acted else done


def _kind(target: ObjectRef | None, parameters: QuarantinePodParameters) -> str:
    if parameters.controller is not None:
        return str(parameters.controller)
    like = target is not None and (target.api_version, target.kind) == DAEMON_SET
    return str(Controller.DAEMON_SET if like else Controller.REPLICA_SET)


def _selector(thing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object selects on, as a LabelSelector; a Service has a plain map."""
    selector: Mapping[str, Any] = (thing.get("spec") or {}).get("selector") or {}
    return {"matchLabels": selector} if thing["kind"] == "Service" and selector else selector


def _owner(pod: Manifest, kind: str) -> Mapping[str, Any]:
    """Return the reference to the pod's controller.

    Raises:
        StepError: PreconditionFailed, where it has none or one of another kind.
    """
    owner = pods.controller_of(pod)
    if owner is None:
        told = "has no controller: nobody would make it anew"
    elif owner["kind"] == "StatefulSet":
        told = f"belongs to StatefulSet {owner['name']}: while it keeps its name, no new pod can be made in its place"
    elif owner["kind"] not in set(Controller):
        told = f"belongs to {owner['kind']} {owner['name']}; only pods of a ReplicaSet or a DaemonSet are quarantined"
    elif owner["kind"] != kind:
        told = f"belongs to {owner['kind']} {owner['name']}, not to a {kind}; set controller: {owner['kind']}"
    else:
        return owner
    raise StepError(f"{ObjectRef.of(pod)} {told}", reason=Reason.PRECONDITION_FAILED)


def _require_place(pod: Manifest, controller: Manifest) -> None:
    """Refuse where the controller would make no new pod, or could not.

    Raises:
        StepError: PreconditionFailed.
    """
    ref, owner = ObjectRef.of(pod), pods.controller_of(pod) or {}
    told = ""
    if owner.get("uid") != controller["metadata"]["uid"]:
        told = f"belongs to another {controller['kind']} than {ObjectRef.of(controller)}, which was made anew"
    elif controller["kind"] == Controller.DAEMON_SET and any(
        port.get("hostPort") for one in pod["spec"]["containers"] for port in one.get("ports") or ()
    ):
        told = "uses ports of its node, where the new pod of the DaemonSet would find them taken"
    if told:
        raise StepError(f"{ref} {told}; nothing was done", reason=Reason.PRECONDITION_FAILED)
