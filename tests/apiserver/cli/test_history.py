"""`kubernaut why` for runs that are gone from the cluster, from a real Postgres."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubernaut.cli import main
from kubernaut.history.database import Database
from kubernaut.history.records import RunRecord, StepRecord
from kubernaut.history.writer import RunWriter
from localcluster import Cluster
from localpostgres import LocalPostgres

MOMENT = datetime(2026, 3, 15, 12, 0, 0, 250_000, tzinfo=UTC)
UID = "6f1f6d1c-2f0f-4f0a-9f53-0d8c3c1f7a11"
RECORD = RunRecord(
    uid=UID,
    namespace="gone",
    name="web-1",
    workflow="crash-loop",
    phase="Failed",
    created_at=MOMENT,
    content_hash="0123456789abcdef",
    service_account="repair",
    verdict="NotFixed",
    target_kind="Deployment",
    target_name="web",
    started_at=MOMENT,
    finished_at=MOMENT,
    reason="MissingRight",
    message="Step roll-back: repair may not patch deployments.apps.",
    parameters={"deployment": "web"},
    steps=(
        StepRecord("diagnose", 0, "Succeeded", "collect_diagnostics", 1, outputs={"restarts": 4}),
        StepRecord("roll-back", 1, "Failed", "rollback_deployment", 1, "MissingRight", "no right"),
    ),
    revision=7,
)


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """A history that holds one run."""

    async def fill(address: str) -> None:
        database = Database(address)
        try:
            await RunWriter(database).write([RECORD])
        finally:
            await database.close()

    with tempfile.TemporaryDirectory(prefix="kubernaut-cli-") as folder:
        server = LocalPostgres.up("cli", root=Path(folder))
        try:
            address = server.dsn_of("postgres")
            asyncio.run(fill(address))
            yield address
        finally:
            server.down()


@pytest.fixture(autouse=True)
def _kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.client_environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", ["web-1", UID])
def test_a_run_that_is_gone_is_told_from_the_history(
    dsn: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", name, "-n", "gone", "--dsn", dsn]) == 0
    out = capsys.readouterr().out
    assert "Read from the history: it is gone from the cluster." in out
    assert "rollback_deployment  Failed" in out
    assert "MissingRight (Permission)" in out
    assert "kubectl get kwfe" not in out


def test_without_a_cluster_the_history_still_tells(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNAUT_DSN", dsn)
    assert main(["why", "web-1", "-n", "gone"]) == 0
    out, err = capsys.readouterr()
    assert "the cluster can't be asked" in out
    assert "no cluster is configured" in err
    assert main(["why", "web-1"]) == 3


def test_a_run_that_nobody_remembers_is_told(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "web-2", "-n", "gone", "--dsn", dsn]) == 4
    assert "neither in the cluster nor in the history" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dsn_given", "code", "told"),
    [
        (
            "mysql://u:s3cret@x/y",
            1,
            "the Postgres address (KUBERNAUT_DSN) is not usable: it begins with 'mysql'",
        ),
        ("nonsense", 1, "the Postgres address (KUBERNAUT_DSN) is not usable: it has no scheme"),
        ("postgresql://u:s3cret@127.0.0.1:9/none", 3, "the history can't be read"),
    ],
)
def test_a_wrong_address_of_the_history_is_told_without_its_password(
    dsn_given: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", "web-1", "-n", "gone", "--dsn", dsn_given]) == code
    err = capsys.readouterr().err
    assert told in err
    assert "s3cret" not in err
    assert "Traceback" not in err
