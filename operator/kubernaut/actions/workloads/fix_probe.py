"""``fix_probe``: give a container's probe more time, or less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from kubernaut.actions import pods
from kubernaut.actions.fencing import fence
from kubernaut.actions.objects import rights
from kubernaut.actions.workloads.any_workload import (
    AnyWorkloadAction,
    ContainerParameters,
    container_of,
    reach,
)
from kubernaut.actions.workloads.workload import WorkloadParameters, require_rolling
from kubernaut.api.base import Flag
from kubernaut.api.reasons import Reason
from kubernaut.core import fields
from kubernaut.core.action import StepContext
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Cluster, Manifest, ObjectRef, Right
from kubernaut.core.selectors import selector_text

_DEFAULTS: Final = {"initialDelaySeconds": 0, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3}


class Probe(StrEnum):
    """The probes that a container may have."""

    LIVENESS = "liveness"
    READINESS = "readiness"
    STARTUP = "startup"


class FixProbeParameters(ContainerParameters):
    """Parameters of ``fix_probe``: at least one of the four fields."""

    probe: Annotated[Probe, Field(description="Which probe of the container.")]
    initial_delay_seconds: Annotated[
        int | None, Field(ge=0, le=600, description="How long after its start the container is first asked.")
    ] = None
    period_seconds: Annotated[
        int | None, Field(ge=1, le=300, description="How often the container is asked.")
    ] = None
    timeout_seconds: Annotated[
        int | None, Field(ge=1, le=120, description="How long an answer may take.")
    ] = None
    failure_threshold: Annotated[
        int | None, Field(ge=1, le=120, description="After how many failures in a row the kubelet acts.")
    ] = None
    max_seconds_to_fail: Annotated[
        int,
        Field(
            ge=1,
            le=3600,
            description="Not loosened beyond this: the initial delay, and the threshold times the longer one "
            "of period and timeout, which is how long a container that never answers is left alone.",
        ),
    ] = 300
    only_if_failing: Annotated[
        Flag, Field(description="Do nothing where no pod's events and restarts show that this probe fails.")
    ] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.wishes():
            raise ValueError(
                "set at least one of initialDelaySeconds, periodSeconds, timeoutSeconds and failureThreshold"
            )
        return self

    def wishes(self) -> dict[str, int]:
        """Return what is wanted, by the names of the probe's fields."""
        wanted = {
            "initialDelaySeconds": self.initial_delay_seconds,
            "periodSeconds": self.period_seconds,
            "timeoutSeconds": self.timeout_seconds,
            "failureThreshold": self.failure_threshold,
        }
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What tells that a probe fails.

    Attributes:
        of: how many pods have this probe.
        failing: the names of those whose events say that it fails, and which suffer from it.
        restarts: how often the container was restarted in these.
    """

    of: int
    failing: tuple[str, ...]
    restarts: int


class FixProbe(AnyWorkloadAction[Evidence | None]):
    """Sets timings of a probe that a container has; never adds, removes or replaces a probe, and leaves alone what
    it asks for. The controller of the Deployment, StatefulSet or DaemonSet replaces the pods by its own strategy.

    By default it acts only where the probe is seen to fail: a pod with the template's timings has an event
    `Unhealthy` of this probe of this container, and suffers from it (it is not ready; of a liveness or startup probe,
    its container was restarted). The message says in how many pods. Events last an hour by default, so an older
    failure is not seen. `onlyIfFailing: false` skips that look, and the rights it needs. What the probe's answer was
    is told nowhere, for an answer may hold anything.

    Refused where the container has no such probe, where the probe would be loosened beyond `maxSecondsToFail`, while
    a Deployment is paused, and where the update strategy is `OnDelete`. A probe that fails because the program is
    broken is right to fail: more time does not mend that.
    """

    name: ClassVar = "fix_probe"
    summary: ClassVar = (
        "Change the timings of a container's liveness, readiness or startup probe, within bounds"
    )
    parameters = FixProbeParameters
    example: ClassVar = {"container": "app", "probe": "liveness", "timeoutSeconds": 5, "failureThreshold": 6}
    outputs: ClassVar[Mapping[str, str]] = {
        "container": "The container whose probe was changed.",
        "before": "The probe's four timings before.",
        "now": "The probe's four timings now.",
        "failing": "In how many pods the probe was seen to fail; 0 where nobody looked.",
        "restarts": "How often the container was restarted in these.",
    }

    def rights(self, target: ObjectRef | None, parameters: WorkloadParameters) -> tuple[Right, ...]:
        own = super().rights(target, parameters)
        if not getattr(parameters, "only_if_failing", True):
            return own
        return (*own, *rights(("list",), "v1", "Pod", ()), *rights(("list",), "v1", "Event", ()))

    async def look(
        self, cluster: Cluster, context: StepContext, parameters: FixProbeParameters, seen: Manifest
    ) -> Evidence | None:
        if not parameters.only_if_failing:
            return None
        namespace, selector = seen["metadata"]["namespace"], selector_text(seen["spec"].get("selector"))
        there = await cluster.list("v1", "Pod", namespace, label_selector=selector)
        events = await cluster.list("v1", "Event", namespace, field_selector="reason=Unhealthy")
        path, container = container_of(seen, parameters.container, init=True)
        return _evidence(path, container, parameters.probe, there, events)

    def plan(
        self, seen: Manifest, evidence: Evidence | None, parameters: FixProbeParameters, context: StepContext
    ) -> fence.Change:
        require_rolling(seen)
        path, container = container_of(seen, parameters.container, init=True)
        probe = f"the {parameters.probe} probe of container {container['name']} of {ObjectRef.of(seen)}"
        former = container.get(_field(parameters.probe))
        if former is None:
            raise StepError(
                f"{probe} does not exist; it is not made by this action: add one to the workload itself",
                reason=Reason.PRECONDITION_FAILED,
            )
        before = _timings(former)
        now = {**before, **parameters.wishes()}
        told = {"failing": len(evidence.failing), "restarts": evidence.restarts} if evidence else {}
        outputs: dict[str, Any] = {"container": container["name"], "before": before, "now": now}
        outputs |= {"failing": 0, "restarts": 0} | told
        if now == before:
            return fence.nothing(f"{probe} has these timings already", outputs)
        if evidence is not None and not evidence.failing:
            unchanged = {**outputs, "now": before}
            return fence.nothing(f"{probe} is not seen to fail in any of {evidence.of} pods", unchanged)
        _require_bounded(probe, before, now, parameters.max_seconds_to_fail)
        desired = seen
        for name, value in parameters.wishes().items():
            # The API server keeps no zero here.
            desired = fields.put(desired, (*path, _field(parameters.probe), name), value or None)
        changed = ", ".join(
            f"{name} {before[name]} -> {now[name]}" for name in now if now[name] != before[name]
        )
        return fence.change(seen, desired, f"{probe}{_seen(evidence)}: {changed}{reach(seen)}", outputs)


def _field(probe: Probe) -> str:
    return f"{probe}Probe"


def _timings(probe: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(probe.get(name, default)) for name, default in _DEFAULTS.items()}


def _seconds_to_fail(timings: Mapping[str, int]) -> int:
    once = max(timings["periodSeconds"], timings["timeoutSeconds"])
    return timings["initialDelaySeconds"] + timings["failureThreshold"] * once


def _require_bounded(probe: str, before: Mapping[str, int], now: Mapping[str, int], most: int) -> None:
    """Refuse a probe that would be looser than before and than is allowed.

    Raises:
        StepError: PreconditionFailed.
    """
    wanted, former = _seconds_to_fail(now), _seconds_to_fail(before)
    if wanted > max(most, former):
        raise StepError(
            f"{probe} would leave a container that never answers alone for {wanted} s ({former} s now); "
            f"at most {most} s are allowed: choose smaller values, or raise maxSecondsToFail",
            reason=Reason.PRECONDITION_FAILED,
        )


def _evidence(
    path: fields.Path,
    container: Mapping[str, Any],
    probe: Probe,
    there: Sequence[Manifest],
    events: Sequence[Manifest],
) -> Evidence:
    """Return which pods fail the probe as the template has it; pods of another template tell nothing of it."""
    name, timings = container["name"], _timings(container.get(_field(probe)) or {})
    part = str(path[-2])
    place, start = f"spec.{part}{{{name}}}", f"{probe.capitalize()} probe "
    unhealthy = {
        str(event["involvedObject"].get("uid"))
        for event in events
        if event.get("reason") == "Unhealthy"
        and event["involvedObject"].get("fieldPath") == place
        and str(event.get("message", "")).startswith(start)
    }
    of, failing, restarts = 0, [], 0
    for pod in there:
        own = fields.get(pod, ("spec", part, fields.Select("name", name), _field(probe)))
        if pods.leaving(pod) or own is None or _timings(own) != timings:
            continue
        of += 1
        view = next((one for one in pods.containers(pod) if one.name == name), None)
        suffers = view is not None and (not view.ready if probe is Probe.READINESS else view.restarts > 0)
        if view is not None and suffers and pod["metadata"]["uid"] in unhealthy:
            failing.append(str(pod["metadata"]["name"]))
            restarts += view.restarts
    return Evidence(of, tuple(sorted(failing)), restarts)


def _seen(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    names = ", ".join(evidence.failing[:5]) + (", …" if len(evidence.failing) > 5 else "")
    return f" fails in {len(evidence.failing)} of {evidence.of} pods ({names}; {evidence.restarts} restarts)"
