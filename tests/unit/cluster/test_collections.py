"""Watching a kind from now on: what is missed is told as a gap, and nothing ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kubernaut.cluster.collections import GAP, Event, together, watch_collection
from kubernaut.core.errors import ClusterError, Forbidden, Unavailable
from unit.cluster.test_watching import CONFIGMAP, EXPIRED, Script, event


class Over(Exception):
    """The script is over."""


async def told(script: Script, most_pauses: int = 3) -> list[str]:
    """Return what is told until the watch has paused so often."""

    async def sleep(seconds: float) -> None:
        await script.sleep(seconds)
        if len(script.pauses) >= most_pauses:
            raise Over

    watch = watch_collection(
        script, CONFIGMAP, field_selector="a=b", sleep=sleep, spread=lambda _, most: most
    )
    found = []
    with contextlib.suppress(Over):
        async for one in watch:
            name = one.manifest["metadata"]["resourceVersion"] if one.manifest else ""
            found.append(f"{one.type} {name}".rstrip())
    return found


async def test_tells_what_happens_from_now_on() -> None:
    script = Script([(5, None)], [[event("ADDED", 6), event("MODIFIED", 7), event("DELETED", 8)]])
    assert await told(script, 1) == [GAP, "ADDED 6", "MODIFIED 7", "DELETED 8"]
    assert script.queries[0] == "list limit=1&fieldSelector=a%3Db"
    assert "fieldSelector=a%3Db&resourceVersion=5" in script.queries[1]


async def test_a_stream_that_ends_or_breaks_goes_on_where_it_was() -> None:
    broken = Unavailable("the connection broke")
    script = Script([(5, None)], [[event("ADDED", 6)], [event("BOOKMARK", 90), broken], []])
    assert await told(script) == [GAP, "ADDED 6"]
    assert ["resourceVersion=6" in script.queries[2], "resourceVersion=90" in script.queries[3]] == [
        True,
        True,
    ]


@pytest.mark.parametrize("said", [[], [EXPIRED]], ids=["nothing", "too old"])
async def test_a_server_that_ends_each_stream_at_once_is_asked_less_and_less_often(
    said: list[Any],
) -> None:
    script = Script([(5, None)] * 10, [*[said] * 8, [event("ADDED", 6)], said])
    await told(script, 10)
    assert script.pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(script.pauses) == 5.0
    assert script.pauses[8:] == [0.2, 0.4], "after an event the pauses begin small again"


async def test_a_version_that_is_too_old_is_a_gap() -> None:
    script = Script([(5, None), (50, None)], [[EXPIRED], [event("ADDED", 51)]])
    assert await told(script, 2) == [GAP, GAP, "ADDED 51"]


async def test_refusals_are_waited_out_ever_longer() -> None:
    refusals: list[ClusterError] = [Unavailable("away"), Forbidden("not yet"), Unavailable("away")]
    script = Script([*refusals, (5, None)], [[event("ADDED", 6)]])
    assert await told(script, 4) == [GAP, "ADDED 6"]
    assert script.pauses[:3] == [0.2, 0.4, 0.8]


async def test_several_namespaces_are_watched_together() -> None:
    scripts = [Script([(5, None)], [[event("ADDED", number)]]) for number in (6, 7)]
    never = asyncio.Event()

    async def sleep(_: float) -> None:
        await never.wait()

    watches = [
        watch_collection(script, CONFIGMAP, f"n{at}", sleep=sleep) for at, script in enumerate(scripts)
    ]
    found = []
    async for one in (merged := together(watches)):
        found.append(one.type + (one.manifest["metadata"]["resourceVersion"] if one.manifest else ""))
        if len(found) == 4:
            break
    await merged.aclose()
    assert sorted(found) == ["ADDED6", "ADDED7", GAP, GAP]


async def test_what_one_of_several_raises_is_raised() -> None:
    async def broken() -> AsyncGenerator[Event, None]:
        yield Event("ADDED", {})
        raise KeyError("a bug")

    async def quiet() -> AsyncGenerator[Event, None]:
        await asyncio.Event().wait()
        yield Event("ADDED", {})

    watches = together([quiet(), broken()])
    assert (await anext(watches)).type == "ADDED"
    with pytest.raises(KeyError, match="a bug"):
        await anext(watches)
