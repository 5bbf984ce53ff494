"""The engine runs adversarial Workflows on a cluster in memory; from what was written, an oracle finds no violation.

Workflows hide their effects behind steps that only look, in branches, items and under finally; runs come in storms,
fail, and are taken up again after restarts that lost all memory. What counts is when a run's first effect landed.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.guards import GUARD_APPROVAL, Guards
from kubernaut.core.guards.deciding import Alerts
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.engine.guarding import Guarding
from kubernaut.engine.live import LiveRun
from kubernaut.engine.locks import TargetLocks
from kubernaut.engine.past import PastRuns
from unit.engine.world import EPOCH, World, deployment
from virtual_time import IDLE_TURNS

HOURS = 5
TARGETS = ("web", "db")
MARK = "step.kubernaut.io/"
_BAD = ("NotFixed", "RolledBack")


@dataclass
class Source:
    """An alert fires, or nobody answers, between these times."""

    world: World
    firing: list[tuple[float, float]]
    away: list[tuple[float, float]]

    def at(self, when: float, spans: list[tuple[float, float]]) -> bool:
        return any(begin <= when < end for begin, end in spans)

    async def look(self) -> Alerts:
        now = asyncio.get_running_loop().time()
        if self.at(now, self.away):
            return Alerts(trouble="away")
        firing = ({"alertname": "Down"},) if self.at(now, self.firing) else ()
        return Alerts(firing, asked_at=self.world.clock())


@dataclass
class Wider:
    """Guards of the cluster and of the namespace."""

    found: tuple[Level, ...]

    def levels(self, namespace: str) -> tuple[Level, ...]:
        return self.found


@dataclass
class Play:
    """One world, its adversarial Workflows, and a protocol of what was written when."""

    world: World
    levels: tuple[Level, ...]
    source: Source
    effects: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    restarted: set[str] = field(default_factory=set)
    restarts: list[asyncio.Event] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        """Start the operator, with no memory but what is stored."""
        world = self.world
        world.locks = TargetLocks(world.woken.append)
        world.guards = Guarding(PastRuns(world.clock), world.clock, Wider(self.levels), self.source)
        for (kind, _, _), manifest in world.cluster.objects.items():
            if kind == "WorkflowExecution":
                world.guards.past.see(copy.deepcopy(manifest))
        world.guards.past.complete = True
        reconciler = world.reconciler()
        live = {
            name: world.take_up(name)
            for (kind, _, name), manifest in world.cluster.objects.items()
            if kind == "WorkflowExecution" and "finishedAt" not in manifest.get("status", {})
        }
        for one in live.values():
            if one.status.target is not None:
                world.locks.hold(one.status.target.uid, one.key)
        for one in live.values():
            self.follow(reconciler, one)

    def follow(self, reconciler: Any, live: LiveRun) -> None:
        self.tasks.append(asyncio.create_task(self._drive(reconciler, live)))

    async def _drive(self, reconciler: Any, live: LiveRun) -> None:
        while True:
            delay = await reconciler.reconcile(live)
            if live.stored.phase.final or live.gone:
                self.world.guards.past.learn(live)
                return
            asked = self._answer(live)
            pause = delay if delay is not None else 120.0
            await asyncio.sleep(min(pause, 120.0) if asked or live.status.target is None else pause)

    def _answer(self, live: LiveRun) -> bool:
        """A person answers after some minutes: says yes to every second run. Return whether one is asked."""
        record = next((s for s in live.status.steps if s.name == GUARD_APPROVAL), None)
        if record is None or record.phase.final or record.started_at is None:
            return False
        if self.world.clock() - record.started_at < timedelta(minutes=7):
            return True
        yes = int(live.key.name.rpartition("-")[2]) % 2 == 0
        answer = {"step": GUARD_APPROVAL, "decision": "Approve" if yes else "Deny", "by": "ada"}
        self.world.cluster.edit(
            "WorkflowExecution", live.key.name, {"spec": {"control": {"approvals": [answer]}}}
        )
        live.observe(copy.deepcopy(self.world.cluster.find("WorkflowExecution", live.key.name)))
        return True

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        self.tasks.clear()


def scale(name: str, replicas: int, needs: str = "", **more: Any) -> Manifest:
    given = {"replicas": replicas}
    return {"name": name, "action": "scale_deployment", "with": given, "dependsOn": needs.split(), **more}


def restart(name: str, needs: str = "", **more: Any) -> Manifest:
    return {"name": name, "action": "restart_deployment", "dependsOn": needs.split(), **more}


def pause(name: str, minutes: int) -> Manifest:
    return {"name": name, "wait": {"duration": f"{minutes}m"}}


#: the shape that scales its target to two
SCALES_TO_TWO = 5


def shapes(shape: int, wait: int) -> dict[str, Any]:
    """Return the steps of an adversarial Workflow; the ways to hide an effect."""
    late = pause("late", wait)
    each = {"name": "each", "forEach": {"items": ["1", "2"], "template": "one", "parallelism": 2}}
    case = [{"name": "yes", "when": "true", "template": "one"}]
    template = [{"name": "one", "steps": [restart("inner")]}]
    found: list[dict[str, Any]] = [
        {"steps": [scale("act", 3)]},
        {"steps": [late, scale("act", 3, "late")]},
        {"steps": [late], "finally": [restart("sneak")]},
        {"steps": [late, {**each, "dependsOn": ["late"]}], "templates": template},
        {
            "steps": [late, {"name": "which", "dependsOn": ["late"], "switch": {"cases": case}}],
            "templates": template,
        },
        {"steps": [restart("one"), scale("two", 2), restart("three", "one")]},
        {
            "steps": [late, scale("bad", 1, "late", when="target.nothing == 1")],
            "onFailure": "Alternate",
            "alternate": "one",
            "templates": template,
        },
    ]
    return found[shape]


@st.composite
def some_guards(draw: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["cooldown"] = f"{draw(st.integers(1, 60))}m"
    if draw(st.booleans()):
        found["maxPerHour"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 2)) == 0:
        found["storm"] = {
            "runs": draw(st.integers(1, 4)),
            "within": "10m",
            "cooldown": f"{draw(st.integers(10, 40))}m",
        }
    if draw(st.integers(0, 2)) == 0:
        kind, start = draw(st.sampled_from(["Open", "Closed"])), draw(st.integers(0, HOURS - 1))
        found["changeWindows"] = [
            {"name": "w", "type": kind, "start": f"0{start}:10", "end": f"0{start + 1}:20"}
        ]
    if draw(st.integers(0, 2)) == 0:
        found["stopWhileFiring"] = [{"alert": "Down"}]
    if draw(st.integers(0, 5)) == 0:
        found["protectedLabels"] = [{"key": "precious"}]
    if draw(st.integers(0, 2)) == 0:
        found["approval"] = draw(st.sampled_from(["Always", "OnRisk", "ByPolicy", "Never"]))
    if draw(st.integers(0, 3)) == 0:
        found["breaker"] = {"badRuns": draw(st.integers(1, 2)), "within": f"{draw(st.integers(1, 5))}h"}
    if draw(st.integers(0, 3)) == 0:
        found["maxUnavailablePercent"] = draw(st.sampled_from([0, 50]))
    return found


times = st.tuples(st.integers(0, HOURS * 60), st.integers(1, 90)).map(
    lambda t: (t[0] * 60.0, (t[0] + t[1]) * 60.0)
)
a_workflow = st.fixed_dictionaries(
    {
        "shape": st.integers(0, 6),
        "wait": st.integers(1, 40),
        "target": st.sampled_from(TARGETS),
        "guards": some_guards(),
        "helps": st.booleans(),
    }
)
a_scene = st.fixed_dictionaries(
    {
        "workflows": st.lists(a_workflow, min_size=8, max_size=8),
        # Each Workflow runs once at least.
        "order": st.permutations(range(8)),
        "again": st.lists(st.integers(0, 7), max_size=2),
        "minutes": st.lists(st.integers(0, 150), min_size=10, max_size=10),
        "namespace": st.one_of(st.just({}), some_guards()),
        "cluster": st.one_of(st.just({}), some_guards()),
        "firing": st.lists(times, max_size=2),
        "away": st.lists(times, max_size=1),
        "restarts": st.lists(st.integers(1, 200), max_size=2, unique=True),
        "precious": st.booleans(),
        "broken": st.booleans(),
    }
)


async def play(scene: dict[str, Any]) -> None:
    world = World()
    world.cluster.add(deployment("db", 4))
    for name in TARGETS:
        down = 2 if scene["broken"] and name == "db" else 0
        status = {"readyReplicas": 4 - down, "availableReplicas": 4 - down, "observedGeneration": 99}
        world.cluster.edit("Deployment", name, {"spec": {"replicas": 4}, "status": status})
    if scene["precious"]:
        world.cluster.edit("Deployment", "db", {"metadata": {"labels": {"precious": "yes"}}})
    levels = [(Reach.NAMESPACE, "shop", scene["namespace"]), (Reach.CLUSTER, "", scene["cluster"])]
    wider = tuple(Level(reach, name, Guards.model_validate(says)) for reach, name, says in levels if says)
    one = Play(world, wider, Source(world, scene["firing"], scene["away"]))
    for at, drawn in enumerate(scene["workflows"]):
        spec = shapes(drawn["shape"], drawn["wait"])
        expect = {"expect": ["target.spec.replicas > 0" if drawn["helps"] else "false"], "timeout": "1m"}
        world.workflow(*spec.pop("steps"), name=f"flow-{at}", verify=expect, timeout="4h", **spec)
        workflow = world.cluster.find("Workflow", f"flow-{at}")
        workflow["spec"]["target"]["name"] = drawn["target"]
        if drawn["guards"]:
            workflow["spec"]["guards"] = drawn["guards"]
    watch(one)
    happenings = sorted(
        [
            (minute, 0, f"{flow}")
            for flow, minute in zip([*scene["order"], *scene["again"]], scene["minutes"], strict=False)
        ]
        + [(minute, 1, "") for minute in scene["restarts"]]
    )
    one.begin()
    reconciler = world.reconciler()
    for number, (minute, kind, flow) in enumerate(happenings):
        await asyncio.sleep(max(minute * 60.0 - asyncio.get_running_loop().time(), 0.0))
        if kind == 1:
            await one.stop()
            one.begin()
            reconciler = world.reconciler()
        else:
            created = world.clock().isoformat().replace("+00:00", "Z")
            meta = {"creationTimestamp": created, "finalizers": ["kubernaut.io/mirror"]}
            one.follow(reconciler, world.run(f"run-{number}", f"flow-{flow}", **meta))
    await asyncio.sleep(max(HOURS * 3600.0 - asyncio.get_running_loop().time(), 0.0))
    await one.stop()
    judge(one, scene)


def watch(one: Play) -> None:
    """Write down when a run changed anything, by the mark that it leaves."""
    cluster = one.world.cluster
    patch = cluster.patch

    async def noting(ref: ObjectRef, body: Manifest, **more: Any) -> Manifest:
        before = copy.deepcopy(cluster.objects.get((ref.kind, ref.namespace, ref.name)))
        result = await patch(ref, body, **more)
        # A patch of annotations alone fences off an earlier owner's request, and changes nothing.
        if ref.kind == "Deployment" and "spec" in body:
            for key in body["metadata"].get("annotations") or {}:
                if key.startswith(MARK):
                    one.effects[key.removeprefix(MARK)].append(asyncio.get_running_loop().time())
                    one.taken[key.removeprefix(MARK)] += took(before, result)
                    if before is not None and before["spec"]["template"] != result["spec"]["template"]:
                        one.restarted.add(key.removeprefix(MARK))
        return result

    cluster.patch = noting  # type: ignore[method-assign]


def took(before: Manifest | None, after: Manifest) -> list[tuple[int, int]]:
    """Return how many replicas may be down after an effect, of how many, where it takes any down that were not."""
    assert before is not None
    of, up = before["spec"]["replicas"], before["status"]["availableReplicas"]
    # These Deployments declare no strategy: a quarter may be replaced at once.
    rolled = before["spec"]["template"] != after["spec"]["template"]
    at_once = max(of - after["spec"]["replicas"], of // 4 if rolled else 0)
    return [(at_once, of)] if at_once > max(of - up, 0) else []


# The oracle


@dataclass
class Told:
    """A run as the cluster holds it in the end."""

    name: str
    uid: str
    flow: int
    target: str
    status: Manifest

    def time(self, name: str) -> datetime | None:
        text = self.status.get(name)
        return datetime.fromisoformat(text) if text else None


def judge(one: Play, scene: dict[str, Any]) -> None:
    runs = []
    for (kind, _, name), manifest in one.world.cluster.objects.items():
        if kind == "WorkflowExecution":
            flow = int(manifest["spec"]["workflowRef"]["name"].removeprefix("flow-"))
            target = scene["workflows"][flow]["target"]
            runs.append(Told(name, manifest["metadata"]["uid"], flow, target, manifest.get("status", {})))
    for run in runs:
        if one.effects[run.uid]:
            check(one, scene, run, [other for other in runs if other is not run])


def counted(run: Told) -> bool:
    began = "target" in run.status and "startedAt" in run.status
    acted = any(step.get("changed") for step in run.status.get("steps", ()))
    return began and (
        acted or run.status.get("verdict") not in ("Declined", "NoActionRequired", "SelfHealed")
    )


def check(one: Play, scene: dict[str, Any], run: Told, others: list[Told]) -> None:
    first = one.effects[run.uid][0]
    when = EPOCH + timedelta(seconds=first)
    began = run.time("startedAt")
    assert began is not None
    own = scene["workflows"][run.flow]["guards"]
    for level, says in (("workflow", own), ("namespace", scene["namespace"]), ("cluster", scene["cluster"])):
        told = (level, says, run.name, str(when))
        mine = [
            other for other in others if counted(other) and (level != "workflow" or other.flow == run.flow)
        ]
        here = [other for other in mine if other.target == run.target]
        if "cooldown" in says:
            pause_ = timedelta(minutes=minutes_of(says["cooldown"]))
            ends = [end for other in here if (end := other.time("finishedAt")) and end <= began]
            assert all(end + pause_ <= when for end in ends), told
        starts = sorted(start for other in here if (start := other.time("startedAt")) and start <= began)
        if "maxPerHour" in says:
            assert sum(start > began - timedelta(hours=1) for start in starts) < says["maxPerHour"], told
        if "storm" in says:
            check_storm(says["storm"], mine, began, told)
        for window in says.get("changeWindows", ()):
            inside = window["start"] <= f"{when:%H:%M}" < window["end"]
            assert inside == (window["type"] == "Open"), told
        if "stopWhileFiring" in says:
            # An answer serves for some seconds.
            assert not all(one.source.at(at, one.source.firing) for at in (first, first - 15)), told
            assert not all(one.source.at(at, one.source.away) for at in (first, first - 15)), told
        if "protectedLabels" in says:
            assert not (scene["precious"] and run.target == "db"), told
        if "maxUnavailablePercent" in says:
            most = says["maxUnavailablePercent"]
            assert all(down <= of * most // 100 for down, of in one.taken[run.uid]), told
        if "maxUnavailablePercent" in says and scene["broken"] and run.target == "db":
            # Two of two are enough where a run scaled it to as many as are there.
            on_it = [other for other in others if other.target == "db"]
            fewer = [other for other in on_it if scene["workflows"][other.flow]["shape"] == SCALES_TO_TWO]
            scaled = any(at <= first for other in fewer for at in one.effects[other.uid])
            assert scaled or says["maxUnavailablePercent"] == 50, told
    assert run.status.get("highRisk") or run.uid not in one.restarted, run.name
    check_approval(scene, run, others, EPOCH + timedelta(seconds=one.effects[run.uid][-1]))


def minutes_of(text: str) -> int:
    return int(text.removesuffix("m"))


def check_storm(storm: dict[str, Any], mine: list[Told], began: datetime, told: object) -> None:
    starts = sorted(start for other in mine if (start := other.time("startedAt")) and start < began)
    cooldown = timedelta(minutes=minutes_of(storm["cooldown"]))
    for last in starts:
        near = [start for start in starts if timedelta(0) <= last - start < timedelta(minutes=10)]
        assert len(near) < storm["runs"] or last + cooldown <= began, told


def check_approval(scene: dict[str, Any], run: Told, others: list[Told], last: datetime) -> None:
    def levels(scene: dict[str, Any], run: Told) -> list[tuple[dict[str, Any], list[Told]]]:
        same = [other for other in others if other.flow == run.flow]
        return [(own, same), (space, others), (wide, others)]

    records = {record["name"]: record for record in run.status.get("steps", [])}
    asked = records.get(GUARD_APPROVAL, {})
    approved = asked.get("phase") == "Succeeded" and "Approve by ada" in asked.get("message", "")
    own, space, wide = scene["workflows"][run.flow]["guards"], scene["namespace"], scene["cluster"]
    said = [level.get("approval") for level in (own, space, wide)]
    risky = bool(run.status.get("highRisk"))
    if "Always" in said:
        assert approved, (said, run.name)
    if "OnRisk" in said and risky:
        assert approved, (said, run.name)
    if own.get("approval") == "ByPolicy" and not {said[1], said[2]} - {None, "ByPolicy"} and risky:
        assert approved, (said, run.name)
    began = run.time("startedAt")
    assert began is not None
    bad = [other for other in others if other.status.get("highRisk") and other.status.get("verdict") in _BAD]
    breakers = [(one["breaker"], alike) for one, alike in levels(scene, run) if "breaker" in one]
    if "breaker" not in space and "breaker" not in wide:
        breakers.append(({"badRuns": 3, "within": "24h"}, bad))
    for breaker, alike in breakers:
        within = timedelta(hours=int(breaker["within"].removesuffix("h")))
        near = [
            other
            for other in bad
            if other in alike and (end := other.time("finishedAt")) and end <= began and end + within > last
        ]
        assert not risky or approved or len(near) < breaker["badRuns"], (breaker, run.name)


# In parts, so that two processes share them.
@pytest.mark.parametrize("part", range(5))
@settings(max_examples=25)
@given(scene=a_scene)
def test_a_thousand_adversarial_workflows_violate_no_guard(part: int, scene: dict[str, Any]) -> None:
    loop = looptime.new_event_loop(noop_cycles=IDLE_TURNS)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(play(scene))
    finally:
        loop.close()
