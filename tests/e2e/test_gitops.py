"""Runs against what Git keeps, on a real API server: refused, done all the same, proposed, or done while paused.

Argo CD and Flux are CRDs here, and an actor that re-applies with real requests (``e2e.gitops``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from e2e.gitops import Git, grant, install, scale
from e2e.websteps import acting, note
from e2e.world import Place, World, condition, steps, until
from unit.argocd.customizations import FOLDER
from unit.argocd.customizations import run as run_script


@pytest.fixture(autouse=True, scope="module")
def _crds(world: World) -> None:
    install(world)


Gits = Callable[..., Git]


@pytest.fixture
def gits() -> Iterator[Gits]:
    """Have Git speak of places."""
    made: list[Git] = []

    def make(place: Place, tool: str = "argo") -> Git:
        made.append(Git(place, tool))
        return made[-1]

    yield make
    for one in made:
        one.close()


def replicas(place: Place) -> int:
    return int(place.get("Deployment", "web")["spec"]["replicas"])


def test_what_pausing_needs_is_told_before_a_run_and_the_role_that_is_printed_gives_it(
    place: Place, gits: Gits
) -> None:
    # Until it has the right, the account is refused where the Application is read.
    place.world.refusing.add("argocd")
    git = gits(place)
    place.workflow(
        scale(3), guards={"gitOps": "PauseSync", "pauseSync": {"expiresAfter": "1h", "resume": "AtRunEnd"}}
    )
    lacks = f"applications.argoproj.io {place.namespace} in namespace argocd (guards.gitOps)"

    def told(holds: Callable[[Any], bool], what: str) -> None:
        place.world.workflows.wait(
            (place.namespace, "flow"), lambda w: holds(condition(w, "PermissionsReady")), what, 90
        )

    told(lambda one: f"lacks get, patch {lacks}" in one.get("message", ""), "what pausing needs is told")
    printed = place.world.kubernaut("rbac", "flow", "-n", place.namespace)
    assert printed.returncode == 0, printed
    path = place.world.folder / f"{place.namespace}-role.yaml"
    path.write_text(printed.stdout)
    place.world.cluster.run_kubectl("apply", "-f", str(path))
    told(lambda one: one.get("status") == "True", "nothing lacks any more")
    with git.healing():
        status = place.run().end()
        assert "is paused until" in steps(status)["grow"]["message"], status
    until("the sync goes on", lambda: git.syncs)


def why(place: Place, name: str = "run") -> str:
    told = place.world.kubernaut("why", name, "-n", place.namespace)
    assert told.returncode == 0, told
    return told.stdout


@pytest.mark.parametrize("tool", ["argo", "flux"])
def test_what_git_keeps_is_refused_and_its_owner_named(place: Place, gits: Gits, tool: str) -> None:
    gits(place, tool)
    grant(place, "get", tool=tool)
    place.workflow(scale(3))
    status = place.run().end()
    assert (status["verdict"], status["reason"]) == ("Declined", "KeptByAnother")
    owner = "Application argocd" if tool == "argo" else "Kustomization flux-system"
    assert f"{owner}/{place.namespace} keeps spec.replicas" in status["message"]
    assert replicas(place) == 1
    assert place.world.persisted(place.namespace, user=place.account) == []
    assert "declined KeptByAnother" in " ".join(why(place).split())


def test_an_account_that_may_not_look_is_refused_and_told_so(place: Place, gits: Gits) -> None:
    place.world.refusing.add(place.namespace)
    place.world.refusing.add("argocd")
    gits(place)
    place.workflow(scale(3))
    status = place.run().end()
    assert status["reason"] == "KeptByAnother"
    assert "may not read it" in status["message"]


def test_restarts_and_fields_that_git_does_not_have_are_nobodys(place: Place, gits: Gits) -> None:
    git = gits(place)
    grant(place, "get")
    with git.healing():
        place.workflow(
            {"name": "restart", "action": "restart_deployment"},
            note("label", "restart"),
            verify={"expect": ["has(target.metadata.labels)"], "stabilization": "0s"},
        )
        status = place.run().end()
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Remediated")
    git.apply()
    annotations = place.get("Deployment", "web")["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations, "another sync leaves it"


def test_where_git_is_synced_by_hand_only_the_run_acts(place: Place, gits: Gits) -> None:
    gits(place).change({"spec": {"syncPolicy": {"automated": None}}})
    grant(place, "get")
    place.workflow(scale(3))
    assert place.run().end()["phase"] == "Succeeded"
    assert replicas(place) == 3


def test_act_acts_is_undone_for_real_and_said_so_beforehand(place: Place, gits: Gits) -> None:
    git = gits(place)
    grant(place, "get")
    place.workflow(scale(3), guards={"gitOps": "Act"})
    status = place.run().end()
    assert status["phase"] == "Succeeded"
    assert (
        f"Application argocd/{place.namespace} may set back spec.replicas" in steps(status)["grow"]["message"]
    )
    with git.healing():
        until("Git has its way", lambda: replicas(place) == 1)


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append({"key": self.headers["Idempotency-Key"], **json.loads(body)})
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/proposals", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_replicas_of_what_an_autoscaler_will_scale_are_left_to_it_also_before_it_ever_did(
    place: Place,
) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    made = {
        "metadata": {"name": "grows"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
    }
    path = f"/apis/autoscaling/v2/namespaces/{place.namespace}/horizontalpodautoscalers"
    assert place.world.admin.request("POST", path, made).ok
    place.workflow(acting("grow", patch={"spec": {"replicas": 3}}))
    status = place.run().end()
    assert (status["verdict"], status["reason"]) == ("Declined", "KeptByAnother")
    told = f"HorizontalPodAutoscaler {place.namespace}/grows keeps spec.replicas"
    assert told in steps(status)["grow"]["message"]
    assert replicas(place) == 1
    assert place.world.persisted(place.namespace, user=place.account) == []


def test_propose_changes_nothing_and_gives_a_manifest_that_applies(place: Place, gits: Gits) -> None:
    world = place.world
    gits(place)
    grant(place, "get")
    with webhook() as (url, told):
        env = {"KUBERNAUT_POLICY_CHECK": "1s", "KUBERNAUT_PROPOSALS_URL": url}
        with world.other_operator(world.postgres.dsn, env):
            place.workflow(scale(3), guards={"gitOps": "Propose"})
            run = place.run()
            status = run.end()
            (row,) = world.await_rows([run.uid])
    assert (status["verdict"], status["reason"]) == ("Declined", "Proposed")
    assert replicas(place) == 1
    assert world.persisted(place.namespace, user=place.account) == []
    text = steps(status)["grow"]["outputs"]["proposal"]
    assert [one["manifest"] for one in told] == [text]
    assert told[0]["key"] == f"{run.uid}/grow"
    assert "Proposed, to be put into Git" in why(place)
    assert "  replicas: 3" in why(place)
    stored = world.rows("select outputs from kubernaut.steps where run_uid::text = $1", run.uid)
    assert row["verdict"] == "Declined"
    assert text in [json.loads(one["outputs"]).get("proposal") for one in stored]
    answer = world.admin.request(
        "PATCH",
        place.path("Deployment", "web"),
        yaml.safe_load(text),
        content_type="application/apply-patch+yaml",
        fieldManager="git",
        force="true",
    )
    assert answer.ok, answer
    assert replicas(place) == 3


# Paused


def automated(git: Git) -> Any:
    return (git.own()["spec"].get("syncPolicy") or {}).get("automated")


def holds(git: Git) -> bool:
    return "gitops.kubernaut.io/paused" in (git.own()["metadata"].get("annotations") or {})


def tickets(place: Place) -> list[str]:
    path = "/apis/coordination.k8s.io/v1/namespaces/kubernaut-system/leases"
    found = place.world.admin.request("GET", path, labelSelector="kubernaut.io/pause").body["items"]
    return [one["metadata"]["name"] for one in found if place.namespace in json.dumps(one)]


def paused(seconds: int, resume: str = "AtExpiry") -> dict[str, Any]:
    return {"gitOps": "PauseSync", "pauseSync": {"expiresAfter": f"{seconds}s", "resume": resume}}


def test_a_paused_sync_leaves_the_change_until_the_pause_expires_and_goes_on_as_it_was(
    place: Place, gits: Gits
) -> None:
    git = gits(place)
    grant(place, "get", "patch")
    before = automated(git)
    place.workflow(scale(3), guards=paused(10))
    with git.healing():
        status = place.run().end()
        assert status["phase"] == "Succeeded"
        assert (
            f"the sync of Application argocd/{place.namespace} is paused until"
            in (steps(status)["grow"]["message"])
        )
        assert automated(git) is None
        assert holds(git)
        assert replicas(place) == 3
        until("the sync goes on", lambda: automated(git) == before)
        until("Git has its way again", lambda: replicas(place) == 1)
    assert not holds(git)
    until("its ticket is gone", lambda: tickets(place) == [])


def test_a_kustomization_is_suspended_for_the_run_alone(place: Place, gits: Gits) -> None:
    git = gits(place, "flux")
    grant(place, "get", "patch", tool="flux")
    place.workflow(scale(3), note("wait", "grow"), guards=paused(600, "AtRunEnd"))
    with git.healing():
        assert place.run().end()["phase"] == "Succeeded"
        until("it is not suspended any more", lambda: "suspend" not in git.own()["spec"])
        until("Git has its way again", lambda: replicas(place) == 1)
    persisted = place.world.persisted("flux-system", user=place.account)
    assert [request.verb for request in persisted] == ["patch", "patch"]


def test_a_pause_outlives_a_kill_and_ends_in_time_though_run_and_workflow_are_gone(
    place: Place, gits: Gits
) -> None:
    world, git = place.world, gits(place)
    grant(place, "get", "patch")
    before = automated(git)
    gate = {"name": "gate", "wait": {"until": "has(target.metadata.labels.go)"}, "dependsOn": ["grow"]}
    place.workflow(scale(3), gate, guards=paused(12))
    run = place.run()
    run.step_is("grow", "Succeeded")
    world.operator.kill()
    assert automated(git) is None
    for kind, name in (("WorkflowExecution", run.name), ("Workflow", "flow")):
        place.change(kind, name, {"metadata": {"finalizers": None}})
        place.delete(kind, name)
    assert tickets(place) != []
    world.restart_operator()
    until("the sync goes on", lambda: automated(git) == before)
    until("its ticket is gone", lambda: tickets(place) == [])
    assert not holds(git)


def test_a_run_whose_operator_was_killed_goes_on_and_its_pause_ends_with_it(place: Place, gits: Gits) -> None:
    world, git = place.world, gits(place)
    grant(place, "get", "patch")
    before = automated(git)
    gate = {"name": "gate", "wait": {"until": "has(target.metadata.labels.go)"}, "dependsOn": ["grow"]}
    place.workflow(scale(3), gate, guards=paused(600, "AtRunEnd"))
    run = place.run()
    run.step_is("grow", "Succeeded")
    world.operator.kill()
    world.restart_operator()
    place.label(go="on")
    assert run.end()["phase"] == "Succeeded"
    until("the sync goes on", lambda: automated(git) == before)
    patches = [r for r in world.persisted("argocd", user=place.account) if r.name == place.namespace]
    assert [request.verb for request in patches] == ["patch", "patch"]


def test_nobody_pauses_what_he_may_not_patch(place: Place, gits: Gits) -> None:
    place.world.refusing |= {place.namespace, "argocd"}
    git = gits(place)
    grant(place, "get")
    before = git.own()["metadata"]["resourceVersion"]
    place.workflow(scale(3), guards=paused(600))
    status = place.run().end()
    assert (status["phase"], status["reason"]) == ("Failed", "MissingRight")
    assert "applications" in status["message"]
    assert replicas(place) == 1
    assert git.own()["metadata"]["resourceVersion"] == before
    assert tickets(place) == []


def test_what_somebody_else_has_paused_is_never_let_go_on(place: Place, gits: Gits) -> None:
    git = gits(place, "flux")
    git.change({"spec": {"suspend": True}})
    grant(place, "get", "patch", tool="flux")
    place.workflow(scale(3), guards=paused(600, "AtRunEnd"))
    assert place.run().end()["phase"] == "Succeeded"
    assert replicas(place) == 3
    assert tickets(place) == []
    assert git.own()["spec"]["suspend"] is True
    assert not holds(git)


# Undone


def test_what_git_undoes_is_not_done_again_for_a_while_and_run_and_workflow_name_who_did(
    place: Place, gits: Gits
) -> None:
    git = gits(place)
    grant(place, "get")
    guards = {"gitOps": "Act", "oscillation": {"within": "5m", "cooldown": "15s"}}
    place.workflow(scale(3), guards=guards)

    with git.healing():
        assert place.run("a").end()["phase"] == "Succeeded"
        until("Git has its way", lambda: replicas(place) == 1)
    written = len(place.world.persisted(place.namespace, user=place.account))
    status = place.run("b").end()
    assert (status["verdict"], status["reason"]) == ("NotFixed", "UndoneByAnother")
    assert "field manager argocd-controller set spec.replicas back" in status["message"]
    assert len(place.world.persisted(place.namespace, user=place.account)) == written
    flow = place.world.workflows.wait(
        (place.namespace, "flow"),
        lambda w: bool(condition(w, "UndoneByAnother")),
        "the Workflow tells of it",
    )
    assert "argocd-controller" in condition(flow, "UndoneByAnother")["message"]
    health = run_script((FOLDER / "Workflow" / "health.lua").read_text(), flow)
    assert health["status"] == "Degraded"
    assert health["message"].startswith("UndoneByAnother: ")
    seen = len(place.world.workflows.versions((place.namespace, "flow")))
    place.world.workflows.wait(
        (place.namespace, "flow"),
        lambda w: not condition(w, "UndoneByAnother"),
        "the cooldown is over",
        since=seen,
    )
    assert place.run("c").end()["phase"] == "Succeeded"
    assert replicas(place) == 3
