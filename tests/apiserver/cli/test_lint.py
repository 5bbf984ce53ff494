"""What lint says of a file is what the API server says of it, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.cli.space import Space
from kubernaut.cli import main
from localcluster.errors import ClusterError

UNQUOTED = """\
apiVersion: kubernaut.io/v1alpha1
kind: Workflow
metadata: {name: windowed}
spec:
  serviceAccountName: repair
  guards:
    maxPerHour: 0x4
    changeWindows:
    - {name: night, start: 22:00, end: 23:59, firstDate: 2026-12-20}
  target: {apiVersion: apps/v1, kind: Deployment, name: web}
  steps:
  - {name: restart, action: restart_deployment}
"""


def test_times_and_dates_without_quotes_are_texts_to_both(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(UNQUOTED)
    assert main(["lint", str(file)]) == 0, space.capsys.readouterr()
    space.kubectl("apply", "-f", str(file))
    told = space.kubectl("get", "kwf", "windowed", "-o", "jsonpath={.spec.guards}")
    for part in ('"start":"22:00"', '"firstDate":"2026-12-20"', '"maxPerHour":4'):
        assert part in told


def test_a_letter_that_is_a_truth_value_to_kubectl_is_refused_by_both(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(UNQUOTED.replace("  target:", "  parameters: [{name: n}]\n  target:"))
    assert main(["lint", str(file)]) == 1
    assert "spec.parameters[0].name" in space.capsys.readouterr().out
    with pytest.raises(ClusterError, match=r"spec.parameters\[0\].name"):
        space.kubectl("apply", "-f", str(file))
