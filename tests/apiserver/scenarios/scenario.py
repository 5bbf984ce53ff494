"""A fault made by another actor, its symptom, the action that mends it: what holds for every action."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import pytest

from apiserver.acting import Place, await_true
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import API_VERSION, GROUP
from kubernaut.api.reasons import Reason
from kubernaut.core.acted import ask
from kubernaut.core.action import Action, Awaits, Done, StepContext
from kubernaut.core.errors import Forbidden, StepError, Unfinished
from kubernaut.core.ports import Cluster, Manifest, Right
from kubernaut.core.probing import Answer, Probed

_OF_CONTROLLERS = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")
RUN: Manifest = {
    "apiVersion": API_VERSION,
    "kind": "WorkflowExecution",
    "metadata": {"name": "run"},
    "spec": {"workflowRef": {"name": "flow"}},
}


#: asked for by the engine where replicas change, to see who keeps them
KEEPERS: Final = "list horizontalpodautoscalers.autoscaling"


@dataclass(frozen=True)
class Where:
    """An object by its path: base as in ``apps/v1``, resource as in ``deployments``."""

    base: str
    resource: str
    name: str

    def read(self, place: Place) -> Manifest:
        return place.get(self.base, self.resource, self.name)


@dataclass(frozen=True)
class Lost:
    """What another actor takes away, and what the step is refused with then."""

    take: Callable[[Place], None]
    refused: Reason


@dataclass(frozen=True)
class Scenario:
    """One fault and the action against it.

    Attributes:
        action: the action's name; with ``told``, the test's.
        given: its parameters.
        healthy: makes the objects, waits until they are well, and returns the run's target.
        fault: another actor breaks something, as the cluster's administrator.
        symptom: whether the fault shows, on what controllers and (simulated) nodes write.
        changes: the objects that the action changes; after undo they are as the fault had left them.
        undoes: whether undo puts them back.
        mended: another actor mends it first; then the action must change nothing. None where nothing could be
            mended that the action looks at.
        lost: what the action is for, or needs, is taken away by another actor between plan and performance, by what
            that is; then it is refused, and must change nothing.
        writes: mutating requests that change something, for one performance.
        later: rights that only others need: undo, the wait for the effect's end, or the engine before a request.
        happened: what its probe says of it once it is done; Unknown where nothing on the cluster tells.
        helped: what its probe says once the symptom is gone; Unknown where only the test sees that it is.
    """

    action: str
    given: Mapping[str, Any]
    healthy: Callable[[Place], Manifest]
    fault: Callable[[Place], None]
    symptom: Callable[[Place], bool]
    changes: tuple[Where, ...]
    undoes: bool = True
    mended: Callable[[Place], None] | None = None
    lost: Mapping[str, Lost] = field(default_factory=dict)
    writes: int = 1
    later: tuple[str, ...] = ()
    told: str = ""
    happened: Answer = Answer.YES
    helped: Answer = Answer.YES
    context: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.told}".strip()

    @property
    def made(self) -> tuple[Action[Any], Any]:
        action = ActionRegistry().get(self.action)
        return action, action.parameters.model_validate(dict(self.given))

    def broken(self, place: Place) -> Manifest:
        """Return the run's target, once the fault shows."""
        target = self.healthy(place)
        assert not self.symptom(place), f"{self}: the symptom shows before the fault"
        self.fault(place)
        await_true(lambda: self.symptom(place), f"{self}: the fault does not show")
        return target

    def rights(self, place: Place, target: Manifest) -> tuple[Right, ...]:
        action, parameters = self.made
        return action.rights(place.context(target).target, parameters)

    def content(self, place: Place) -> list[Any]:
        """Return what people declared of the objects."""
        return [declared(where.read(place)) for where in self.changes]


@dataclass
class Step:
    """A step of a run, performed as the engine does: prepared once, its intent stored, then performed."""

    scenario: Scenario
    account: Cluster
    context: StepContext

    @classmethod
    async def begun(
        cls, scenario: Scenario, place: Place, target: Manifest, account: Cluster, **of_run: Any
    ) -> Step:
        action, parameters = scenario.made
        context = place.context(target, **scenario.context, **of_run)
        intent = await action.prepare(account, context, parameters)
        return cls(scenario, account, replace(context, intent=intent))

    async def perform(self) -> Done:
        """Perform it, and once more where it waited for an object's end."""
        action, parameters = self.scenario.made
        while True:
            try:
                done = await action.perform(self.account, self.context, parameters)
                break
            except Unfinished:
                await asyncio.sleep(0.1)
        if done.awaits is None:
            return done
        assert isinstance(action, Awaits)
        async with asyncio.timeout(60):
            async for seen in self.account.watch(done.awaits):
                if seen is None or action.ended(seen):
                    break
        self.context = replace(self.context, intent={"uid": done.awaits.uid})
        return await action.perform(self.account, self.context, parameters)

    async def probe(self, place: Place, done: Done | None = None) -> Probed:
        """Ask what is known of it; ``done`` is what is recorded of it by then."""
        action, parameters = self.scenario.made
        return await ask(action, place.connection.own(), replace(self.context, done=done), parameters)

    async def undo(self) -> Done:
        action, parameters = self.scenario.made
        return await action.undo(self.account, self.context, parameters)


def declared(manifest: Manifest) -> dict[str, Any]:
    """Return what people declare of an object: no status, nothing of the API server's, controllers' or ours."""
    meta = manifest["metadata"]
    given = (meta.get("annotations") or {}).items()
    annotations = {key: text for key, text in given if GROUP not in key and key not in _OF_CONTROLLERS}
    rest = {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
    return {**rest, "labels": meta.get("labels") or {}, "annotations": annotations}


def mutations(place: Place) -> int:
    """Return how many requests of actions were sent that may change something, and met no conflict."""
    return place.connection.mutations.total() - place.connection.conflicts


class Foretold(Protocol):
    """What is told beforehand of how a step will come out, and held against how it does."""

    async def tell(self, context: StepContext) -> None: ...

    def check(self) -> None: ...

    def check_undone(self) -> None: ...


async def check_it_mends_once_and_puts_back(scenario: Scenario, place: Place, foretold: Foretold) -> None:
    """With its declared rights alone: act, symptom gone; again, nothing; undo, as the fault had left it; again."""
    target = scenario.broken(place)
    account = place.account(scenario.rights(place, target))
    run = place.create(API_VERSION, "workflowexecutions", RUN)
    faulty = scenario.content(place)
    step = await Step.begun(scenario, place, target, account, run_uid=run["metadata"]["uid"])
    await foretold.tell(step.context)
    untold = scenario.happened is not Answer.YES
    assert (await step.probe(place)).happened is (Answer.UNKNOWN if untold else Answer.NO)
    sent = mutations(place)
    first = await step.perform()
    assert first.acted, first.message
    assert mutations(place) - sent == scenario.writes, place.connection.mutations
    await_true(
        lambda: not scenario.symptom(place), f"{scenario}: the symptom is still there after the action"
    )
    foretold.check()
    await check_probe(scenario, step, place, first)
    second = await step.perform()
    assert (second.acted, second.outputs) == (True, first.outputs)
    assert mutations(place) - sent == scenario.writes, "it was done twice"
    if not scenario.undoes:
        assert not (await step.undo()).acted
        return
    assert (await step.undo()).acted
    content = scenario.content(place)
    assert content == faulty, (content, faulty)
    back = await step.probe(place, first)
    assert back.happened is (Answer.UNKNOWN if untold else Answer.NO), back
    foretold.check_undone()
    left = mutations(place)
    assert (await step.undo()).acted
    assert mutations(place) == left, "it was put back twice"


async def check_probe(scenario: Scenario, step: Step, place: Place, done: Done) -> None:
    """Its probe says that it happened, and as soon as controllers have told so, that it helped."""
    deadline = time.monotonic() + 20
    while True:
        probed = await step.probe(place, done)
        if probed.helped is scenario.helped or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    assert (probed.happened, probed.helped) == (scenario.happened, scenario.helped), probed


async def check_every_right_is_needed_and_named(scenario: Scenario, place: Place) -> None:
    """Without any one of its rights it changes nothing, and says which one lacks."""
    target = scenario.broken(place)
    rights = scenario.rights(place, target)
    faulty = scenario.content(place)
    for missing in rights:
        if str(missing) in scenario.later:
            continue
        account = place.account(right for right in rights if right is not missing)
        # A run of its own: what gives up half done is put back, and not done again by the same run.
        run = f"run-{rights.index(missing)}"
        with pytest.raises(Forbidden, match=f"add verb {missing.verb} on {missing.resource}") as caught:
            await (await Step.begun(scenario, place, target, account, run_uid=run)).perform()
        assert caught.value.reason is Reason.MISSING_RIGHT
    assert scenario.content(place) == faulty


async def check_it_leaves_alone_what_was_mended(scenario: Scenario, place: Place) -> None:
    """Where another actor was quicker, nothing is changed: it refuses, or says that there is nothing to do."""
    assert scenario.mended is not None
    target = scenario.broken(place)
    account = place.account(scenario.rights(place, target))
    scenario.mended(place)
    await_true(
        lambda: not scenario.symptom(place), f"{scenario}: the symptom is still there after it was mended"
    )
    mended, sent = scenario.content(place), mutations(place)
    with suppress(StepError):
        done = await (await Step.begun(scenario, place, target, account)).perform()
        assert not done.acted
    assert scenario.content(place) == mended
    assert mutations(place) == sent


async def check_it_does_not_run_without(scenario: Scenario, what: str, place: Place) -> None:
    """Planned while all was there: it is refused for what was taken away since, and sends nothing."""
    target = scenario.broken(place)
    account = place.account(scenario.rights(place, target))
    step = await Step.begun(scenario, place, target, account)
    lost = scenario.lost[what]
    lost.take(place)
    left, sent = found(scenario, place), mutations(place)
    with pytest.raises(StepError) as caught:
        await step.perform()
    assert caught.value.reason is lost.refused, caught.value
    assert mutations(place) == sent
    now = found(scenario, place)
    assert now == left, (now, left)


def found(scenario: Scenario, place: Place) -> list[Any]:
    """Return what people declared of the objects that there are; None of what is not."""

    def read(where: Where) -> Any:
        try:
            return declared(where.read(place))
        except AssertionError:
            return None

    return [read(where) for where in scenario.changes]


def delete(place: Place, where: Where) -> None:
    """Delete an object with what belongs to it, and wait until it is gone."""
    path = place.path(where.base, where.resource, where.name)
    assert place.admin.request(
        "DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
    ).ok
    await_true(lambda: place.admin.request("GET", path).status == 404, f"{where} does not go")


def deleted(where: Where) -> Lost:
    """Another actor deletes the object that was planned for."""
    return Lost(lambda place: delete(place, where), Reason.NOT_FOUND)


def made_anew(where: Where) -> Lost:
    """Another actor deletes the object that was planned for, and makes another one like it under its name."""

    def take(place: Place) -> None:
        former = where.read(place)
        delete(place, where)
        meta = {key: former["metadata"].get(key) for key in ("name", "labels", "annotations")}
        rest = {key: value for key, value in former.items() if key not in ("metadata", "status")}
        made = place.create(where.base, where.resource, {**rest, "metadata": meta})
        assert made["metadata"]["uid"] != former["metadata"]["uid"]

    return Lost(take, Reason.TARGET_REPLACED)
