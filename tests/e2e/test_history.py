"""Finished runs reach Postgres by the mirror, each once, and healing never waits for it."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from e2e.websteps import note
from e2e.world import Place, World, until
from localrun.process import Operator


def spooled(operator: Operator) -> list[str]:
    """Return the uids of the runs that wait on the operator's disk."""
    return [file.name.partition(".")[0] for file in (operator.log.parent / "state" / "spool").glob("*.json*")]


def test_a_finished_run_is_in_the_history_with_its_steps(place: Place) -> None:
    place.workflow(note("first"), note("second", "first"))
    run = place.run()
    status = run.end()
    (row,) = place.world.await_rows([run.uid])
    assert (row["namespace"], row["name"], row["workflow"]) == (place.namespace, "run", "flow")
    assert (row["phase"], row["verdict"]) == (status["phase"], status["verdict"])
    assert row["service_account"] == "kubernaut-repair"
    found = place.world.rows(
        "select * from kubernaut.steps where run_uid::text = $1 order by position", run.uid
    )
    assert [step["name"] for step in found] == ["first", "second"]
    assert [step["action"] for step in found] == ["patch_resource"] * 2


def test_a_run_deleted_once_it_is_in_the_history_goes_at_once(place: Place) -> None:
    place.workflow(note("only"))
    run = place.run()
    run.end()
    place.world.await_rows([run.uid])
    place.delete("WorkflowExecution", "run")
    place.world.runs.wait_gone(run.uid)


def test_while_postgres_is_away_runs_end_nothing_is_lost_and_all_is_stored_once(place: Place) -> None:
    world = place.world
    place.workflow(note("only"))
    place.workflow(note("short"), name="short", ttlSecondsAfterFinished=1)
    place.workflow({"name": "pause", "wait": {"duration": "2s"}}, name="slow")
    with world.without_history():
        expiring = place.run("expiring", "short")
        runs = [place.run(f"run-{number}") for number in range(3)]
        for run in (expiring, *runs):
            assert run.end()["phase"] == "Succeeded"
        place.delete("WorkflowExecution", "run-0")
        runs[0].wait(lambda r: "deletionTimestamp" in r["metadata"], "it is marked for deletion")
        # Two seconds later than the time to live of the first one, all are still there.
        slow = place.run("slow", "slow")
        slow.end()
        assert not world.runs.is_gone(runs[0].uid)
        assert not world.runs.is_gone(expiring.uid)
        until("all wait", lambda: world.operator.metric("kubernaut_mirror_backlog") >= 5)
        assert world.operator.get("/healthz")[0] == 200
        assert world.operator.metric("kubernaut_breaker_open", dependency="postgres") == 1
    uids = [run.uid for run in (expiring, *runs, slow)]
    rows = world.await_rows(uids)
    assert sorted(str(row["uid"]) for row in rows) == sorted(uids)
    world.runs.wait_gone(runs[0].uid)
    world.runs.wait_gone(expiring.uid)
    assert not world.runs.is_gone(runs[1].uid)
    until("nothing waits", lambda: world.operator.metric("kubernaut_mirror_backlog") == 0)
    steps = world.rows("select run_uid from kubernaut.steps where run_uid::text = any($1::text[])", uids)
    assert len(steps) == len(uids)


def test_a_history_that_is_lost_for_good_begins_anew_with_the_runs_that_are_still_there(place: Place) -> None:
    world = place.world
    place.workflow(note("only"))
    before = place.run("before")
    before.end()
    world.await_rows([before.uid])
    world.rows("create database empty")
    dsn = world.postgres.dsn_of("empty")
    with world.other_operator(dsn):
        after = place.run("after")
        assert after.end()["phase"] == "Succeeded"
        wanted = sorted((before.uid, after.uid))
        query = "select uid::text from kubernaut.runs where uid::text = any($1::text[]) order by 1"
        until("both are stored", lambda: [row["uid"] for row in world.rows(query, wanted, dsn=dsn)] == wanted)
        place.delete("WorkflowExecution", "before")
        world.runs.wait_gone(before.uid)


def test_a_namespace_is_not_held_hostage_by_a_postgres_that_is_away(world: World) -> None:
    env = {"KUBERNAUT_DELETE_GRACE": "2s"}
    with world.other_operator(world.postgres.dsn, env) as operator:
        place = world.place()
        world.refusing.add(place.namespace)  # no Event can be made in a namespace that is going
        with world.without_history():
            place.workflow(note("only"))
            run = place.run()
            run.end()
            place.delete("Namespace", place.namespace)
            world.runs.wait_gone(run.uid)
            assert place.list("WorkflowExecution") == []  # so the namespace can go
            assert operator.metric("kubernaut_mirror_spooled_runs_total") >= 1
            assert run.uid in spooled(operator)
        (row,) = world.await_rows([run.uid])
        assert (row["namespace"], row["verdict"]) == (place.namespace, "Inconclusive")
        until("the spool is empty", lambda: not spooled(operator))


def test_what_a_run_collected_is_read_back_with_the_keys_also_after_postgres_was_away(
    world: World, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(base64.b64encode(os.urandom(32)).decode())
    env = {"KUBERNAUT_ENCRYPTION_KEYS": str(keys)}
    where = ("--dsn", world.postgres.dsn, "--keys", str(keys), "-o", "json")
    with world.other_operator(world.postgres.dsn, env) as operator:
        place = world.place()
        place.workflow({"name": "diagnose", "action": "collect_diagnostics", "with": {"logs": False}})
        with world.without_history():
            run = place.run()
            status = run.end()
            assert operator.metric("kubernaut_bundle_backlog") == 1
        (step,) = status["steps"]
        assert step["outputs"]["bundle"].endswith("bytes are kept")
        world.await_rows([run.uid])

        def kept() -> str:
            return world.kubernaut("diagnostics", "run", "-n", place.namespace, *where).stdout

        content = json.loads(until("the bundle is stored", kept))
        until("nothing waits", lambda: operator.metric("kubernaut_bundle_backlog") == 0)
        assert content["target"]["metadata"]["name"] == "web"
        assert content["changes"]
        (row,) = world.rows("select content from kubernaut.bundles where run_uid = $1", run.uid)
        assert b"web" not in row["content"]
