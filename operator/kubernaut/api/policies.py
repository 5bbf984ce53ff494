"""Who may do what to our objects: admission policies that the API server itself enforces.

They need nothing of ours to be up. The engine reads them back with :func:`policy_problems` and refuses to act
where one is missing or weaker than shipped. An authorizer check costs 350,000 of the 1,000,000 units that an
expression may spend, so there is one at most in each, never in a loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubernaut.api.names import (
    ANALYST_ACCOUNT,
    ANNOTATION_ALERTS,
    FINALIZER,
    GROUP,
    LABEL_CLUSTER_SCOPED,
    LABEL_PART_OF,
    OPERATOR_ACCOUNT,
    PROTECTED,
    SYSTEM_NAMESPACE,
    VERSION,
)
from kubernaut.api.reach import CLUSTER_ACTIONS, CLUSTER_SCOPED, PROTECTED_NAMESPACES

ADMISSION_API: Final = "admissionregistration.k8s.io/v1"
Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Check:
    """One validation: CEL that has to hold, and CEL that says what to do where it does not."""

    expression: str
    message: str

    def manifest(self) -> dict[str, str]:
        return {"expression": self.expression, "messageExpression": self.message}


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]
    checks: tuple[_Check, ...]
    variables: tuple[tuple[str, str], ...] = ()


def _account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def _only(account: str, resources: tuple[str, ...], name: str) -> _Policy:
    return _Policy(
        name,
        resources,
        ("UPDATE",),
        (
            _Check(
                f"request.userInfo.username == '{account}'",
                "'the status of ' + request.resource.resource + ' is written by "
                f"{account} only, not by ' + request.userInfo.username + '; change the spec instead'",
            ),
        ),
    )


_WORKFLOW_ACCOUNT: Final = _Policy(
    f"workflow-account.{GROUP}",
    ("workflows",),
    ("CREATE", "UPDATE"),
    (
        _Check(
            # Whoever may write what an account does could otherwise act as that account.
            "(request.operation == 'UPDATE' && object.spec == oldObject.spec)"
            " || authorizer.group('').resource('serviceaccounts').namespace(request.namespace)"
            ".name(object.spec.serviceAccountName).check('impersonate').allowed()",
            "'writing a Workflow that acts as ServiceAccount ' + object.spec.serviceAccountName"
            " + ' needs the verb impersonate on it, which ' + request.userInfo.username"
            " + ' lacks in namespace ' + request.namespace + '; have it granted, or name another account'",
        ),
    ),
)

_REACHING: Final = "(step, step.?action.orValue('') in variables.actions)"
_LEAVE: Final = (
    f"needs the label {LABEL_CLUSTER_SCOPED}: \\'true\\' on namespace ' + request.namespace"
    " + ', which an administrator of the cluster has to put there'"
)
_WORKFLOW_REACH: Final = _Policy(
    f"workflow-reach.{GROUP}",
    ("workflows",),
    ("CREATE", "UPDATE"),
    (
        _Check(
            "variables.allowed || !(variables.target in variables.kinds)",
            "'a Workflow whose target is a ' + object.spec.target.kind + ', which belongs to no namespace, "
            + _LEAVE,
        ),
        _Check(
            f"variables.allowed || !(object.spec.steps.exists{_REACHING}"
            f" || object.spec.?finally.orValue([]).exists{_REACHING}"
            f" || object.spec.?templates.orValue([]).exists(template, template.steps.exists{_REACHING}))",
            "'a Workflow with a step that acts beyond its namespace (' + variables.actions.join(', ') + ') "
            + _LEAVE,
        ),
    ),
    (
        (
            "allowed",
            # What was written when it was allowed can still be labelled; the operator refuses to act on it.
            "(request.operation == 'UPDATE' && object.spec == oldObject.spec)"
            f" || namespaceObject.metadata.?labels[?'{LABEL_CLUSTER_SCOPED}'].orValue('') == 'true'",
        ),
        ("kinds", str(sorted(f"{group}/{kind}" for group, kind in CLUSTER_SCOPED))),
        ("actions", str(list(CLUSTER_ACTIONS))),
        (
            "target",
            "(object.spec.target.apiVersion.contains('/') ? object.spec.target.apiVersion.split('/')[0] : '')"
            " + '/' + object.spec.target.kind",
        ),
    ),
)

# What a person says in their own name: answers to approval steps, and what becomes of failed steps.
_APPROVALS: Final = "{0}.spec.?control.?approvals.orValue([]) + {0}.spec.?control.?interventions.orValue([])"
_RUN_APPROVAL: Final = _Policy(
    f"run-approval.{GROUP}",
    ("workflowexecutions",),
    ("CREATE", "UPDATE"),
    (
        _Check(
            "request.operation != 'CREATE' || variables.approvals.size() == 0",
            "'a run is created without approvals and interventions; answer once its step waits'",
        ),
        _Check(
            "variables.former.all(record, record in variables.approvals)",
            "'an approval or intervention that was given can not be changed or taken back;"
            " cancel the run instead'",
        ),
        _Check(
            "variables.added.all(record, record.by == request.userInfo.username)",
            "'an approval or intervention is given in one\\'s own name: set by to '"
            " + request.userInfo.username",
        ),
        _Check(
            f"variables.added.size() == 0 || authorizer.group('{GROUP}').resource('workflowexecutions')"
            ".namespace(request.namespace).name(request.name).check('approve').allowed()",
            "'approving or intervening needs the verb approve on workflowexecutions.kubernaut.io, which '"
            " + request.userInfo.username + ' lacks in namespace ' + request.namespace"
            " + '; bind the ClusterRole kubernaut-approver'",
        ),
    ),
    (
        ("approvals", _APPROVALS.format("object")),
        (
            "former",
            f"request.operation == 'CREATE' ? [] : ({_APPROVALS.format('oldObject')})",
        ),
        ("added", "variables.approvals.filter(record, !(record in variables.former))"),
    ),
)


def _run_origin(operator: str) -> _Policy:
    """Keep runs from looking as if another person, another run or an alert had started them."""
    return _Policy(
        f"run-origin.{GROUP}",
        ("workflowexecutions",),
        ("CREATE",),
        (
            _Check(
                "!variables.started || request.userInfo.username.startsWith("
                "'system:serviceaccount:' + request.namespace + ':')",
                "'a run with spec.parent, or of trigger type Subflow, is started by a step, as an account of '"
                " + 'namespace ' + request.namespace + ', not by ' + request.userInfo.username + '; leave both out'",
            ),
            _Check(
                f"!variables.alert || request.userInfo.username == '{operator}'",
                "'a run of trigger type Alert is started by the operator alone, not by ' + request.userInfo.username"
                " + '; leave spec.trigger.type and alert out'",
            ),
            _Check(
                f"variables.alert || request.userInfo.username != '{operator}'",
                "'the operator starts runs for alerts only: spec.trigger.type has to be Alert'",
            ),
            _Check(
                "variables.by == '' || variables.alert || variables.by == request.userInfo.username"
                # What is too long for the field is cut.
                " || (variables.by.size() == 253 && request.userInfo.username.startsWith(variables.by))"
                " || (variables.started && variables.by == object.spec.?parent.?name.orValue(''))",
                "'a run is started in one\\'s own name: set spec.trigger.by to ' + request.userInfo.username"
                " + ', or leave it out'",
            ),
        ),
        (
            (
                "started",
                "has(object.spec.parent) || object.spec.?trigger.?type.orValue('Manual') == 'Subflow'",
            ),
            (
                "alert",
                "object.spec.?trigger.?type.orValue('Manual') == 'Alert' || object.spec.?trigger.?alert.hasValue()",
            ),
            ("by", "object.spec.?trigger.?by.orValue('')"),
        ),
    )


def _run_alerts(operator: str) -> _Policy:
    """Keep what is known of a run's alerts from being written by others: its verdict rests upon it."""
    return _Policy(
        f"run-alerts.{GROUP}",
        ("workflowexecutions",),
        ("CREATE", "UPDATE"),
        (
            _Check(
                f"variables.told == variables.former || request.userInfo.username == '{operator}'",
                f"'the annotation {ANNOTATION_ALERTS} is written by the operator alone, not by '"
                " + request.userInfo.username + '; leave it as it is'",
            ),
        ),
        (
            ("told", f"object.metadata.?annotations[?'{ANNOTATION_ALERTS}'].orValue('')"),
            (
                "former",
                "request.operation == 'CREATE' ? ''"
                f" : oldObject.metadata.?annotations[?'{ANNOTATION_ALERTS}'].orValue('')",
            ),
        ),
    )


_RUN_FINALIZER: Final = _Policy(
    f"run-finalizer.{GROUP}",
    ("workflowexecutions",),
    ("UPDATE",),
    (
        _Check(
            # By right and not by name: whoever administers the cluster can let go of runs when the operator
            # is gone for good, and nobody else loses history by editing a run.
            "!variables.let_go || authorizer.group('kubernaut.io').resource('workflowexecutions')"
            ".subresource('finalizers').namespace(request.namespace).name(request.name)"
            ".check('update').allowed()",
            f"'the finalizer {FINALIZER} is removed by the operator once the run is in the history;"
            " to remove it by hand have update on workflowexecutions/finalizers granted'",
        ),
    ),
    (
        (
            "let_go",
            f"'{FINALIZER}' in oldObject.metadata.?finalizers.orValue([])"
            f" && !('{FINALIZER}' in object.metadata.?finalizers.orValue([]))",
        ),
    ),
)


def _protected(namespace: str) -> _Policy:
    """Refuse Workflows and new runs in namespaces that the cluster, or Kubernaut itself, lives by."""
    names = sorted({*PROTECTED_NAMESPACES, namespace})
    return _Policy(
        f"namespace-protected.{GROUP}",
        ("workflows", "workflowexecutions"),
        ("CREATE", "UPDATE"),
        (
            _Check(
                # What is there can still be labelled, cancelled and let go of.
                "(request.operation == 'UPDATE' && (request.resource.resource == 'workflowexecutions'"
                " || object.spec == oldObject.spec)) || variables.label != 'true'",
                "'namespace ' + request.namespace + ' is protected: nothing is repaired by Workflows there; an '"
                f" + 'administrator of the cluster can lift that by the label {PROTECTED}: \\'false\\' on it'",
            ),
        ),
        (
            (
                "label",
                f"namespaceObject.metadata.?labels[?'{PROTECTED}']"
                f".orValue(request.namespace in {names} ? 'true' : 'false')",
            ),
        ),
    )


def _policies(namespace: str) -> tuple[_Policy, ...]:
    operator = _account(namespace, OPERATOR_ACCOUNT)
    analyst = _account(namespace, ANALYST_ACCOUNT)
    return (
        _WORKFLOW_ACCOUNT,
        _WORKFLOW_REACH,
        _protected(namespace),
        _run_origin(operator),
        _run_alerts(operator),
        _RUN_APPROVAL,
        _RUN_FINALIZER,
        _only(operator, ("workflows/status", "workflowexecutions/status"), f"run-status.{GROUP}"),
        _only(analyst, ("discoveredpatterns/status",), f"pattern-status.{GROUP}"),
    )


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": {LABEL_PART_OF: "kubernaut"}}


def _policy_manifest(policy: _Policy) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [
                {
                    "apiGroups": [GROUP],
                    "apiVersions": [VERSION],
                    "operations": list(policy.operations),
                    "resources": list(policy.resources),
                    "scope": "Namespaced",
                }
            ],
        },
    }
    if policy.variables:
        spec["variables"] = [{"name": name, "expression": text} for name, text in policy.variables]
    spec["validations"] = [check.manifest() for check in policy.checks]
    return {
        "apiVersion": ADMISSION_API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": _metadata(policy.name),
        "spec": spec,
    }


def _binding_manifest(policy: _Policy) -> dict[str, Any]:
    return {
        "apiVersion": ADMISSION_API,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": _metadata(policy.name),
        "spec": {"policyName": policy.name, "validationActions": ["Deny"]},
    }


def required_policies(namespace: str = SYSTEM_NAMESPACE) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each ValidatingAdmissionPolicy with its binding, which has the same name.

    ``namespace`` is where the accounts of the operator and the analyst live.
    """
    return [(_policy_manifest(policy), _binding_manifest(policy)) for policy in _policies(namespace)]


def policy_names() -> tuple[str, ...]:
    """Return the names shared by the required policies and their bindings."""
    return tuple(policy.name for policy in _policies(SYSTEM_NAMESPACE))


def policy_problems(
    policies: Iterable[Manifest], bindings: Iterable[Manifest], namespace: str = SYSTEM_NAMESPACE
) -> list[str]:
    """Say what is missing or weaker than shipped among what was read from the API server.

    Messages, labels and defaults filled in by the API server make no difference.

    Args:
        policies: ValidatingAdmissionPolicies as JSON objects; others than ours are ignored.
        bindings: ValidatingAdmissionPolicyBindings likewise.
        namespace: where the accounts of the operator and the analyst live.

    Returns:
        One sentence for each problem; empty where all is well.
    """
    found_policies = _by_name(policies)
    found_bindings = _by_name(bindings)
    problems: list[str] = []
    for policy, binding in required_policies(namespace):
        name = policy["metadata"]["name"]
        problems += _policy_problems(name, policy["spec"], found_policies.get(name))
        problems += _binding_problems(name, binding["spec"], found_bindings.get(name))
    return problems


def _by_name(objects: Iterable[Manifest]) -> dict[str, Manifest]:
    return {found["metadata"]["name"]: found for found in objects}


def _policy_problems(name: str, shipped: Manifest, found: Manifest | None) -> list[str]:
    if found is None:
        return [f"ValidatingAdmissionPolicy {name} is missing"]
    spec = found.get("spec", {})
    # failurePolicy defaults to Fail.
    differences = {
        "failurePolicy": spec.get("failurePolicy", "Fail") == "Fail",
        "matchConstraints": _constraints(spec) == _constraints(shipped),
        "matchConditions": not spec.get("matchConditions"),
        "paramKind": not spec.get("paramKind"),
        "variables": _pairs(spec, "variables", "name") == _pairs(shipped, "variables", "name"),
        "validations": _pairs(spec, "validations") == _pairs(shipped, "validations"),
    }
    return [
        f"ValidatingAdmissionPolicy {name}: {field} is not as shipped"
        for field, same in differences.items()
        if not same
    ]


def _binding_problems(name: str, shipped: Manifest, found: Manifest | None) -> list[str]:
    if found is None:
        return [f"ValidatingAdmissionPolicyBinding {name} is missing"]
    spec = found.get("spec", {})
    differences = {
        "policyName": spec.get("policyName") == shipped["policyName"],
        "validationActions": "Deny" in (spec.get("validationActions") or ()),
        "matchResources": _matches_all(spec.get("matchResources") or {}),
        "paramRef": not spec.get("paramRef"),
    }
    return [
        f"ValidatingAdmissionPolicyBinding {name}: {field} is not as shipped"
        for field, same in differences.items()
        if not same
    ]


def _pairs(spec: Manifest, field: str, *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(entry.get(key) for key in (*keys, "expression")) for entry in spec.get(field) or ()]


def _sorted(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(sorted(values or ()))


def _rules(constraints: Manifest, field: str) -> set[tuple[Any, ...]]:
    return {
        (
            _sorted(rule.get("apiGroups")),
            _sorted(rule.get("apiVersions")),
            _sorted(rule.get("operations")),
            _sorted(rule.get("resources")),
            _sorted(rule.get("resourceNames")),
            rule.get("scope", "*"),
        )
        for rule in constraints.get(field) or ()
    }


def _constraints(spec: Manifest) -> dict[str, Any]:
    constraints = spec.get("matchConstraints") or {}
    return {
        "matchPolicy": constraints.get("matchPolicy", "Equivalent"),
        "namespaceSelector": constraints.get("namespaceSelector") or {},
        "objectSelector": constraints.get("objectSelector") or {},
        "rules": _rules(constraints, "resourceRules"),
        "excluded": _rules(constraints, "excludeResourceRules"),
    }


def _matches_all(resources: Manifest) -> bool:
    """Whether a binding's matchResources narrow nothing; the API server may fill in empty selectors."""
    return not any(
        resources.get(field)
        for field in ("namespaceSelector", "objectSelector", "resourceRules", "excludeResourceRules")
    )
