"""Who is told of which wait, and when: once, over restarts, with reminders, and what became of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from kubernaut.api.reasons import Reason
from kubernaut.core.run import Hold
from kubernaut.engine.posting import Became
from kubernaut.notify import waits as module
from kubernaut.notify.ledger import Ledger
from kubernaut.notify.message import Event
from kubernaut.notify.notifier import Notifier
from kubernaut.notify.waits import Policy
from unit.engine.world import World
from unit.notify.asking import Book, Taking, again, answer, asks, waiting

pytestmark = pytest.mark.looptime


async def test_a_wait_is_told_once_to_each_channel_however_often_it_is_looked_at() -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    for _ in range(3):
        book.look()
        for channel in ("slack", "email"):
            told = book.tell(channel)
            assert [one.event for one in told] == ([Event.ASKED] if _ == 0 else [])


async def test_a_restart_with_the_file_tells_nothing_and_one_without_it_once_more_under_the_same_key() -> (
    None
):
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    (first,) = book.tell()
    kept = Book(world)
    kept.waits.recall(book.waits.entries())
    kept.runs.append(await again(world))
    kept.look()
    assert kept.tell() == []
    lost = Book(world)
    lost.runs.append(await again(world))
    lost.look()
    assert [one.key for one in lost.tell()] == [first.key]


async def test_reminders_come_each_time_after_twice_as_long() -> None:
    world = World()
    book = Book(world, remind=timedelta(minutes=2))
    book.runs.append(await asks(world))
    at: list[tuple[int, str]] = []
    for minute in range(16):
        book.look()
        at += [(minute, one.key.rpartition("/")[2]) for one in book.tell()]
        await asyncio.sleep(60)
    assert at == [(0, "1"), (2, "reminder-1"), (6, "reminder-2"), (14, "reminder-3")]


async def test_who_was_told_is_told_who_answered_also_after_a_restart() -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    book.tell()
    entries = book.waits.entries()
    answer(world)
    answered = await again(world)
    later = Book(world)
    later.waits.recall(entries)
    for one in (book, later):
        one.runs[:] = [answered]
        one.look()
        (told,) = one.tell()
        assert (told.event, told.became) == (Event.RESOLVED, "Approved by alice: go on")
        assert told.key.endswith("/approval/ask/1/resolved")
        one.look()
        assert one.tell() == []
        assert one.waits.entries() == {}


async def test_what_a_person_says_is_told_without_what_looks_like_a_secret() -> None:
    world = World()
    book = Book(world)
    ask = {"name": "ask", "approval": {"message": "Go on with password=hunter2-canary?"}}
    book.runs.append(await waiting(world, ask))
    book.look()
    (asked,) = book.tell()
    answer(world, reason="the token: hunter2-canary is good")
    book.runs[:] = [await again(world)]
    book.look()
    (resolved,) = book.tell()
    assert "Go on with password=***" in asked.text()
    for told in (asked, resolved):
        assert "hunter2-canary" not in told.text() + str(told.data())


async def test_nobody_is_told_of_the_end_of_what_nobody_was_told() -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    answer(world)
    book.runs[:] = [await again(world)]
    book.look()
    assert book.tell() == []


async def test_what_is_answered_while_a_channel_is_being_told_is_told_to_it_afterwards() -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    message = book.waits.due("slack")
    assert message is not None
    answer(world)
    book.runs[:] = [await again(world)]
    book.look()
    assert book.waits.due("email") is None
    book.waits.sent("slack", message)
    assert [one.event for one in book.tell()] == [Event.RESOLVED]


@pytest.mark.parametrize("resolved", [True, False])
async def test_nothing_is_told_anew_where_a_lease_had_lapsed_for_a_while(resolved: bool) -> None:
    book, live = await Book.told(World(), resolved)
    held = live.lease
    live.lease = lambda: Hold(Reason.LEASE_LOST, "it has lapsed")
    book.look()
    live.lease = held
    book.look()
    assert book.tell() == []


async def test_nothing_is_told_of_a_run_that_is_being_taken_up_anew() -> None:
    world = World()
    book, live = await Book.told(world)
    # Another replica has stored a status: it is read anew what the run follows, which takes its time.
    live.take_over(live.stored)
    book.look()
    assert book.tell() == []
    book.runs[:] = [await again(world)]
    book.look()
    assert book.tell() == []


async def test_what_an_earlier_life_told_is_known_however_long_the_lease_has_lapsed() -> None:
    world = World()
    book, _ = await Book.told(world)
    later = Book(world)
    later.waits.recall(book.waits.entries())
    later.runs.append(world.take_up("run"))
    later.runs[0].lease = lambda: Hold(Reason.LEASE_LOST, "it has lapsed")
    await asyncio.sleep(module.GRACE.total_seconds() + 1)
    later.look()
    later.runs[:] = [await again(world)]
    later.look()
    assert later.tell() == []


async def test_who_could_not_be_told_is_told_also_where_the_clock_was_set_back_since() -> None:
    world = World()
    now = [world.clock()]
    waits = module.Waits(Policy(), lambda: now[0], lambda _: False, lambda _: False)
    live = await asks(world)
    waits.look([live])
    for later, due in ((timedelta(0), False), (timedelta(hours=-1), True)):
        message = waits.due("slack")
        if message is not None:
            waits.failed("slack", message, 30.0)
        now[0] += later
        assert (waits.due("slack") is not None) is due


async def test_a_run_that_another_replica_took_over_is_told_of_by_that_one_alone() -> None:
    world = World()
    book = Book(world)
    live = await asks(world)
    book.runs.append(live)
    book.look()
    book.tell()
    live.gone = True
    book.runs.clear()
    book.others.add(live.key)
    book.look()
    assert book.tell() == []
    book.others.clear()
    book.over.add(live.uid)
    book.look()
    assert book.tell() == []
    assert book.waits.entries() == {}


async def test_a_run_that_was_another_replicas_for_a_while_is_not_told_anew() -> None:
    world = World()
    book = Book(world)
    live = await asks(world)
    book.runs.append(live)
    book.look()
    book.tell()
    live.gone = True
    book.runs.clear()
    book.others.add(live.key)
    book.look()
    book.others.clear()
    book.runs.append(await again(world))
    book.look()
    assert book.tell() == []
    answer(world)
    book.runs[:] = [await again(world)]
    book.look()
    assert [one.became for one in book.tell()] == ["Approved by alice: go on"]


async def test_a_run_that_ended_while_nobody_looked_is_said_to_be_over() -> None:
    world = World()
    book = Book(world)
    live = await asks(world)
    book.runs.append(live)
    book.look()
    book.tell()
    later = Book(world)
    later.waits.recall(book.waits.entries())
    later.look()
    assert later.tell() == []
    later.over.add(live.uid)
    later.look()
    (told,) = later.tell()
    assert (told.event, told.became) == (Event.RESOLVED, "The run is over.")


async def test_what_there_is_no_room_for_is_counted_and_told_once_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_WAITS", 0)
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    assert (book.tell(), book.waits.pending("slack")) == ([], 1)
    monkeypatch.setattr(module, "MOST_WAITS", 1)
    book.look()
    assert len(book.tell()) == 1
    assert book.waits.pending("slack") == 0


async def test_a_channel_that_is_away_is_told_later_and_the_others_at_once(tmp_path: Path) -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    away = Taking("slack", *[Became.UNSENT] * 4)
    there = Taking("email")
    notifier = Notifier([away, there], book.waits, Ledger(tmp_path), lambda: book.runs, lambda: True)
    running = asyncio.create_task(notifier.run())
    await asyncio.sleep(3)
    assert (len(there.taken), len(away.taken)) == (1, 0)
    await asyncio.sleep(60)
    assert (len(there.taken), len(away.taken), len(away.tried)) == (1, 1, 5)
    running.cancel()
    assert Ledger(tmp_path).load() == book.waits.entries() != {}


async def test_while_the_feature_is_off_nobody_is_told_and_afterwards_who_still_is_waited_for(
    tmp_path: Path,
) -> None:
    world, on = World(), [False]
    book = Book(world)
    book.runs.append(await asks(world))
    channel = Taking()
    notifier = Notifier([channel], book.waits, Ledger(tmp_path), lambda: book.runs, lambda: on[0])
    running = asyncio.create_task(notifier.run())
    await asyncio.sleep(30)
    assert channel.tried == []
    on[0] = True
    await asyncio.sleep(2)
    assert len(channel.taken) == 1
    running.cancel()


async def test_a_file_that_can_not_be_understood_is_as_none(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"waits": [1]}', '{"waits": {"a": 1}}'):
        (tmp_path / "notifications.json").write_text(text)
        assert Ledger(tmp_path).load() == {}


async def test_an_entry_that_can_not_be_understood_is_left_out() -> None:
    world = World()
    book = Book(world)
    book.runs.append(await asks(world))
    book.look()
    book.tell()
    (good,) = book.waits.entries().items()
    later = Book(world)
    later.waits.recall({"a": {"run": 1}, "b": {**good[1], "told": {"slack": 1}}, good[0]: good[1]})
    assert later.waits.entries() == dict([good])
