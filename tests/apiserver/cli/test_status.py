"""Listing and showing runs, and telling why."""

from __future__ import annotations

import json

import yaml

from apiserver.cli.space import NOT_FIXED, OPERATOR, REMEDIATED, RUNNING, Space


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
