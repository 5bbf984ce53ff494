"""update_network_policy."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kubernaut.actions.network.update_network_policy import (
    UpdateNetworkPolicy,
    UpdateNetworkPolicyParameters,
)
from kubernaut.api.reasons import Reason
from kubernaut.core.errors import StepError
from kubernaut.core.ports import Manifest, ObjectRef, Right
from unit.actions.builders import context
from unit.actions.fake import FakeCluster
from unit.actions.once import check_once_and_undone, check_undo_refuses

update = UpdateNetworkPolicy()
WEB: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "web"}}}
JOBS: dict[str, Any] = {"podSelector": {"matchLabels": {"app": "jobs"}}}
PORT: dict[str, Any] = {"protocol": "TCP", "port": 8080}
TO_WEB: dict[str, Any] = {"peer": {"podLabels": {"app": "web"}}, "ports": [{"port": 8080}]}


def wanted(
    operation: str = "Allow", direction: str = "Ingress", **more: Any
) -> UpdateNetworkPolicyParameters:
    given = {"operation": operation, "direction": direction} | more
    return UpdateNetworkPolicyParameters.model_validate(given)


def policy(*rules: Any, egress: bool = False) -> Manifest:
    types, field = (["Ingress", "Egress"], "egress") if egress else (["Ingress"], "ingress")
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "api", "namespace": "shop", "uid": "uid-policy"},
        "spec": {"podSelector": {}, "policyTypes": types, field: list(rules)},
    }


HERE = context(policy())


def rules(cluster: FakeCluster, field: str = "ingress") -> Any:
    return cluster.find("NetworkPolicy", "api")["spec"].get(field)


@pytest.mark.parametrize(
    ("peer", "manifest"),
    [
        ({"podLabels": {"app": "web"}}, WEB),
        ({"podLabels": {}}, {"podSelector": {}}),
        ({"namespaceLabels": {"team": "a"}}, {"namespaceSelector": {"matchLabels": {"team": "a"}}}),
        (
            {"namespaceLabels": {}, "podLabels": {"app": "web"}},
            {"namespaceSelector": {}, **WEB},
        ),
        (
            {"cidr": "10.1.0.0/16", "except": ["10.1.9.0/24"]},
            {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.9.0/24"]}},
        ),
        ({"cidr": "fd00::/16"}, {"ipBlock": {"cidr": "fd00::/16"}}),
    ],
)
async def test_a_peer_is_let_in_by_one_rule_more_and_undo_takes_that_out(
    peer: dict[str, Any], manifest: Manifest
) -> None:
    cluster = FakeCluster().add(policy({"from": [JOBS]}))
    ports = [{"port": 8080, "endPort": 8090}, {"port": "dns", "protocol": "UDP"}]
    done = await check_once_and_undone(
        cluster, update, HERE, wanted(peer=peer, ports=ports), "NetworkPolicy", "api"
    )
    assert done.outputs == {"rulesBefore": 1, "rules": 2}
    again = FakeCluster().add(policy({"from": [JOBS]}))
    await update.perform(again, HERE, wanted(peer=peer, ports=ports))
    assert rules(again) == [
        {"from": [JOBS]},
        {
            "from": [manifest],
            "ports": [
                {"protocol": "TCP", "port": 8080, "endPort": 8090},
                {"protocol": "UDP", "port": "dns"},
            ],
        },
    ]


async def test_egress_has_its_own_rules() -> None:
    cluster = FakeCluster().add(policy({"to": [JOBS]}, egress=True))
    await update.perform(cluster, HERE, wanted(direction="Egress", **TO_WEB))
    assert rules(cluster, "egress") == [{"to": [JOBS]}, {"to": [WEB], "ports": [PORT]}]


@pytest.mark.parametrize(
    "there",
    [
        {"from": [WEB], "ports": [PORT]},
        {"from": [WEB], "ports": [{"port": 8080}]},
        {"ports": [{"port": 8080, "protocol": "TCP"}], "from": [WEB]},
    ],
)
async def test_a_peer_that_is_allowed_already_is_not_added_again(there: Manifest) -> None:
    cluster = FakeCluster().add(policy(there))
    done = await update.perform(cluster, HERE, wanted(**TO_WEB))
    assert (done.acted, cluster.writes) == (False, [])
    assert "is allowed already" in done.message


@pytest.mark.parametrize(
    "peer",
    [
        None,
        {"namespaceLabels": {}},
        {"namespaceLabels": {}, "podLabels": {}},
        {"cidr": "0.0.0.0/0"},
        {"cidr": "128.0.0.0/1"},
        {"cidr": "2000::/3"},
    ],
)
async def test_everybody_is_let_in_only_where_that_is_said(peer: Any) -> None:
    with pytest.raises(ValidationError, match="everybody, or nearly so"):
        wanted(peer=peer, ports=[{"port": 80}])
    cluster = FakeCluster().add(policy())
    given = wanted(peer=peer, ports=[{"port": 80}], allowAny=True)
    assert (await update.perform(cluster, HERE, given)).acted


async def test_a_direction_that_the_policy_does_not_restrict_is_left_alone() -> None:
    cluster = FakeCluster().add(policy({"from": [WEB]}))
    with pytest.raises(StepError, match="does not restrict egress") as caught:
        await update.perform(cluster, HERE, wanted(direction="Egress", **TO_WEB))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"from": [WEB], "ports": [PORT]}, {"from": [JOBS]}], [{"from": [JOBS]}]),
        (
            [{"from": [JOBS, WEB], "ports": [{"port": 8080}]}],
            [{"from": [JOBS], "ports": [{"port": 8080}]}],
        ),
        (
            [{"from": [WEB], "ports": [PORT]}, {"from": [WEB], "ports": [{"port": 9090}]}],
            [{"from": [WEB], "ports": [{"port": 9090}]}],
        ),
    ],
)
async def test_a_peer_is_taken_out_of_the_rules_of_these_ports_and_put_back(
    before: list[Any], after: list[Any]
) -> None:
    cluster = FakeCluster().add(policy(*before))
    await check_once_and_undone(cluster, update, HERE, wanted("Disallow", **TO_WEB), "NetworkPolicy", "api")
    again = FakeCluster().add(policy(*before))
    await update.perform(again, HERE, wanted("Disallow", **TO_WEB))
    assert rules(again) == after


async def test_a_rule_whose_last_peer_goes_never_becomes_one_that_allows_everybody() -> None:
    cluster = FakeCluster().add(policy({"from": [WEB], "ports": [PORT]}, {"from": [JOBS], "ports": [PORT]}))
    await update.perform(cluster, HERE, wanted("Disallow", **TO_WEB))
    assert all(rule.get("from") for rule in rules(cluster))


async def test_rules_that_let_everybody_in_can_be_taken_out() -> None:
    kept = {"from": [WEB], "ports": [PORT]}
    cluster = FakeCluster().add(policy({}, kept, {"from": []}))
    done = await update.perform(cluster, HERE, wanted("Disallow"))
    assert rules(cluster) == [kept]
    assert done.outputs == {"rulesBefore": 3, "rules": 1}


async def test_rules_that_still_allow_the_peer_are_told() -> None:
    cluster = FakeCluster().add(policy({"from": [WEB], "ports": [PORT]}, {"from": [WEB]}, {"ports": [PORT]}))
    done = await update.perform(cluster, HERE, wanted("Disallow", **TO_WEB))
    assert "2 others still allow it, or everybody" in done.message


async def test_the_last_rule_goes_only_where_that_is_said() -> None:
    cluster = FakeCluster().add(policy({"from": [WEB], "ports": [PORT]}))
    with pytest.raises(StepError, match="set allowNone: true") as caught:
        await update.perform(cluster, HERE, wanted("Disallow", **TO_WEB))
    assert caught.value.reason is Reason.PRECONDITION_FAILED
    given = wanted("Disallow", allowNone=True, **TO_WEB)
    await check_once_and_undone(cluster, update, HERE, given, "NetworkPolicy", "api")


async def test_a_peer_that_no_rule_allows_is_gone_already() -> None:
    cluster = FakeCluster().add(policy({"from": [JOBS]}))
    done = await update.perform(cluster, HERE, wanted("Disallow", **TO_WEB))
    assert (done.acted, cluster.writes) == (False, [])


async def test_undo_refuses_where_someone_changed_the_rules_since() -> None:
    cluster = FakeCluster().add(policy({"from": [JOBS]}))
    await check_undo_refuses(
        cluster, update, HERE, wanted(**TO_WEB), {"spec": {"ingress": [{"from": [WEB]}]}}
    )


async def test_many_rules_are_kept_in_a_secret_for_undo() -> None:
    many = [{"from": [{"podSelector": {"matchLabels": {"app": f"app-{n}"}}}]} for n in range(60)]
    cluster = FakeCluster().add(policy(*many))
    await update.perform(cluster, HERE, wanted(**TO_WEB))
    assert [what.split()[0] for _, what, _ in cluster.writes] == ["Secret", "NetworkPolicy"]
    await update.undo(cluster, HERE, wanted(**TO_WEB))
    assert rules(cluster) == many


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"peer": {}}, "set either cidr, or podLabels"),
        ({"peer": {"cidr": "10.0.0.0/16", "podLabels": {"a": "b"}}}, "set either cidr, or podLabels"),
        ({"peer": {"podLabels": {"a": "b"}, "except": ["10.0.0.0/24"]}}, "except needs cidr"),
        ({"peer": {"cidr": "10.0.0.1/16"}}, "has host bits set; write one such as 10.1.0.0/16"),
        ({"peer": {"cidr": "nowhere"}}, "write one such as 10.1.0.0/16"),
        ({"ports": [{"port": 0}]}, "greater than or equal to 1"),
        ({"ports": [{"port": 90, "endPort": 80}]}, "endPort needs a port that is a number"),
        ({"ports": [{"port": "web", "endPort": 80}]}, "endPort needs a port that is a number"),
        ({"ports": [{"port": 1}] * 9}, "at most 8"),
        ({"operation": "Disallow", "allowAny": True}, "allowAny needs operation: Allow"),
        ({"allowNone": True}, "allowNone needs operation: Disallow"),
        ({"direction": "Sideways"}, "'Ingress' or 'Egress'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], told: str) -> None:
    given = {"operation": "Allow", "direction": "Ingress", "peer": {"podLabels": {"app": "web"}}} | parameters
    with pytest.raises(ValidationError, match=told):
        UpdateNetworkPolicyParameters.model_validate(given)


def test_rights_name_the_policy() -> None:
    target = ObjectRef("networking.k8s.io/v1", "NetworkPolicy", "shop", "api")
    assert update.rights(target, wanted(**TO_WEB)) == (
        Right("get", "networking.k8s.io", "networkpolicies", ("api",)),
        Right("patch", "networking.k8s.io", "networkpolicies", ("api",)),
    )
