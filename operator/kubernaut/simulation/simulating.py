"""A simulation from start to end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from kubernaut.core.ports import Cluster, Manifest
from kubernaut.simulation.assumptions import Assumptions
from kubernaut.simulation.controllers.settling import Settling
from kubernaut.simulation.driver import Driver, Wanted
from kubernaut.simulation.report import Result
from kubernaut.simulation.shadow import Shadow
from kubernaut.simulation.state import State


def shadow_of(now: datetime, reader: Cluster | None = None, objects: Iterable[Manifest] = ()) -> Shadow:
    """Return a copy of a cluster: of objects that are given, or read from it as they are needed."""
    state = State(now)
    for one in objects:
        state.take(one)
    assumptions = Assumptions()
    if reader is None:
        assumptions.say("what the given state does not hold does not exist")
    return Shadow(state, assumptions, reader)


async def simulate(wanted: Wanted, shadow: Shadow) -> Result:
    """Follow a run to its end in a copy.

    Raises:
        StepError: it could not begin: its target does not exist, or can't be read.
    """
    return await Driver(wanted, shadow, Settling(shadow)).follow()
