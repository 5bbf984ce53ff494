"""Rules of RBAC made from needs, and compared with those that an account has."""

from __future__ import annotations

from typing import Any

import pytest

from kubernaut.core.ports import Right
from kubernaut.core.rights import Need
from kubernaut.core.rules import Rule, apart, lacking, merged


def need(verb: str, resource: str = "pods", *names: str, by: str = "fix", group: str = "") -> Need:
    return Need(Right(verb, group, resource, names), by)


def test_verbs_on_the_same_names_share_a_rule_in_the_usual_order() -> None:
    rules = merged(
        [need("patch", "pods", "a"), need("get", "pods", "a"), need("get", "pods", "a", by="other")]
    )
    assert rules == (Rule("", ("pods",), ("get", "patch"), ("a",), ("fix", "other")),)


def test_any_name_takes_in_all_names() -> None:
    assert merged([need("get", "pods", "a"), need("get")]) == (Rule("", ("pods",), ("get",), (), ("fix",)),)
    assert merged([need("get"), need("get", "pods", "a")]) == (Rule("", ("pods",), ("get",), (), ("fix",)),)


def test_a_verb_gets_no_name_of_another() -> None:
    rules = merged([need("get", "pods", "a"), need("get", "pods", "b"), need("delete", "pods", "a")])
    assert [(rule.verbs, rule.names) for rule in rules] == [(("delete",), ("a",)), (("get",), ("a", "b"))]


def test_resources_alike_share_a_rule_but_never_with_another_group() -> None:
    rules = merged(
        [need("list", "pods"), need("list", "events"), need("list", "events", group="events.k8s.io")]
    )
    assert [(rule.group, rule.resources) for rule in rules] == [
        ("", ("events", "pods")),
        ("events.k8s.io", ("events",)),
    ]


def test_what_is_in_no_namespace_is_told_apart() -> None:
    inside, whole = apart(
        [need("get", "pods"), need("patch", "nodes/status")], lambda _, name: name == "nodes"
    )
    assert [one.right.resource for one in inside] == ["pods"]
    assert [one.right.resource for one in whole] == ["nodes/status"]


def test_what_is_needed_in_all_namespaces_is_needed_of_the_cluster_and_in_this_one_no_more() -> None:
    everywhere = Need(Right("list", "", "pods", everywhere=True), "drain")
    inside, whole = apart([need("list", "pods"), need("get", "pods"), everywhere], lambda *_: False)
    assert [one.right.verb for one in inside] == ["get"]
    assert whole == (everywhere,)


def given(verbs: str, groups: str, resources: str, *names: str) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "verbs": verbs.split(),
        "apiGroups": groups.split(","),
        "resources": resources.split(),
    }
    return rule | ({"resourceNames": list(names)} if names else {})


@pytest.mark.parametrize(
    "rule",
    [
        given("get patch", "apps", "deployments"),
        given("*", "apps", "deployments", "web", "api"),
        given("patch", "*", "*"),
    ],
    ids=str,
)
def test_rules_that_give_a_right(rule: dict[str, Any]) -> None:
    assert lacking([rule], Right("patch", "apps", "deployments", ("web",))) is None


@pytest.mark.parametrize(
    "rule",
    [
        given("get", "apps", "deployments"),
        given("patch", "", "deployments"),
        given("patch", "apps", "deployments/scale"),
        given("patch", "apps", "deployments", "api"),
        given("patch", "apps", "statefulsets"),
    ],
    ids=str,
)
def test_rules_that_do_not(rule: dict[str, Any]) -> None:
    wanted = Right("patch", "apps", "deployments", ("web",))
    assert lacking([rule], wanted) == wanted


def test_only_the_names_that_lack_are_told() -> None:
    rules = [given("get", "", "pods", "a"), given("get", "", "pods", "b")]
    assert lacking(rules, Right("get", "", "pods", ("a", "c"))) == Right("get", "", "pods", ("c",))
    assert lacking(rules, Right("get", "", "pods", ("a", "b"))) is None


def test_rules_with_names_do_not_give_any_name() -> None:
    assert lacking([given("list", "", "pods", "a")], Right("list", "", "pods")) is not None


def test_a_subresource_is_given_by_its_own_name_or_a_star() -> None:
    evict = Right("create", "", "pods/eviction")
    assert lacking([given("create", "", "pods")], evict) is not None
    assert lacking([given("create", "", "pods/eviction")], evict) is None
    assert lacking([given("create", "", "*/eviction")], evict) is None
