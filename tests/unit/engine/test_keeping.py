"""What a step keeps goes to the keeper under the run's uid and the step's name; a dry run keeps nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pytest

from unit.engine.world import World


@dataclass
class Kept:
    """Keeps bundles in memory."""

    found: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def refusal(self) -> str:
        return ""

    async def keep(self, run_uid: str, step: str, taken_at: datetime, content: bytes) -> str:
        self.found[run_uid, step] = content
        return ""


@pytest.mark.looptime
@pytest.mark.parametrize("dry", [False, True])
async def test_a_step_keeps_its_bundle_and_a_dry_run_none(dry: bool) -> None:
    world = World()
    world.keeper = kept = Kept()
    world.workflow({"name": "diagnose", "action": "collect_diagnostics", "with": {"logs": False}})
    world.run(finalizers=["kubernaut.io/mirror"])
    world.cluster.edit("WorkflowExecution", "run", {"spec": {"dryRun": dry}})
    await world.reconciler().reconcile(world.take_up())
    (step,) = world.stored()["steps"]
    if dry:
        assert step["outputs"]["bundle"] == "not kept: a dry run keeps nothing"
        assert kept.found == {}
    else:
        assert step["outputs"]["bundle"].endswith("bytes are kept")
        ((_, name),) = kept.found
        assert name == "diagnose"
