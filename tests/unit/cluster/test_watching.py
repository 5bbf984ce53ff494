from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from kubernaut.cluster.call import Call
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.cluster.watching import SharedWatches, watch_object
from kubernaut.core.errors import ClusterError, Forbidden, NotFound, Unavailable
from kubernaut.core.ports import Manifest, ObjectRef

CONFIGMAP = WELL_KNOWN["v1", "ConfigMap"]
REF = ObjectRef("v1", "ConfigMap", "shop", "c")


def seen(version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"name": "c", "uid": uid, "resourceVersion": str(version)}}


def event(kind: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": seen(version)}


EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
}
Listed = tuple[int, dict[str, Any] | None]


class Script:
    """A server that gives these lists and these streams, and then ends the test."""

    def __init__(
        self, lists: list[Listed | Exception], streams: list[list[dict[str, Any] | Exception] | Exception]
    ) -> None:
        self.lists, self.streams = lists, streams
        self.calls: list[Call] = []
        self.pauses: list[float] = []

    async def send(self, call: Call, *, account: str = "") -> bytes:
        self.calls.append(call)
        if not self.lists:
            raise Forbidden("the script is over")
        listed = self.lists.pop(0)
        if isinstance(listed, Exception):
            raise listed
        version, item = listed
        return orjson.dumps({"metadata": {"resourceVersion": str(version)}, "items": [item] if item else []})

    @asynccontextmanager
    async def stream(self, call: Call, *, account: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        self.calls.append(call)
        if not self.streams:
            raise Forbidden("the script is over")
        events = self.streams.pop(0)
        if isinstance(events, Exception):
            raise events

        async def lines() -> AsyncIterator[bytes]:
            for one in events:
                if isinstance(one, Exception):
                    raise one
                yield orjson.dumps(one)

        yield lines()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self) -> list[str | None]:
        states: list[str | None] = []
        try:
            async for manifest in watch_object(
                self, CONFIGMAP, REF, sleep=self.sleep, spread=lambda _, most: most
            ):
                states.append(None if manifest is None else manifest["metadata"]["resourceVersion"])
        except Forbidden:
            return states
        raise AssertionError("a watch never ends but with an error")

    @property
    def queries(self) -> list[str]:
        return [f"{call.verb} {call.query}" for call in self.calls]


async def test_yields_the_state_now_and_each_change_and_the_end() -> None:
    script = Script([(5, seen(4))], [[event("MODIFIED", 6), event("MODIFIED", 7), event("DELETED", 8)]])
    assert await script.run() == ["4", "6", "7", None]


async def test_what_does_not_exist_is_a_state_too() -> None:
    script = Script([(5, None)], [[event("ADDED", 6)]])
    assert await script.run() == [None, "6"]


async def test_goes_on_where_it_was_and_a_bookmark_moves_it_on() -> None:
    broken = Unavailable("the connection broke")
    script = Script([(5, seen(4))], [[broken], [event("BOOKMARK", 90), broken], []])
    assert await script.run() == ["4"]
    watched = [call.query for call in script.calls if call.verb == "watch"]
    assert ["resourceVersion=5" in watched[0], "resourceVersion=5" in watched[1]] == [True, True]
    assert "resourceVersion=90" in watched[2]
    assert "fieldSelector=metadata.name%3Dc" in watched[0]
    assert "timeoutSeconds=660" in watched[0]
    assert all(pause > 0 for pause in script.pauses), (
        "streams that end at once are not asked for in a busy loop"
    )


async def test_what_went_astray_is_found_when_a_stream_has_ended() -> None:
    script = Script([(5, seen(4)), (50, seen(44)), (60, None)], [[event("BOOKMARK", 90)], []])
    assert await script.run() == ["4", "44", None]


@pytest.mark.parametrize("expiry", [EXPIRED, "answer"])
async def test_a_version_that_is_too_old_leads_to_a_new_list(expiry: Any) -> None:
    from kubernaut.cluster.errors import Expired

    second: Any = [expiry] if expiry is EXPIRED else Expired("too old")
    script = Script([(5, seen(4)), (50, seen(44))], [second, []])
    assert await script.run() == ["4", "44"]
    assert [call.verb for call in script.calls] == ["list", "watch", "list", "watch", "list"]


async def test_a_new_list_that_finds_the_same_is_not_told_again() -> None:
    script = Script([(5, seen(4)), (50, seen(4))], [[EXPIRED], []])
    assert await script.run() == ["4"]


async def test_an_object_made_anew_while_nobody_looked_is_told() -> None:
    script = Script([(5, seen(4)), (50, None), (60, seen(4, "other"))], [[EXPIRED], [EXPIRED], []])
    assert await script.run() == ["4", None, "4"]


async def test_a_server_that_is_away_is_waited_for_longer_each_time() -> None:
    away = Unavailable("away")
    script = Script([away, away, (5, seen(4))], [*[away] * 8, [event("MODIFIED", 6)], away])
    assert await script.run() == ["4", "6"]
    assert script.pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(script.pauses) == 5.0
    assert script.pauses[-1] == 0.2, "after an event the pauses begin small again"


async def test_waits_as_long_as_the_server_asks() -> None:
    script = Script([Unavailable("busy", retry_after=12.0), (5, seen(4))], [])
    await script.run()
    assert script.pauses == [12.0]


async def test_a_refused_list_ends_the_watch() -> None:
    script = Script([Forbidden("no")], [])
    assert await script.run() == []
    assert script.pauses == []


class Watched:
    """A cluster in which one object is watched by hand."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.error: Exception | None = None
        self.states: list[asyncio.Queue[Manifest | None]] = []
        self.polled: list[Manifest | Exception] = []

    def as_account(self, namespace: str, service_account: str) -> Any:
        return self

    async def watch(self, ref: ObjectRef) -> AsyncIterator[Manifest | None]:
        self.opened += 1
        if self.error is not None:
            raise self.error
        queue: asyncio.Queue[Manifest | None] = asyncio.Queue()
        self.states.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.closed += 1

    async def get(self, ref: ObjectRef) -> Manifest:
        found = self.polled.pop(0) if self.polled else None
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found


async def turn() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def versions(into: list[Any]) -> Callable[[Manifest | None], None]:
    return lambda manifest: into.append(manifest and manifest["metadata"]["resourceVersion"])


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


async def test_waiters_on_the_same_object_share_one_watch_and_it_ends_with_the_last() -> None:
    cluster = Watched()
    watches = SharedWatches(cluster)
    first, second, other = [], [], []  # type: ignore[var-annotated]
    end_first = watches.subscribe("shop", "repair", REF, versions(first))
    await turn()
    cluster.states[0].put_nowait(seen(4))
    await turn()
    end_second = watches.subscribe(
        "shop", "repair", ObjectRef("v1", "ConfigMap", "shop", "c", "some-uid"), versions(second)
    )
    assert second == [], "never called from within subscribe"
    end_other = watches.subscribe("shop", "somebody", REF, versions(other))
    await turn()
    assert (first, second, other) == (["4"], ["4"], [])
    assert cluster.opened == 2, "one for each account"
    end_first()
    cluster.states[0].put_nowait(None)
    await turn()
    assert (first, second) == (["4"], ["4", None])
    end_second()
    end_second()
    end_other()
    await turn()
    assert cluster.closed == 2
    assert len(watches) == 0


async def test_a_subscription_after_the_last_one_ended_begins_anew() -> None:
    cluster = Watched()
    watches = SharedWatches(cluster)
    told: list[Any] = []
    watches.subscribe("shop", "repair", REF, versions(told))()
    end = watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.states[-1].put_nowait(seen(9))
    await turn()
    assert told == ["9"]
    end()
    await watches.close()


async def test_a_failing_callback_harms_no_other() -> None:
    def bad(_: Manifest | None) -> None:
        raise RuntimeError("bad")

    cluster, told = Watched(), list[Any]()
    watches = SharedWatches(cluster)
    watches.subscribe("shop", "repair", REF, bad)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.states[0].put_nowait(seen(4))
    cluster.states[0].put_nowait(seen(5))
    await turn()
    assert told == ["4", "5"]
    await watches.close()


async def test_an_account_that_may_not_watch_has_the_object_polled() -> None:
    cluster, told = Watched(), list[Any]()
    cluster.error = Forbidden("no watch", status=403)
    cluster.polled = [seen(4), seen(4), Unavailable("away"), seen(5), NotFound("gone"), NotFound("gone")]
    watches = SharedWatches(cluster, sleep=no_pause)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    assert told == ["4", "5", None]
    await watches.close()


@pytest.mark.parametrize("error", [ClusterError("odd"), KeyError("odd")])
async def test_a_watch_that_ends_with_an_error_is_begun_again(error: Exception) -> None:
    cluster, told = Watched(), list[Any]()
    cluster.error = error
    watches = SharedWatches(cluster, sleep=no_pause)
    watches.subscribe("shop", "repair", REF, versions(told))
    await turn()
    cluster.error = None
    await turn()
    cluster.states[-1].put_nowait(seen(4))
    await turn()
    assert told == ["4"]
    await watches.close()


async def test_leaving_a_watch_closes_its_stream() -> None:
    cluster = Watched()
    async with aclosing(cluster.watch(REF)) as states:  # type: ignore[type-var]
        task = asyncio.ensure_future(anext(states))
        await turn()
        cluster.states[0].put_nowait(None)
        assert await task is None
    assert cluster.closed == 1
