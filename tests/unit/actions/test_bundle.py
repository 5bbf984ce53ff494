"""The bundle of collect_diagnostics: all that was read, nothing secret, and no step fails for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from kubernaut.actions.diagnosis.bundle import MAX_BYTES
from kubernaut.actions.diagnosis.collect_diagnostics import CollectDiagnostics, CollectDiagnosticsParameters
from kubernaut.core.errors import Forbidden, Invalid
from kubernaut.core.ports import Manifest
from unit.actions.builders import NOW, container, context, deployment, pod, running, waiting, warning
from unit.actions.fake import FakeCluster

collect = CollectDiagnostics()
CANARY = "hunter2-4711"


@dataclass
class Kept:
    """Keeps bundles in memory."""

    refuses: str = ""
    found: dict[tuple[str, str], tuple[datetime, bytes]] = field(default_factory=dict)

    def refusal(self) -> str:
        return self.refuses

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        self.found[run_uid, step] = (taken_at, content)
        return ""


def scene(restarts: int = 4) -> tuple[FakeCluster, Manifest]:
    target = deployment(replicas=2)
    target["metadata"]["managedFields"] = [
        {
            "manager": "kubectl",
            "operation": "Update",
            "time": "2026-03-01T11:50:00Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    ]
    ill = pod(
        "api-1", waiting("CrashLoopBackOff", restarts=restarts, exitCode=3, reason="Error"), ready=False
    )
    ill["spec"]["containers"] = [container(env=[{"name": "DB_PASSWORD", "value": CANARY}])]
    cluster = FakeCluster().add(
        target, ill, pod("api-0"), warning("BackOff", f"Back-off, password={CANARY}", ill)
    )
    cluster.log_texts = {
        "api-1/app": f"starting as {CANARY}\n",
        "api-1/app/previous": f"boom token={CANARY}\n",
        "api-0/app": "fine\n",
    }
    return cluster, target


async def kept(
    cluster: FakeCluster, target: Manifest, keeper: Kept, **parameters: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    given = CollectDiagnosticsParameters.model_validate(parameters)
    done = await collect.perform(cluster, replace(context(target), keeper=keeper), given)
    content = json.loads(keeper.found["run-1", "repair"][1]) if keeper.found else {}
    return dict(done.outputs), content


async def test_all_there_is_to_see_is_kept_under_the_step() -> None:
    keeper = Kept()
    outputs, content = await kept(*scene(), keeper)
    taken_at, raw = keeper.found["run-1", "repair"]
    assert taken_at == NOW
    assert outputs["bundle"] == f"{len(raw)} bytes are kept"
    assert content["target"]["metadata"]["name"] == "api"
    assert [one["metadata"]["name"] for one in content["pods"]] == ["api-1", "api-0"]
    assert [one["reason"] for one in content["events"]] == ["BackOff"]
    assert content["owners"] == [
        {"of": "Pod shop/api-1", "kind": "ReplicaSet", "name": "api-1", "uid": "uid-rs-1"}
    ]
    assert [(one["by"], one["at"], one["fields"]) for one in content["changes"]] == [
        ("kubectl", "2026-03-01T11:50:00Z", ["spec.replicas"])
    ]
    assert [(one["pod"], one["container"], one["previous"]) for one in content["logs"]] == [
        ("api-1", "app", False),
        ("api-1", "app", True),
        ("api-0", "app", False),
    ]
    assert content["logs"][1]["text"] == "boom token=***\n"
    assert content["omitted"] == []


async def test_no_secret_value_is_in_the_bundle_or_the_status() -> None:
    keeper = Kept()
    outputs, content = await kept(*scene(), keeper)
    assert content["logs"][0]["text"] == "starting as ***\n"
    assert CANARY not in json.dumps(content)
    assert CANARY not in json.dumps(outputs)


@pytest.mark.parametrize("why", ["there is no history", "the disk spool is full"])
async def test_where_nothing_can_be_kept_the_step_says_so_and_reads_no_more(why: str) -> None:
    cluster, target = scene()
    outputs, content = await kept(cluster, target, Kept(refuses=why))
    assert outputs["bundle"] == f"not kept: {why}"
    assert content == {}
    assert sum(request.startswith("log ") for request in cluster.requests) == 1


async def test_it_can_be_done_without() -> None:
    keeper = Kept()
    outputs, _ = await kept(*scene(), keeper, keep=False)
    assert "bundle" not in outputs
    assert keeper.found == {}
    cluster, target = scene()
    _, content = await kept(cluster, target, keeper, logs=False)
    assert content["logs"] == []
    assert not any(request.startswith("log ") for request in cluster.requests)


async def test_a_log_that_can_not_be_had_is_named_and_others_are_kept() -> None:
    cluster, target = scene()
    cluster.log_texts["api-1/app"] = Invalid("container is waiting to start")
    _, content = await kept(cluster, target, Kept())
    assert [one["previous"] for one in content["logs"]] == [True, False]
    assert content["omitted"] == ["log of api-1/app: container is waiting to start"]


async def test_a_missing_right_on_logs_fails_the_step() -> None:
    cluster, target = scene()
    cluster.log_texts["api-0/app"] = Forbidden("add verb get on pods/log")
    with pytest.raises(Forbidden):
        await kept(cluster, target, Kept())


async def test_of_a_log_that_is_too_long_the_end_is_kept() -> None:
    cluster, target = scene()
    asked: list[int] = []

    async def logs(ref: Any, *, tail_lines: int, limit_bytes: int, **_: Any) -> str:
        asked.append(tail_lines)
        return "".join(f"{'x' * 500} {number}\n" for number in range(9999 - tail_lines, 9999))[:limit_bytes]

    cluster.logs = logs  # type: ignore[assignment]
    _, content = await kept(cluster, target, Kept())
    assert content["logs"][0]["text"].endswith(" 9998\n")
    assert {5000, 1000, 200} < set(asked)


async def test_a_bundle_is_bounded_and_says_what_it_leaves_out() -> None:
    target = deployment(replicas=50)
    many = [pod(f"api-{n:02}", running(restarts=n), ready=False) for n in range(50)]
    events = [
        warning("BackOff", f"{'m' * 9000} {n}", many[0], f"2026-03-01T11:{n % 60:02}:{n // 60:02}Z")
        for n in range(600)
    ]
    cluster = FakeCluster().add(target, *many, *events)
    for one in many:
        for suffix in ("", "/previous"):
            cluster.log_texts[f"{one['metadata']['name']}/app{suffix}"] = "line\n" * 40_000
    keeper = Kept()
    _, content = await kept(cluster, target, keeper)
    assert len(keeper.found["run-1", "repair"][1]) <= MAX_BYTES
    assert len(content["pods"]) == 20
    assert "30 more pods" in content["omitted"]
    assert "logs of 45 more pods" in content["omitted"]
    assert "events: too large" in content["omitted"]
