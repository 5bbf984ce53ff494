"""A crash between every two dependent writes of a run: each write is answered, and the next one never sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faults.arena import Arena
from faults.fault import Fault
from faults.kills import killed
from faults.ledger import Ledger, together
from faults.stages import Stage
from faults.world import World
from localpostgres import LocalPostgres

#: every stage alike
_ALIKE: dict[Stage, int] = {stage: 1 for stage in Stage if stage is not Stage.OTHER}


async def killed_between(arena: Arena, folder: Path, seed: int, points: int) -> dict[str, Any]:
    """Kill an operator with a history after the answer to one of its writes, ``points`` times."""
    postgres = LocalPostgres.up(f"{arena.cluster.name}-between")
    place = arena.places[1]
    try:
        async with (
            Ledger.kept(postgres, place.namespace) as ledger,
            World.running(arena, place, folder, dsn=ledger.relay.dsn) as world,
        ):
            ways = (Fault.KILL_AFTER,)
            report = await killed([world], seed, points, ways=ways, weights=_ALIKE, ledgers=[ledger])
            return {**report, **together([await ledger.compare(world.finished)])}
    finally:
        postgres.down()
