"""What the chart installs, as pods on a real node: it heals, is upgraded and rolled back at work, and goes again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chart_overlays as chart
from apiserver.acting import await_true
from demo.faults import faults
from e2e.world import execution
from image import KINDS, build_or_cached
from kubernaut.api.rbac import RELEASE_RULES, RELEASE_SYSTEM_RULES
from localcluster import Cluster, uses
from localcluster.errors import ClusterError
from localcluster.names import resolving
from localpostgres import LocalPostgres
from localpostgres.relay import relayed
from localrun.audit import AuditLog, Request
from node import eviction, versions
from node.certified import VALUES, Certificates, only_with_a_certificate
from node.connecting import connect
from node.installed import (
    STEPS,
    TARGETS,
    deployment,
    long_workflow,
    measured_workflow,
    numbers,
    sample,
    values,
    volume,
    with_history,
)
from node.leavings import OURS, in_its_namespace, new_since, of_the_release
from node.versions import TODAY, Version
from node.walk import type_again, walk

Manifest = dict[str, Any]
SYSTEM = chart.NAMESPACE
# Helm 4.2.1 waits out its whole patience for a hook that was deleted before it looked, or was never there; what it
# does after that is right. Its older way of waiting, which `helm test` can't be told to take, does not.
PATIENCE = "12s"


class Installation:
    """A cluster, helm, and words for what the tests do with both."""

    def __init__(self, cluster: Cluster, helm: Path, folder: Path, before: Version) -> None:
        self.cluster = cluster
        self.before = before
        self._helm = helm
        self._folder = folder
        assert cluster.audit_log is not None
        self._audit = AuditLog(cluster.audit_log)
        self._requests: list[Request] = []

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
            said = self.cluster.run_kubectl("logs", "-n", SYSTEM, "-l", OURS, "--prefix", "--ignore-errors")
            raise AssertionError(f"helm {arguments[0]}: {done.stderr}\n{told}\n{said}")
        return done.stdout

    def apply(self, *objects: Manifest) -> None:
        self.cluster.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.cluster.run_kubectl("get", *arguments, "-o", "json"))

    def names(self, *arguments: str) -> list[str]:
        return self.cluster.run_kubectl("get", *arguments, "--ignore-not-found", "-o", "name").split()

    def namespace(self) -> str:
        name = f"shop-{next(numbers)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def status(self, namespace: str, run: str) -> Manifest:
        found: Manifest = self.get("kwfe", run, "-n", namespace).get("status", {})
        return found

    def ended(self, namespace: str, run: str) -> Manifest:
        await_true(lambda: "finishedAt" in self.status(namespace, run), f"run {run} does not end", 90)
        return self.status(namespace, run)

    def requests(self, user: str) -> list[Request]:
        """Return all that somebody has asked of the API server so far, by its audit log."""
        self._requests.extend(self._audit.read())
        return [request for request in self._requests if request.user == user and request.resource]

    def effects(self, namespace: str) -> Counter[tuple[str, str]]:
        """Return how often each step of each run changed its target, by the API server's audit log."""
        found: Counter[tuple[str, str]] = Counter()
        for request in self.requests(f"system:serviceaccount:{namespace}:kubernaut-repair"):
            if request.persisted and request.resource == "deployments":
                annotations = ((request.body or {}).get("metadata") or {}).get("annotations") or {}
                found.update((request.name, key) for key in annotations if key.startswith("did-"))
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A cluster of its own: what is installed here others must not find there."""
    name = os.environ.get("KUBERNAUT_TEST_CLUSTER", "test") + "-install"
    cluster = Cluster.up(name)
    try:
        assert cluster.has_real_node, "these tests need a node that really runs containers"
        before = versions.before(tmp_path_factory.mktemp("before"))
        for version in (before, TODAY):
            for kind in KINDS:
                cluster.load_image(build_or_cached(kind, source=version.source))
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        installation = Installation(cluster, chart.helm(), tmp_path_factory.mktemp("helm"), before)
        installation.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": label}},
            *(volume(tmp_path_factory.mktemp("volume")) for _ in range(3)),
        )
        with resolving(cluster):
            yield installation
    finally:
        with pytest.MonkeyPatch.context() as patched:
            # An operator whose rights are deleted under it is refused; that says nothing of what it needs.
            patched.delenv(uses.VARIABLE, raising=False)
            cluster.down()


def heal(place: Installation, workflow: str, *namespaces: str) -> None:
    """Have the demo's fault of that name made in each namespace, and repaired by the installed operator."""
    fault = next(one for one in faults(place.cluster.real_image("busybox")) if one.workflow == workflow)

    def shown(namespace: str) -> bool:
        pods = place.get("pods", "-n", namespace)["items"]
        return fault.shows(place.get("deployment", "web", "-n", namespace), pods)

    def available(namespace: str) -> bool:
        return bool(place.get("deployment", "web", "-n", namespace)["status"].get("availableReplicas"))

    for namespace in namespaces:
        place.apply(sample(workflow, namespace), fault.good(namespace))
    await_true(lambda: all(map(available, namespaces)), "the good revisions do not get available")
    place.apply(*(fault.broken(namespace) for namespace in namespaces))
    await_true(lambda: all(map(shown, namespaces)), f"{workflow} does not show")
    place.apply(*(execution(namespace, "heal", workflow, {"deployment": "web"}) for namespace in namespaces))
    for namespace in namespaces:
        status = place.ended(namespace, "heal")
        assert (status["phase"], status.get("verdict")) == ("Succeeded", "Remediated"), status
        assert available(namespace)


def replayed(place: Installation, namespace: str, workflow: Manifest) -> int:
    """Return how many runs of a Workflow the operator's own pod finds in the history, to go the same again."""
    command = ("kubernaut", "replay", "-w", "-", "-n", namespace, "-o", "json")
    try:
        told = place.cluster.run_kubectl(
            *("exec", "-i", "kubernaut-operator-0", "-n", SYSTEM, "--", *command),
            stdin=yaml.safe_dump(workflow),
        )
    except ClusterError as error:
        print(error)
        return 0
    return int(json.loads(told)["summary"]["same"])


def learned(place: Installation, symptom: str) -> set[tuple[str, str]]:
    """Return the runs that the analyst's pod names as examples of patterns of a symptom."""
    found = [one.get("status", {}) for one in place.get("discoveredpatterns", "-n", SYSTEM)["items"]]
    told = [status for status in found if symptom in json.dumps(status.get("signature"))]
    return {(one["namespace"], one["name"]) for status in told for one in status["exemplars"]}


def at_work(place: Installation, namespace: str) -> list[str]:
    """Start a run on each target; return their names when each has done something."""
    place.apply(*(execution(namespace, target, "long", {"deployment": target}) for target in TARGETS))

    def all_under_way() -> bool:
        return all(place.status(namespace, target).get("steps") for target in TARGETS)

    await_true(all_under_way, "the runs do not begin")
    return list(TARGETS)


def remembered(place: Installation, namespace: str, workflow: str, runs: int) -> None:
    """Wait until the version that is installed reads so many runs of a sample back from the history."""
    asked = sample(workflow, namespace)
    await_true(lambda: replayed(place, namespace, asked) == runs, f"the history has not {runs} of {workflow}")


def scaled_up(place: Installation, namespace: str, name: str) -> None:
    """Have a Deployment that is scaled to zero brought back by the version that is installed."""
    place.apply(deployment(namespace, name, place.cluster.real_image("pause")))
    place.apply(execution(namespace, name, "scaled-to-zero", {"deployment": name}))
    status = place.ended(namespace, name)
    assert (status["phase"], status.get("verdict")) == ("Succeeded", "Remediated"), status


def measured(place: Installation, namespace: str) -> None:
    """Have a run whose Workflow and status have what only today's version knows."""
    place.apply(measured_workflow(namespace, "of-today"), execution(namespace, "measured", "measured", {}))
    status = place.ended(namespace, "measured")
    assert status["verdict"] == "Inconclusive", status
    assert status["metrics"] == [{"name": "up", "state": "Unknown", "samples": 0, "reason": "MetricNotAsked"}]


def hidden(place: Installation, namespace: str) -> None:
    """See that the version before leaves that run as it is, and does not show what it does not know."""
    status = place.status(namespace, "measured")
    assert status["verdict"] == "Inconclusive", status
    assert "metrics" not in status
    assert "triggers" not in place.get("kwf", "measured", "-n", namespace)["spec"]


def test_installed_upgraded_rolled_back_and_gone(place: Installation) -> None:
    """From the version before to today's and back, with runs under way; then to today's again, and on with that."""
    namespace, other = place.namespace(), place.namespace()
    not_ours = in_its_namespace(place.cluster)
    older = values(namespace, other, **with_history("first", **versions.embedded_before()))
    place.helm("install", "kubernaut", place.before.chart, *older, "--wait", "--timeout=2m")
    versions.is_installed(place.cluster, place.before)
    place.apply(sample("scaled-to-zero", namespace))
    scaled_up(place, namespace, "of-before")
    remembered(place, namespace, "scaled-to-zero", 1)

    place.apply(*(deployment(namespace, name, place.cluster.real_image("pause")) for name in TARGETS))
    place.apply(long_workflow(namespace))
    names = at_work(place, namespace)
    # The values of the README's walk, and what these tests want beyond.
    walk = ("--values", str(chart.values_of("trial")))
    today = (*walk, *values(namespace, other, **with_history("second, it's another")))
    upgrade = ("upgrade", "kubernaut", TODAY.chart)
    with pytest.raises(AssertionError, match="/postgres/embedded/image': got string, want object"):
        place.helm(*upgrade, *older)
    changed(place, namespace, names, TODAY, *upgrade, *today)
    scaled_up(place, namespace, "of-today")
    measured(place, namespace)
    remembered(place, namespace, "scaled-to-zero", 2)
    changed(place, namespace, names, place.before, "rollback", "kubernaut", "1")
    hidden(place, namespace)
    remembered(place, namespace, "scaled-to-zero", 2)
    changed(place, namespace, names, TODAY, *upgrade, *today)

    its_test_fails_while_it_does_not_act(place)
    assert "the operator is ready and acts" in place.helm(
        "test", "kubernaut", "--logs", f"--timeout={PATIENCE}"
    )
    eviction.one_at_a_time(place.cluster)
    # The replica that stayed acts meanwhile.
    heal(place, "crash-loop", namespace, other)
    eviction.again(place.cluster)
    remembered(place, namespace, "crash-loop", 1)
    both = {(namespace, "heal"), (other, "heal")}
    await_true(lambda: both <= learned(place, "CrashLoopBackOff"), "the analyst does not learn of both")

    place.cluster.run_kubectl("label", "deployment", *names, "let=go", "-n", namespace)
    ends = [place.ended(namespace, name)["phase"] for name in names]
    assert ends == ["Succeeded"] * len(names)
    expected = {(target, f"did-{at}"): 1 for target in TARGETS for at in range(STEPS)}
    assert dict(place.effects(namespace)) == expected, "a step was lost, or done twice"
    # On its volume Postgres kept what it had, and with each password it took what came.
    long = long_workflow(namespace)
    await_true(lambda: replayed(place, namespace, long) == len(TARGETS), "runs are missing")
    remembered(place, namespace, "scaled-to-zero", 2)

    held = {"metadata": {"finalizers": ["kubernaut.io/mirror"]}}
    place.cluster.run_kubectl(
        *("patch", "kwfe", "heal", "-n", namespace, "--type=merge", f"--patch={json.dumps(held)}")
    )
    place.helm("uninstall", "kubernaut", "--wait=legacy", "--timeout=2m")
    # Helm does not wait for what the garbage collector takes away.
    await_true(lambda: place.names("pods", "-n", SYSTEM, "-l", OURS) == [], "pods stay")
    assert new_since(not_ours, place.cluster) == {
        *place.names("discoveredpatterns", "-n", SYSTEM),
        "persistentvolumeclaim/data-kubernaut-postgres-0",
        "secret/kubernaut-signing",
    }
    assert of_the_release(place.cluster) == {
        "customresourcedefinition.apiextensions.k8s.io/discoveredpatterns.kubernaut.io",
        "customresourcedefinition.apiextensions.k8s.io/workflowexecutions.kubernaut.io",
        "customresourcedefinition.apiextensions.k8s.io/workflows.kubernaut.io",
        "persistentvolumeclaim/data-kubernaut-postgres-0",
        "secret/kubernaut-signing",
    }
    assert not place.get("kwfe", "heal", "-n", namespace)["metadata"].get("finalizers")
    every_right_of_the_cleanup_was_used(place)
    place.cluster.run_kubectl("delete", "pvc", "data-kubernaut-postgres-0", "-n", SYSTEM)
    place.cluster.run_kubectl("delete", "namespace", namespace, other, "--timeout=60s")


def changed(place: Installation, namespace: str, names: list[str], version: Version, *change: str) -> None:
    """Upgrade or roll back while all these runs are under way; another version is installed then."""
    before = {pod["metadata"]["uid"] for pod in pods(place)}
    place.helm(*change, "--wait", "--timeout=2m")
    after = {pod["metadata"]["uid"] for pod in pods(place)}
    assert not before & after, "the pods were not replaced"
    versions.is_installed(place.cluster, version)
    assert not any("finishedAt" in place.status(namespace, name) for name in names)


def its_test_fails_while_it_does_not_act(place: Installation) -> None:
    for acting in ("off", "on"):
        switch = {"data": {"acting": acting, "by": "a test", "reason": "a test"}}
        place.cluster.run_kubectl(
            *(
                "patch",
                "cm",
                "kubernaut-switch",
                "-n",
                SYSTEM,
                "--type=merge",
                f"--patch={json.dumps(switch)}",
            )
        )
        if acting == "off":
            with pytest.raises(AssertionError, match="the operator does not act"):
                place.helm("test", "kubernaut", f"--timeout={PATIENCE}")


def every_right_of_the_cleanup_was_used(place: Installation) -> None:
    rules = [*RELEASE_RULES, *RELEASE_SYSTEM_RULES]
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = place.requests(f"system:serviceaccount:{SYSTEM}:kubernaut-cleanup")
    assert [request for request in asked if request.code == 403] == []
    # For that no request is sent: the admission policy that guards the finalizer asks whether the account has it.
    by_policy = ("kubernaut.io", "workflowexecutions/finalizers", "update")
    assert {(one.group, one.what, one.verb) for one in asked if one.code < 400} == granted - {by_policy}


@pytest.fixture
def dsn(place: Installation, tmp_path: Path) -> Iterator[str]:
    """A Postgres outside the cluster that pods reach."""
    server = LocalPostgres.up("install", root=tmp_path)
    assert place.cluster.host_address
    with relayed(server.socket_folder, place.cluster.host_address) as address:
        yield address
    server.down()


def test_in_namespaced_mode_it_heals_there_and_leaves_nothing(
    place: Installation, dsn: str, tmp_path: Path
) -> None:
    namespace, other = place.namespace(), place.namespace()
    certificates = Certificates(tmp_path)
    place.apply(certificates.secret)
    secret = {"name": "history", "namespace": SYSTEM}
    place.apply({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": {"dsn": dsn}})
    external = {"mode": "external", "external": {"existingSecret": "history"}}
    more = {"watchNamespaces": [namespace], "crds": {"keep": False}, "operator.spool.persistent": True}
    given = values(namespace, postgres=external, alerts=VALUES, **more)
    place.helm("install", "kubernaut", str(chart.CHART), *given, "--wait", "--timeout=2m")
    heal(place, "scaled-to-zero", namespace)
    repair = sample("scaled-to-zero", namespace)
    await_true(lambda: replayed(place, namespace, repair) == 1, "the history has no run")
    place.apply(sample("on-alert", namespace))
    place.cluster.run_kubectl("wait", "kwf/on-alert", "-n", namespace, "--for=condition=Ready")
    only_with_a_certificate(place.cluster, certificates, namespace)
    (started,) = place.names("kwfe", "-n", namespace, "-l", "kubernaut.io/alert")
    assert place.ended(namespace, started.rpartition("/")[2])["phase"] == "Succeeded"
    operator = f"--as=system:serviceaccount:{SYSTEM}:kubernaut-operator"
    for where, may in ((namespace, True), (other, False)):
        asked = ("auth", "can-i", "list", "workflows.kubernaut.io", "-n", where, operator, "--quiet")
        if may:
            place.cluster.run_kubectl(*asked)
        else:
            with pytest.raises(Exception, match="exit"):
                place.cluster.run_kubectl(*asked)
    place.helm("uninstall", "kubernaut", "--wait=legacy", "--timeout=2m")
    await_true(lambda: place.names("pods,pvc", "-n", SYSTEM, "-l", OURS) == [], "pods or claims stay")
    assert of_the_release(place.cluster) == set()


def test_the_walks_of_the_readme_and_of_alerts_go_as_they_are_shown(
    place: Installation, tmp_path: Path
) -> None:
    """All of them but for the cluster and the images, which are there already."""
    (_, *consoles) = walk((chart.ROOT / "README.md").read_text(), "Install it, and have a Deployment healed")
    tools = chart.helm().parent, place.cluster.kubectl.parent, Path(sys.executable).parent
    path = ":".join([*map(str, tools), os.environ["PATH"]])
    environment = {**place.cluster.client_environment(), "PATH": path}

    def well(kind: str) -> bool:
        found = place.get("kwf", "crash-loop", "-n", "shop").get("status", {}).get("conditions", [])
        return any(one["type"] == kind and one["status"] == "True" for one in found)

    def crashes() -> bool:
        statuses = [pod["status"] for pod in place.get("pods", "-n", "shop")["items"]]
        return any(
            one["restartCount"] and "running" not in one["state"]
            for status in statuses
            for one in status.get("containerStatuses", [])
        )

    # Who types takes a moment.
    moments = {
        "kubectl get kwf": lambda: well("Ready") and well("PermissionsReady"),
        "kubectl get pods -n shop": crashes,
        "kubectl exec": lambda: replayed(place, "shop", sample("crash-loop", "shop")) == 1,
    }
    for typed in (typed for console in consoles for typed in console):
        for beginning, holds in moments.items():
            if typed.command.startswith(beginning):
                await_true(holds, f"not yet, for {typed.command!r}")
        type_again(typed, chart.ROOT, environment)
    run = connect(place.cluster, tmp_path, environment)
    assert run["spec"]["trigger"]["type"] == "Alert"
    assert run["status"]["phase"] == "Succeeded", run["status"]
    place.helm("uninstall", "kubernaut", "--wait=legacy", "--timeout=2m")


def pods(place: Installation) -> list[Manifest]:
    found: list[Manifest] = place.get(
        "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=kubernaut-operator"
    )["items"]
    return found
