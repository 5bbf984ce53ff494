"""Argo CD and Flux beside the real operator: health, actions, and that nobody is ever out of sync."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from apiserver.rest import Client
from e2e.feed import Manifest
from e2e.statuses import RUN, Gallery, Stage, comparable, subject
from e2e.websteps import note
from e2e.world import REPAIR, ROOT, Place, Run, World, condition, execution
from kubernaut.core.kinds import resource_of
from kubernaut.core.managed_fields import Manager, managers
from unit.argocd.customizations import FOLDER, kept, run
from unit.argocd.test_kstatus import OTHERWISE, SAYS, kstatus

APPLY = "application/apply-patch+yaml"
GIT = "argocd-controller"
#: who stands for people here: kubectl, and requests of the tests that say no name
PEOPLE = ("kubectl-client-side-apply", "unknown")
ACTIONS = FOLDER / "WorkflowExecution" / "actions"
#: ha and namespaced narrow or need what others here rely on; tests/apiserver/test_chart.py applies them twice
FOLDERS = ("base", "minimal", "monitoring", "remember", "tenant", "tenant/before-images", "samples", "argocd")
#: kinds that this cluster has not; tests/apiserver/test_monitoring.py and test_argocd_kinds.py apply them twice
ELSEWHERE = ("argoproj.io/v1alpha1", "monitoring.coreos.com/v1")
NAMESPACED = ("Workflow", "Role", "RoleBinding", "ServiceAccount")
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


@dataclass(frozen=True)
class Shown:
    """Objects in each state, by its name, and where they are."""

    runs: dict[str, Manifest]
    workflows: dict[str, Manifest]
    stages: dict[str, Stage]


def recorded(kind: str, name: str) -> Manifest:
    found: Manifest = yaml.safe_load((FOLDER / kind / "testdata" / f"{name}.yaml").read_text())
    return found


def told(kind: str) -> dict[str, Manifest]:
    """Return the health that Argo CD's test format demands of each recorded object."""
    checks = yaml.safe_load((FOLDER / kind / "health_test.yaml").read_text())["tests"]
    return {
        one["inputPath"].removeprefix("testdata/").removesuffix(".yaml"): one["healthStatus"]
        for one in checks
    }


def health(manifest: Manifest) -> Manifest:
    found: Manifest = run((FOLDER / manifest["kind"] / "health.lua").read_text(), manifest)
    return found


@pytest.fixture(scope="module")
def gallery(world: World) -> Iterator[Shown]:
    with world.admin.acting_as("ann", "system:masters") as ann:
        gallery = Gallery(world, ann)
        runs = dict(gallery.runs())
        yield Shown(runs, dict(gallery.workflows()), gallery.stages)


def test_runs_are_recorded_as_they_are_on_a_real_api_server(gallery: Shown) -> None:
    """What Argo CD's scripts are tried on is what the operator really leaves, and what they say of it is the same."""
    assert set(gallery.runs) == set(told("WorkflowExecution"))
    for name, manifest in gallery.runs.items():
        same_as_recorded("WorkflowExecution", name, manifest)


def test_workflows_are_recorded_as_they_are_on_a_real_api_server(gallery: Shown) -> None:
    found = gallery.workflows
    # tests/e2e/test_gitops.py has the one that is undone.
    assert set(found) == set(told("Workflow")) - {"undone"}
    for name, manifest in found.items():
        same_as_recorded("Workflow", name, manifest)


def same_as_recorded(kind: str, name: str, manifest: Manifest) -> None:
    namespace = manifest["metadata"]["namespace"]
    assert comparable(manifest, namespace) == comparable(recorded(kind, name), "shop"), name
    said = health(manifest)
    assert comparable(said, namespace) == comparable(told(kind)[name], "shop"), name
    assert kstatus(manifest) == OTHERWISE.get((kind, name), SAYS[said["status"]]), name


# Actions


@pytest.fixture
def button(world: World, gallery: Shown) -> Iterator[Client]:
    """Argo CD's server, with the role of its own installation: it may patch and delete all, and create nothing."""
    server = {"kind": "ServiceAccount", "name": "argocd-server", "namespace": "argocd"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "argocd-server"}
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "patch", "delete"]}]
    name = {"metadata": {"name": "argocd-server"}}
    path = "/apis/rbac.authorization.k8s.io/v1/"
    assert world.admin.request("POST", f"{path}clusterroles", {**name, "rules": rules}).ok
    binding = {**name, "roleRef": role, "subjects": [server]}
    assert world.admin.request("POST", f"{path}clusterrolebindings", binding).ok
    asked = {"verb": "patch", "group": "kubernaut.io", "resource": "workflowexecutions"}
    gallery.stages["paused"].place.await_right("system:serviceaccount:argocd:argocd-server", asked, True)
    with world.admin.account("argocd", "argocd-server") as client:
        yield client
    for kind in ("clusterrolebindings", "clusterroles"):
        assert world.admin.request("DELETE", f"{path}{kind}/argocd-server").ok


def press(action: str, manifest: Manifest) -> Any:
    """Return what a script makes of a run as the API server has it."""
    return run((ACTIONS / action / "action.lua").read_text(), copy.deepcopy(manifest))


def offered(manifest: Manifest) -> set[str]:
    found = run((ACTIONS / "discovery.lua").read_text(), manifest)
    return {name for name, one in found.items() if not one["disabled"]}


def test_cancelling_with_argo_cd_ends_a_run(gallery: Shown, button: Client) -> None:
    place = gallery.stages["paused"].place
    obj = place.get("WorkflowExecution", RUN)
    assert offered(obj) == {"cancel"}
    made = kept(press("cancel", obj), obj)
    # Argo CD sends the difference, as a merge patch.
    difference = {"spec": {"control": {"cancel": made["spec"]["control"]["cancel"]}}}
    assert {**obj, "spec": made["spec"]} == made
    assert place.patch("WorkflowExecution", RUN, difference, button).ok
    assert Run(place, obj).end()["phase"] == "Cancelled"


def test_retrying_with_argo_cd_starts_one_run_that_goes_on(gallery: Shown, button: Client) -> None:
    place = gallery.stages["failed"].place
    obj = place.get("WorkflowExecution", RUN)
    assert offered(obj) == {"retry"}
    ((new),) = [one["resource"] for one in press("retry", obj)]
    refused = place.post("WorkflowExecution", new, button)
    assert refused.status == 403, "its own role lets it create nothing"
    for manifest in yaml.safe_load_all((ROOT / "manifests/argocd/retry-rbac.yaml").read_text()):
        manifest["metadata"]["namespace"] = place.namespace
        place.create(manifest["kind"], manifest)
    asked = {"verb": "create", "group": "kubernaut.io", "resource": "workflowexecutions"}
    place.await_right("system:serviceaccount:argocd:argocd-server", asked, True)
    may_scale(place)
    made = place.post("WorkflowExecution", new, button)
    assert made.ok, made
    assert place.post("WorkflowExecution", new, button).status == 409, "pressed twice it is one retry"
    status = Run(place, made.body).end()
    assert (status["phase"], health(place.get("WorkflowExecution", new["metadata"]["name"]))["status"]) == (
        "Succeeded",
        "Healthy",
    )
    for approval in ({"approvals": [{"step": "ask", "by": "system:serviceaccount:argocd:argocd-server"}]},):
        assert place.patch("WorkflowExecution", RUN, {"spec": {"control": approval}}, button).status in (
            403,
            422,
        )


def may_scale(place: Place) -> None:
    """Give the account what the run failed for."""
    name = {"metadata": {"name": "scaler"}}
    rule = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]}
    place.create("Role", {**name, "rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "scaler"}
    place.create("RoleBinding", {**name, "roleRef": reference, "subjects": [subject(place)]})
    place.await_right(place.account, {"verb": "patch", "group": "apps", "resource": "deployments"}, True)


# Nobody is out of sync


class Git:
    """Applies manifests as Argo CD does, and takes what it made away again."""

    def __init__(self, world: World, namespace: str) -> None:
        self._world = world
        self._namespace = namespace
        self._made: list[str] = []

    def manifests(self, folder: str) -> list[Manifest]:
        """Return what a folder of manifests/ holds, where it says no namespace, in that of the test."""
        text = self._world.cluster.run_kubectl("kustomize", str(ROOT / "manifests" / folder))
        found = [one for one in yaml.safe_load_all(text) if one and one["apiVersion"] not in ELSEWHERE]
        for one in found:
            if one["kind"] in NAMESPACED and one["metadata"].get("namespace", "shop") == "shop":
                one["metadata"]["namespace"] = self._namespace
        return found

    def apply(self, manifest: Manifest) -> Manifest:
        """Apply one object by server-side apply, by force as Argo CD does."""
        path = path_of(manifest)
        before = self._world.admin.request("GET", path)
        query = {"fieldManager": GIT, "force": "true"}
        answer = self._world.admin.request("PATCH", path, manifest, content_type=APPLY, **query)
        assert answer.ok, (path, answer.message)
        if before.status == 404:
            self._made.append(path)
        body: Manifest = answer.body
        return body

    def changes(self, manifest: Manifest) -> bool:
        """Whether applying it once more changes it; what a controller writes at that moment is no change of ours."""
        for _ in range(3):
            before = self._world.admin.request("GET", path_of(manifest)).body
            if self.apply(manifest)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]:
                return False
        return True

    def close(self) -> None:
        """Take away what was not there before."""
        for path in reversed(self._made):
            answer = self._world.admin.request("DELETE", path, {"propagationPolicy": "Background"})
            assert answer.ok or answer.status == 404, answer


def path_of(manifest: Manifest) -> str:
    version, meta = manifest["apiVersion"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"{root}{place}/{resource_of(manifest['kind'])}/{meta['name']}"


def shared(manifest: Manifest) -> set[tuple[str, str]]:
    """Return the fields that Git owns and somebody else wrote, each with whose."""
    found = managers(manifest)
    of_git: list[Manager] = [one for one in found if one.name == GIT and one.operation == "Apply"]
    return {
        (other.name, str(path))
        for other in found
        if other.name not in (GIT, *PEOPLE)
        for path in other.fields
        if any(one.owns(path) for one in of_git)
    }


def test_what_git_has_is_never_out_of_sync_beside_the_operator(world: World) -> None:
    """Everything applied twice, the second time after the operator has looked at it and run it: nothing changes."""
    place = world.place()
    git = Git(world, place.namespace)
    try:
        everything = [one for folder in FOLDERS for one in git.manifests(folder)]
        for manifest in everything:
            git.apply(manifest)
        flow = {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": "flow", "namespace": place.namespace},
            "spec": {"serviceAccountName": REPAIR, "target": WEB, "steps": [note("only")]},
        }
        started = execution(place.namespace, "run", "flow", {})
        git.apply(flow)
        Run(place, git.apply(started)).end()
        everything += [flow, started]
        flows = [one for one in everything if one["kind"] == "Workflow"]
        for one in flows:
            key = (one["metadata"]["namespace"], one["metadata"]["name"])
            world.workflows.wait(key, lambda w: bool(condition(w, "Ready")), "the operator has looked at it")
        assert [path_of(one) for one in everything if git.changes(one)] == []
        for one in everything:
            assert shared(world.admin.request("GET", path_of(one)).body) == set(), path_of(one)
        ours = [
            one for one in managers(place.get("WorkflowExecution", "run")) if one.name not in (GIT, *PEOPLE)
        ]
        print(ours)
        assert {one.subresource for one in ours} == {"status", ""}
        assert {path[:2] for one in ours for path in one.fields if path[0] != "status"} == {
            ("metadata", "finalizers")
        }
        assert len(everything) > 60
    finally:
        git.close()
