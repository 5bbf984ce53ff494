"""Discovery can be switched off: nothing is learned then, and the patterns say so."""

from __future__ import annotations

import asyncio
from typing import Any

from kubernaut.analyst import DiscoveryFlag, run
from kubernaut.api.base import ObjectMeta
from kubernaut.api.pattern import DiscoveredPattern
from kubernaut.core.errors import Forbidden
from kubernaut.core.ports import Manifest, ObjectRef
from kubernaut.patterns.analysis import Analysis
from kubernaut.patterns.settings import AnalystSettings
from unit.patterns.memory import MemorySink, MemorySource, MemoryStore


class ConfigMap:
    """The switch's ConfigMap; None where it may not be read."""

    def __init__(self, data: dict[str, str] | None) -> None:
        self.data = data

    async def get(self, ref: ObjectRef) -> Manifest:
        if self.data is None:
            raise Forbidden(f"{ref} may not be read", status=403)
        return {"data": self.data}


async def test_the_flag_is_on_unless_it_is_written_off_and_stays_while_it_can_t_be_read() -> None:
    switch = ConfigMap({})
    flag = DiscoveryFlag(switch, "kubernaut-system")
    assert await flag.read()
    switch.data = {"feature.discovery": "off"}
    assert not await flag.read()
    switch.data = None
    assert not await flag.read()
    switch.data = {"feature.discovery": "on"}
    assert await flag.read()


async def test_before_it_was_ever_read_discovery_is_on() -> None:
    assert await DiscoveryFlag(ConfigMap(None), "kubernaut-system").read()


async def test_while_it_is_off_patterns_say_so_once_and_no_round_is_done() -> None:
    sink, source = MemorySink(), MemorySource()
    made = await sink.create(DiscoveredPattern(metadata=ObjectMeta(name="crash-loop")))
    await sink.patch_status(made, {"support": 3})
    analysis = Analysis(source, MemoryStore(), sink, AnalystSettings())
    stop, asked = asyncio.Event(), 0

    async def enabled() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            stop.set()
        return False

    settings: Any = AnalystSettings.model_validate({"interval": "1ms"})
    await run(analysis, settings, stop, enabled)
    assert asked == 3
    assert analysis.discovery is None
    told = sink.condition("crash-loop", "FeatureOff")
    assert (told["status"], told["reason"]) == ("True", "FeatureOff")
    assert sink.status("crash-loop")["support"] == 3
    assert await analysis.pause() == 0
