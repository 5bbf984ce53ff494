"""Roles as ``kubernaut rbac`` prints them, at a real API server: what they give, and what is said where one lacks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.acting import Place, await_true
from apiserver.test_samples import SAMPLES
from kubernaut.actions.registry import ActionRegistry
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.scopes import Scopes, find_scopes
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import Forbidden
from kubernaut.core.permissions import Permissions
from kubernaut.core.plan import Plan
from kubernaut.core.ports import Manifest, ObjectRef, Right
from kubernaut.core.rights import Needs, Weight, kinds, needed, singly
from kubernaut.core.rules import apart, lacking, merged
from kubernaut.engine.keys import WorkflowKey
from kubernaut.engine.permissions import PermissionWatch
from localcluster import Cluster

REGISTRY = ActionRegistry(installed=False)
_numbers = itertools.count(1)


def one_of_each() -> Manifest:
    """Return a Workflow with a step of each kind, literal names and names that hang on expressions."""
    pod = {"apiVersion": "v1", "kind": "Pod", "labelSelector": "app=api"}
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "patch": {"data": {"token": "x"}}}
    steps: list[dict[str, Any]] = [
        {"name": "look", "action": "collect_diagnostics"},
        {"name": "scale", "action": "scale_deployment", "with": {"replicas": 2}},
        {"name": "other", "action": "restart_deployment", "with": {"name": "cache"}},
        {"name": "back", "action": "rollback_deployment"},
        {"name": "change", "action": "patch_resource", "with": patch},
        {"name": "each", "forEach": {"select": pod, "template": "one"}},
        {"name": "sub", "workflow": {"name": "crash-loop"}},
        {
            "name": "database",
            "wait": {
                "until": "object.status.readyReplicas > 0",
                "object": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"},
            },
        },
    ]
    return {
        "metadata": {"name": "one-of-each"},
        "spec": {
            "serviceAccountName": "kubernaut-repair",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
            "steps": steps,
            "templates": [
                {
                    "name": "one",
                    "steps": [{"name": "r", "action": "restart_pod", "with": {"name": "=item.name"}}],
                }
            ],
            "finally": [
                {"name": "tell", "action": "scale_deployment", "with": {"name": "page", "replicas": 0}}
            ],
            "verify": {"expect": ["target.status.readyReplicas > 0"]},
        },
    }


WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in SAMPLES} | {"one-of-each": one_of_each()}


def plan_of(manifest: Manifest) -> Plan:
    return compile_plan(WorkflowSpec.model_validate(manifest["spec"]), REGISTRY)


def single(rights: Sequence[Right]) -> set[Right]:
    return set(singly(rights))


class Accounts:
    """ServiceAccounts of a namespace with just the rules given."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def make(self, rules: Sequence[dict[str, Any]]) -> str:
        """Create an account with these rules, which the authorizer learns of a moment later."""
        name = f"may-{next(_numbers)}"
        self.place.create("v1", "serviceaccounts", {"metadata": {"name": name}})
        group = "rbac.authorization.k8s.io"
        self.place.create(f"{group}/v1", "roles", {"metadata": {"name": name}, "rules": list(rules)})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.place.namespace}],
        }
        self.place.create(f"{group}/v1", "rolebindings", binding)
        return name

    async def known(self, account: str, rights: Sequence[Right], lacks: Right | None = None) -> str:
        """Return the account once the authorizer knows its rights; it must not have the other one."""
        for right in singly(rights):
            await_true(partial(self.place._allowed, account, right), f"{account} may not {right} yet")
        assert lacks is None or not self.place._allowed(account, lacks)
        return account

    async def may(self, rules: Sequence[dict[str, Any]], rights: Sequence[Right]) -> str:
        """Return a new account that has these rights."""
        return await self.known(self.make(rules), rights)

    async def said(self, manifest: Manifest, account: str) -> Permissions:
        """Return what is said of a Workflow that acts as this account, asked of the API server as that."""
        changed: asyncio.Queue[WorkflowKey] = asyncio.Queue()
        watch = PermissionWatch(
            self.place.connection, changed.put_nowait, sleep=_soon, spread=lambda low, high: low
        )
        meta = {**manifest["metadata"], "namespace": self.place.namespace, "uid": "u", "generation": 1}
        spec = {**manifest["spec"], "serviceAccountName": account}
        whole = {**manifest, "metadata": meta, "spec": spec}
        assert watch.look(whole, plan_of(whole), True) is None
        task = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(30):
                await changed.get()
        finally:
            task.cancel()
        found = watch.look(whole, plan_of(whole), True)
        assert found is not None
        return found


async def _soon(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.001))


@pytest.fixture
def accounts(place: Place) -> Accounts:
    return Accounts(place)


def rule_of(right: Right) -> dict[str, Any]:
    rule: dict[str, Any] = {"verbs": [right.verb], "apiGroups": [right.group], "resources": [right.resource]}
    return rule | ({"resourceNames": list(right.names)} if right.names else {})


def granted(manifest: Manifest) -> tuple[Needs, list[Right]]:
    needs = needed(plan_of(manifest))
    rules = merged(needs.of(Weight.MUST, Weight.EASES))
    return needs, sorted((right for rule in rules for right in rule.rights()), key=str)


@pytest.mark.parametrize("name", WORKFLOWS)
async def test_the_rules_printed_are_all_that_is_asked_for(accounts: Accounts, name: str) -> None:
    needs, rights = granted(WORKFLOWS[name])
    rules = [rule.manifest() for rule in merged(needs.of(Weight.MUST, Weight.EASES))]
    account = await accounts.may(rules, rights)
    said = await accounts.said(WORKFLOWS[name], account)
    assert (said.ready, said.reason) == (True, Reason.GRANTED), said.message
    assert "lacks" not in said.message or "Where former values" in said.message


@pytest.mark.parametrize("name", WORKFLOWS)
async def test_each_right_that_is_taken_away_is_named_before_any_run(accounts: Accounts, name: str) -> None:
    needs, rights = granted(WORKFLOWS[name])
    demanded = single([right for rule in merged(needs.of(Weight.MUST)) for right in rule.rights()])
    less = {
        missing: accounts.make([rule_of(right) for right in rights if right != missing]) for missing in rights
    }
    for missing, account in less.items():
        await accounts.known(account, [right for right in rights if right != missing][-1:], missing)
        said = await accounts.said(WORKFLOWS[name], account)
        resource = str(missing).partition(" ")[2]
        told = said.message.split("lacks", 1)[1]
        assert f"{missing.verb} {resource} {', '.join(missing.names)}".rstrip() in told, (
            missing,
            said.message,
        )
        assert said.ready is (missing not in demanded), said.message


async def test_the_api_server_and_this_code_agree_on_what_rules_give(
    accounts: Accounts, place: Place
) -> None:
    rules = [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"]},
        {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"], "resourceNames": ["a"]},
        {"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
        {
            "verbs": ["list", "watch"],
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "resourceNames": ["a"],
        },
        {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["statefulsets"]},
    ]
    account = await accounts.may(rules, [Right("get", "", "pods", ("a",))])
    seen = await place.connection.as_account(place.namespace, account).rules(place.namespace)
    asked = [
        Right(verb, group, resource, names)
        for verb, (group, resource), names in itertools.product(
            ("get", "list", "create", "patch"),
            (
                ("", "pods"),
                ("", "pods/eviction"),
                ("", "configmaps"),
                ("apps", "deployments"),
                ("apps", "statefulsets"),
            ),
            ((), ("a",), ("b",), ("c",)),
        )
    ]
    for right in asked:
        assert (lacking(seen, right) is None) is place._allowed(account, right), right


async def test_rbac_looks_at_the_name_of_a_list_of_one_and_at_none_of_a_create(
    accounts: Accounts, place: Place
) -> None:
    """What ``core.rights`` rests on: list and watch of one object may be narrowed to it, create may not."""
    place.create("v1", "configmaps", {"metadata": {"name": "a"}})
    named = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}
    rules = [{**named, "verbs": ["list", "watch"]}, {**named, "verbs": ["create"]}]
    account = await accounts.may(rules, [Right("list", "", "configmaps", ("a",))])
    cluster = place.connection.as_account(place.namespace, account)
    ref = ObjectRef("v1", "ConfigMap", place.namespace, "a")
    async with asyncio.timeout(20):
        async for seen in cluster.watch(ref):
            assert seen is not None
            break
    with pytest.raises(Forbidden):
        await cluster.list("v1", "ConfigMap", place.namespace)
    with pytest.raises(Forbidden):
        await cluster.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": place.namespace}}
        )


async def test_a_kind_whose_plural_is_not_what_one_would_guess_is_asked_of_the_cluster(
    accounts: Accounts, place: Place, cluster: Cluster
) -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gateways.rights.example.com"},
        "spec": {
            "group": "rights.example.com",
            "scope": "Cluster",
            "names": {
                "plural": "gateways",
                "singular": "gateway",
                "kind": "Gateway",
                "listKind": "GatewayList",
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }
    place.admin.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    cluster.run_kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", "crd/gateways.rights.example.com"
    )
    manifest = one_of_each()
    manifest["spec"]["target"] = {"apiVersion": "rights.example.com/v1", "kind": "Gateway", "name": "edge"}
    manifest["spec"]["finally"] = []
    manifest["spec"]["steps"] = [{"name": "tell", "action": "notify_only", "with": {"message": "x"}}]
    plan = plan_of(manifest)
    scopes = await find_scopes(place.connection, kinds(plan))
    needs = needed(plan).corrected(scopes.names)
    inside, whole = apart(needs.of(Weight.MUST, Weight.EASES), scopes.wide)
    assert {need.right.resource for need in whole} == {"gateways"}
    # Without a cluster it can only be guessed.
    assert {one.right.resource for one in needed(plan).needs if one.by == "the target"} == {"gatewaies"}
    assert not apart(needed(plan).needs, Scopes().wide)[1]
    # A Role gives nothing on what is in no namespace, though the list of an account's rules does not tell them apart.
    rule = {"verbs": ["get", "list", "watch"], "apiGroups": ["rights.example.com"], "resources": ["gateways"]}
    rules = [rule, *(one.manifest() for one in merged(inside))]
    account = await accounts.may(rules, [right for one in merged(inside) for right in one.rights()])
    said = await accounts.said(manifest, account)
    assert said.ready is False
    assert "get gateways.rights.example.com edge" in said.message


def test_every_sample_has_a_role_of_its_own() -> None:
    assert len(WORKFLOWS) > 20
    assert all(Path(path).stem in WORKFLOWS for path in SAMPLES)
