"""The signing key, snapshots, and the policy check."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from kubernaut.api.policies import policy_names, required_policies
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.policies import PolicyCheck
from kubernaut.cluster.signing import load_signer
from kubernaut.cluster.snapshots import Snapshots
from kubernaut.core.errors import ClusterError, Conflict, Forbidden, NotFound, Unavailable, UnknownOutcome
from kubernaut.core.ports import ObjectRef
from unit.cluster.memory import MemoryCluster

SECRET = ObjectRef("v1", "Secret", "kubernaut-system", "kubernaut-signing")
SPEC = WorkflowSpec.model_validate(
    {
        "serviceAccountName": "repair",
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "steps": [{"name": "say", "action": "notify_only"}],
    }
)
OTHER = SPEC.replace(description="another")


def secret(**data: str) -> dict[str, Any]:
    meta = {"name": SECRET.name, "namespace": SECRET.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, **({"data": data} if data else {})}


async def test_the_first_operator_makes_the_key_and_the_next_uses_it() -> None:
    cluster = MemoryCluster(secret())
    first = await load_signer(cluster)
    second = await load_signer(cluster)
    assert first == second
    assert len(first.key) == 32
    assert cluster.calls.count("patch") == 1


async def test_two_operators_that_start_at_once_end_with_one_key() -> None:
    cluster = MemoryCluster(secret())
    signers = await asyncio.gather(*(load_signer(cluster) for _ in range(4)))
    assert len({signer.key for signer in signers}) == 1


@pytest.mark.parametrize("trouble", [Conflict("x"), UnknownOutcome("x")])
async def test_the_key_is_what_the_secret_holds(trouble: Exception) -> None:
    cluster = MemoryCluster(secret())
    cluster.trouble["patch"] = [trouble]
    signer = await load_signer(cluster)
    assert base64.b64decode(cluster.objects[SECRET]["data"]["key"]) == signer.key


@pytest.mark.parametrize("key", ["c2hvcnQ=", "not base64!"])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    cluster = MemoryCluster(secret(key=key))
    with pytest.raises(ClusterError, match=r"empty data\.key") as caught:
        await load_signer(cluster)
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.objects[SECRET]["data"] == {"key": key}


async def test_a_missing_secret_names_what_ships_it() -> None:
    with pytest.raises(NotFound, match="manifests/base"):
        await load_signer(MemoryCluster())


async def test_a_snapshot_is_kept_once_and_read_back() -> None:
    cluster = MemoryCluster()
    snapshots = Snapshots(cluster)
    name = await snapshots.ensure("shop", "crash-loop", SPEC, 3)
    assert name == await snapshots.ensure("shop", "crash-loop", SPEC, 4)
    assert await snapshots.get("shop", name) == SPEC
    assert name != await snapshots.ensure("shop", "crash-loop", OTHER, 4)
    assert len(cluster.objects) == 2


@pytest.mark.parametrize("data", [OTHER.wire(), {"steps": "none"}, None])
async def test_a_snapshot_that_holds_something_else_is_not_followed(data: Any) -> None:
    cluster = MemoryCluster()
    snapshots = Snapshots(cluster)
    name = await snapshots.ensure("shop", "crash-loop", SPEC, 1)
    cluster.edit(ObjectRef("apps/v1", "ControllerRevision", "shop", name), data=data)
    with pytest.raises(ClusterError, match="not the snapshot") as caught:
        await snapshots.ensure("shop", "crash-loop", SPEC, 1)
    assert caught.value.reason is Reason.PRECONDITION_FAILED


def in_force() -> MemoryCluster:
    return MemoryCluster(*(one for pair in required_policies() for one in pair))


async def test_policies_as_shipped_are_no_problem_and_missing_ones_are() -> None:
    assert await PolicyCheck(in_force()).problems() == []
    problems = await PolicyCheck(MemoryCluster()).problems()
    assert len(problems) == 2 * len(policy_names())


async def test_the_answer_is_kept_for_a_while_and_renewed_when_asked() -> None:
    now = [100.0]
    cluster = in_force()
    check = PolicyCheck(cluster, every=30, monotonic=lambda: now[0])
    assert check.known is None
    reads = 2 * len(policy_names())
    await asyncio.gather(*(check.problems() for _ in range(5)))
    assert cluster.calls.count("get") == reads
    cluster.objects.pop(next(iter(cluster.objects)))
    now[0] += 29
    assert await check.problems() == []
    assert len(await check.problems(now=True)) == 1
    assert cluster.calls.count("get") == 2 * reads
    now[0] += 31
    assert len(await check.problems()) == 1
    assert cluster.calls.count("get") == 3 * reads
    assert check.known is not None
    assert len(check.known) == 1


@pytest.mark.parametrize("trouble", [Forbidden("no"), Unavailable("away")])
async def test_policies_that_can_not_be_read_are_not_taken_for_in_force(trouble: Exception) -> None:
    cluster = in_force()
    cluster.trouble["get"] = [trouble]
    with pytest.raises(type(trouble)):
        await PolicyCheck(cluster).problems()
