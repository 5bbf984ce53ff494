"""Rights are small, named and where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from builders import a_workflow
from kubernaut.actions.knowngood.declaration import KINDS
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.policies import policy_names
from kubernaut.api.rbac import REPAIR_ACCOUNT, remember_manifests, system_manifests, tenant_manifests
from kubernaut.core.compiling import compile_plan
from kubernaut.core.kinds import resource_of
from kubernaut.core.rights import Weight, needed
from kubernaut.core.rules import lacking

Object = dict[str, Any]


def roles(manifests: list[Object]) -> Iterator[tuple[Object, Object]]:
    for manifest in manifests:
        for rule in manifest.get("rules", ()):
            yield manifest, rule


ALL = [*system_manifests(), *tenant_manifests("shop")]


def test_an_account_may_follow_the_runs_that_its_steps_start_without_polling() -> None:
    needs = needed(compile_plan(a_workflow().subflow("call").spec(), ActionRegistry(installed=False)))
    account = [
        rule for role, rule in roles(tenant_manifests("shop")) if role["metadata"]["name"] == REPAIR_ACCOUNT
    ]
    rights = [need.right for need in needs.of(Weight.MUST, Weight.EASES) if need.by == "call"]
    assert [right for right in rights if lacking(account, right)] == []
    assert {right.verb for right in rights} >= {"create", "list", "watch"}


def test_there_are_no_wildcards() -> None:
    assert [role["metadata"]["name"] for role, rule in roles(ALL) if "*" in str(rule)] == []


def test_no_rule_is_granted_twice_within_a_role() -> None:
    for manifest in ALL:
        granted = [
            (group, resource, verb)
            for rule in manifest.get("rules", ())
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        ]
        assert len(granted) == len(set(granted)), manifest["metadata"]["name"]


def test_secrets_and_configmaps_are_granted_by_name_only() -> None:
    named = {
        (resource, *rule["resourceNames"])
        for _, rule in roles(ALL)
        for resource in rule["resources"]
        if resource in ("secrets", "configmaps")
    }
    assert named == {("configmaps", "kubernaut-switch"), ("secrets", "kubernaut-signing")}


def test_accounts_are_impersonated_by_name_and_within_a_namespace_only() -> None:
    granting = [(role, rule) for role, rule in roles(ALL) if "impersonate" in rule["verbs"]]
    ((role, rule),) = granting
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "shop")
    assert rule["resourceNames"] == ["kubernaut-repair"]


def test_the_operator_itself_changes_nothing_but_our_own_objects() -> None:
    changing = {"create", "update", "patch", "delete", "deletecollection"}
    operator = next(
        role
        for role in system_manifests()
        if (role["kind"], role["metadata"]["name"]) == ("ClusterRole", "kubernaut-operator")
    )
    changed = {
        resource
        for rule in operator["rules"]
        if changing & set(rule["verbs"])
        for resource in rule["resources"]
    }
    assert changed == {
        "workflowexecutions",
        "workflows/status",
        "workflowexecutions/status",
        "workflowexecutions/finalizers",
        "controllerrevisions",
        "events",
    }


def test_what_is_remembered_takes_reading_alone_and_no_secret() -> None:
    granted = [rule for _, rule in roles(remember_manifests())]
    assert {verb for rule in granted for verb in rule["verbs"]} == {"list", "watch"}
    resources = {resource for rule in granted for resource in rule["resources"]}
    assert resources == {resource_of(kind) for kind in KINDS}
    assert "secrets" not in resources


def test_the_operator_may_read_back_exactly_the_policies_it_needs() -> None:
    names = [
        rule["resourceNames"] for _, rule in roles(ALL) if "validatingadmissionpolicies" in rule["resources"]
    ]
    assert names == [list(policy_names())]


def test_every_binding_binds_a_role_that_is_there() -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in ALL}
    for binding in (one for one in ALL if one["kind"].endswith("Binding")):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in there
        for subject in binding["subjects"]:
            assert ("ServiceAccount", subject["name"]) in there


def test_a_tenant_without_a_namespace_leaves_it_to_kustomize() -> None:
    tenant = tenant_manifests()
    assert all("namespace" not in manifest["metadata"] for manifest in tenant)
    subjects = [subject for manifest in tenant for subject in manifest.get("subjects", ())]
    assert subjects == [
        {"kind": "ServiceAccount", "name": "kubernaut-repair"},
        {"kind": "ServiceAccount", "name": "kubernaut-operator", "namespace": "kubernaut-system"},
    ]


def test_a_tenant_may_name_its_own_account() -> None:
    names = {manifest["metadata"]["name"] for manifest in tenant_manifests("shop", "shop-repair")}
    assert names == {"shop-repair", "kubernaut-impersonate"}
