"""The catalogue as it is shown: from the real actions."""

from __future__ import annotations

import json

import pytest

from kubernaut.cli import main


def test_every_action_is_listed_with_risk_and_rights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["actions"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert {"collect_diagnostics", "restart_pod", "rollback_deployment", "notify_only"} <= set(lines)
    assert "get, patch deployments.apps; list replicasets.apps" in lines["rollback_deployment"]
    assert "on the object named by its parameters" in lines["patch_resource"]
    assert lines["notify_only"].split()[1:3] == ["None", "none"]


def test_an_action_is_documented_with_parameters_types_and_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["actions", "restart_pod"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "respects PodDisruptionBudgets" in text
    assert "gracePeriodSeconds integer ≥ 1, ≤ 3600" in text
    assert "create pods/eviction" in text


def test_an_unknown_action_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["actions", "restart-pods"]) == 4
    assert "Did you mean restart_pod?" in capsys.readouterr().err


def test_programs_get_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["actions", "scale_deployment", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["risk"] == "Low"
    assert "replicas" in told["parameters"]["properties"]
