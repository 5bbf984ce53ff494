"""The revisions of a Workflow, kept as the operator keeps them; moving paused runs between them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import yaml

from apiserver.cli.space import OPERATOR, RESOLVED, RUNNING, WORKFLOW, Space
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.cluster.snapshots import snapshot_manifest
from kubernaut.core.content import content_hash

OLD: dict[str, Any] = {
    **WORKFLOW["spec"],
    "version": "1.0.0",
    "parallelism": 3,
    "steps": [*WORKFLOW["spec"]["steps"], {"name": "tell", "action": "notify_only"}],
}
NEW: dict[str, Any] = {**WORKFLOW["spec"], "version": "1.1.0", "onFailure": "Manual"}


class Revised(Space):
    """A Workflow that had two contents; what an operator keeps of them."""

    def revise(self, *contents: dict[str, Any]) -> None:
        self.kubectl("delete", "controllerrevision", "--all")
        revisions: list[dict[str, Any]] = []
        for number, content in enumerate(contents, 1):
            kept = snapshot_manifest(
                self.namespace, "crash-loop", WorkflowSpec.model_validate(content), number + 4
            )
            self.apply(kept)
            digest = content_hash(WorkflowSpec.model_validate(content))
            entry = {"snapshot": kept["metadata"]["name"], "contentHash": digest, "revision": number}
            revisions.insert(0, entry)
        self.apply({**WORKFLOW, "spec": contents[-1]})
        patch = json.dumps({"status": {"revisions": revisions, "revision": len(contents)}})
        self.kubectl(
            *OPERATOR, "patch", "kwf", "crash-loop", "--subresource=status", "--type=merge", "-p", patch
        )

    def follows(self, run: str, content: dict[str, Any], **more: Any) -> None:
        """Start a run that follows a content."""
        self.started(run, following(content, **more))

    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "kwf", "crash-loop", "-o", "json"))["spec"]
        return found


def following(content: dict[str, Any], **more: Any) -> dict[str, Any]:
    digest = content_hash(WorkflowSpec.model_validate(content))
    workflow = {**RESOLVED["workflow"], "contentHash": digest, "snapshot": f"crash-loop-{digest[:10]}"}
    return {**RUNNING, "workflow": workflow, **more}


@pytest.fixture
def revised(space: Space) -> Revised:
    made = Revised(space.cluster, space.namespace, space.capsys)
    made.revise(OLD, NEW)
    return made


def short(content: dict[str, Any]) -> str:
    return content_hash(WorkflowSpec.model_validate(content))[:10]


def test_revisions_are_listed_with_number_content_version_and_live_runs(revised: Revised) -> None:
    revised.follows("one", OLD)
    revised.follows("two", OLD)
    revised.follows("over", OLD, phase="Succeeded")
    assert revised("revisions", "crash-loop") == 0
    lines = [line.split() for line in revised.out.splitlines()[1:]]
    assert [line[:5] for line in lines] == [
        ["2", short(NEW), "1.1.0", "3", "0"],
        ["1", short(OLD), "1.0.0", "4", "2"],
    ]
    assert [line[-1] == "current" for line in lines] == [True, False]
    assert revised("revisions", "crash-loop", "-o", "json") == 0
    told = json.loads(revised.out)
    assert [(one["revision"], one["liveRuns"], one["current"]) for one in told] == [
        (2, 0, True),
        (1, 2, False),
    ]


def test_current_content_that_is_not_kept_yet_is_listed_too(revised: Revised) -> None:
    revised.patch_workflow({"spec": {"version": "2.0.0"}})
    assert revised("revisions", "crash-loop") == 0
    first = revised.out.splitlines()[1].split()
    assert first[0] == "-"
    assert first[2:] == ["2.0.0", "3", "0", "-", "current"]


def test_a_revision_is_shown_by_number_hash_and_latest(revised: Revised) -> None:
    for which, version in (("1", "1.0.0"), (short(OLD)[:5], "1.0.0"), ("latest", "1.1.0"), ("2", "1.1.0")):
        assert revised("revisions", "crash-loop", "--show", which) == 0
        assert yaml.safe_load(revised.out)["version"] == version
    assert revised("revisions", "crash-loop", "--show", "1", "-o", "json") == 0
    assert json.loads(revised.out)["parallelism"] == 3


def test_revisions_are_compared_line_by_line(revised: Revised) -> None:
    assert revised("revisions", "crash-loop", "--diff", "1") == 0
    lines = revised.out.splitlines()
    assert lines[:2] == [f"--- revision 1 ({short(OLD)})", f"+++ revision 2 ({short(NEW)})"]
    for line in (
        "-version: 1.0.0",
        "+version: 1.1.0",
        "-parallelism: 3",
        "+onFailure: Manual",
        "-- name: tell",
    ):
        assert line in lines
    assert revised("revisions", "crash-loop", "--diff", "2", "1") == 0
    assert "+version: 1.0.0" in revised.out
    assert revised("revisions", "crash-loop", "--diff", "2") == 0
    assert "No difference" in revised.out


def test_wrong_revisions_are_answered_with_those_there_are(revised: Revised) -> None:
    for arguments in (["--show", "9"], ["--diff", "9"], ["--diff", "1", "abc"]):
        assert revised("revisions", "crash-loop", *arguments) == 4
        assert "has no revision" in revised.err
        assert f"There are: 2 ({short(NEW)}), 1 ({short(OLD)})." in revised.err
    assert revised("rollback", "crash-loop", "--to", "") == 4
    assert revised("revisions", "crash-lop") == 4
    assert "Did you mean crash-loop?" in revised.err
    assert revised("revisions", "crash-loop", "--diff", "1", "--show", "1") == 1
    assert revised("revisions", "crash-loop", "1") == 1


def test_a_rollback_writes_exactly_the_earlier_content_and_tells_what_changed(revised: Revised) -> None:
    revised.follows("one", NEW)
    assert revised("rollback", "crash-loop", "--to", "1", "--dry-run") == 0
    assert "would be rolled back" in revised.out
    assert revised.spec()["version"] == "1.1.0"
    assert revised("rollback", "crash-loop", "--to", "1") == 0
    assert f"is rolled back to revision 1 ({short(OLD)})" in revised.out
    assert "+version: 1.0.0" in revised.out
    assert content_hash(WorkflowSpec.model_validate(revised.spec()))[:10] == short(OLD)
    assert "1 live run of revision 2" in revised.err
    assert "manages this Workflow" not in revised.err
    assert revised("rollback", "crash-loop", "--to", "1") == 0
    assert "says that already" in revised.out
    assert revised("rollback", "crash-loop", "--to", "1", "-o", "json") == 0
    assert json.loads(revised.out)["spec"] == revised.spec()


@pytest.mark.parametrize(
    ("mark", "manager"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "a:b"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux"),
    ],
)
def test_a_rollback_says_that_gitops_will_undo_it(
    revised: Revised, mark: dict[str, Any], manager: str
) -> None:
    revised.patch_workflow({"metadata": mark})
    assert revised("rollback", "crash-loop", "--to", "1") == 0
    assert f"{manager} manages this Workflow and will undo this at its next sync" in revised.err


def answering(revised: Revised, run: str, status: dict[str, Any]) -> threading.Thread:
    """Answer as the operator would once the run is asked to move."""

    def answer() -> None:
        revised.kubectl("wait", f"kwfe/{run}", "--for=jsonpath={.spec.control.migrateTo}", "--timeout=30s")
        revised.patch_status(run, status)

    operator = threading.Thread(target=answer)
    operator.start()
    return operator


def test_a_paused_run_moves_and_the_answer_is_told(revised: Revised) -> None:
    revised.follows("moved", OLD)
    assert revised("migrate", "moved", "--to", "latest") == 1
    assert "run moved is not paused" in revised.err
    assert "Add --pause" in revised.err
    operator = answering(revised, "moved", following(NEW))
    try:
        assert revised("migrate", "moved", "--to", "latest", "--pause", "--timeout", "60s") == 0
    finally:
        operator.join()
    assert revised.get("moved")["spec"]["control"] == {
        "migrateTo": f"crash-loop-{short(NEW)}",
        "paused": True,
    }
    assert f"follows revision 2 ({short(NEW)}) from now on" in revised.out
    assert f"kubernaut resume moved -n {revised.namespace}" in revised.out
    assert revised("migrate", "moved", "--to", "2") == 0
    assert "already" in revised.out


def test_a_refusal_is_told_with_its_reason(revised: Revised) -> None:
    revised.follows("stays", OLD)
    generation = revised.get("stays")["metadata"]["generation"]
    held = {
        "type": "Reconciling",
        "status": "True",
        "reason": "Paused",
        "message": "The run is paused and stays on its revision: step diagnose was begun and is declared otherwise.",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "observedGeneration": generation + 1,
    }
    operator = answering(revised, "stays", {"conditions": [held]})
    try:
        assert revised("migrate", "stays", "--to", "2", "--pause", "--timeout", "60s") == 2
    finally:
        operator.join()
    assert "was not moved to revision 2" in revised.err
    assert "step diagnose was begun and is declared otherwise" in revised.err


def test_without_an_answer_the_command_ends_in_time_and_says_so(revised: Revised) -> None:
    revised.follows("waits", OLD)
    assert revised("migrate", "waits", "--to", "2", "--pause", "--timeout", "100ms") == 6
    assert "no operator said yes or no within 100ms" in revised.err


def test_a_run_at_its_end_and_a_revision_nobody_lists_are_refused(revised: Revised) -> None:
    revised.follows("over", OLD, phase="Failed")
    assert revised("migrate", "over", "--to", "2", "--pause") == 1
    assert "is at its end (Failed)" in revised.err
    revised.follows("lives", OLD)
    revised.patch_workflow({"spec": {"version": "3.0.0"}})
    assert revised("migrate", "lives", "--to", "latest", "--pause") == 1
    assert "does not list" in revised.err
    assert "control" not in revised.get("lives")["spec"]
