"""A wrong address of Postgres: one that can't be read ends the operator, any other never keeps it from healing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.processes import given_up, running, said
from e2e.websteps import note
from e2e.world import World, until
from localrun.process import free_port

SECRET = "hunter2-secret"


def test_a_postgres_address_that_can_not_be_read_ends_it(world: World) -> None:
    operator = world.new_operator(f"mysql://root:{SECRET}@db/kubernaut")
    words = given_up(operator)
    assert "it begins with 'mysql'" in words
    assert "write it as postgresql://user:password@host:5432/database" in words
    assert SECRET not in operator.log.read_text()


@pytest.fixture
def wrong_password(world: World) -> Iterator[str]:
    """The address of a user whom Postgres asks for a password; the password in it is wrong."""
    rules = world.postgres.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all careful scram-sha-256\n" + before)
    world.rows("CREATE ROLE careful LOGIN PASSWORD 'right'")
    world.rows("SELECT pg_reload_conf()")
    yield world.postgres.dsn.replace("postgres@", f"careful:{SECRET}@")
    rules.write_text(before)
    world.rows("DROP ROLE careful")
    world.rows("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def alone(world: World) -> Iterator[None]:
    """The usual operator is away, so that others can act in its stead, one after the other."""
    world.operator.stop()
    yield
    world.restart_operator()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("wrong", ["nobody listens", "unknown database", "wrong password"])
def test_with_a_wrong_postgres_it_heals_and_says_what_is_wrong(
    world: World, wrong_password: str, wrong: str
) -> None:
    dsn, told = {
        "nobody listens": (f"postgresql://postgres:{SECRET}@127.0.0.1:{free_port()}/kubernaut", "127.0.0.1"),
        "unknown database": (world.postgres.dsn_of("nowhere"), "nowhere"),
        "wrong password": (wrong_password, "password"),
    }[wrong]
    place = world.place()
    with running(world.new_operator(dsn)) as operator:
        operator.wait_ready()
        place.workflow(note("only"))
        assert place.run().end()["phase"] == "Succeeded"
        record = said(operator, "the history is away; healing goes on without it")
        assert record["level"] == "ERROR"
        assert told in str(record["error"])
        until("it waits", lambda: operator.metric("kubernaut_mirror_backlog") >= 1)
        until(
            "the breaker opens", lambda: operator.metric("kubernaut_breaker_open", dependency="postgres") == 1
        )
        assert operator.get("/healthz")[0] == operator.get("/readyz")[0] == 200
        assert SECRET not in operator.log.read_text()
        operator.kill()  # else it would wait for its history for a while
