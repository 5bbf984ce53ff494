"""More than one replica: whoever is killed, stopped, set wrong or sent away, others go on, and nothing is doubled."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.websteps import chain, gate, note, slow_chain
from e2e.world import ROOT, Place, Run, World, effects, until
from faults.wire import Exchange
from kubernaut.api.crd import KINDS
from localcluster import Cluster
from localpostgres import LocalPostgres
from localrun.audit import Request
from replicas import QUICK, SLOW, Replicas, await_share, held, holding

NAME = "replicas"
REPORT = ROOT / "build" / "faults" / "replicas.json"
#: seconds from the death of a replica until another one has all its shards; a lease lasts 6
TAKEN_WITHIN = 10.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster and a Postgres; no operator of its own."""
    postgres = LocalPostgres.up(NAME)
    cluster = Cluster.up(NAME, nodes="kwok", kwok_nodes=1)
    try:
        cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        names = [f"crd/{kind.crd_name}" for kind in KINDS]
        cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        made = World(cluster, postgres, tmp_path_factory.mktemp(NAME))
        try:
            # A replica that is stopped while it migrates would have the others' histories wait for it.
            made.operator.start()
            made.operator.wait_ready(60)
            until(
                "the history is there", lambda: made.rows("select to_regclass('kubernaut.runs') as t")[0]["t"]
            )
            made.operator.stop()
            yield made
        finally:
            made.close()
    finally:
        cluster.down()
        postgres.down()


@pytest.fixture
def replicas(world: World, tmp_path: Path) -> Iterator[Replicas]:
    """Replicas of this test's own; no lease of an earlier one stands."""
    world.cluster.run_kubectl("delete", "lease", "--all", "-n", "kubernaut-system")
    made = Replicas(world, tmp_path)
    yield made
    made.end()


def shops(world: World, count: int, steps: int) -> list[Place]:
    """Make places whose runs take a while; their targets are in several shards."""
    places = [world.place() for _ in range(count)]
    for place in places:
        place.workflow(*slow_chain(steps, "200ms"))
    return places


def all_ended_well(places: list[Place], runs: list[Run], steps: int) -> None:
    """Assert that each effect happened once and in order, and each run and step is in the history once."""
    world = places[0].world
    for place, run in zip(places, runs, strict=True):
        status = run.end(90)
        assert status["phase"] == "Succeeded", status
        assert effects(place) == [f"s{at}" for at in range(steps)]
    rows = world.await_rows([run.uid for run in runs], 60)
    assert Counter(str(row["uid"]) for row in rows) == Counter(run.uid for run in runs)


def changes(place: Place) -> list[Request]:
    """Return the requests that tried to change ``web``, also those that were refused."""
    return [
        request
        for request in place.world.requests()
        if request.user == place.account and request.mutates and request.resource == "deployments"
    ]


def test_when_a_replica_is_killed_another_ends_its_runs_and_each_effect_happens_once(
    world: World, replicas: Replicas
) -> None:
    first = replicas.start("ann", {})
    second = replicas.start("bob", {})
    await_share(first, 5)
    await_share(second, 4)
    places = shops(world, 6, 12)
    runs = [place.run() for place in places]
    for run in runs:
        run.step_is("s2", "Succeeded")
    first.kill()
    killed = time.monotonic()
    await_share(second)
    taken = time.monotonic() - killed
    assert taken <= TAKEN_WITHIN
    all_ended_well(places, runs, 12)
    assert first.metric("kubernaut_runs_live") == 0
    told = {
        "lease_duration_seconds": 6,
        "runs": len(runs),
        "seconds_from_kill_until_another_holds_all_shards": round(taken, 2),
        "seconds_from_kill_until_all_runs_ended": round(time.monotonic() - killed, 2),
        "effects_doubled": 0,
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(told, indent=1))
    print(json.dumps(told))


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_replica_stopped_past_its_lease_amid_an_effect_doubles_nothing(
    world: World, replicas: Replicas, tmp_path: Path, method: str
) -> None:
    place = world.place()

    def at_the_second_step(exchange: Exchange) -> bool:
        mine = f"/namespaces/{place.namespace}/deployments/web" in exchange.path
        return mine and exchange.method == method and "s0" in effects(place)

    with holding(world.rights, tmp_path / "relay", at_the_second_step) as relay:
        first = replicas.start("ann", rights=relay.kubeconfig)
        place.workflow(*slow_chain(3, "100ms"))
        run = place.run()
        relay.await_held()
        first.send(signal.SIGSTOP)
        second = replicas.start("bob")
        await_share(second)
        all_ended_well([place], [run], 3)
        before = len(changes(place))
        # What was under way arrives while its sender is still stopped: awake, it might break the request off first.
        relay.let_go()
        if method == "PATCH":
            until("the late patch arrives", lambda: len(changes(place)) > before)
        first.send(signal.SIGCONT)
        # It is back when it has its share again; what it had begun before is behind it then.
        await_share(first, 5)
        late = changes(place)[before:]
        assert [request.code for request in late] == ([409] if method == "PATCH" else [])
        assert effects(place) == ["s0", "s1", "s2"]
        assert run.end() == place.get("WorkflowExecution", run.name)["status"]


def test_replicas_whose_clocks_are_ten_minutes_apart_double_nothing(world: World, replicas: Replicas) -> None:
    first = replicas.start("ann", skew=300.0)
    second = replicas.start("bob", skew=-300.0)
    await_share(first, 5)
    await_share(second, 4)
    places = [world.place() for _ in range(6)]
    for place in places:
        place.workflow(*chain(3), gate("gate", "s2"), note("s3", "gate"))
    runs = [place.run() for place in places]
    for run in runs:
        run.step_is("gate", "Waiting")
    assert (held(first), held(second)) == (5, 4), "nobody takes from a replica that lives"
    first.kill()
    await_share(second)
    for place in places:
        place.label(go="yes")
    all_ended_well(places, runs, 4)


def test_a_replica_that_restarts_takes_its_shards_back_at_once(world: World, replicas: Replicas) -> None:
    first = replicas.start("ann", SLOW)
    second = replicas.start("bob", SLOW)
    await_share(first, 5)
    await_share(second, 4)
    places = shops(world, 3, 10)
    runs = [place.run() for place in places]
    for run in runs:
        run.step_is("s2", "Succeeded")
    first.kill()
    first.start()
    first.wait_ready(60)
    assert first.metric("kubernaut_shard_takeovers_total", how="own") == 5
    assert held(second) == 4
    all_ended_well(places, runs, 10)


def test_a_replica_that_goes_leaves_its_shards_to_others_at_once(world: World, replicas: Replicas) -> None:
    first = replicas.start("ann", SLOW)
    second = replicas.start("bob", SLOW)
    await_share(first, 5)
    await_share(second, 4)
    places = shops(world, 3, 10)
    runs = [place.run() for place in places]
    for run in runs:
        run.step_is("s2", "Succeeded")
    assert first.stop() == 0
    await_share(second, seconds=20)
    assert second.metric("kubernaut_shard_takeovers_total", how="expired") == 5
    all_ended_well(places, runs, 10)


def test_a_replica_told_another_number_of_shards_refuses_to_act_and_says_so(
    world: World, replicas: Replicas
) -> None:
    first = replicas.start("ann")
    await_share(first)
    other = replicas.start("bob", {**QUICK, "KUBERNAUT_SHARDS": "3"}, ready=False)
    until("it says so", lambda: "works with 8 shards and this one with 3" in other.get("/readyz")[1])
    assert other.get("/readyz")[0] == 503
    assert held(other) == 0
    assert held(first) == 9


def test_with_more_replicas_than_shards_one_stands_by_and_is_ready(world: World, replicas: Replicas) -> None:
    few = {**QUICK, "KUBERNAUT_SHARDS": "1"}
    first, second, third = (replicas.start(name, few) for name in ("ann", "bob", "carl"))
    await_share(first, 1)
    await_share(second, 1)
    code, told = third.get("/readyz")
    assert (code, held(third)) == (200, 0)
    assert "stands by" in told
    first.kill()
    await_share(third, 1)
