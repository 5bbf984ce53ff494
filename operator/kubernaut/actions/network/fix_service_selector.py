"""``fix_service_selector``: let a Service that selects no pod select those of a workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.fencing.marked import MarkedAction
from kubernaut.actions.objects import known_name, named, rights
from kubernaut.actions.workloads.named import APPS, NamedWorkload, WorkloadKind
from kubernaut.actions.workloads.workload import owned_by
from kubernaut.api.base import DnsName
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import ActionParameters, StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.probing import Answer, Listing, Look, Probed, Said, Sight
from kubernaut.core.selectors import selector_text, selects

_SERVICE: Final = ("v1", "Service")
_SELECTOR: Final = "spec.selector"
_SHOWN: Final = 3


class Keys(StrEnum):
    """Which labels the Service selects by."""

    WORKLOAD = "Workload"
    SERVICE = "Service"


class FixServiceSelectorParameters(ActionParameters):
    """Parameters of ``fix_service_selector``."""

    name: Annotated[
        DnsName | None, Field(description="The Service; by default the run's target, where that is one.")
    ] = None
    workload: Annotated[
        NamedWorkload | None,
        Field(
            description="Whose pods the Service is meant for: `kind` (Deployment, StatefulSet or DaemonSet; "
            "Deployment by default) and `name`. By default the run's target, where that is one of these."
        ),
    ] = None
    keys: Annotated[
        Keys,
        Field(
            description="`Workload` selects by the workload's own `spec.selector.matchLabels`; `Service` keeps the "
            "label keys of the Service and takes their values from the workload's pod template."
        ),
    ] = Keys.WORKLOAD


@dataclass(frozen=True, slots=True)
class Selection:
    """Pods that are there to stay, as selected by different selectors.

    Attributes:
        workload: the workload whose pods the Service is meant for.
        former: selected by the Service as it is.
        wanted: selected by the Service as it should be.
        own: controlled by the workload.
    """

    workload: Manifest
    former: Sequence[Manifest]
    wanted: Sequence[Manifest]
    own: Sequence[Manifest]


class FixServiceSelector(MarkedAction[FixServiceSelectorParameters, Selection]):
    """Sets `spec.selector` of a Service that selects no pod to one that selects exactly the pods of a workload.

    What is looked at are the pods themselves, with their owners. Nothing is done where the Service selects ready pods
    of the workload already. Refused where that can't be the fault, or what is meant can't be known: the Service
    selects pods that are not ready, or pods of others; it has no selector (its endpoints are somebody's own), or is
    of type `ExternalName`; no pod of the workload is ready; the new selector would select pods of others too, or not
    all of the workload's.

    Ports of the Service that go to a named port that no ready pod has are told, and not mended: such a port leads
    nowhere, whatever the selector.
    """

    name: ClassVar = "fix_service_selector"
    summary: ClassVar = "Let a Service that selects no pod select exactly those of a workload"
    workload: ClassVar = _SERVICE
    parameters = FixServiceSelectorParameters
    example: ClassVar = {"workload": {"kind": "Deployment", "name": "api"}}
    outputs: ClassVar[Mapping[str, str]] = {
        "before": "The selector before.",
        "selector": "The selector now.",
        "readyPods": "How many ready pods it selects.",
        "lackingPorts": "Ports of the Service, by name or number, that go to a named port that no ready pod has.",
    }

    def ref(self, namespace: str, target: ObjectRef, parameters: FixServiceSelectorParameters) -> ObjectRef:
        return named(namespace, target, *_SERVICE, parameters.name)

    def rights(self, target: ObjectRef | None, parameters: FixServiceSelectorParameters) -> tuple[Right, ...]:
        own = rights(("get", "patch"), *_SERVICE, known_name(target, "Service", parameters.name))
        listed = rights(("list",), "v1", "Pod", ())
        if parameters.workload is not None:
            kind, name = parameters.workload.kind.value, parameters.workload.name
        elif target is not None and target.kind in set(WorkloadKind):
            kind, name = target.kind, target.name
        else:
            return (*own, *listed)
        if kind == WorkloadKind.DEPLOYMENT:
            listed += rights(("list",), APPS, "ReplicaSet", ())
        return (*own, *rights(("get",), APPS, kind, (name,)), *listed)

    async def look(
        self,
        cluster: Cluster,
        context: StepContext,
        parameters: FixServiceSelectorParameters,
        seen: Manifest,
    ) -> Selection:
        workload = await fence.read(cluster, context, _meant(context, parameters))
        own_text = selector_text(workload["spec"].get("selector"))
        texts = {
            "former": selector_text({"matchLabels": _selector(seen)}),
            "wanted": selector_text({"matchLabels": wanted_selector(seen, workload, parameters.keys)}),
            "own": own_text,
        }
        found: dict[str, list[Manifest]] = {}
        for text in dict.fromkeys(texts.values()):
            listed = await cluster.list("v1", "Pod", context.namespace, label_selector=text)
            found[text] = [pod for pod in listed if not pods.leaving(pod)]
        own = await _controlled(cluster, workload, found[own_text])
        return Selection(workload, found[texts["former"]], found[texts["wanted"]], own)

    def plan(
        self,
        seen: Manifest,
        evidence: Selection,
        parameters: FixServiceSelectorParameters,
        context: StepContext,
    ) -> fence.Change:
        ref, workload = ObjectRef.of(seen), ObjectRef.of(evidence.workload)
        before = _selector(seen)
        ours = {pod["metadata"]["uid"] for pod in evidence.own}
        if evidence.former:
            ready = [pod for pod in evidence.former if pods.ready(pod)]
            if ready and all(pod["metadata"]["uid"] in ours for pod in evidence.former):
                told = f"{ref} selects {len(ready)} ready pods of {workload} already"
                return fence.nothing(told, _outputs(before, before, seen, ready))
            raise _not_the_fault(ref, workload, evidence.former, ours)
        wanted = wanted_selector(seen, evidence.workload, parameters.keys)
        ready = [pod for pod in evidence.own if pods.ready(pod)]
        if not ready:
            raise _refused(
                f"{ref} selects no pod, and no pod of {workload} is ready either; mend {workload} first"
            )
        _require_exact(ref, workload, wanted, evidence, ours)
        lacking = lacking_ports(seen, ready)
        told = f"; no ready pod has the named port that goes with {', '.join(lacking)}" if lacking else ""
        return fence.Change(
            fields.put(seen, fields.parse(_SELECTOR), dict(wanted)),
            {_SELECTOR: dict(before)},
            {_SELECTOR: dict(wanted)},
            f"{ref} selects {len(ready)} ready pods of {workload}{told}",
            _outputs(before, wanted, seen, ready),
        )

    def looks_at(self, context: StepContext, parameters: FixServiceSelectorParameters) -> tuple[Look, ...]:
        """Return the Service and the pods of the namespace."""
        return (
            self.ref(context.namespace, context.target, parameters),
            Listing("v1", "Pod", context.namespace),
        )

    def probe(self, sight: Sight, context: StepContext, parameters: FixServiceSelectorParameters) -> Probed:
        """It happened where the Service carries the step's signed mark and was not put back. It helped where
        `spec.selector` selects a pod that is ready.
        """
        return super().probe(sight, context, parameters)

    def helped(
        self,
        sight: Sight,
        seen: Manifest,
        context: StepContext,
        parameters: FixServiceSelectorParameters,
    ) -> Said:
        wanted = {"matchLabels": _selector(seen)}
        there = sight.all_of(Listing("v1", "Pod", context.namespace))
        chosen = [pod for pod in there if selects(wanted, pod["metadata"].get("labels") or {})]
        ready = sum(pods.ready(pod) and not pods.leaving(pod) for pod in chosen)
        return Said(Answer.YES if ready else Answer.NO, f"spec.selector selects {ready} ready pods")


def wanted_selector(service: Manifest, workload: Manifest, keys: Keys) -> Mapping[str, str]:
    """Return the selector that a Service should have.

    Raises:
        StepError: PreconditionFailed, where the workload has no labels for it.
    """
    ref = ObjectRef.of(workload)
    if keys is Keys.WORKLOAD:
        labels: Mapping[str, str] = fields.get(workload, fields.parse("spec.selector.matchLabels")) or {}
        if not labels:
            raise _refused(f"{ref} has no spec.selector.matchLabels to select by; use keys: Service")
        return labels
    there = fields.get(workload, fields.parse("spec.template.metadata.labels")) or {}
    lacking = sorted(_selector(service).keys() - there.keys())
    if lacking:
        raise _refused(
            f"the pod template of {ref} has no label {', '.join(lacking)}, by which {ObjectRef.of(service)} selects; "
            "use keys: Workload"
        )
    return {key: there[key] for key in _selector(service)}


def lacking_ports(service: Manifest, ready: Sequence[Manifest]) -> tuple[str, ...]:
    """Return the ports of a Service that go to a named port which no pod has."""
    there = {
        (port.get("name"), port.get("protocol", "TCP"))
        for pod in ready
        for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
        for port in container.get("ports") or ()
    }
    return tuple(
        str(port.get("name") or port["port"])
        for port in service["spec"].get("ports") or ()
        if isinstance(port.get("targetPort"), str)
        and (port["targetPort"], port.get("protocol", "TCP")) not in there
    )


def _outputs(
    before: Mapping[str, str], after: Mapping[str, str], service: Manifest, ready: Sequence[Manifest]
) -> dict[str, JsonValue]:
    lacking = list(lacking_ports(service, ready))
    return {
        "before": dict(before),
        "selector": dict(after),
        "readyPods": len(ready),
        "lackingPorts": [*lacking],
    }


def _meant(context: StepContext, parameters: FixServiceSelectorParameters) -> ObjectRef:
    """Return the workload that is meant.

    Raises:
        StepError: InvalidParameters, where none is named and the run's target is none.
    """
    if parameters.workload is not None:
        return named(
            context.namespace,
            context.target,
            APPS,
            parameters.workload.kind.value,
            parameters.workload.name,
        )
    if context.target.kind not in set(WorkloadKind):
        raise StepError(
            f"the run's target is {context.target}; name the workload whose pods are meant under with.workload",
            reason=Reason.INVALID_PARAMETERS,
        )
    return named(context.namespace, context.target, APPS, context.target.kind, None)


def _selector(service: Manifest) -> Mapping[str, str]:
    """Return the selector of a Service.

    Raises:
        StepError: PreconditionFailed, where it has none, or none that counts.
    """
    ref, spec = ObjectRef.of(service), service["spec"]
    if spec.get("type") == "ExternalName":
        raise _refused(f"{ref} is of type ExternalName, which selects no pods")
    selector: Mapping[str, str] = spec.get("selector") or {}
    if not selector:
        raise _refused(f"{ref} has no selector: its endpoints are kept by somebody else, and are left alone")
    return selector


async def _controlled(cluster: Cluster, workload: Manifest, found: Sequence[Manifest]) -> list[Manifest]:
    """Return those of the pods that a workload controls, a Deployment by its ReplicaSets."""
    if workload["kind"] != WorkloadKind.DEPLOYMENT:
        return owned_by(workload, found)
    text = selector_text(workload["spec"].get("selector"))
    sets = await cluster.list(APPS, "ReplicaSet", workload["metadata"]["namespace"], label_selector=text)
    return [pod for one in owned_by(workload, sets) for pod in owned_by(one, found)]


def _require_exact(
    ref: ObjectRef, workload: ObjectRef, wanted: Mapping[str, Any], evidence: Selection, ours: set[str]
) -> None:
    others = [pod for pod in evidence.wanted if pod["metadata"]["uid"] not in ours]
    if others:
        raise _refused(
            f"{ref} was left alone: {fence.short(dict(wanted))} would also select pods that are not of {workload}: "
            f"{_names(others)}"
        )
    selected = {pod["metadata"]["uid"] for pod in evidence.wanted}
    missed = [pod for pod in evidence.own if pod["metadata"]["uid"] not in selected]
    if missed:
        raise _refused(
            f"{ref} was left alone: {fence.short(dict(wanted))} would not select all pods of {workload}, "
            f"but leave out {_names(missed)}"
        )


def _not_the_fault(
    ref: ObjectRef, workload: ObjectRef, selected: Sequence[Manifest], ours: set[str]
) -> StepError:
    others = [pod for pod in selected if pod["metadata"]["uid"] not in ours]
    if others:
        return _refused(
            f"{ref} selects pods that are not of {workload}, and may be meant for them: {_names(others)}"
        )
    return _refused(
        f"{ref} selects pods of {workload}, and none of those is ready; its selector is not at fault"
    )


def _names(found: Sequence[Manifest]) -> str:
    names = sorted(pod["metadata"]["name"] for pod in found)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _refused(message: str) -> StepError:
    return StepError(message, reason=Reason.PRECONDITION_FAILED)
