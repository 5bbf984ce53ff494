"""What surrounds the operator is wrong, taken or away: it says so in one clear sentence, and heals where it can."""

from __future__ import annotations

import socket
from pathlib import Path

import yaml

from e2e.processes import given_up, running, said
from e2e.websteps import note, slow_chain
from e2e.world import World, effects, until
from localrun.access import account_kubeconfig
from localrun.process import Operator, free_port


def test_a_setting_of_the_wrong_type_is_named(world: World, tmp_path: Path) -> None:
    operator = Operator(world.rights, tmp_path, env={"KUBERNAUT_WORKERS": "many"})
    operator.start()
    until("the operator ends", lambda: not operator.running)
    assert operator.stop() == 1
    assert operator.log.read_text().startswith("kubernaut: setting KUBERNAUT_WORKERS: ")
    assert len(operator.log.read_text().splitlines()) == 1


def test_without_a_kubeconfig_it_says_where_it_looked(world: World) -> None:
    operator = Operator(Path("/nowhere/kubeconfig"), world.folder / "no-kubeconfig")
    words = given_up(operator)
    assert "no cluster is configured: there is no kubeconfig at /nowhere/kubeconfig" in words
    assert "make cluster" in words


def test_an_account_without_rights_is_told_which_it_lacks(world: World) -> None:
    folder = world.folder / "no-rights"
    rights = account_kubeconfig(world.cluster, "default", folder, namespace="kubernaut-system")
    words = given_up(Operator(rights, folder))
    assert "system:serviceaccount:kubernaut-system:default" in words
    assert "get" in words
    assert "secrets" in words


def test_a_port_that_is_taken_ends_it(world: World) -> None:
    operator = world.new_operator(None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", operator.port))
        taken.listen()
        words = given_up(operator)
    assert f"port {operator.port}" in words
    assert "KUBERNAUT_PORT" in words


def test_where_no_api_server_answers_it_waits_and_says_so(world: World, tmp_path: Path) -> None:
    config = yaml.safe_load(world.rights.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    with running(Operator(kubeconfig, world.folder / "no-server")) as operator:
        record = said(operator, "waiting for the API server")
        assert record["level"] == "WARNING"
        assert record["host"] == config["clusters"][0]["cluster"]["server"]
        until("it is alive", lambda: operator.get("/healthz")[0] == 200)
        assert operator.get("/readyz")[0] == 503
        assert operator.running
        assert operator.stop() == 0


def test_it_begins_by_itself_when_the_api_server_comes_back(world: World) -> None:
    place = world.place()
    place.workflow(note("only"))
    world.operator.stop()
    run = place.run()
    with world.without_api_server():
        written = world.operator.log.stat().st_size
        world.operator.start()
        until(
            "it says that it waits",
            lambda: b"waiting for the API server" in world.operator.log.read_bytes()[written:],
        )
    world.operator.wait_ready()
    assert run.end()["phase"] == "Succeeded"


def test_an_api_server_that_is_away_for_a_while_fails_no_run(world: World) -> None:
    place = world.place()
    place.workflow(*slow_chain(10))
    run = place.run()
    run.step_is("s2", "Succeeded")
    with world.without_api_server():
        until(
            "the breaker opens",
            lambda: world.operator.metric("kubernaut_breaker_open", dependency="kubernetes"),
        )
        assert world.operator.get("/healthz")[0] == 200
        until(
            "not knowing is a reason not to act",
            lambda: world.operator.metric("kubernaut_acting_stopped", reason="Stopped") == 1,
        )
    assert run.end()["phase"] == "Succeeded"
    assert effects(place) == [f"s{at}" for at in range(10)]
