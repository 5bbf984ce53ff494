"""Every sample is taken by the API server as strictly as can be, and shows what it is there for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.resources import WORKFLOW, create
from apiserver.rest import Client
from kubernaut.api.steps import KINDS, BackoffPolicy, OnFailure
from kubernaut.api.workflow import ConcurrencyPolicy
from localcluster import Cluster

FOLDER = Path(__file__).resolve().parents[2] / "manifests" / "samples"
SAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")


def everywhere(node: Any, field: str) -> Iterator[Any]:
    """Yield the values of a field wherever it stands in a manifest."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == field:
                yield value
            yield from everywhere(value, field)
    elif isinstance(node, list):
        for item in node:
            yield from everywhere(item, field)


def specs() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text())["spec"] for path in SAMPLES]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_taken_as_it_is(path: Path, admin: Client) -> None:
    manifest = yaml.safe_load(path.read_text())
    answer = create(admin, WORKFLOW, "probe", manifest, dryRun="All")
    assert answer.ok, answer.message
    assert manifest["metadata"]["name"] == path.stem


def test_all_samples_are_applied_together(cluster: Cluster) -> None:
    told = cluster.run_kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-n", "probe", "-k", str(FOLDER)
    )
    assert len(told.splitlines()) == len(SAMPLES)


def test_there_is_a_sample_for_each_kind_of_step_and_each_policy() -> None:
    steps = [step for spec in specs() for lists in everywhere(spec, "steps") for step in lists]
    assert {kind for step in steps for kind in KINDS if kind in step} == set(KINDS)
    for field, values in (
        ("onFailure", {*OnFailure} - {OnFailure.FAIL}),
        ("policy", {*BackoffPolicy}),
        ("concurrencyPolicy", {ConcurrencyPolicy.REPLACE}),
    ):
        assert set(everywhere(specs(), field)) >= {value.value for value in values}
    for field in (
        "object", "mayOverride", "default", "items", "itemsFrom", "select", "alternate", "resources", "jitterPercent",
        "rollback", "finally", "outputs", "priority", "lifecycle", "successfulRunsHistoryLimit",
        "failedRunsHistoryLimit",
    ):  # fmt: skip
        assert list(everywhere(specs(), field)), field
