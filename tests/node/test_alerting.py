"""A real Prometheus sees a really failing Deployment, a real Alertmanager tells of it, and it is repaired once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.rest import Client
from kubernaut.api.rbac import tenant_manifests
from kubernaut.core.ports import Manifest
from localcluster import Cluster
from localrun.access import account_kubeconfig
from localrun.process import Operator, free_port
from monitoring import LocalAlertmanager, LocalPrometheus
from node.test_actions_workloads import workload

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "a-token-of-the-tests-0123456789"
NAMESPACE = "alerting"
RUNS = f"/apis/kubernaut.io/v1alpha1/namespaces/{NAMESPACE}/workflowexecutions"
WORKFLOWS = RUNS.replace("workflowexecutions", "workflows")
WEB = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/web"
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.2; done"]
WORKFLOW: Manifest = {
    "apiVersion": "kubernaut.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "never-ready", "namespace": NAMESPACE},
    "spec": {
        "description": "Roll a Deployment whose new pods never get ready back to what worked",
        "serviceAccountName": "kubernaut-repair",
        "parameters": [{"name": "deployment", "required": True}],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "triggers": [
            {
                "alert": {
                    "matchLabels": {"alertname": "ReadinessFailing"},
                    "matchers": ['severity=~"warning|critical"'],
                },
                "parameters": {"deployment": "=owner.name"},
            }
        ],
        "steps": [{"name": "roll-back", "action": "rollback_deployment"}],
        "verify": {"expect": ["target.status.readyReplicas == target.spec.replicas"], "timeout": "60s"},
    },
}
_FAILED = f'probe_type="Readiness",result="failed",namespace="{NAMESPACE}"'
# The kubelet's own metric: a real probe that failed, of a real container.
RULE: Manifest = {
    "name": "readiness",
    "rules": [
        {
            "alert": "ReadinessFailing",
            "expr": f"increase(prober_probe_total{{{_FAILED}}}[8s]) > 0",
            "for": "1s",
            "labels": {"severity": "critical"},
            "annotations": {"summary": "{{ $labels.pod }} does not get ready"},
        }
    ],
}


def until(what: str, look: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


def probed(cluster: Cluster, command: str) -> Manifest:
    probe = {"exec": {"command": [command]}, "periodSeconds": 1, "failureThreshold": 1}
    return workload(cluster, "Deployment", SLEEP, readinessProbe=probe)


@pytest.fixture
def admin(cluster: Cluster) -> Iterator[Client]:
    """The cluster with Kubernaut's CRDs, rights and policies, and a namespace whose account may repair."""
    cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    cluster.run_kubectl("create", "namespace", NAMESPACE)
    objects = yaml.safe_dump_all(tenant_manifests(NAMESPACE, "kubernaut-repair"))
    cluster.run_kubectl("apply", "-f", "-", stdin=objects)
    with Client(cluster.kubeconfig) as client:
        yield client
        # Another operator that comes to this cluster must not find them, and store what nobody expects.
        for run in client.request("GET", RUNS).body["items"]:
            path = f"{RUNS}/{run['metadata']['name']}"
            let_go = {"metadata": {"finalizers": None}}
            assert client.request("PATCH", path, let_go, content_type="application/merge-patch+json").ok
            client.request("DELETE", path)
    cluster.run_kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def operator(cluster: Cluster, admin: Client, tmp_path: Path) -> Iterator[str]:
    """An operator that takes alerts; where."""
    (tmp_path / "tokens").write_text(TOKEN)
    env = {
        "KUBERNAUT_ALERTS_PORT": str(free_port()),
        "KUBERNAUT_ALERTS_TOKENS": str(tmp_path / "tokens"),
        "KUBERNAUT_POLICY_CHECK": "1s",
    }
    made = Operator(account_kubeconfig(cluster, "kubernaut-operator", tmp_path), tmp_path, env=env)
    made.start()
    try:
        made.wait_ready()
        yield f"http://127.0.0.1:{env['KUBERNAUT_ALERTS_PORT']}/alerts"
    finally:
        made.stop()


@pytest.fixture
def alertmanager(operator: str, tmp_path: Path) -> Iterator[LocalAlertmanager]:
    made = LocalAlertmanager(tmp_path / "alertmanager", operator, TOKEN)
    made.run()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def prometheus(
    cluster: Cluster, alertmanager: LocalAlertmanager, tmp_path: Path
) -> Iterator[LocalPrometheus]:
    """One that scrapes the kubelet through the API server, with the rights to do that and no others."""
    role = ["--verb=get", "--resource=nodes/proxy"]
    cluster.run_kubectl("create", "serviceaccount", "prometheus", "-n", NAMESPACE)
    cluster.run_kubectl("create", "clusterrole", "test-prometheus", *role)
    account = f"--serviceaccount={NAMESPACE}:prometheus"
    cluster.run_kubectl(
        "create", "clusterrolebinding", "test-prometheus", "--clusterrole=test-prometheus", account
    )
    config = yaml.safe_load(account_kubeconfig(cluster, "prometheus", tmp_path, NAMESPACE).read_text())
    host = config["clusters"][0]["cluster"]["server"].removeprefix("https://")
    scrape = {
        "job_name": "kubelet",
        "scheme": "https",
        "metrics_path": f"/api/v1/nodes/{_node(cluster)}/proxy/metrics/probes",
        "authorization": {"credentials": config["users"][0]["user"]["token"]},
        "tls_config": {"insecure_skip_verify": True},
        # The metric's own namespace and pod, not the scrape's.
        "honor_labels": True,
        "static_configs": [{"targets": [host]}],
    }
    made = LocalPrometheus(tmp_path / "prometheus", [scrape], [RULE], alertmanager.address)
    made.run()
    try:
        yield made
    finally:
        made.stop()
        cluster.run_kubectl("delete", "clusterrole,clusterrolebinding", "test-prometheus")


def test_a_deployment_that_fails_is_repaired_once_and_its_alert_is_resolved(
    cluster: Cluster, admin: Client, prometheus: LocalPrometheus, alertmanager: LocalAlertmanager
) -> None:
    good = probed(cluster, "true")
    good["metadata"]["name"] = "web"
    good["spec"]["replicas"] = 2
    assert admin.request("POST", WEB.rsplit("/", 1)[0], good).ok
    assert admin.request("POST", WORKFLOWS, WORKFLOW).ok
    until("the Workflow is ready", lambda: _ready(admin) == "True")

    def available() -> bool:
        status = admin.request("GET", WEB).body.get("status", {})
        return bool(status.get("updatedReplicas") == status.get("availableReplicas") == 2)

    until("the good Deployment is available", available)
    bad = probed(cluster, "false")["spec"]["template"]["spec"]
    answer = admin.request(
        "PATCH", WEB, {"spec": {"template": {"spec": bad}}}, content_type="application/merge-patch+json"
    )
    assert answer.ok, answer
    firing = until("the alert fires", lambda: [a for a in prometheus.alerts() if a["state"] == "firing"])
    assert firing[0]["labels"]["pod"].startswith("web-")

    def ended() -> Manifest | None:
        found: list[Manifest] = admin.request("GET", RUNS).body["items"]
        return next((run for run in found if (run.get("status") or {}).get("finishedAt")), None)

    run = until("a run has ended", ended)
    assert run["status"]["verdict"] == "Remediated", run["status"]
    assert run["spec"]["parameters"] == [{"name": "deployment", "value": "web"}]
    assert run["spec"]["trigger"]["alert"]["labels"]["pod"].startswith("web-")
    assert run["spec"]["trigger"]["reason"].endswith("does not get ready")
    until("Prometheus sees no failing probe", lambda: not prometheus.alerts())

    def told_resolved() -> bool:
        kept = json.loads(admin.request("GET", f"{RUNS}/{run['metadata']['name']}").body["metadata"]["annotations"][
            "kubernaut.io/alerts"
        ])  # fmt: skip
        return all(len(times) == 2 for times in kept["alerts"].values())

    until("the operator was told that the alerts were resolved", told_resolved)
    assert available()
    assert len(admin.request("GET", RUNS).body["items"]) == 1


def _ready(admin: Client) -> str:
    status = admin.request("GET", f"{WORKFLOWS}/never-ready").body.get("status", {})
    told = [one for one in status.get("conditions", []) if one["type"] == "Ready"]
    return str(told[0]["status"] if told and told[0]["status"] == "True" else told)


def _node(cluster: Cluster) -> str:
    """Return the name of the node whose kubelet is real."""
    nodes = json.loads(cluster.run_kubectl("get", "nodes", "-o", "json"))["items"]
    (name,) = [
        one["metadata"]["name"]
        for one in nodes
        if one["status"]["nodeInfo"]["kubeletVersion"].startswith("v")
        and "kwok" not in json.dumps(one["metadata"].get("annotations", {}))
    ]
    return str(name)
