"""Every sample Workflow is accepted by the API server, by the operator and by ``kubernaut lint``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from e2e.world import ROOT, World, condition

SAMPLES = sorted(
    path for path in (ROOT / "manifests" / "samples").glob("*.yaml") if path.name != "kustomization.yaml"
)


def test_a_sample_for_each_fault_of_the_demo_is_there() -> None:
    assert {path.stem for path in SAMPLES} >= {
        "bad-image",
        "bad-rollout",
        "crash-loop",
        "oom-killed",
        "scaled-to-zero",
    }


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_ready_to_run(world: World, path: Path) -> None:
    place = world.place(deployment=False)
    (manifest,) = [m for m in yaml.safe_load_all(path.read_text()) if m]
    place.create("Workflow", manifest)
    name = manifest["metadata"]["name"]
    found = world.workflows.wait(
        (place.namespace, name), lambda w: bool(condition(w, "Ready")), "the operator looked at it"
    )
    assert condition(found, "Ready")["status"] == "True", condition(found, "Ready")
    assert found["status"]["revision"] == 1


def test_lint_accepts_all_samples(world: World) -> None:
    told = world.kubernaut("lint", *map(str, SAMPLES))
    assert told.returncode == 0, told
