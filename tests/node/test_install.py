"""What the chart installs, as pods on a real node: it heals, is upgraded and rolled back at work, and goes again."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_overlays as chart
from apiserver.acting import await_true
from image import KINDS, build_or_cached
from localcluster import Cluster, uses
from localcluster.images import REGISTRY
from localrun.audit import AuditLog

Manifest = dict[str, Any]
SYSTEM = chart.NAMESPACE
OURS = "app.kubernetes.io/instance=kubernaut"
TARGETS = ("a", "b", "c", "d")
STEPS = 15
# Helm 4.2.1 waits out its whole patience for a hook that was deleted before it looked, or was never there; what it
# does after that is right. Its older way of waiting, which `helm test` can't be told to take, does not.
PATIENCE = "12s"
_numbers = itertools.count(1)


class Installation:
    """A cluster, helm, and words for what the tests do with both."""

    def __init__(self, cluster: Cluster, helm: Path, folder: Path) -> None:
        self.cluster = cluster
        self._helm = helm
        self._folder = folder
        assert cluster.audit_log is not None
        self._audit = AuditLog(cluster.audit_log)

    def helm(self, *arguments: str) -> str:
        command = [str(self._helm), *arguments, "--namespace", SYSTEM]
        done = subprocess.run(
            command,
            env={**self.cluster.client_environment(), "HELM_CACHE_HOME": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            told = self.cluster.run_kubectl("get", "pods,jobs,events", "-n", SYSTEM)
            raise AssertionError(f"helm {arguments[0]}: {done.stderr}\n{told}")
        return done.stdout

    def previous(self) -> Path:
        """Return the chart as it was a version before."""
        older = self._folder / "kubernaut"
        if not older.exists():
            shutil.copytree(chart.CHART, older)
            about = yaml.safe_load((older / "Chart.yaml").read_text())
            (older / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9"}))
        return older

    def apply(self, *objects: Manifest) -> None:
        self.cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.cluster.run_kubectl("get", *arguments, "-o", "json"))

    def names(self, *arguments: str) -> list[str]:
        return self.cluster.run_kubectl("get", *arguments, "--ignore-not-found", "-o", "name").split()

    def namespace(self) -> str:
        name = f"shop-{next(_numbers)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def status(self, namespace: str, run: str) -> Manifest:
        found: Manifest = self.get("kwfe", run, "-n", namespace).get("status", {})
        return found

    def ended(self, namespace: str, run: str) -> Manifest:
        await_true(lambda: "finishedAt" in self.status(namespace, run), f"run {run} does not end", 90)
        return self.status(namespace, run)

    def effects(self, namespace: str) -> Counter[tuple[str, str]]:
        """Return how often each step of each run changed its target, by the API server's audit log."""
        found: Counter[tuple[str, str]] = Counter()
        for request in self._audit.read():
            user = f"system:serviceaccount:{namespace}:kubernaut-repair"
            if request.user == user and request.persisted and request.resource == "deployments":
                annotations = ((request.body or {}).get("metadata") or {}).get("annotations") or {}
                found.update((request.name, key) for key in annotations if key.startswith("did-"))
        return found


def values(namespace: str, **more: Any) -> list[str]:
    image = {"repository": KINDS["operator"].reference.removeprefix(f"{REGISTRY}/").rpartition(":")[0]}
    given = {
        "image": {"registry": REGISTRY, "pullPolicy": "Never"},
        "operator": {"image": image, "replicas": 2, "settings": {"policyCheck": "1s"}},
        "tenants": [{"namespace": namespace}],
        **more,
    }
    return [part for key, value in given.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A cluster of its own: what is installed here others must not find there."""
    name = os.environ.get("KUBERNAUT_TEST_CLUSTER", "test") + "-install"
    cluster = Cluster.up(name)
    try:
        assert cluster.has_real_node, "these tests need a node that really runs containers"
        cluster.load_image(build_or_cached("operator"))
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        installation = Installation(cluster, chart.helm(), tmp_path_factory.mktemp("chart"))
        installation.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": label}}
        )
        yield installation
    finally:
        with pytest.MonkeyPatch.context() as patched:
            # An operator whose rights are deleted under it is refused; that says nothing of what it needs.
            patched.delenv(uses.VARIABLE, raising=False)
            cluster.down()


def deployment(namespace: str, name: str, image: str, replicas: int = 0) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def run_of(namespace: str, name: str, workflow: str, target: str) -> Manifest:
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "workflowRef": {"name": workflow},
            "parameters": [{"name": "deployment", "value": target}],
        },
    }


def long_workflow(namespace: str) -> Manifest:
    """Return a Workflow of steps that each leave a trace, with pauses in which much may happen."""
    steps: list[Manifest] = []
    for at in range(STEPS):
        patch = {"metadata": {"annotations": {f"did-{at}": "=run.name"}}}
        act = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "=params.deployment",
            "patch": patch,
        }
        after = [f"pause-{at - 1}"] if at else []
        steps += [
            {"name": f"step-{at}", "action": "patch_resource", "with": act, "dependsOn": after},
            {"name": f"pause-{at}", "wait": {"duration": "3s"}, "dependsOn": [f"step-{at}"]},
        ]
    return {
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "long", "namespace": namespace},
        "spec": {
            "serviceAccountName": "kubernaut-repair",
            "parameters": [{"name": "deployment", "required": True}],
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
            "steps": steps,
        },
    }


def heal(place: Installation, namespace: str) -> None:
    """Have a Deployment that somebody scaled to zero brought back."""
    sample = yaml.safe_load((chart.ROOT / "manifests" / "samples" / "scaled-to-zero.yaml").read_text())
    sample["metadata"]["namespace"] = namespace
    place.apply(sample, deployment(namespace, "web", place.cluster.real_image("pause")))
    place.apply(run_of(namespace, "heal", "scaled-to-zero", "web"))
    status = place.ended(namespace, "heal")
    assert (status["phase"], status.get("verdict")) == ("Succeeded", "Remediated"), status
    assert place.get("deployment", "web", "-n", namespace)["status"]["readyReplicas"] == 1


def at_work(place: Installation, namespace: str) -> list[str]:
    """Start a run on each target; return their names when each has done something."""
    place.apply(*(run_of(namespace, target, "long", target) for target in TARGETS))

    def all_under_way() -> bool:
        return all(place.status(namespace, target).get("steps") for target in TARGETS)

    await_true(all_under_way, "the runs do not begin")
    return list(TARGETS)


def test_installed_upgraded_rolled_back_and_gone(place: Installation) -> None:
    namespace = place.namespace()
    given = values(namespace)
    place.helm("install", "kubernaut", str(place.previous()), *given, "--wait", "--timeout=2m")
    assert "kubernaut-0.0.9" in place.helm("list")
    assert "the operator is ready and acts" in place.helm(
        "test", "kubernaut", "--logs", f"--timeout={PATIENCE}"
    )
    heal(place, namespace)

    place.apply(*(deployment(namespace, name, place.cluster.real_image("pause")) for name in TARGETS))
    place.apply(long_workflow(namespace))
    names = at_work(place, namespace)
    for change in (
        ("upgrade", "kubernaut", str(chart.CHART), *given, "--set", "operator.podAnnotations.release=two"),
        ("rollback", "kubernaut", "1"),
    ):
        assert not any("finishedAt" in place.status(namespace, name) for name in names)
        before = {pod["metadata"]["uid"] for pod in pods(place)}
        place.helm(*change, "--wait", "--timeout=2m")
        after = {pod["metadata"]["uid"] for pod in pods(place)}
        assert len(after) == 2
        assert not before & after, "the pods were not replaced"
    ends = [place.ended(namespace, name)["phase"] for name in names]
    assert ends == ["Succeeded"] * len(names)
    expected = {(target, f"did-{at}"): 1 for target in TARGETS for at in range(STEPS)}
    assert dict(place.effects(namespace)) == expected, "a step was lost, or done twice"

    held = {"metadata": {"finalizers": ["kubernaut.io/mirror"]}}
    place.cluster.run_kubectl(
        *("patch", "kwfe", "heal", "-n", namespace, "--type=merge", f"--patch={json.dumps(held)}")
    )
    place.helm("uninstall", "kubernaut", "--wait=legacy", "--timeout=2m")
    assert left_over(place) == {
        "customresourcedefinition.apiextensions.k8s.io/discoveredpatterns.kubernaut.io",
        "customresourcedefinition.apiextensions.k8s.io/workflowexecutions.kubernaut.io",
        "customresourcedefinition.apiextensions.k8s.io/workflows.kubernaut.io",
        "secret/kubernaut-signing",
    }
    assert place.names("lease", "-n", SYSTEM) == []
    assert not place.get("kwfe", "heal", "-n", namespace)["metadata"].get("finalizers")
    place.cluster.run_kubectl("delete", "namespace", namespace, "--timeout=60s")


def test_in_namespaced_mode_it_heals_there_and_leaves_nothing(place: Installation) -> None:
    namespace, other = place.namespace(), place.namespace()
    given = values(namespace, watchNamespaces=[namespace], crds={"keep": False})
    place.helm("install", "kubernaut", str(chart.CHART), *given, "--wait", "--timeout=2m")
    heal(place, namespace)
    operator = f"--as=system:serviceaccount:{SYSTEM}:kubernaut-operator"
    for where, may in ((namespace, True), (other, False)):
        asked = ("auth", "can-i", "list", "workflows.kubernaut.io", "-n", where, operator, "--quiet")
        if may:
            place.cluster.run_kubectl(*asked)
        else:
            with pytest.raises(Exception, match="exit"):
                place.cluster.run_kubectl(*asked)
    place.helm("uninstall", "kubernaut", "--wait=legacy", "--timeout=2m")
    assert left_over(place) == set()


def pods(place: Installation) -> list[Manifest]:
    found: list[Manifest] = place.get(
        "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=kubernaut-operator"
    )["items"]
    return found


def left_over(place: Installation) -> set[str]:
    """Return what there still is of the release, of all kinds, in all namespaces."""
    kinds = place.cluster.run_kubectl("api-resources", "--verbs=list", "-o", "name").split()
    asked = [kind for kind in kinds if kind != "events" and not kind.startswith(("events.", "metrics."))]
    return set(place.names(",".join(asked), "-A", "-l", OURS))
