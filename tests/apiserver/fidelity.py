"""A step performed in a copy of the cluster, and whether that came to what it comes to in the cluster itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from apiserver.acting import Place, await_true
from apiserver.scenarios.scenario import Scenario, Where, declared
from kubernaut.core.action import Awaits, StepContext
from kubernaut.core.errors import Unfinished
from kubernaut.core.kinds import group_of, resource_of
from kubernaut.core.ports import Manifest
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.outside import SimulatedWeb
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.simulating import shadow_of

_WORKLOADS = (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"))
_COUNTS = ("replicas", "readyReplicas", "updatedReplicas", "numberReady", "updatedNumberScheduled")
_ROUNDS = 50
#: actions whose outcome hangs on what no simulation knows; docs/simulator.md says so
BEYOND = {
    "create_heap_dump": "what a container that is run in a pod finds there",
    "resume_cronjob": "when a schedule starts its next Job",
}


#: the same of what comes of putting back
BEYOND_UNDONE = {
    "silence_alert": "nothing is sent to Alertmanager, so there is no silence that could be ended",
    "quarantine_pod": "controllers take a pod back that has its labels again, and then delete one that is too many",
}


@dataclass(frozen=True)
class Simulated:
    """What a step would come to, and what it would come to when it is put back; None where it is not."""

    objects: tuple[Manifest | None, ...]
    workloads: Mapping[str, Any]
    assumptions: tuple[str, ...]
    undone: Simulated | None = None


class Twin:
    """A step in a copy of the cluster, made before the step itself."""

    def __init__(self, scenario: Scenario, place: Place) -> None:
        self._scenario = scenario
        self._place = place
        self._told: Simulated | None = None

    async def tell(self, context: StepContext) -> None:
        """Simulate it, where its outcome is not up to what no simulation can know."""
        if self._scenario.action in BEYOND:
            return
        self._told = await simulated(self._scenario, self._place, context)

    def check(self) -> None:
        """Demand that the cluster came to the same."""
        if self._told is not None:
            check_it_came_out(self._scenario, self._place, self._told)

    def check_undone(self) -> None:
        """Demand the same once it was put back."""
        if self._told is None or self._scenario.action in BEYOND_UNDONE:
            return
        assert self._told.undone is not None, f"{self._scenario}: the simulation puts nothing back"
        check_it_came_out(self._scenario, self._place, self._told.undone)


async def simulated(scenario: Scenario, place: Place, context: StepContext) -> Simulated:
    """Perform a scenario's step in a copy, with the action's own code; nothing may be sent but reads."""
    now = [_read(place, where) for where in scenario.changes]
    sent = Counter(place.connection.mutations)
    shadow = shadow_of(datetime.now(UTC), place.connection.own())
    settling = Settling(shadow)
    action, parameters = scenario.made
    shadow.step = context.step
    # Nothing is sent to anybody else either: what undo would end there has not been begun yet.
    context = replace(context, web=SimulatedWeb(shadow.assumptions))
    context = replace(context, intent=await action.prepare(shadow, context, parameters))
    for _ in range(_ROUNDS):
        try:
            done = await action.perform(shadow, context, parameters)
        except Unfinished:
            await settling.settle()
            continue
        await settling.settle()
        if done.awaits is None:
            break
        assert isinstance(action, Awaits)
        assert action.ended(await shadow.get(done.awaits)), "it is assumed to end at once"
        context = replace(context, intent={"uid": done.awaits.uid})
    else:
        raise AssertionError(f"{scenario}: the simulation has not come to an end")
    assert done.acted, done.message
    told = await _come_to(scenario, place, shadow, now)
    if scenario.action in BEYOND_UNDONE:
        return told
    back = await action.undo(shadow, context, parameters)
    assert back.acted is scenario.undoes, f"{scenario}: simulated, undo says: {back.message}"
    await settling.settle()
    undone = await _come_to(scenario, place, shadow, now) if back.acted else None
    assert place.connection.mutations == sent, "a simulation changed something"
    return replace(told, undone=undone)


async def _come_to(
    scenario: Scenario, place: Place, shadow: Shadow, before: Sequence[Manifest | None]
) -> Simulated:
    """Return what the copy has come to."""
    objects = tuple(
        [_expected(shadow, place, where, one) for where, one in zip(scenario.changes, before, strict=True)]
    )
    workloads: dict[str, Any] = {}
    for version, kind in _WORKLOADS:
        items = await shadow.list(version, kind, place.namespace)
        workloads |= {f"{kind} {one['metadata']['name']}": _counts(one) for one in items}
    workloads["pods"] = _pods(await shadow.list("v1", "Pod", place.namespace))
    return Simulated(objects, workloads, shadow.assumptions.all)


def _expected(shadow: Shadow, place: Place, where: Where, before: Manifest | None) -> Manifest | None:
    """Return an object as the simulation left it; one that it did not touch is as it was."""
    for key, first in shadow.state.first.items():
        now = shadow.state.objects.get(key)
        if _is(now or first or {}, where, place.namespace):
            return now
    return before


def _read(place: Place, where: Where) -> Manifest | None:
    answer = place.admin.request("GET", place.path(where.base, where.resource, where.name))
    return answer.body if answer.ok else None


def _is(one: Manifest, where: Where, namespace: str) -> bool:
    if not one:
        return False
    meta = one["metadata"]
    group, _, _ = where.base.removeprefix("/apis/").removeprefix("/api/").rpartition("/")
    here = meta.get("namespace") in (None, "", namespace)
    same = (group_of(one["apiVersion"]), resource_of(one["kind"])) == (group, where.resource)
    return bool(here and same and meta["name"] == where.name)


def check_it_came_out(scenario: Scenario, place: Place, told: Simulated) -> None:
    """Demand that the cluster comes to the same: what was declared of each object, and the counts of workloads."""
    for where, one in zip(scenario.changes, told.objects, strict=True):
        if one is None:
            await_true(lambda where=where: _read(place, where) is None, f"{scenario}: {where} stays", 10)  # type: ignore[misc]
            continue
        await_true(
            lambda where=where, one=one: not list(differences(declared(one), declared(where.read(place)))),  # type: ignore[misc]
            f"{scenario}: {where} differs: "
            f"{list(differences(declared(one), declared(where.read(place))))[:3]}; assumed: {told.assumptions}",
            10,
        )

    def real() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for version, kind in _WORKLOADS:
            items = place.items(version, f"{kind.lower()}s")
            found |= {f"{kind} {one['metadata']['name']}": _counts(one) for one in items}
        return {**found, "pods": _pods(place.items("v1", "pods"))}

    try:
        await_true(lambda: real() == told.workloads, "", 10)
    except AssertionError:
        raise AssertionError(
            f"{scenario}: simulated {told.workloads}, real {real()}; assumed: {told.assumptions}"
        ) from None


def _counts(one: Mapping[str, Any]) -> dict[str, Any]:
    status = one.get("status") or {}
    return {name: status.get(name, 0) for name in _COUNTS} | {"wanted": one["spec"].get("replicas")}


def _pods(pods: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many pods there are, by owner's kind and phase."""
    found: Counter[str] = Counter()
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        owners = pod["metadata"].get("ownerReferences") or [{"kind": "nobody"}]
        found[f"{owners[0]['kind']} {pod['status'].get('phase')}"] += 1
    return dict(found)


def differences(simulated: Any, real: Any, path: str = "") -> Any:
    """Yield where a simulated object has another value than the real one, which may have defaults beside."""
    if isinstance(simulated, Mapping) and isinstance(real, Mapping):
        for key in simulated:
            if key in ("data", "stringData") and path == "" and simulated.get("type") is not None:
                # A Secret: what is random differs each time.
                if set(simulated[key] or {}) != set(real.get(key) or {}):
                    yield f"{path}.{key}", sorted(simulated[key]), sorted(real.get(key) or {})
            else:
                yield from differences(simulated[key], real.get(key), f"{path}.{key}")
    elif isinstance(simulated, list) and isinstance(real, list) and len(simulated) == len(real):
        for at, (one, other) in enumerate(zip(simulated, real, strict=True)):
            yield from differences(one, other, f"{path}[{at}]")
    elif simulated != real and not (simulated in ({}, [], "", None) and real in ({}, [], "", None)):
        yield path, simulated, real
