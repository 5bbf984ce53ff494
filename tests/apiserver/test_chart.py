"""The chart: what it renders, what it refuses, and what a real API server says of it."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_overlays as chart
from apiserver.rest import MERGE_PATCH, Answer, Client
from chart_values import camel
from kubernaut.config import Settings
from kubernaut.core.kinds import resource_of
from localcluster import Cluster

APPLY = "application/apply-patch+yaml"
MANAGER = "chart-test"
CASES = ("default", "ha", "namespaced", "everything")
# What is defined by CRDs that this cluster does not have.
ELSEWHERE = ("ServiceMonitor", "PrometheusRule", "Cluster")
SYSTEM = chart.NAMESPACE


@pytest.fixture(scope="session")
def helm() -> Path:
    return chart.helm()


@pytest.mark.parametrize("name", [*chart.OVERLAYS, *chart.SNAPSHOTS, chart.MONITORING, "trial"])
def test_lint_finds_nothing(helm: Path, name: str) -> None:
    command = [str(helm), "lint", "--strict", str(chart.CHART), "--values", str(chart.values_of(name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stored_overlays_and_snapshots_are_what_is_rendered(helm: Path) -> None:
    stale = [str(path) for path, text in chart.files(helm) if not path.exists() or path.read_text() != text]
    assert not stale, "run python hack/chart_overlays.py, look at what changed, and commit"


def by_name(manifests: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in manifests
    }


def kustomized(cluster: Cluster, folder: Path, kustomization: dict[str, Any]) -> list[dict[str, Any]]:
    """Build a kustomization of a user's, whose ``../kubernaut`` is this repository."""
    here = os.path.relpath(chart.ROOT, folder)
    listed = [path.replace("../kubernaut", here, 1) for path in kustomization["resources"]]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**kustomization, "resources": listed}))
    return list(yaml.safe_load_all(cluster.run_kubectl("kustomize", str(folder))))


@pytest.mark.parametrize("beside", [(), (chart.MONITORING,)], ids=["alone", "with monitoring"])
@pytest.mark.parametrize("name", chart.OVERLAYS)
def test_kustomize_builds_what_helm_renders(
    helm: Path, cluster: Cluster, tmp_path: Path, name: str, beside: tuple[str, ...]
) -> None:
    resources = [f"../kubernaut/manifests/{one}" for one in (name, *beside)]
    built = kustomized(cluster, tmp_path, {"resources": resources})
    values = [part for one in (name, *beside) for part in ("--values", str(chart.values_of(one)))]
    expected = by_name([chart.plain(one) for one in chart.template(helm, *values) if not chart.is_hook(one)])
    found = by_name(built)
    assert len(built) == len(found)
    namespace = found.pop(("Namespace", "", SYSTEM))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert found.keys() == expected.keys()
    for key, manifest in expected.items():
        if key[0] == "CustomResourceDefinition":
            # The chart labels its own.
            assert found[key]["spec"] == manifest["spec"]
        else:
            assert found[key] == manifest


def test_nothing_but_monitoring_needs_kinds_of_others(cluster: Cluster) -> None:
    for name in chart.OVERLAYS:
        built = yaml.safe_load_all(cluster.run_kubectl("kustomize", str(chart.ROOT / "manifests" / name)))
        assert not {one["kind"] for one in built} & set(ELSEWHERE), name


def test_the_kustomization_of_the_page_changes_images_and_labels(cluster: Cluster, tmp_path: Path) -> None:
    page = (chart.ROOT / "docs" / "install.md").read_text()
    (shown,) = re.findall(r"^```yaml\n(apiVersion: kustomize.*?)^```$", page, re.MULTILINE | re.DOTALL)
    built = kustomized(cluster, tmp_path, yaml.safe_load(shown))
    images = {
        container["image"]
        for one in built
        if one["kind"] in ("StatefulSet", "Deployment")
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"registry.example.com/kubernaut/{name}:0.1.0" for name in ("operator", "analyst")}
    assert {one["kind"] for one in built if one["metadata"].get("labels", {}).get("release")} == {
        "ServiceMonitor",
        "PrometheusRule",
    }


def test_the_base_has_the_rights_and_policies_of_the_chart(helm: Path, cluster: Cluster) -> None:
    base = by_name(
        list(yaml.safe_load_all(cluster.run_kubectl("kustomize", str(chart.ROOT / "manifests/base"))))
    )
    rendered = by_name(chart.template(helm, "--values", str(chart.values_of("ha"))))
    for key, manifest in base.items():
        if key[0] != "Namespace":
            parts = {part: manifest.get(part) for part in ("spec", "rules", "subjects", "roleRef", "type")}
            assert {part: rendered[key].get(part) for part in parts} == parts, key


REFUSED = {
    "a value that is none": (["operator.replicaCount=3"], "'/operator'", "'replicaCount' not allowed"),
    "a group that is none": (["operater.replicas=3"], "additional properties 'operater' not allowed"),
    "a number out of bounds": (["operator.replicas=-1"], "'/operator/replicas'", "got -1, want 0"),
    "text for a number": (["operator.replicas=three"], "'/operator/replicas'", "want integer"),
    "a mode that is none": (["postgres.mode=sqlite"], "'none', 'external', 'cloudnativepg', 'embedded'"),
    "a setting that is none": (["operator.settings.worker=3"], "'worker' not allowed"),
    "a secret as a setting": (["operator.settings.dsn=postgresql://u:p@h/d"], "'dsn' not allowed"),
    "a family that is none": (["tenants[0].namespace=shop", "tenants[0].families[0]=pods"], "'common'"),
    "a tenant without a namespace": (["tenants[0].serviceAccount=x"], "missing property 'namespace'"),
    "a namespace that can be none": (["watchNamespaces[0]=Shop_1"], "'/watchNamespaces/0'"),
    "a digest that is none": (["operator.image.digest=latest"], "'/operator/image/digest'"),
    "a DSN that is nowhere": (["postgres.mode=external"], "name the Secret of this namespace"),
    "no password": (["postgres.mode=embedded"], "postgres.embedded.password is empty"),
    "an analyst without a history": (["analyst.enabled=true"], "set postgres.mode"),
    "remembering without keys": (["remember.enabled=true"], "encryptionKeys.existingSecret"),
    "alerts of anybody": (["alerts.enabled=true"], "anybody could send them"),
    "certificates without TLS": (
        ["alerts.enabled=true", "alerts.tls.clientCertificates=true"],
        "which needs TLS",
    ),
    "e-mail of nobody": (["notifications.email.server=smtp.example:25"], "notifications.email.from"),
    "a password for all to read": (
        [
            "notifications.email.server=smtp.example:25",
            "notifications.email.from=a@example",
            "notifications.email.to[0]=b@example",
            "notifications.email.username=a",
            "notifications.email.existingSecret=s",
            "notifications.email.security=none",
        ],
        "could be read on its way",
    ),
    "traces for nobody": (["tracing.enabled=true"], "tracing.endpoint"),
    "more replicas than shards": (["operator.replicas=9"], "only 8 shards"),
    "a tenant out of sight": (
        ["watchNamespaces[0]=shop", "tenants[0].namespace=other"],
        "namespace other, which is not among watchNamespaces",
    ),
    "a tenant twice": (
        ["tenants[0].namespace=shop", "tenants[1].namespace=shop"],
        "shop/kubernaut-repair twice",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_is_refused_in_clear_words(helm: Path, what: str) -> None:
    values, *words = REFUSED[what]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        chart.template(helm, *(part for value in values for part in ("--set", value)))
    assert all(word in refused.value.stderr for word in words), refused.value.stderr


def test_a_tenant_with_no_families_gets_no_rights_but_may_be_acted_as(helm: Path) -> None:
    found = by_name(chart.template(helm, "--set-json", 'tenants=[{"namespace":"shop","families":[]}]'))
    of_shop = {(kind, name) for kind, namespace, name in found if namespace == "shop"}
    assert of_shop == {
        ("ServiceAccount", "kubernaut-repair"),
        ("Role", "kubernaut-impersonate"),
        ("RoleBinding", "kubernaut-impersonate"),
    }


def test_in_namespaced_mode_the_operator_may_do_nothing_elsewhere(helm: Path) -> None:
    found = chart.template(helm, "--values", str(chart.values_of("namespaced")))
    bound = [
        one["roleRef"]["name"]
        for one in found
        if one["kind"] == "ClusterRoleBinding" and not chart.is_hook(one)
    ]
    roles = {one["metadata"]["name"]: one["rules"] for one in found if one["kind"] == "ClusterRole"}
    groups = {group for name in bound for rule in roles[name] for group in rule["apiGroups"]}
    assert bound
    assert groups == {"admissionregistration.k8s.io"}


def container_of(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = by_name(manifests)[kind, SYSTEM, name]["spec"]["template"]["spec"]["containers"][
        0
    ]
    return found


def test_large_numbers_reach_the_operator_as_they_are_written(helm: Path, tmp_path: Path) -> None:
    given = {
        "spoolBytes": 2147483648,
        "outbox": 1000000,
        "eventRate": 0.5,
        "workers": 128,
        "retention": "400d",
    }
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"operator": {"settings": given}}))
    operator = container_of(
        chart.template(helm, "--values", str(values)), "StatefulSet", "kubernaut-operator"
    )
    env = {one["name"]: one.get("value") for one in operator["env"]}
    settings = {}
    for name in Settings.model_fields:
        if camel(name) in given:
            settings[name] = env[f"KUBERNAUT_{name.upper()}"]
            assert settings[name] == str(given[camel(name)])
    assert len(settings) == len(given)
    assert Settings.model_validate(settings)


def test_names_of_digits_alone_stay_texts(helm: Path) -> None:
    given = {
        "tenants": [{"namespace": "2024", "serviceAccount": "7", "beforeImages": True}],
        "alerts.enabled": True,
    }
    given |= {"watchNamespaces": ["2024"], "alerts.tokens.existingSecret": "t", "analyst.enabled": True}
    given |= {"postgres": {"mode": "embedded", "embedded": {"password": "5"}}, "operator.replicas": 2}
    values = [part for key, value in given.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    command = [str(helm), "template", "42", str(chart.CHART), "--namespace", "1e3", *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for manifest in yaml.safe_load_all(done.stdout):
        meta = manifest["metadata"]
        names = [meta["name"], *meta.get("labels", {}).values(), meta.get("namespace", "")]
        names += [
            one[part] for one in manifest.get("subjects", ()) for part in ("name", "namespace") if part in one
        ]
        names += [name for rule in manifest.get("rules", ()) for name in rule.get("resourceNames", ())]
        selector = (manifest.get("spec") or {}).get("selector") or {}
        names += (selector.get("matchLabels") or (selector if manifest["kind"] == "Service" else {})).values()
        assert all(isinstance(name, str) for name in names), manifest


def test_as_part_of_another_chart_it_may_be_switched_on_and_off(helm: Path, tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "kubernaut").symlink_to(chart.CHART)
    depends = [{"name": "kubernaut", "version": "*", "condition": "kubernaut.enabled"}]
    about = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": depends}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(about))
    values = {"global": {"imageRegistry": "registry.example"}, "kubernaut": {"enabled": True}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))

    def rendered(*more: str) -> str:
        command = [str(helm), "template", "platform", str(tmp_path), "--namespace", SYSTEM, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "name: kubernaut-operator" in rendered()
    assert "name: kubernaut-operator" not in rendered("--set", "kubernaut.enabled=false")


def test_runbooks_are_linked_to_as_they_are_served(helm: Path) -> None:
    site = ["runbookBase=https://docs.example/docs/runbooks/", "runbookSuffix=.html"]
    given = [part for one in site for part in ("--set", f"metrics.prometheusRule.{one}")]
    rendered = chart.template(helm, "--values", str(chart.values_of(chart.MONITORING)), *given)
    links = [
        rule["annotations"]["runbook_url"]
        for one in rendered
        if one["kind"] == "PrometheusRule"
        for rule in one["spec"]["groups"][0]["rules"]
    ]
    links += re.findall(r"\$\{runbooks\}[^\"]+", json.dumps(rendered))
    assert len(links) > 30
    assert all(link.endswith(".html") for link in (link.rstrip("\\") for link in links)), links
    pages = {link.rstrip("\\").rpartition("/")[2].removesuffix(".html") for link in links}
    assert pages <= {path.stem for path in (chart.ROOT / "docs" / "runbooks").glob("*.md")}


def test_where_pods_resolve_names_and_what_the_analyst_mounts_can_be_said(helm: Path) -> None:
    given = {
        "networkPolicy.dnsPorts": [53, 5353],
        "analyst.enabled": True,
        "postgres.mode": "external",
        "postgres.external.existingSecret": "history",
        "analyst.extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "analyst.extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    }
    values = [part for key, value in given.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    rendered = chart.template(helm, *values)
    policies = {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"}
    names = {"kubernaut-operator", "kubernaut-analyst", "kubernaut-cleanup", "kubernaut-test"}
    assert policies.keys() == names
    for policy in policies.values():
        assert {one["port"] for one in policy["egress"][0]["ports"]} == {53, 5353}
    mounts = container_of(rendered, "Deployment", "kubernaut-analyst")["volumeMounts"]
    assert {"name": "ca", "mountPath": "/etc/ca"} in mounts


def test_every_pod_that_is_made_has_a_network_policy_and_goes_where_pods_may_go(helm: Path) -> None:
    values = ["--values", str(chart.values_of("everything"))]
    rendered = chart.template(helm, *values)
    chosen = [one["spec"]["podSelector"]["matchLabels"] for one in rendered if one["kind"] == "NetworkPolicy"]
    pods = [
        one if one["kind"] == "Pod" else one["spec"]["template"]
        for one in rendered
        if one["kind"] in ("Pod", "Job", "Deployment", "StatefulSet")
    ]
    assert len(pods) == len(chosen) == 5
    for pod in pods:
        assert any(labels.items() <= pod["metadata"]["labels"].items() for labels in chosen)
    placed = [pod for pod in pods if "kubernaut/analyst" not in json.dumps(pod["spec"]["containers"])]
    assert len(placed) == 4
    assert all({"nodeSelector", "tolerations"} <= pod["spec"].keys() for pod in placed)


@pytest.mark.parametrize(("service", "port"), [("alertmanager", 9093), ("prometheus", 9090)])
def test_who_is_asked_may_be_reached_by_the_network_policy(helm: Path, service: str, port: int) -> None:
    def ports(*settings: str) -> list[int]:
        given = [part for one in settings for part in ("--set", one)]
        policy = by_name(chart.template(helm, *given))["NetworkPolicy", SYSTEM, "kubernaut-operator"]
        return [one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]]

    assert port not in ports()
    asked = f"operator.settings.{service}Url="
    assert port in ports(f"{asked}http://{service}.monitoring:{port}")
    assert 80 in ports(f"{asked}http://{service}.example.com/{service}")
    assert 443 in ports(f"{asked}https://{service}.example.com", "networkPolicy.apiServerPorts={6443}")


def test_secrets_and_random_values_are_not_rendered(helm: Path) -> None:
    values = ("--values", str(chart.values_of("everything")))
    assert chart.template(helm, *values) == chart.template(helm, *values)


# With the API server


def path_of(manifest: dict[str, Any], *, name: bool = True) -> str:
    version, meta = manifest["apiVersion"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"{root}{place}/{resource_of(manifest['kind'])}" + (f"/{meta['name']}" if name else "")


def apply(admin: Client, manifest: dict[str, Any]) -> dict[str, Any]:
    query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
    answer = admin.request("PATCH", path_of(manifest), manifest, content_type=APPLY, **query)
    assert answer.ok, (path_of(manifest), answer.message)
    body: dict[str, Any] = answer.body
    return body


def applied(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what controllers write on it meanwhile: a status, and annotations of their own."""
    kept = ("name", "uid", "generation", "labels", "managedFields")
    meta = {key: part for key, part in manifest["metadata"].items() if key in kept}
    meta["managedFields"] = [one for one in meta["managedFields"] if one["manager"] == MANAGER]
    return {**{key: part for key, part in manifest.items() if key != "status"}, "metadata": meta}


@pytest.fixture(scope="module")
def places(cluster: Cluster) -> Iterator[None]:
    """Namespaces that the cases name."""
    names = ("shop", "payments")
    with Client(cluster.kubeconfig) as admin:
        for name in names:
            made = admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            assert made.ok, made
        yield
        for name in names:
            admin.request("DELETE", f"/api/v1/namespaces/{name}")


def put_back(admin: Client, manifests: list[dict[str, Any]], cluster: Cluster) -> None:
    """Have the cluster as ``manifests/base`` has it, which other tests rely on."""
    base = by_name(
        list(yaml.safe_load_all(cluster.run_kubectl("kustomize", str(chart.ROOT / "manifests/base"))))
    )
    for key, manifest in by_name(manifests).items():
        if key in base:
            apply(admin, base[key])
        else:
            answer: Answer = admin.request(
                "DELETE", path_of(manifest), {"propagationPolicy": "Foreground", "gracePeriodSeconds": 0}
            )
            assert answer.ok, answer


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("name", CASES)
def test_applied_a_second_time_nothing_changes(
    helm: Path, admin: Client, cluster: Cluster, name: str
) -> None:
    manifests = [
        one
        for one in chart.template(helm, "--values", str(chart.values_of(name)))
        if one["kind"] not in ELSEWHERE and not chart.is_hook(one)
    ]
    try:
        first = [applied(apply(admin, manifest)) for manifest in manifests]
        again = [applied(apply(admin, manifest)) for manifest in manifests]
        assert [json.dumps(one, sort_keys=True) for one in again] == [
            json.dumps(one, sort_keys=True) for one in first
        ]
    finally:
        put_back(admin, manifests, cluster)


def test_what_the_operator_and_people_write_is_not_taken_back(helm: Path, admin: Client) -> None:
    rendered = by_name(chart.template(helm))
    written = {
        ("Secret", "kubernaut-signing"): {"data": {"probe": "a2V5"}},
        ("ConfigMap", "kubernaut-switch"): {"data": {"probe": "off"}},
    }
    for (kind, name), body in written.items():
        manifest = rendered[kind, SYSTEM, name]
        apply(admin, manifest)
        assert admin.request("PATCH", path_of(manifest), body, content_type=MERGE_PATCH).ok
        after = apply(admin, manifest)
        assert after["data"]["probe"] == body["data"]["probe"]
        admin.request("PATCH", path_of(manifest), {"data": {"probe": None}}, content_type=MERGE_PATCH)


def with_claims(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that a workload makes, with the volumes that its claims become."""
    pod: dict[str, Any] = copy.deepcopy(spec["template"])
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())]
    pod["spec"]["volumes"] += [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims
    ]
    return pod


@pytest.mark.parametrize("name", CASES)
def test_every_pod_is_admitted_where_pod_security_is_restricted(helm: Path, admin: Client, name: str) -> None:
    values = ("--values", str(chart.values_of(name)), "--set", "operator.priorityClassName=")
    pods = []
    for manifest in chart.template(helm, *values):
        if manifest["kind"] == "Pod":
            pods.append({"metadata": manifest["metadata"], "spec": manifest["spec"]})
        elif "template" in (manifest.get("spec") or {}):
            pods.append(with_claims(manifest["spec"]))
    assert len(pods) >= 3
    for at, pod in enumerate(pods):
        body = copy.deepcopy(pod)
        body["metadata"].update({"name": f"probe-{at}", "namespace": SYSTEM})
        # Its account is made with it, or by a hook; who it is does not matter to pod security.
        body["spec"]["serviceAccountName"] = "default"
        answer = admin.request(
            "POST", f"/api/v1/namespaces/{SYSTEM}/pods", body, dryRun="All", fieldValidation="Strict"
        )
        assert answer.ok, (pod["metadata"].get("labels"), answer.message)
    weak = copy.deepcopy(pods[0])
    weak["metadata"].update({"name": "probe-weak", "namespace": SYSTEM})
    weak["spec"] |= {"serviceAccountName": "default", "hostNetwork": True}
    refused = admin.request("POST", f"/api/v1/namespaces/{SYSTEM}/pods", weak, dryRun="All")
    assert "violates PodSecurity" in refused.message
