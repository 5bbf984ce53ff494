"""Whether an object is well, as far as statuses tell (in the manner of kstatus). Pure.

Workloads and autoscalers say so themselves. What has no health of its own is as well as the workloads that it is for:
a ConfigMap those that use it, a Service and a NetworkPolicy those whose pods they select, and where that can't be
told those of the namespace. Workloads are those that are remembered, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from kubernaut.actions import pods
from kubernaut.actions.faring import WORKLOADS as WORKLOADS
from kubernaut.actions.faring import Finding as Finding
from kubernaut.actions.faring import Health as Health
from kubernaut.actions.faring import own as own
from kubernaut.core.ports import Manifest
from kubernaut.core.selectors import selects

#: a container that ended less long ago may do so again: the kubelet waits for up to five minutes before it starts it
SHAKEN_FOR: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Facts:
    """What health needs to know of an object.

    Attributes:
        own: what its own status says; None where it has none.
        labels: of a workload's pods.
        uses: ConfigMaps that a workload's pods take.
        ports: names of a workload's ports.
        selector: the LabelSelector by which it chooses pods; None where it chooses none.
        needs: names of ports that the pods must have.
        scales: kind and name of what an autoscaler scales.
    """

    kind: str
    name: str
    own: Finding | None = None
    labels: Mapping[str, str] | None = None
    uses: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()
    selector: Mapping[str, Any] | None = None
    needs: frozenset[str] = frozenset()
    scales: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def facts(manifest: Manifest) -> Facts:
    """Return what health needs to know of an object as read."""
    kind, name, spec = manifest["kind"], manifest["metadata"]["name"], manifest.get("spec") or {}
    if kind in WORKLOADS:
        pod = spec["template"]
        parts = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
        ports = {port["name"] for one in parts for port in one.get("ports") or () if port.get("name")}
        labels = (pod.get("metadata") or {}).get("labels") or {}
        uses = frozenset(_config_maps(pod["spec"]))
        return Facts(kind, name, own(manifest), labels, uses, frozenset(ports))
    if kind == "Service":
        named = {port["targetPort"] for port in spec.get("ports") or () if _is_name(port.get("targetPort"))}
        selector = {"matchLabels": spec["selector"]} if spec.get("selector") else None
        return Facts(kind, name, selector=selector, needs=frozenset(named))
    if kind == "NetworkPolicy":
        return Facts(kind, name, selector=spec.get("podSelector") or {})
    if kind == "HorizontalPodAutoscaler":
        target = spec["scaleTargetRef"]
        return Facts(kind, name, own(manifest), scales=(target["kind"], target["name"]))
    return Facts(kind, name)


def judge(about: Facts, workloads: Sequence[Facts]) -> Finding:
    """Say how an object fares.

    Args:
        workloads: those of its namespace that are remembered.
    """
    if about.kind in WORKLOADS:
        assert about.own is not None
        return about.own
    if about.kind == "HorizontalPodAutoscaler":
        return _autoscaler(about, workloads)
    if about.kind == "Service" and about.selector is not None:
        return _service(about, workloads)
    if about.kind == "NetworkPolicy":
        chosen = [one for one in workloads if _chooses(about.selector, one)]
        return together(chosen) if chosen else _of_namespace(workloads)
    if about.kind == "ConfigMap":
        users = [one for one in workloads if about.name in one.uses]
        return together(users) if users else _of_namespace(workloads)
    return _of_namespace(workloads)


def looked_into(workload: Facts, of_namespace: Iterable[Manifest], now: datetime) -> Facts:
    """Return a workload with its pods looked at: one whose containers end again and again is not well in between.

    A container without a readiness probe is ready as soon as it is started; for that moment all is as it should be.

    Args:
        of_namespace: pods, its own among them.
    """
    if workload.own is None or workload.own.health is not Health.HEALTHY or not workload.labels:
        return workload
    for pod in of_namespace:
        labels = pod["metadata"].get("labels") or {}
        if pods.leaving(pod) or any(labels.get(key) != value for key, value in workload.labels.items()):
            continue
        for view in pods.containers(pod):
            fine = view.init and view.exit_code == 0
            if view.ended_at and not fine and now - datetime.fromisoformat(view.ended_at) < SHAKEN_FOR:
                how = f"{view.exit_reason or 'ended'}, exit code {view.exit_code}"
                why = (
                    f"container {view.name} of pod {pod['metadata']['name']} ended at {view.ended_at} ({how})"
                )
                return replace(workload, own=Finding(Health.UNHEALTHY, why))
    return workload


def together(workloads: Iterable[Facts]) -> Finding:
    """Say how several workloads fare: well, where one is and none is not."""
    found = [(one, one.own) for one in workloads if one.own is not None]
    for health in (Health.UNHEALTHY, Health.UNSEEN):
        for one, finding in found:
            if finding.health is health:
                return Finding(health, f"{one}: {finding.why}")
    if any(finding.health is Health.HEALTHY for _, finding in found):
        return Finding(Health.HEALTHY, f"{', '.join(str(one) for one, _ in found[:3])} fare well")
    return Finding(Health.IDLE, "its workloads are meant to run no pods")


def _autoscaler(about: Facts, workloads: Sequence[Facts]) -> Finding:
    assert about.own is not None
    if about.own.health is not Health.HEALTHY:
        return about.own
    scaled = [one for one in workloads if (one.kind, one.name) == about.scales]
    return together(scaled) if scaled else about.own


def _service(about: Facts, workloads: Sequence[Facts]) -> Finding:
    chosen = [one for one in workloads if _chooses(about.selector, one)]
    if not chosen:
        return Finding(Health.UNHEALTHY, "it selects pods of no workload that is remembered")
    lacking = about.needs - frozenset().union(*(one.ports for one in chosen))
    if lacking:
        return Finding(Health.UNHEALTHY, f"no pod has a port named {', '.join(sorted(lacking))}")
    return together(chosen)


def _of_namespace(workloads: Sequence[Facts]) -> Finding:
    if not workloads:
        return Finding(Health.UNSEEN, "no workload of the namespace is remembered by which it could be told")
    return together(workloads)


def _chooses(selector: Mapping[str, Any] | None, workload: Facts) -> bool:
    return not selector or selects(selector, workload.labels or {})


def _is_name(port: Any) -> bool:
    return isinstance(port, str) and not port.isdecimal()


def _config_maps(pod: Mapping[str, Any]) -> Iterable[str]:
    """Yield the names of the ConfigMaps that a pod takes."""
    for volume in pod.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        yield from (one["configMap"]["name"] for one in sources if (one.get("configMap") or {}).get("name"))
    for container in [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]:
        for one in container.get("envFrom") or ():
            yield from (one[key]["name"] for key in ("configMapRef",) if (one.get(key) or {}).get("name"))
        for one in container.get("env") or ():
            reference = (one.get("valueFrom") or {}).get("configMapKeyRef") or {}
            if reference.get("name"):
                yield reference["name"]
