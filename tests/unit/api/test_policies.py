"""Policies read back from a cluster are compared with the shipped ones; tests/apiserver tries what they do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from kubernaut.api.policies import policy_names, policy_problems, required_policies

Object = dict[str, Any]


def shipped() -> tuple[list[Object], list[Object]]:
    policies, bindings = zip(*copy.deepcopy(required_policies()), strict=True)
    return list(policies), list(bindings)


def test_what_is_shipped_has_no_problems() -> None:
    assert policy_problems(*shipped()) == []


def test_every_policy_denies_and_fails_closed_and_says_what_to_do() -> None:
    for policy, binding in required_policies():
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert binding["spec"]["validationActions"] == ["Deny"]
        assert all(len(check["messageExpression"]) > 40 for check in policy["spec"]["validations"])


def test_no_expression_asks_the_authorizer_twice_or_in_a_loop() -> None:
    for policy, _ in required_policies():
        for entry in [*policy["spec"]["validations"], *policy["spec"].get("variables", ())]:
            assert entry["expression"].count("authorizer") <= 1
            for macro in (".all(", ".exists(", ".filter(", ".map("):
                _, _, inside = entry["expression"].partition(macro)
                assert "authorizer" not in inside


def test_what_the_api_server_fills_in_makes_no_difference() -> None:
    policies, bindings = shipped()
    for policy, binding in zip(policies, bindings, strict=True):
        constraints = policy["spec"]["matchConstraints"]
        del constraints["matchPolicy"], constraints["namespaceSelector"], constraints["objectSelector"]
        del policy["spec"]["failurePolicy"]
        policy["status"] = {"observedGeneration": 1}
        policy["metadata"]["managedFields"] = []
        binding["spec"]["matchResources"] = {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
        }
    assert policy_problems(reversed(policies), bindings) == []


def test_other_peoples_policies_do_not_matter() -> None:
    policies, bindings = shipped()
    other = {"metadata": {"name": "other"}, "spec": {"failurePolicy": "Ignore"}}
    assert policy_problems([*policies, other], [*bindings, other]) == []


def test_a_stricter_binding_is_fine() -> None:
    policies, bindings = shipped()
    bindings[0]["spec"]["validationActions"] = ["Audit", "Deny"]
    assert policy_problems(policies, bindings) == []


def test_each_missing_policy_and_binding_is_named() -> None:
    assert policy_problems([], []) == [
        f"{kind} {name} is missing"
        for name in policy_names()
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    ]


WEAKER_POLICIES: dict[str, tuple[str, Callable[[Object], object]]] = {
    "fails open": ("failurePolicy", lambda spec: spec.update(failurePolicy="Ignore")),
    "never applies": (
        "matchConditions",
        lambda spec: spec.update(matchConditions=[{"name": "no", "expression": "false"}]),
    ),
    "has parameters": ("paramKind", lambda spec: spec.update(paramKind={"kind": "ConfigMap"})),
    "one namespace": (
        "matchConstraints",
        lambda spec: spec["matchConstraints"].update(namespaceSelector={"matchLabels": {"a": "b"}}),
    ),
    "some objects": (
        "matchConstraints",
        lambda spec: spec["matchConstraints"].update(objectSelector={"matchLabels": {"a": "b"}}),
    ),
    "exact versions": (
        "matchConstraints",
        lambda spec: spec["matchConstraints"].update(matchPolicy="Exact"),
    ),
    "excludes a name": (
        "matchConstraints",
        lambda spec: spec["matchConstraints"].update(
            excludeResourceRules=[spec["matchConstraints"]["resourceRules"][0] | {"resourceNames": ["x"]}]
        ),
    ),
    "one operation less": (
        "matchConstraints",
        lambda spec: spec["matchConstraints"]["resourceRules"][0]["operations"].pop(),
    ),
    "no constraints": ("matchConstraints", lambda spec: spec.pop("matchConstraints")),
    "no validations": ("validations", lambda spec: spec.pop("validations")),
    "other validation": (
        "validations",
        lambda spec: spec["validations"][0].update(expression="true"),
    ),
}


@pytest.mark.parametrize(("field", "weaken"), WEAKER_POLICIES.values(), ids=WEAKER_POLICIES)
@pytest.mark.parametrize("which", range(len(policy_names())), ids=policy_names())
def test_a_weaker_policy_is_named_with_the_field(
    which: int, field: str, weaken: Callable[[Object], object]
) -> None:
    policies, bindings = shipped()
    weaken(policies[which]["spec"])
    name = policy_names()[which]
    assert policy_problems(policies, bindings) == [
        f"ValidatingAdmissionPolicy {name}: {field} is not as shipped"
    ]


def test_a_changed_variable_is_named() -> None:
    policies, bindings = shipped()
    approval = policies[policy_names().index("run-approval.kubernaut.io")]
    approval["spec"]["variables"][2]["expression"] = "[]"
    (problem,) = policy_problems(policies, bindings)
    assert "run-approval.kubernaut.io: variables" in problem


WEAKER_BINDINGS: dict[str, tuple[str, Object]] = {
    "only warns": ("validationActions", {"validationActions": ["Warn", "Audit"]}),
    "other policy": ("policyName", {"policyName": "other"}),
    "parameters": ("paramRef", {"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}}),
    "one namespace": (
        "matchResources",
        {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
    ),
    "one resource": ("matchResources", {"matchResources": {"resourceRules": [{"resources": ["x"]}]}}),
    "all but one": ("matchResources", {"matchResources": {"excludeResourceRules": [{"resources": ["x"]}]}}),
}


@pytest.mark.parametrize(("field", "change"), WEAKER_BINDINGS.values(), ids=WEAKER_BINDINGS)
def test_a_weaker_binding_is_named_with_the_field(field: str, change: Object) -> None:
    policies, bindings = shipped()
    bindings[0]["spec"] |= change
    assert policy_problems(policies, bindings) == [
        f"ValidatingAdmissionPolicyBinding {policy_names()[0]}: {field} is not as shipped"
    ]


def test_accounts_of_another_namespace_are_other_policies() -> None:
    policies, bindings = shipped()
    problems = policy_problems(policies, bindings, namespace="elsewhere")
    assert [problem.split()[1].rstrip(":") for problem in problems] == [
        "namespace-protected.kubernaut.io",
        "run-origin.kubernaut.io",
        "run-alerts.kubernaut.io",
        "run-status.kubernaut.io",
        "pattern-status.kubernaut.io",
    ]
