from __future__ import annotations

from typing import Any

import pytest

from kubernaut.cluster.call import APPLY, Call, Unfenced, demand_precondition
from kubernaut.cluster.resources import SELF_REVIEW, WELL_KNOWN, Resource
from kubernaut.core.errors import ClusterError, Invalid
from kubernaut.core.ports import ObjectRef
from unit.cluster.wire import Reply, connected

POD = WELL_KNOWN["v1", "Pod"]
DEPLOYMENT = WELL_KNOWN["apps/v1", "Deployment"]
REF = ObjectRef("apps/v1", "Deployment", "shop", "web")

UNFENCED = [
    pytest.param(Call("patch", DEPLOYMENT, "shop", "web", body={"spec": {}}), id="patch without version"),
    pytest.param(
        Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"resourceVersion": ""}}),
        id="patch of empty version",
    ),
    pytest.param(
        Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"resourceVersion": "0"}}),
        id="patch of any version",
    ),
    pytest.param(
        Call("patch", DEPLOYMENT, "shop", "web", subresource="status", body={"status": {}}),
        id="status without version",
    ),
    pytest.param(Call("patch", DEPLOYMENT, "shop", "web"), id="patch without body"),
    pytest.param(
        Call(
            "patch",
            DEPLOYMENT,
            "shop",
            "web",
            body={"metadata": {"resourceVersion": "7"}},
            content_type=APPLY,
        ),
        id="apply without uid",
    ),
    pytest.param(
        Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"uid": "u"}}, content_type=APPLY),
        id="apply without version",
    ),
    pytest.param(
        Call("create", POD, "shop", "", body={"metadata": {"generateName": "x-"}}), id="generated name"
    ),
    pytest.param(
        Call("create", POD, "shop", "x", body={"metadata": {"name": "x", "generateName": "x-"}}),
        id="both names",
    ),
    pytest.param(Call("create", POD, "shop", "x", body={"metadata": {}}), id="create without name"),
    pytest.param(Call("delete", POD, "shop", "x"), id="delete without uid"),
    pytest.param(
        Call("delete", POD, "shop", "x", body={"preconditions": {"uid": ""}}), id="delete of empty uid"
    ),
    pytest.param(
        Call("delete", POD, "shop", "x", body={"preconditions": {"resourceVersion": "7"}}),
        id="delete by version only",
    ),
    pytest.param(
        Call("delete", POD, "shop", "", body={"preconditions": {"uid": "u"}}), id="delete of a collection"
    ),
    pytest.param(
        Call("create", POD, "shop", "x", subresource="eviction", body={"metadata": {"name": "x"}}),
        id="evict without uid",
    ),
    pytest.param(
        Call("create", POD, "shop", "x", subresource="exec", body={"metadata": {"name": "x"}}),
        id="exec can't be fenced",
    ),
]

FENCED = [
    pytest.param(
        Call("patch", DEPLOYMENT, "shop", "web", body={"metadata": {"resourceVersion": "7"}}),
        id="patch with version",
    ),
    pytest.param(
        Call(
            "patch",
            DEPLOYMENT,
            "shop",
            "web",
            body={"metadata": {"resourceVersion": "7", "uid": "u"}},
            content_type=APPLY,
        ),
        id="apply with uid and version",
    ),
    pytest.param(
        Call("create", POD, "shop", "x", body={"metadata": {"name": "x"}}), id="create of fixed name"
    ),
    pytest.param(
        Call("delete", POD, "shop", "x", body={"preconditions": {"uid": "u"}}), id="delete with uid"
    ),
    pytest.param(
        Call(
            "create",
            POD,
            "shop",
            "x",
            subresource="eviction",
            body={"deleteOptions": {"preconditions": {"uid": "u"}}},
        ),
        id="evict with uid",
    ),
    pytest.param(Call("get", POD, "shop", "x"), id="read"),
    pytest.param(Call("create", SELF_REVIEW, body={}), id="review that stores nothing"),
]


@pytest.mark.parametrize("call", UNFENCED)
async def test_a_mutation_without_precondition_is_not_sent(call: Call) -> None:
    async with connected(lambda _: Reply()) as (wire, connection):
        with pytest.raises(Unfenced, match="was not sent"):
            await connection.send(call)
        assert wire.requests == []
        assert not connection.mutations


@pytest.mark.parametrize("call", FENCED)
def test_what_carries_its_precondition_passes(call: Call) -> None:
    demand_precondition(call)


def test_a_fence_is_missed_as_an_assertion_and_as_a_cluster_error() -> None:
    with pytest.raises(AssertionError):
        demand_precondition(Call("delete", POD, "shop", "x"))
    with pytest.raises(ClusterError):
        demand_precondition(Call("delete", POD, "shop", "x"))


def test_a_review_of_another_kind_is_not_let_through_without_a_name() -> None:
    review = Resource("authentication.k8s.io/v1", "TokenReview", "tokenreviews", False)
    with pytest.raises(Unfenced):
        demand_precondition(Call("create", review, body={}))


async def test_the_client_puts_the_precondition_where_the_server_looks_for_it() -> None:
    async with connected(lambda _: Reply(200, {"metadata": {}})) as (wire, connection):
        own = connection.own()
        await own.patch(
            REF, {"spec": {"replicas": 1}, "metadata": {"labels": {"a": "b"}}}, resource_version="7"
        )
        await own.patch_status(REF, {"status": {"a": 1}}, resource_version="8")
        await own.delete(REF, uid="u", resource_version="9", grace_period_seconds=0)
        await own.evict(ObjectRef("v1", "Pod", "shop", "x"), uid="p")
    patch, status, delete, evict = (request.json for request in wire.requests)
    assert patch == {"spec": {"replicas": 1}, "metadata": {"labels": {"a": "b"}, "resourceVersion": "7"}}
    assert status == {"status": {"a": 1}, "metadata": {"resourceVersion": "8"}}
    assert delete["preconditions"] == {"uid": "u", "resourceVersion": "9"}
    assert delete["gracePeriodSeconds"] == 0
    assert evict["deleteOptions"]["preconditions"] == {"uid": "p"}
    assert [request.path for request in wire.requests] == [
        "/apis/apps/v1/namespaces/shop/deployments/web",
        "/apis/apps/v1/namespaces/shop/deployments/web/status",
        "/apis/apps/v1/namespaces/shop/deployments/web",
        "/api/v1/namespaces/shop/pods/x/eviction",
    ]


async def test_an_apply_carries_uid_and_version_and_says_in_whose_name() -> None:
    given = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
    async with connected(lambda _: Reply(200, {"metadata": {}})) as (wire, connection):
        await connection.own().apply(given, uid="u", resource_version="7", manager="team a", force=True)
        await connection.own().apply(given, uid="u", resource_version="7", manager="m", dry_run=True)
        with pytest.raises(Unfenced):
            await connection.own().apply(given, uid="", resource_version="7", manager="m")
    first, second = wire.requests
    assert first.json == {**given, "metadata": {**given["metadata"], "uid": "u", "resourceVersion": "7"}}  # type: ignore[dict-item]
    assert first.headers["content-type"] == "application/apply-patch+yaml"
    assert first.path.endswith("/deployments/web?fieldManager=team+a&force=true")
    assert second.path.endswith("/deployments/web?fieldManager=m&force=false&dryRun=All")


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_patch_with_an_empty_version_is_refused(version: str) -> None:
    async with connected(lambda _: Reply()) as (wire, connection):
        with pytest.raises(Unfenced):
            await connection.own().patch(REF, {"spec": {}}, resource_version=version)
        with pytest.raises(Unfenced):
            await connection.as_account("shop", "repair").delete(REF, uid="")
        assert wire.requests == []


async def test_a_dry_run_is_asked_for_in_the_query() -> None:
    async with connected(lambda _: Reply(200, {"metadata": {}})) as (wire, connection):
        await connection.own().patch(REF, {}, resource_version="7", strategic=True, dry_run=True)
    assert wire.requests[0].path.endswith("/web?dryRun=All")
    assert wire.requests[0].headers["content-type"] == "application/strategic-merge-patch+json"


async def test_a_dry_run_of_a_delete_says_so_in_its_body_for_the_server_reads_no_query_then() -> None:
    async with connected(lambda _: Reply(200, {})) as (wire, connection):
        await connection.own().delete(REF, uid="u", dry_run=True)
        await connection.own().delete(REF, uid="u")
    assert [request.json.get("dryRun") for request in wire.requests] == [["All"], None]


BAD_NAMES = ["", "..", "../x", "a/b", "a?b", "a#b", "a%2fb", "x" * 254, "a\nb", " "]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_never_reaches_another_path(name: str) -> None:
    async with connected(lambda _: Reply()) as (wire, connection):
        own = connection.own()
        for ref in (ObjectRef("v1", "Pod", "shop", name), ObjectRef("v1", "Pod", name, "x")):
            with pytest.raises(Invalid):
                await own.get(ref)
        assert wire.requests == []


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "a\r\nX: y", "A", "-a"])
async def test_an_account_name_never_reaches_another_account(name: str) -> None:
    async with connected(lambda _: Reply()) as (_, connection):
        with pytest.raises(Invalid):
            connection.as_account("shop", name)
        with pytest.raises(Invalid):
            connection.as_account(name, "repair")


async def test_what_has_no_namespace_is_not_changed_by_a_reference_that_names_one() -> None:
    ref = ObjectRef("v1", "Node", "shop", "n1")
    async with connected(lambda _: Reply()) as (wire, connection):
        with pytest.raises(Invalid, match="belongs to no namespace"):
            await connection.own().patch(ref, {"spec": {}}, resource_version="1")
        with pytest.raises(Invalid, match="belongs to no namespace"):
            await connection.own().delete(ref, uid="u")
        with pytest.raises(Invalid, match="belongs to no namespace"):
            await connection.own().create(
                {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "namespace": "shop"}}
            )
        assert wire.requests == []


async def test_only_pods_are_evicted() -> None:
    async with connected(lambda _: Reply()) as (wire, connection):
        with pytest.raises(Invalid, match="only pods"):
            await connection.own().evict(REF, uid="u")
        assert wire.requests == []


def test_kinds_of_the_table_have_paths() -> None:
    paths: dict[str, Any] = {kind: entry.path("ns", "x") for (_, kind), entry in WELL_KNOWN.items()}
    assert paths["Node"] == "/api/v1/nodes/x"
    assert paths["WorkflowExecution"] == "/apis/kubernaut.io/v1alpha1/namespaces/ns/workflowexecutions/x"
    assert paths["ValidatingAdmissionPolicy"] == (
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/x"
    )
