"""Units of scarce resources as Leases."""

from __future__ import annotations

import pytest

from kubernaut.cluster.slots import PREFIX, Slot
from kubernaut.core.errors import AlreadyExists, Conflict
from unit.engine.leases import LeaseServer


async def test_a_unit_is_taken_given_back_and_taken_again_by_whoever_is_first() -> None:
    units = LeaseServer().units()
    first = await units.create("node-drain", 0, "uid/one")
    with pytest.raises(AlreadyExists):
        await units.create("node-drain", 0, "uid/two")
    freed = await units.free(first)
    assert freed.holder == ""
    taken = await units.take(freed, "uid/two")
    with pytest.raises(Conflict):
        await units.take(freed, "uid/three")
    with pytest.raises(Conflict):
        await units.free(first)
    assert await units.read() == [taken]
    assert (taken.run, taken.step) == ("uid", "two")


async def test_a_step_of_a_template_is_named_whole() -> None:
    unit = await LeaseServer().units().create("db", 11, "uid/each/0/restart")
    assert (unit.run, unit.step, unit.name) == ("uid", "each/0/restart", f"{PREFIX}db-11")


@pytest.mark.parametrize("name", ["other", f"{PREFIX}x", f"{PREFIX}x-y", f"{PREFIX}-1", f"{PREFIX}x-²"])
def test_leases_of_other_names_are_passed_over(name: str) -> None:
    assert Slot.of({"metadata": {"name": name, "resourceVersion": "1"}, "spec": {}}) is None
