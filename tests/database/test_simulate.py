"""What a simulation asks of the history: how earlier runs went, and what objects were like while they were well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from database.builders import MOMENT, a_run
from database.keyfile import Keys
from kubernaut.actions.knowngood.declaration import declared, pack
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cli import main
from kubernaut.core.content import content_hash
from kubernaut.history.database import Database
from kubernaut.history.knowngood import GoodSighting, KnownGoodStore
from kubernaut.history.writer import RunWriter
from unit.simulation.world import ill, node, rolled_out

RESTORE = {"name": "back", "action": "restore_last_known_good"}
SCALE = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 3}}
Simulate = Callable[..., dict[str, Any]]


def spec(*steps: dict[str, Any]) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    return {"serviceAccountName": "repair", "target": target, "steps": list(steps)}


def stored(dsn: str, *runs: Any) -> None:
    async def store() -> None:
        database = Database(dsn)
        await RunWriter(database).write(runs)
        await database.close()

    asyncio.run(store())


def took(number: int, seconds: float, verdict: str = "Remediated") -> Any:
    """Return a run of the Workflow that took so long."""
    phase = "Succeeded" if verdict == "Remediated" else "Failed"
    at = MOMENT + timedelta(minutes=number)
    digest = content_hash(WorkflowSpec.from_wire(spec(SCALE)))
    ended = {"finished_at": at + timedelta(seconds=seconds), "duration_seconds": seconds}
    named = {"uid": f"run-{number}", "name": f"run-{number}", "workflow": "grow", "content_hash": digest}
    return a_run(**named, created_at=at, started_at=at, **ended, phase=phase, verdict=verdict, steps=())


@pytest.fixture
def simulate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Simulate steps on objects in a file; returns what programs get."""
    for name in ("KUBERNAUT_DSN", "KUBERNAUT_ENCRYPTION_KEYS"):
        monkeypatch.delenv(name, raising=False)

    def told(*arguments: str, step: dict[str, Any] = SCALE, objects: Any = None, code: int = 0) -> Any:
        meta = {"name": "grow", "namespace": "shop", "uid": "uid-flow"}
        api = {"apiVersion": "kubernaut.io/v1alpha1", "kind": "Workflow"}
        flow = {**api, "metadata": meta, "spec": spec(step)}
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"kind": "List", "items": [node(), *(objects or rolled_out()), flow]}))
        asked = ["simulate", "grow", "--state", str(state), "-n", "shop", *arguments]
        assert main([*asked, "-o", "json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return told


def test_the_history_says_how_long_runs_took_and_how_often_they_helped(dsn: str, simulate: Simulate) -> None:
    runs = [took(at, seconds=10.0 + at) for at in range(30)]
    failed = [took(100 + at, seconds=500.0, verdict="NotFixed") for at in range(10)]
    others = [a_run(uid="other", workflow="other"), a_run(uid="bank", workflow="grow", namespace="bank")]
    stored(dsn, *runs, *failed, *others)
    found = simulate("--dsn", dsn)["history"]
    duration, rate = found["duration"], found["success"]
    assert found["noneBecause"] is None
    assert duration["runs"] == 30, "runs that did not succeed say nothing of how long success takes"
    assert duration["medianSeconds"] == pytest.approx(24.5)
    lower, upper = duration["medianInterval95"]
    assert 10 < lower < 24.5 < upper < 39
    assert (rate["remediated"], rate["concluded"]) == (30, 40)
    assert rate["rate"] == pytest.approx(0.75)
    # Wilson's interval of 30 of 40.
    assert rate["interval"]["lower"] == pytest.approx(0.598, abs=0.002)
    assert rate["interval"]["upper"] == pytest.approx(0.858, abs=0.002)


def test_a_history_without_such_runs_says_so(dsn: str, simulate: Simulate) -> None:
    stored(dsn, a_run(workflow="other"))
    found = simulate("--dsn", dsn)["history"]
    assert found["duration"] is None
    assert found["noneBecause"] == "the history has no finished run of this Workflow"


def test_what_is_remembered_is_put_back_in_the_copy(dsn: str, simulate: Simulate, file: Keys) -> None:
    good = rolled_out()[0]
    packed = pack(declared(good))
    assert packed is not None
    now = datetime.now(UTC)
    times = (now - timedelta(hours=2), now - timedelta(minutes=5))
    names = ("uid-deployment-api", "shop", "Deployment", "api")
    seen = GoodSighting(*names, packed.digest, packed.size, packed.content, *times)

    async def remember() -> None:
        database = Database(dsn)
        store = KnownGoodStore(database, file.ring, timedelta(days=90), lambda: now)
        store.remember(seen)
        await store.flush()
        await database.close()

    asyncio.run(remember())
    told = simulate("--dsn", dsn, "--keys", str(file.path), step=RESTORE, objects=ill())
    assert told["goesThrough"], told["message"]
    changes = json.dumps(told["changes"])
    assert "shop/api:bad" in changes
    assert "shop/api:1" in changes
    assert not any("memory" in one for one in told["assumptions"])
    # Without its keys nothing is told of it.
    told = simulate("--dsn", dsn, step=RESTORE, objects=ill(), code=2)
    assert any("is not simulated" in one for one in told["assumptions"])
