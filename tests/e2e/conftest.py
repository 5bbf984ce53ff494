"""One cluster with simulated nodes, one Postgres and one operator with its own small rights, for all tests here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.world import ROOT, Place, World
from kubernaut.api.crd import KINDS
from localcluster import Cluster
from localpostgres import LocalPostgres

# Another name lets two sessions on one machine have a cluster each.
NAME = os.environ.get("KUBERNAUT_TEST_CLUSTER", "e2e")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that runs, from nothing; taken away again."""
    folder: Path = tmp_path_factory.mktemp("e2e")
    postgres = LocalPostgres.up(NAME)
    cluster = Cluster.up(NAME, nodes="kwok")
    try:
        cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
        names = [f"crd/{kind.crd_name}" for kind in KINDS]
        cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
        world = World(cluster, postgres, folder)
        try:
            world.operator.start()
            world.operator.wait_ready()
            yield world
        finally:
            world.close()
    finally:
        cluster.down()
        postgres.down()


@pytest.fixture
def place(world: World) -> Place:
    """A namespace of the test's own, with a Deployment ``web`` that may be repaired."""
    return world.place()


@pytest.fixture(autouse=True)
def _clean_logs(world: World) -> Iterator[None]:
    """Whatever a test does: the operator's log is JSON, line by line, and holds no traceback."""
    sizes = {log: len(_whole_lines(log)) for log in world.folder.glob("*/operator.log")}
    yield
    for log in world.folder.glob("*/operator.log"):
        for line in _whole_lines(log)[sizes.get(log, 0) :].decode().splitlines():
            record = json.loads(line)
            assert "exc_info" not in record, record["exc_info"]
            assert record["level"], line
            assert "time" in record, line


def _whole_lines(log: Path) -> bytes:
    """Return a log without a line that is being written just now."""
    text = log.read_bytes()
    return text[: text.rfind(b"\n") + 1]
