"""Fields that somebody else keeps, in a simulation."""

from __future__ import annotations

from dataclasses import replace

from kubernaut.api.guards import Guards
from kubernaut.core.guards.levels import Level, Reach
from kubernaut.core.ports import Manifest
from kubernaut.simulation.report import Result
from kubernaut.simulation.simulating import shadow_of, simulate
from unit.simulation.world import NOW, meta, node, rolled_out, wanted, workflow

KEPT = "kustomize.toolkit.fluxcd.io"


async def kept(**guards: str) -> Result:
    """Simulate the scaling of a Deployment whose replicas Flux has in Git."""
    objects = [node(), *rolled_out()]
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    deployment["metadata"]["labels"] = {f"{KEPT}/name": "shop", f"{KEPT}/namespace": "flux-system"}
    owner: Manifest = {
        "apiVersion": f"{KEPT}/v1",
        "kind": "Kustomization",
        "metadata": meta("Kustomization", "shop", "flux-system"),
        "spec": {},
    }
    scale = {"name": "scale", "action": "scale_deployment", "with": {"replicas": 4}}
    found = wanted(workflow(scale))
    levels = (Level(Reach.WORKFLOW, "flow", Guards.model_validate(guards)),)
    return await simulate(replace(found, levels=levels), shadow_of(NOW, objects=[*objects, owner]))


async def test_what_an_owner_keeps_is_refused_as_in_a_real_run() -> None:
    result = await kept()
    assert not result.through
    assert "Kustomization flux-system/shop" in str(result.status.steps[0].message)


async def test_a_sync_that_would_be_paused_is_told_and_assumed() -> None:
    result = await kept(gitOps="PauseSync")
    assert result.through
    assert "would be paused for 1h" in str(result.status.steps[0].message)
    assert any("may patch Kustomization flux-system/shop" in one for one in result.assumptions)
    assert [str(one.object) for one in result.diffs if one.object.kind == "Kustomization"] == []
