"""The Role that a Workflow needs, printed from its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.cli import main

STEPS = """
  - name: look
    action: collect_diagnostics
  - name: change
    action: patch_resource
    with: {apiVersion: v1, kind: ConfigMap, name: settings, patch: {data: {level: info}}}
  - name: ready
    wait:
      object: {apiVersion: apps/v1, kind: Deployment, name: cache}
      until: has(object.status.readyReplicas)
"""
SWITCH = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kubernaut-switch}\n"
Rbac = Callable[..., str]


def workflow(steps: str = STEPS, target: str = "web", namespace: str = "shop", name: str = "repair") -> str:
    return f"""
apiVersion: kubernaut.io/v1alpha1
kind: Workflow
metadata: {{name: {name}, namespace: "{namespace}"}}
spec:
  serviceAccountName: fixer
  parameters:
  - {{name: app}}
  - {{name: size, type: integer}}
  target: {{apiVersion: apps/v1, kind: Deployment, name: "{target}"}}
  steps:
{steps.strip(chr(10))}
"""


@pytest.fixture
def rbac(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rbac:
    """Print the Role of a text; returns stdout."""

    def printed(text: str, *arguments: str, code: int = 0) -> str:
        path = tmp_path / "flow.yaml"
        path.write_text(text)
        assert main(["rbac", "-f", str(path), *arguments]) == code, capsys.readouterr().err
        read = capsys.readouterr()
        return read.out if code == 0 else read.out + read.err

    return printed


def objects(text: str) -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def test_it_prints_a_role_and_its_binding_for_the_workflows_account(rbac: Rbac) -> None:
    found = objects(rbac(workflow()))
    assert set(found) == {"Role", "RoleBinding"}
    assert {one["metadata"]["namespace"] for one in found.values()} == {"shop"}
    assert found["RoleBinding"]["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    (subject,) = found["RoleBinding"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "fixer", "namespace": "shop"}


def test_each_rule_says_who_needs_it_and_names_what_is_literal(rbac: Rbac) -> None:
    told = rbac(workflow())
    assert (
        "# for change\n- apiGroups:\n  - ''\n  resources:\n  - configmaps\n  resourceNames:\n  - settings\n"
        in told
    )
    assert "# for look, ready, the target\n" in told


def test_it_is_the_same_each_time_and_whatever_the_order_of_steps(rbac: Rbac) -> None:
    text = workflow()
    first, *rest = STEPS.strip("\n").split("  - name: ")[1:]
    turned = workflow("".join(f"  - name: {step.rstrip()}\n" for step in (*rest, first)))
    assert rbac(text) == rbac(text) == rbac(turned)


def test_what_may_be_needed_is_a_comment_until_it_is_asked_for(rbac: Rbac) -> None:
    told = rbac(workflow())
    assert (
        "# only where former values take over 2 KiB or may be secret, for change (--before-images):" in told
    )
    assert "#   - secrets" in told
    assert "secrets" not in str(objects(told))
    more = rbac(workflow(), "--before-images")
    assert {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"]} in objects(more)["Role"][
        "rules"
    ]
    assert "only where" not in more


def test_a_parameter_makes_names_that_hang_on_it_known(rbac: Rbac) -> None:
    text = workflow("  - {name: fix, action: restart_deployment}", "=params.app")
    (rule,) = objects(rbac(text))["Role"]["rules"]
    assert "resourceNames" not in rule
    (rule,) = objects(rbac(text, "-p", "app=web"))["Role"]["rules"]
    assert rule["resourceNames"] == ["web"]


def test_another_account_and_namespace(rbac: Rbac) -> None:
    found = objects(rbac(workflow(), "--account", "other", "-n", "store"))
    (subject,) = found["RoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == ("other", "store")
    assert found["Role"]["metadata"]["namespace"] == "store"


@pytest.mark.parametrize("name", ["Bad Name", "a.", "-a", "a" * 254, "a/b"])
def test_what_can_not_be_an_account_is_refused(rbac: Rbac, name: str) -> None:
    assert "can't be the name of a ServiceAccount" in rbac(workflow(), f"--account={name}", code=1)


def test_json_is_a_list_that_kubectl_takes(rbac: Rbac) -> None:
    found = json.loads(rbac(workflow(), "-o", "json"))
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    assert [one["kind"] for one in found["items"]] == ["Role", "RoleBinding"]


def test_what_is_in_no_namespace_is_given_by_a_cluster_role(rbac: Rbac) -> None:
    text = workflow("  - {name: tell, action: notify_only, with: {message: x}}").replace(
        "apiVersion: apps/v1, kind: Deployment", "apiVersion: v1, kind: Node"
    )
    found = objects(rbac(text))
    assert set(found) == {"ClusterRole", "ClusterRoleBinding"}
    assert found["ClusterRole"]["metadata"]["name"] == "kubernaut:shop:repair"
    assert "namespace" not in found["ClusterRole"]["metadata"]
    (rule,) = found["ClusterRole"]["rules"]
    assert (rule["resources"], rule["resourceNames"], rule["verbs"]) == (["nodes"], ["web"], ["get"])


def test_all_workflows_of_a_file_or_the_one_that_is_named(rbac: Rbac) -> None:
    text = workflow() + "---" + workflow(name="other")
    assert rbac(text).count("kind: RoleBinding\n") == 2
    assert rbac(text, "other").count("kind: RoleBinding\n") == 1
    assert "There are: repair, other." in rbac(text, "none", code=4)
    assert len(list(yaml.safe_load_all(rbac(text)))) == 4


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        (workflow(namespace=""), [], "Name the namespace with -n"),
        (workflow("  - {name: x, action: no_such_action}"), [], "there is no action 'no_such_action'"),
        (workflow(), ["-p", "nope=1"], "declares no parameter 'nope'"),
        (workflow(), ["-p", "size=big"], "'big' is not of type integer"),
        (workflow(), ["-p", "size"], "is not name=value"),
    ],
    ids=["no namespace", "no action", "no parameter", "no integer", "no value"],
)
def test_bad_input_exits_1(rbac: Rbac, text: str, arguments: list[str], told: str) -> None:
    assert told in rbac(text, *arguments, code=1)


@pytest.mark.parametrize(
    "beside",
    [
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: repair}\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: repair}\n",
    ],
)
def test_what_else_is_in_the_file_is_passed_over_whatever_its_name(rbac: Rbac, beside: str) -> None:
    assert rbac(f"{beside}---{workflow()}") == rbac(workflow())
    assert "holds no Workflow" in rbac(SWITCH, code=4)


def test_nothing_but_a_role_goes_to_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(workflow().replace("collect_diagnostics", "collect_nothing"))
    for command in (["rbac", "-f", str(file)], ["simulate", str(file), "-o", "json"]):
        assert main(command) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "there is no action 'collect_nothing'" in err


def test_what_can_not_be_known_is_told(rbac: Rbac) -> None:
    with_ = "{apiVersion: v1, kind: '=params.app', name: a, patch: {a: 1}}"
    step = f"  - {{name: x, action: patch_resource, with: {with_}}}"
    assert "# Not among these, step x: which kind it acts on hangs on an expression." in rbac(workflow(step))
    assert "Not among these" not in rbac(workflow(step), "-p", "app=ConfigMap")


def test_the_name_of_a_resource_that_only_a_cluster_knows_is_said_to_be_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(
        workflow().replace(
            "apiVersion: apps/v1, kind: Deployment, name: cache",
            "apiVersion: x.io/v1, kind: Gateway, name: cache",
        )
    )
    assert main(["rbac", "-f", str(path)]) == 0
    assert "guessed: Gateway" in capsys.readouterr().err
