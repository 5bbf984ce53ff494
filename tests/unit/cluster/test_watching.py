from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from kubernaut.cluster.call import Call
from kubernaut.cluster.resources import WELL_KNOWN
from kubernaut.cluster.watching import sight, watch_names, watch_object
from kubernaut.core.errors import Forbidden, Unavailable
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

    async def run(self, since: str = "") -> list[str | None]:
        states: list[str | None] = []
        try:
            async for manifest in watch_object(
                self, CONFIGMAP, REF, since=since, sleep=self.sleep, spread=lambda _, most: most
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


async def test_from_a_known_version_on_each_change_is_yielded_without_a_list_until_that_version_is_too_old() -> (
    None
):
    script = Script([(9, seen(9))], [[event("MODIFIED", 6), event("MODIFIED", 7), EXPIRED], []])
    assert await script.run(since="5") == ["6", "7", "9"]
    assert script.calls[0].verb == "watch"
    assert "resourceVersion=5" in script.calls[0].query


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
    assert "timeoutSeconds=4510" in watched[0]
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


@pytest.mark.parametrize("said", [[], [EXPIRED]], ids=["nothing", "too old"])
async def test_a_server_that_ends_each_stream_at_once_is_asked_less_and_less_often(said: list[Any]) -> None:
    script = Script([(5, seen(4))] * 10, [*[said] * 8, [event("MODIFIED", 6)], said])
    assert await script.run() == ["4", "6", "4"]
    assert script.pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(script.pauses) == 5.0
    assert script.pauses[8:] == [0.2, 0.4], "after an event the pauses begin small again"


async def test_waits_as_long_as_the_server_asks() -> None:
    script = Script([Unavailable("busy", retry_after=12.0), (5, seen(4))], [])
    await script.run()
    assert script.pauses == [12.0]


async def test_a_refused_list_ends_the_watch() -> None:
    script = Script([Forbidden("no")], [])
    assert await script.run() == []
    assert script.pauses == []


def named(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"u-{name}", "resourceVersion": str(version)}}


def change(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": named(name, version)}


class Pages(Script):
    """A server that lists a kind in pages."""

    def __init__(self, lists: list[list[list[dict[str, Any]]]], streams: list[Any]) -> None:
        super().__init__([], streams)
        self.pages = [
            orjson.dumps(
                {
                    "metadata": {
                        "resourceVersion": str(100 * number),
                        "continue": "more" * (page is not pages[-1]),
                    },
                    "items": page,
                }
            )
            for number, pages in enumerate(lists, start=1)
            for page in pages
        ]

    async def send(self, call: Call, *, account: str = "") -> bytes:
        self.calls.append(call)
        if not self.pages:
            raise Forbidden("the script is over")
        return self.pages.pop(0)


async def sightings(script: Script, names: set[str]) -> list[tuple[str, str | None]]:
    told: list[tuple[str, str | None]] = []
    try:
        async for one in watch_names(
            script, CONFIGMAP, "shop", lambda: names, sleep=script.sleep, spread=lambda _, most: most
        ):
            told.append((one.name, one.version if one.manifest else None))
    except Forbidden:
        return told
    raise AssertionError("a watch never ends but with an error")


async def test_one_watch_tells_of_all_objects_that_are_wanted_and_of_no_other() -> None:
    changes = [change("MODIFIED", "x", 101), change("MODIFIED", "b", 102), change("DELETED", "a", 103)]
    script = Pages([[[named("a", 4), named("x", 5)], [named("b", 6)]]], [changes])
    told = await sightings(script, {"a", "b", "c"})
    assert sorted(told[:3]) == [("a", "4"), ("b", "6"), ("c", None)]
    assert told[3:] == [("b", "102"), ("a", None)]
    assert all("fieldSelector" not in call.query for call in script.calls)
    assert "continue=more" in script.calls[1].query


async def test_a_name_that_is_wanted_later_is_told_from_its_next_change_on() -> None:
    names = {"a"}

    async def wanted_late(script: Pages) -> None:
        async for sighting in watch_names(script, CONFIGMAP, "shop", lambda: names, sleep=script.sleep):
            told.append((sighting.name, sighting.version))
            names.add("b")

    told: list[tuple[str, str]] = []
    script = Pages([[[named("a", 4), named("b", 5)]]], [[change("MODIFIED", "b", 101)]])
    with pytest.raises(Forbidden):
        await wanted_late(script)
    assert told == [("a", "4"), ("b", "101")]


async def test_an_object_that_is_wanted_while_pages_of_a_list_come_is_not_taken_for_gone() -> None:
    names = {"z"}

    class Slow(Pages):
        async def send(self, call: Call, *, account: str = "") -> bytes:
            page = await super().send(call, account=account)
            names.add("a")  # its page was passed over
            return page

    script = Slow([[[named("a", 4)], [named("z", 6)]]], [[change("MODIFIED", "a", 102)]])
    assert await sightings(script, names) == [("z", "6"), ("a", "102")]


async def test_what_changed_between_two_lists_is_told_and_the_rest_is_not_again() -> None:
    script = Pages([[[named("a", 4), named("b", 5)]], [[named("b", 7)]]], [[EXPIRED], []])
    told = await sightings(script, {"a", "b"})
    assert [sorted(told[:2]), sorted(told[2:])] == [[("a", "4"), ("b", "5")], [("a", None), ("b", "7")]]


async def test_fields_that_nobody_waits_for_are_not_held() -> None:
    heavy = seen(4)
    heavy["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    script = Script([(5, heavy)], [])
    found = [one async for one in _until_over(script)]
    assert "managedFields" not in found[0]["metadata"]


async def _until_over(script: Script) -> AsyncIterator[Manifest]:
    try:
        async for manifest in watch_object(script, CONFIGMAP, REF, sleep=script.sleep):
            assert manifest is not None
            yield manifest
    except Forbidden:
        return


async def test_an_object_is_seen_once_with_the_moment_at_which_it_was_not_there() -> None:
    there, not_there = Script([(5, seen(4))], []), Script([(7, None)], [])
    assert (await sight(there, CONFIGMAP, REF)).version == "4"
    gone = await sight(not_there, CONFIGMAP, REF)
    assert (gone.manifest, gone.version) == (None, "7")
