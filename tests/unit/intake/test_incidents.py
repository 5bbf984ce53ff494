"""Incidents in a cluster: several replicas, answers that are lost, other writers, restarts; one run each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.names import ANNOTATION_ALERTS, LABEL_INCIDENT
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import StepError, Unavailable, UnknownOutcome
from kubernaut.core.incidents import Alarm, read_episode
from kubernaut.core.ports import Manifest
from kubernaut.core.triggers import Alert
from kubernaut.intake.episodes import FRESH, Episodes
from kubernaut.intake.incidents import Incidents, Outcome
from kubernaut.intake.matching import Asked, Fit
from kubernaut.intake.runs import run_of
from unit.engine.world import EngineCluster

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SPEC = WorkflowSpec.from_wire(
    {
        "serviceAccountName": "repair",
        "parameters": [{"name": "deployment", "required": True}],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "steps": [{"name": "restart", "action": "restart_deployment"}],
        "triggers": [
            {
                "alert": {"matchLabels": {"alertname": "A"}},
                "parameters": {"deployment": "=alert.labels.deployment"},
            }
        ],
    }
)
PLAN = compile_plan(SPEC, ActionRegistry())
FIT = Fit("shop", "fix", "uid-fix", PLAN, PLAN.triggers[0])
ALERT = Alert({"alertname": "A", "deployment": "web"}, {"summary": "web"}, "aa", NOW.isoformat())


def asked(incident: str = "i1", *, fresh: bool = True) -> Asked:
    return Asked(FIT, ALERT, incident, "uid-web", {"deployment": "web"}, fresh)


class Cluster(EngineCluster):
    """Lists by label, and gives what it makes a time of creation."""

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        meta = {**manifest["metadata"], "creationTimestamp": NOW.isoformat()}
        return await super().create({**manifest, "metadata": meta})

    async def list_pages(
        self, *what: str, label_selector: str = "", **more: object
    ) -> AsyncIterator[list[Manifest]]:
        async for page in super().list_pages(*what):
            name, _, value = label_selector.split(",")[-1].partition("=")
            yield [one for one in page if one["metadata"]["labels"].get(name) == value]


class Replica:
    """One replica: what it remembers is its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.now = NOW
        self.seconds = 0.0
        self.episodes = Episodes(cluster, lambda: self.seconds)
        self.incidents = Incidents(self.episodes, lambda: self.now)

    async def tell(self, *alarms: Alarm, fresh: bool = True) -> Outcome:
        return await self.incidents.tell(asked(fresh=fresh), alarms)

    def later(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)
        self.seconds += minutes * 60


def fires(name: str, minutes: float = 0) -> Alarm:
    return Alarm(name, NOW + timedelta(minutes=minutes))


def ended(name: str, minutes: float, since: float = 0) -> Alarm:
    return Alarm(name, NOW + timedelta(minutes=since), NOW + timedelta(minutes=minutes))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def runs(cluster: Cluster) -> list[Manifest]:
    return [one for (kind, _, _), one in cluster.objects.items() if kind == "WorkflowExecution"]


def kept(cluster: Cluster) -> dict[str, bool]:
    """Return the alerts that the only run keeps, with whether they fire."""
    (run,) = runs(cluster)
    episode = read_episode(1, run["metadata"]["annotations"][ANNOTATION_ALERTS], NOW)
    return {name: name in episode.firing for name in episode.alerts}


async def test_replicas_that_are_told_at_the_same_time_start_one_run(cluster: Cluster) -> None:
    replicas = [Replica(cluster) for _ in range(5)]
    told = await asyncio.gather(*(one.tell(fires(f"a{at}")) for at, one in enumerate(replicas)))
    assert sorted(told) == [Outcome.JOINED] * 4 + [Outcome.STARTED]
    for one in replicas:
        await one.incidents.flush()
        await one.incidents.flush()
    assert kept(cluster) == dict.fromkeys(["a0", "a1", "a2", "a3", "a4"], True)


async def test_a_run_whose_creation_was_not_answered_is_found_when_the_alert_is_told_again(
    cluster: Cluster,
) -> None:
    await cluster.create(run_of(asked(), read_episode(1, "", NOW)))
    cluster.troubles["create"] = [UnknownOutcome("no answer")]
    replica = Replica(cluster)
    assert await replica.tell(fires("a")) is Outcome.JOINED
    assert len(runs(cluster)) == 1
    other = Replica(Cluster())
    lost: Cluster = other.episodes._own  # type: ignore[assignment]
    lost.troubles["create"] = [UnknownOutcome("no answer")]
    with pytest.raises(UnknownOutcome):
        await other.tell(fires("a"))
    assert await other.tell(fires("a")) is Outcome.STARTED


async def test_a_target_that_was_not_read_just_now_is_read_again_before_a_run_is_started(
    cluster: Cluster,
) -> None:
    replica = Replica(cluster)
    assert await replica.tell(fires("a"), fresh=False) is Outcome.STALE
    assert runs(cluster) == []
    assert await replica.tell(fires("a")) is Outcome.STARTED
    assert await replica.tell(fires("b"), fresh=False) is Outcome.JOINED


async def test_another_object_of_the_runs_name_is_told(cluster: Cluster) -> None:
    made = run_of(asked(), read_episode(1, "", NOW))
    made["spec"]["trigger"] = {"type": "Manual"}
    made["metadata"]["labels"] = {}
    await cluster.create(made)
    with pytest.raises(StepError, match="is not the run of this incident; delete it") as refused:
        await Replica(cluster).tell(fires("a"))
    assert not refused.value.transient


async def test_what_joins_is_written_a_little_later_and_with_what_others_wrote(cluster: Cluster) -> None:
    replica, other = Replica(cluster), Replica(cluster)
    await replica.tell(fires("a"))
    await other.tell(fires("b", 1))
    assert kept(cluster) == {"a": True}
    await other.incidents.flush()
    await replica.tell(fires("c", 1))
    # The other one wrote meanwhile: this one reads, and writes both.
    await replica.incidents.flush()
    await replica.incidents.flush()
    assert kept(cluster) == {"a": True, "b": True, "c": True}
    writes = len(cluster.writes)
    await replica.tell(fires("a"), fires("b", 1), fires("c", 1))
    await replica.incidents.flush()
    assert len(cluster.writes) == writes


async def test_what_can_not_be_written_is_written_later(cluster: Cluster) -> None:
    replica = Replica(cluster)
    await replica.tell(fires("a"))
    await replica.tell(fires("b"))
    cluster.troubles["patch"] = [Unavailable("away")]
    await replica.incidents.flush()
    assert kept(cluster) == {"a": True}
    await replica.incidents.flush()
    assert kept(cluster) == {"a": True, "b": True}


async def test_a_resolution_is_written_before_it_is_answered_and_known_to_a_replica_that_was_not_there(
    cluster: Cluster,
) -> None:
    await Replica(cluster).tell(fires("a"), fires("b"))
    fresh = Replica(cluster)
    assert (await fresh.episodes.of_alert("shop", "fix", "A", "a")).keys() == {"i1"}
    await fresh.incidents.resolve("shop", "i1", "A", [ended("a", 3)])
    assert kept(cluster) == {"a": False, "b": True}
    cluster.troubles["patch"] = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await fresh.incidents.resolve("shop", "i1", "A", [ended("b", 4)])
    await fresh.incidents.resolve("shop", "i1", "A", [ended("b", 4)])
    assert kept(cluster) == {"a": False, "b": False}


async def test_what_fires_again_within_the_cooldown_is_written_before_it_is_answered(
    cluster: Cluster,
) -> None:
    replica = Replica(cluster)
    await replica.tell(fires("a"))
    await replica.incidents.resolve("shop", "i1", "A", [ended("a", 3)])
    replica.later(5)
    assert await replica.tell(fires("a", 5)) is Outcome.JOINED
    assert kept(cluster) == {"a": True}


async def test_the_next_episode_has_a_run_of_its_own_also_where_the_last_is_known_from_before_only(
    cluster: Cluster,
) -> None:
    replica, behind = Replica(cluster), Replica(cluster)
    await replica.tell(fires("a"))
    await behind.tell(fires("a"))
    await replica.incidents.resolve("shop", "i1", "A", [ended("a", 3)])
    for one in (replica, behind):
        one.later(30)
    assert await replica.tell(fires("a", 30)) is Outcome.STARTED
    # Who believes what it read a while ago would join the first episode.
    assert await behind.tell(fires("b", 31)) is Outcome.JOINED
    await behind.incidents.flush()
    numbers = {run["spec"]["trigger"]["alert"]["episode"] for run in runs(cluster)}
    assert numbers == {1, 2}
    assert {run["metadata"]["labels"][LABEL_INCIDENT] for run in runs(cluster)} == {"i1"}


async def test_what_was_read_is_believed_for_a_moment_only(cluster: Cluster) -> None:
    replica = Replica(cluster)
    await replica.tell(fires("a"))
    before = len(cluster.requests)
    await replica.tell(fires("a"))
    assert len(cluster.requests) == before
    replica.seconds += FRESH
    cluster.objects.clear()
    assert await replica.tell(fires("a")) is Outcome.STARTED


async def test_a_value_that_no_run_takes_is_told(cluster: Cluster) -> None:
    long = Asked(FIT, ALERT, "i1", "uid", {"deployment": "x" * 5000})
    with pytest.raises(StepError, match="parameter 'deployment' would have 5000 characters; at most 4096"):
        await Replica(cluster).incidents.tell(long, [fires("a")])
