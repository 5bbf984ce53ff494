"""The command against a real API server, with the shipped resources and admission policies; no operator runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubernaut.cli import main
from kubernaut.cluster.client import ApiConnection
from kubernaut.cluster.switch import ActingSwitch
from localcluster import Cluster

# The policies ask for the names; the group is there because kubectl reads before it patches.
OPERATOR = ("--as=system:serviceaccount:kubernaut-system:kubernaut-operator", "--as-group=system:masters")
ANALYST = ("--as=system:serviceaccount:kubernaut-system:kubernaut-analyst", "--as-group=system:masters")
WORKFLOW: dict[str, Any] = {
    "apiVersion": "kubernaut.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"name": "crash-loop"},
    "spec": {
        "serviceAccountName": "repair",
        "parameters": [
            {"name": "deployment", "required": True},
            {"name": "count", "type": "integer", "default": "1"},
        ],
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "=params.deployment"},
        "steps": [
            {"name": "diagnose", "action": "collect_diagnostics"},
            {"name": "ask", "approval": {}, "dependsOn": ["diagnose"]},
            {"name": "ask-again", "approval": {}, "dependsOn": ["ask"]},
        ],
    },
}
RESOLVED: dict[str, Any] = {
    "workflow": {
        "name": "crash-loop",
        "uid": "1",
        "contentHash": "0123456789abcdef",
        "snapshot": "crash-loop-0123456789",
        "serviceAccountName": "repair",
    },
    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": "2"},
    "startedAt": "2026-03-01T12:00:00.000000Z",
}
SNAPSHOT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "ControllerRevision",
    "metadata": {"name": "crash-loop-0123456789"},
    "revision": 1,
    "data": WORKFLOW["spec"],
}
RUNNING: dict[str, Any] = {
    **RESOLVED,
    "phase": "Running",
    "progress": "0/3",
    "steps": [
        {"name": "diagnose", "phase": "Running", "attempt": 1, "startedAt": "2026-03-01T12:00:00.000000Z"}
    ],
}
REMEDIATED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Succeeded",
    "verdict": "Remediated",
    "progress": "3/3",
    "finishedAt": "2026-03-01T12:00:05.000000Z",
    "steps": [
        {
            "name": "diagnose",
            "phase": "Succeeded",
            "attempt": 1,
            "startedAt": "2026-03-01T12:00:00.000000Z",
            "finishedAt": "2026-03-01T12:00:00.250000Z",
            "changed": ["Deployment checkout spec.replicas: 0 -> 2"],
        }
    ],
}
NOT_FIXED: dict[str, Any] = {
    **RESOLVED,
    "phase": "Failed",
    "verdict": "NotFixed",
    "finishedAt": "2026-03-01T12:00:05.000000Z",
    "reason": "MissingRight",
    "message": "Step diagnose: repair may not list pods.",
    "steps": [
        {"name": "diagnose", "phase": "Failed", "attempt": 1, "reason": "MissingRight", "message": "no right"}
    ],
}


class Space:
    """A namespace of its own, and the command run in it."""

    def __init__(self, cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self.capsys.readouterr()
        code = main([*arguments, "-n", self.namespace])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.run_kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "kwfe", run, "-o", "json"))
        return found

    def started(self, name: str, status: dict[str, Any] | None = None) -> str:
        """Start a run of this name by the command; give it a status as the operator would."""
        assert self("run", "crash-loop", "-p", "deployment=checkout", "--name", name) == 0, self.err
        if status is not None:
            self.patch_status(name, status)
        return name

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self.kubectl(*OPERATOR, "patch", "kwfe", name, "--subresource=status", "--type=merge", "-p", patch)


@pytest.fixture
def space(
    cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Space]:
    for name, value in cluster.client_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KUBERNAUT_DSN", raising=False)
    made = Space(cluster, namespace, capsys)
    made.apply(WORKFLOW, SNAPSHOT)
    yield made
    made.kubectl("delete", "kwfe", "--all", "--wait=false")
    for name in made.kubectl("get", "kwfe", "-o", "name").split():
        made.kubectl(*OPERATOR, "patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


def powerless(space: Space, folder: Path) -> str:
    """Return a kubeconfig of an account that may do nothing."""
    space.kubectl("create", "serviceaccount", "nobody")
    token = space.kubectl("create", "token", "nobody").strip()
    config = yaml.safe_load(space.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file = folder / "nobody.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return str(file)


def test_run_creates_a_run_with_finalizer_trigger_and_parameters(space: Space) -> None:
    assert (
        space("run", "crash-loop", "-p", "deployment=checkout", "-p", "count=3", "--reason", "page 4711") == 0
    )
    name = space.out.split()[1]
    assert name.startswith("crash-loop-")
    run = space.get(name)
    assert run["metadata"]["finalizers"] == ["kubernaut.io/mirror"]
    assert run["metadata"]["labels"] == {"kubernaut.io/workflow": "crash-loop"}
    assert run["spec"]["parameters"] == [
        {"name": "deployment", "value": "checkout"},
        {"name": "count", "value": "3"},
    ]
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    assert run["spec"]["trigger"] == {"type": "Manual", "by": who, "reason": "page 4711"}
    assert f"kubernaut watch {name} -n {space.namespace}" in space.out


WRONG: list[tuple[list[str], str, str]] = [
    ([], "parameter 'deployment' (string) is required", "deployment (string, required)"),
    (["-p", "deploymnt=x"], "declares no parameter 'deploymnt'", "Did you mean -p deployment=...?"),
    (
        ["-p", "deployment=x", "-p", "count=two"],
        "'two' is not of type integer",
        "count (integer, default 1)",
    ),
    (["-p", "deployment"], "-p 'deployment' is not name=value", "-p deployment=checkout"),
    (["-p", "deployment=x", "-p", "deployment=y"], "'deployment' is given twice", "once"),
    (["-p", f"deployment={'x' * 5000}"], "5000 characters long; at most 4096", "Give less"),
    (["-p", "deployment=x", "--name", "No_Name"], "lowercase RFC 1123 subdomain", ""),
]


def test_wrong_parameters_are_refused_before_anything_is_created(space: Space) -> None:
    for arguments, told, fix in WRONG:
        assert space("run", "crash-loop", *arguments) == 1
        assert told in space.err
        assert fix in space.err
    assert space.kubectl("get", "kwfe", "-o", "name") == ""


def test_an_unknown_workflow_is_answered_with_those_that_exist(space: Space) -> None:
    assert space("run", "crash-lop") == 4
    assert f"there is no Workflow 'crash-lop' in namespace {space.namespace}" in space.err
    assert "Did you mean crash-loop?" in space.err


def test_a_workflow_that_is_not_ready_is_refused_with_its_reason(space: Space) -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "UnknownAction",
        "message": "there is no action 'x'.",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "observedGeneration": 1,
    }
    patch = json.dumps({"status": {"conditions": [condition]}})
    space.kubectl(
        *OPERATOR, "patch", "kwf", "crash-loop", "--subresource=status", "--type=merge", "-p", patch
    )
    assert space("run", "crash-loop", "-p", "deployment=x") == 1
    assert "Workflow crash-loop is not ready (UnknownAction): there is no action 'x'." in space.err


def test_a_name_that_is_taken_is_told(space: Space) -> None:
    space.started("once")
    assert space("run", "crash-loop", "-p", "deployment=x", "--name", "once") == 1
    assert "there is a run 'once'" in space.err


def test_status_lists_and_filters_runs(space: Space) -> None:
    space.started("repaired", REMEDIATED)
    space.started("failed", NOT_FIXED)
    space.started("young")
    assert space("status") == 0
    assert {line.split()[0] for line in space.out.splitlines()[1:]} == {"repaired", "failed", "young"}
    for filters, names in (
        (["--phase", "failed"], {"failed"}),
        (["--phase", "Pending"], {"young"}),
        (["--live"], {"young"}),
        (["--verdict", "Remediated"], {"repaired"}),
        (["--workflow", "crash-loop", "--live"], {"young"}),
        (["--workflow", "other"], set()),
    ):
        assert space("status", *filters, "-o", "json") == 0
        assert {item["metadata"]["name"] for item in json.loads(space.out)["items"]} == names
    assert space("status", "--workflow", "other") == 0
    assert "No runs match" in space.err


def test_status_of_one_run_shows_steps_that_have_not_begun(space: Space) -> None:
    space.started("one", RUNNING)
    assert space("status", "one") == 0
    assert "Deployment checkout (uid 2)" in space.out
    assert [line.split()[1:4] for line in space.out.splitlines() if line.startswith("·")] == [
        ["ask", "approval", "Pending"],
        ["ask-again", "approval", "Pending"],
    ]
    assert space("status", "one", "-o", "yaml") == 0
    assert yaml.safe_load(space.out)["metadata"]["name"] == "one"


def test_without_the_snapshot_a_workflow_counts_only_with_the_same_content(space: Space) -> None:
    space.started("one", RUNNING)
    space.kubectl("delete", "controllerrevision", "crash-loop-0123456789")
    assert space("status", "one") == 0
    assert "ask-again" not in space.out
    patch = json.dumps({"status": {"contentHash": "0123456789abcdef"}})
    space.kubectl(
        *OPERATOR, "patch", "kwf", "crash-loop", "--subresource=status", "--type=merge", "-p", patch
    )
    assert space("status", "one") == 0
    assert "ask-again" in space.out


def test_why_tells_the_trail_and_the_fix(space: Space) -> None:
    space.started("failed", NOT_FIXED)
    assert space("why", "failed") == 0
    assert "MissingRight (Permission)" in space.out
    assert "Grant the verb named to the Workflow's ServiceAccount" in space.out
    assert f"kubectl get kwfe failed -n {space.namespace} -o yaml" in space.out


def test_why_of_a_run_that_does_not_exist_points_to_the_history(space: Space) -> None:
    space.started("repaired", REMEDIATED)
    assert space("why", "repared") == 4
    assert "Did you mean repaired?" in space.err
    assert "KUBERNAUT_DSN" in space.err
    assert space("why", "gone", "--dsn", "postgresql://nobody@127.0.0.1:9/none") == 3
    assert "the history can't be read" in space.err


@pytest.mark.parametrize(("end", "code"), [(REMEDIATED, 0), (NOT_FIXED, 2)])
def test_watch_tells_each_change_and_ends_with_the_run(space: Space, end: dict[str, Any], code: int) -> None:
    space.started("watched", RUNNING)
    command = [sys.executable, "-c", "import sys; from kubernaut.cli import main; sys.exit(main())", "watch"]
    command += ["watched", "-n", space.namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        space.patch_status("watched", end)
        rest = watching.stdout.read()
        assert watching.wait(timeout=30) == code
    assert "step diagnose: Running  collect_diagnostics" in first
    assert f"step diagnose: {end['steps'][0]['phase']}" in rest
    assert f"run watched: {end['phase']}" in rest.splitlines()[-1]
    assert end["verdict"] in rest.splitlines()[-1]


def test_run_with_wait_ends_when_the_run_does(space: Space) -> None:
    def finish() -> None:
        space.kubectl("wait", "kwfe/waited", "--for=create", "--timeout=30s")
        space.patch_status("waited", NOT_FIXED)

    operator = threading.Thread(target=finish)
    operator.start()
    try:
        arguments = ["run", "crash-loop", "-p", "deployment=x", "--name", "waited", "--wait", "-o", "json"]
        assert space(*arguments, "--timeout", "60s") == 2
    finally:
        operator.join()
    assert json.loads(space.out)["status"]["verdict"] == "NotFixed"


def test_a_run_that_does_not_end_in_time_is_left_alone_and_told(space: Space) -> None:
    space.started("slow", RUNNING)
    assert space("watch", "slow", "--timeout", "100ms") == 6
    assert f"run {space.namespace}/slow did not end within 100ms; it is " in space.err
    assert "cancel" not in space.get("slow")["spec"].get("control", {})


def test_approvals_are_given_in_ones_own_name_one_after_the_other(space: Space) -> None:
    space.started("asked", RUNNING)
    assert space("approve", "asked", "ask", "--reason", "looks right") == 0
    assert space("approve", "asked", "ask") == 0
    assert "approved already" in space.out
    assert space("deny", "asked", "ask") == 1
    assert "was answered already: Approve by" in space.err
    assert space("deny", "asked", "ask-again") == 0
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    approvals = space.get("asked")["spec"]["control"]["approvals"]
    assert [(a["step"], a["decision"], a["by"]) for a in approvals] == [
        ("ask", "Approve", who),
        ("ask-again", "Deny", who),
    ]


def test_an_answer_that_kubectl_gave_is_left_as_it_was_written(space: Space) -> None:
    space.started("mixed", RUNNING)
    who = json.loads(space.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    given = {"step": "ask", "decision": "Approve", "by": who}
    patch = json.dumps({"spec": {"control": {"approvals": [given]}}})
    space.kubectl("patch", "kwfe", "mixed", "--type=merge", "-p", patch)
    written = space.get("mixed")["spec"]["control"]["approvals"][0]
    assert space("approve", "mixed", "ask-again") == 0
    assert space.get("mixed")["spec"]["control"]["approvals"][0] == written


def test_a_step_that_is_no_approval_is_refused(space: Space) -> None:
    space.started("asked", RUNNING)
    assert space("approve", "asked", "diagnose") == 1
    assert "step 'diagnose' is no approval" in space.err
    assert "Steps that wait for a person: ask, ask-again." in space.err
    assert space("approve", "asked", "nope") == 1
    assert "step 'nope' does not exist" in space.err


def test_pause_resume_and_cancel_set_control(space: Space) -> None:
    space.started("steered", RUNNING)
    assert space("pause", "steered") == 0
    assert space.get("steered")["spec"]["control"]["paused"] is True
    assert space("resume", "steered") == 0
    assert space.get("steered")["spec"]["control"]["paused"] is False
    assert space("cancel", "steered") == 0
    assert space.get("steered")["spec"]["control"]["cancel"] is True
    assert space("cancel", "steered") == 0
    assert "was cancelled already" in space.out


def test_a_run_at_its_end_cannot_be_steered(space: Space) -> None:
    space.started("done", REMEDIATED)
    for command in (["cancel"], ["pause"], ["resume"]):
        assert space(*command, "done") == 1
        assert "is at its end (Succeeded)" in space.err


def test_patterns_are_shown(space: Space) -> None:
    space.apply(
        {
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "DiscoveredPattern",
            "metadata": {"name": "crashes"},
            "spec": {},
        }
    )
    rate = {"rate": 0.75, "interval": {"lower": 0.4, "upper": 0.9}, "remediated": 6, "concluded": 8}
    status = {"support": 8, "success": rate, "signature": {"summary": "CrashLoopBackOff of Deployments"}}
    patch = json.dumps({"status": status})
    space.kubectl(*ANALYST, "patch", "kdp", "crashes", "--subresource=status", "--type=merge", "-p", patch)
    assert space("patterns") == 0
    assert "75% (6/8, 95% interval 40-90%)" in space.out
    assert space("patterns", "crashes") == 0
    assert "CrashLoopBackOff of Deployments" in space.out
    assert space("patterns", "crashs") == 4
    assert "Did you mean crashes?" in space.err


def test_stop_without_an_operator_is_written_and_says_that_nobody_acknowledged(space: Space) -> None:
    assert space("stop", "--reason", "storage maintenance", "--by", "ada") == 6
    assert "The switch says stopped. No operator acknowledged it" in space.out
    switch = json.loads(space.kubectl("get", "configmap", "kubernaut-switch", "-o", "json"))["data"]
    assert (switch["acting"], switch["by"], switch["reason"]) == ("stopped", "ada", "storage maintenance")
    assert space("stop") == 6
    assert "It said stopped before already, by ada" in space.out
    assert space("start", "-o", "json") == 6
    told = json.loads(space.out)
    assert (told["acting"], told["acknowledged"], told["before"]) == ("on", False, "stopped")


class Operator:
    """The part of an operator that reads the switch, on a thread of its own."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._arguments = kubeconfig, namespace
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()))
        self._ready = threading.Event()

    async def _read(self) -> None:
        kubeconfig, namespace = self._arguments
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with await ApiConnection.load(kubeconfig) as connection:
            reading = asyncio.create_task(ActingSwitch(connection.own(), namespace).run())
            self._ready.set()
            await self._done.wait()
            reading.cancel()
            await asyncio.wait([reading])

    def __enter__(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()


def test_stop_and_start_say_when_the_operator_acknowledged_them(space: Space) -> None:
    with Operator(space.cluster.kubeconfig, space.namespace):
        assert space("stop", "--reason", "drill") == 0
        assert "Acting is stopped: the operator acknowledged it after" in space.out
        assert space("start") == 0
        assert "Acting is allowed: the operator acknowledged it after" in space.out


def test_stop_where_nothing_is_installed_says_so(space: Space) -> None:
    assert main(["stop", "-n", "no-such-namespace"]) == 4
    assert "there is no namespace no-such-namespace" in space.capsys.readouterr().err


def test_a_missing_right_is_named_and_exits_5(space: Space, tmp_path: Path) -> None:
    config = powerless(space, tmp_path)
    assert space("status", "--kubeconfig", config) == 5
    assert "list" in space.err
    assert "workflowexecutions.kubernaut.io" in space.err
    assert f"system:serviceaccount:{space.namespace}:nobody" in space.err
    space.started("theirs", RUNNING)
    for arguments in (["run", "crash-loop"], ["cancel", "theirs"], ["watch", "theirs"], ["why", "theirs"]):
        assert space(*arguments, "--kubeconfig", config) == 5
    assert space("stop", "--kubeconfig", config) == 5
    assert "configmaps" in space.err


def test_credentials_that_are_not_accepted_exit_3(space: Space, tmp_path: Path) -> None:
    config = yaml.safe_load(space.cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    file = tmp_path / "wrong.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    assert space("status", "--kubeconfig", str(file)) == 3
    assert "credentials" in space.err


def test_kubectl_finds_the_plugin(space: Space) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = [str(space.cluster.kubectl), "kubernaut", "status", "-n", space.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"No runs in namespace {space.namespace}." in done.stderr
    helped = subprocess.run(
        [*command[:2], "run", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert "Usage: kubectl kubernaut run" in helped.stdout
