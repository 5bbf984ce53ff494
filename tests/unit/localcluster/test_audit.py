"""The audit policy, read as the API server reads it: the first rule that fits decides."""

from typing import Any

import pytest

from localcluster.audit import Level, policy

OPERATOR = "system:serviceaccount:kubernaut-system:kubernaut"
WRITES = ["create", "update", "patch", "delete", "deletecollection"]


def groups_of(user: str) -> set[str]:
    if user.startswith("system:serviceaccount:"):
        return {"system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"}
    return {"system:nodes"} if user.startswith("system:node:") else set()


def fits(rule: dict[str, Any], user: str, verb: str, group: str, resource: str) -> bool:
    if "users" in rule and user not in rule["users"]:
        return False
    if "userGroups" in rule and not groups_of(user) & set(rule["userGroups"]):
        return False
    if "verbs" in rule and verb not in rule["verbs"]:
        return False
    wanted = rule.get("resources")
    return wanted is None or any(
        group == each["group"] and resource in each.get("resources", [resource]) for each in wanted
    )


def level_of(user: str, verb: str, group: str, resource: str, level: Level = "full") -> str:
    rules = policy(level)["rules"]
    return str(next(rule["level"] for rule in rules if fits(rule, user, verb, group, resource)))


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize("user", [OPERATOR, "admin", "system:serviceaccount:shop:repair"])
def test_every_write_of_anybody_is_kept_with_its_bodies(user: str, verb: str) -> None:
    assert level_of(user, verb, "apps", "deployments") == "RequestResponse"
    assert level_of(user, verb, "kubernaut.io", "workflowexecutions/status") == "RequestResponse"
    assert level_of(user, verb, "coordination.k8s.io", "leases") == "RequestResponse"


def test_writes_of_controllers_on_workloads_are_kept() -> None:
    controller = "system:serviceaccount:kube-system:deployment-controller"
    assert level_of(controller, "update", "apps", "replicasets") == "RequestResponse"


@pytest.mark.parametrize("verb", [*WRITES, "get", "list", "watch"])
@pytest.mark.parametrize("user", [OPERATOR, "admin", "system:apiserver", "system:kube-controller-manager"])
@pytest.mark.parametrize(
    ("group", "resource"),
    [
        ("", "secrets"),
        ("", "configmaps"),
        ("", "serviceaccounts/token"),
        ("authentication.k8s.io", "tokenreviews"),
    ],
)
def test_nothing_that_may_hold_a_secret_is_kept_with_its_body(
    user: str, verb: str, group: str, resource: str
) -> None:
    assert level_of(user, verb, group, resource) in ("Metadata", "None")


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
@pytest.mark.parametrize(
    ("group", "resource"), [("", "pods"), ("", "secrets"), ("apps", "controllerrevisions")]
)
def test_reads_of_the_operator_are_kept_so_that_granted_rights_can_be_proved_used(
    verb: str, group: str, resource: str
) -> None:
    assert level_of(OPERATOR, verb, group, resource) == "Metadata"


def test_reads_of_others_are_not_kept() -> None:
    assert level_of("admin", "list", "", "pods") == "None"
    assert level_of("system:serviceaccount:shop:repair", "get", "apps", "deployments") == "None"


@pytest.mark.parametrize(
    ("user", "group", "resource"),
    [
        ("system:node:a", "coordination.k8s.io", "leases"),
        ("system:node:a", "", "nodes/status"),
        ("kwok", "", "nodes/status"),
        ("system:kube-scheduler", "events.k8s.io", "events"),
        ("system:serviceaccount:kube-system:deployment-controller", "", "events"),
        ("system:apiserver", "coordination.k8s.io", "leases"),
    ],
)
def test_the_chatter_of_the_cluster_itself_is_not_kept(user: str, group: str, resource: str) -> None:
    assert level_of(user, "patch", group, resource) == "None"


def test_events_that_the_operator_writes_are_kept() -> None:
    assert level_of(OPERATOR, "create", "events.k8s.io", "events") == "RequestResponse"


def test_lists_of_our_kinds_are_kept_without_their_bulk() -> None:
    assert level_of("admin", "list", "kubernaut.io", "workflows") == "Metadata"
    assert level_of("admin", "get", "kubernaut.io", "workflows") == "RequestResponse"


def test_the_metadata_level_keeps_the_same_requests_without_bodies() -> None:
    assert level_of(OPERATOR, "patch", "apps", "deployments", "metadata") == "Metadata"
    assert "RequestResponse" not in {rule["level"] for rule in policy("metadata")["rules"]}


def test_each_request_is_written_once_when_it_has_been_answered() -> None:
    assert policy("full")["omitStages"] == ["RequestReceived"]
