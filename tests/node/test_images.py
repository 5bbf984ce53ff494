"""The images as pods on a real node: nothing but what a hardened namespace lets in, and the main job done in it."""

from __future__ import annotations

import copy
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.acting import Place, await_true
from image import KINDS, build_or_cached, pods
from image.layers import read_archive
from kubernaut.api.rbac import tenant_manifests
from localcluster import Cluster
from localcluster.errors import ClusterError
from localpostgres import LocalPostgres
from localpostgres.relay import relayed

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = ("-n", pods.NAMESPACE)
RUNS = "kubernaut.io/v1alpha1"
Manifest = dict[str, Any]


def apply(cluster: Cluster, *objects: Manifest) -> str:
    return cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def read(cluster: Cluster, kind: str, *arguments: str) -> Any:
    return json.loads(cluster.run_kubectl("get", kind, *SYSTEM, *arguments, "-o", "json"))


def ready(cluster: Cluster) -> Manifest | None:
    """Return the operator's pod once it is ready."""
    for pod in read(cluster, "pods", "-l", "app.kubernetes.io/name=kubernaut-operator")["items"]:
        said = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", ())}
        if said.get("Ready") == "True":
            found: Manifest = pod
            return found
    return None


def ended(cluster: Cluster, name: str) -> tuple[str, str]:
    """Wait until a pod has ended; return its phase and what it said."""

    def phase() -> str:
        return str(read(cluster, "pod", name)["status"].get("phase"))

    await_true(lambda: phase() in ("Succeeded", "Failed"), f"pod {name} does not end")
    return phase(), cluster.run_kubectl("logs", name, *SYSTEM)


def metrics(pod: Manifest) -> str:
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def dsn(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres that pods reach."""
    server = LocalPostgres.up("images", root=tmp_path_factory.mktemp("postgres"))
    assert cluster.host_address
    with relayed(server.socket_folder, cluster.host_address) as address:
        yield address
    server.down()


@pytest.fixture(scope="module")
def operator(cluster: Cluster, dsn: str) -> Iterator[Manifest]:
    """The operator's pod, ready, in a cluster with the shipped manifests and no more."""
    cluster.load_image(build_or_cached("operator"))
    cluster.run_kubectl("apply", "-k", str(ROOT / "manifests" / "base"))
    apply(cluster, pods.deployment("operator", pods.spec("operator", env={"KUBERNAUT_DSN": dsn})))
    await_true(lambda: ready(cluster) is not None, "the operator does not get ready")
    found = ready(cluster)
    assert found
    yield found
    cluster.run_kubectl("delete", "deployment", "kubernaut-operator", *SYSTEM, "--wait=true")


def test_the_operator_is_ready_where_only_hardened_pods_may_be(cluster: Cluster, operator: Manifest) -> None:
    labels = read(cluster, "namespace", pods.NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (status,) = operator["status"]["containerStatuses"]
    assert status["restartCount"] == 0
    assert status["image"] == KINDS["operator"].reference
    lax = copy.deepcopy(pods.pod("lax", pods.spec("operator")))
    del lax["spec"]["securityContext"]
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        apply(cluster, lax)


def test_it_is_nobody_and_can_write_to_its_scratch_alone(cluster: Cluster, operator: Manifest) -> None:
    script = """
import os, pathlib
def writes(place):
    try:
        (pathlib.Path(place) / "trial").touch()
    except OSError:
        return False
    return True
print(os.getuid(), os.getgid(), writes("/tmp"), *(writes(place) for place in ("/", "/etc", "/usr/local", "/var")))
import importlib.util
print([name for name in ("numpy", "scipy", "sklearn", "hdbscan") if importlib.util.find_spec(name)])
print(sorted(os.listdir("/usr/bin")), os.path.exists("/bin/sh"))
"""
    told = cluster.run_kubectl(
        "exec", operator["metadata"]["name"], *SYSTEM, "--", "/usr/bin/python3", "-c", script
    )
    assert told.splitlines() == [
        "65532 65532 True False False False False",
        "[]",
        "['python3', 'python3.11'] False",
    ]


def test_the_bill_of_materials_lists_just_what_is_in_it(cluster: Cluster, operator: Manifest) -> None:
    script = """
import importlib.metadata, json, re
with open("/usr/share/kubernaut/sbom.cdx.json") as file:
    listed = [one["purl"] for one in json.load(file)["components"]]
there = [
    "pkg:pypi/" + re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower() + "@" + one.version
    for one in importlib.metadata.distributions()
]
print(sorted(one for one in listed if one.startswith("pkg:pypi/")) == sorted(there), len(there) > 30)
print(sorted({one.split("/")[0] for one in listed}), sorted(set(listed) ^ set(there))[:3])
"""
    name = operator["metadata"]["name"]
    told = cluster.run_kubectl("exec", name, *SYSTEM, "--", "/usr/bin/python3", "-c", script)
    assert told.splitlines()[0] == "True True", told


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_says_what_it_is(kind: str) -> None:
    _, config = read_archive(build_or_cached(kind))
    assert config["config"]["Labels"] == KINDS[kind].labels()
    assert config["config"]["User"] == "65532:65532"


def test_it_heals_a_deployment(cluster: Cluster, operator: Manifest, place: Place) -> None:
    sample = yaml.safe_load((ROOT / "manifests" / "samples" / "scaled-to-zero.yaml").read_text())
    sample["metadata"]["namespace"] = place.namespace
    apply(cluster, *tenant_manifests(place.namespace), sample)
    container = {"name": "app", "image": cluster.real_image("pause")}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    place.create("apps/v1", "deployments", {"metadata": {"name": "web"}, "spec": spec})
    parameters = [{"name": "deployment", "value": "web"}]
    run = {"workflowRef": {"name": "scaled-to-zero"}, "parameters": parameters}
    meta = {"name": "heal", "namespace": place.namespace}
    apply(cluster, {"apiVersion": RUNS, "kind": "WorkflowExecution", "metadata": meta, "spec": run})

    def status() -> Manifest:
        found: Manifest = place.get(RUNS, "workflowexecutions", "heal").get("status", {})
        return found

    await_true(lambda: status().get("phase") in ("Succeeded", "Failed"), "the run does not end")
    assert (status()["phase"], status().get("verdict")) == ("Succeeded", "Remediated")
    assert place.get("apps/v1", "deployments", "web")["status"]["readyReplicas"] == 1
    # A run that changes while it is being stored is stored again, so it may be counted twice.
    stored = re.compile(r"^kubernaut_mirror_runs_total [1-9]", re.MULTILINE)
    await_true(lambda: stored.search(metrics(operator)) is not None, "the run is not in the history")


def test_the_analyst_reads_the_history_that_the_operator_wrote(
    cluster: Cluster, operator: Manifest, dsn: str
) -> None:
    cluster.load_image(build_or_cached("analyst"))
    once = pods.spec("analyst", env={"KUBERNAUT_DSN": dsn}, arguments=["--once"])
    libraries = "import hdbscan, numpy, scipy.stats, sklearn.linear_model; print(numpy.__version__)"
    imports = pods.spec("analyst", command=["/usr/bin/python3", "-c", libraries])
    apply(cluster, pods.pod("analyst-once", once), pods.pod("analyst-imports", imports))
    phase, told = ended(cluster, "analyst-once")
    assert phase == "Succeeded", told
    assert '"read": 1' in told, told
    assert ended(cluster, "analyst-imports")[0] == "Succeeded"
    cluster.run_kubectl("delete", "pod", "analyst-once", "analyst-imports", *SYSTEM, "--wait=false")
