"""What can't be fenced: its intent is stored before it is sent, and what a crash leaves open is not sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubernaut.core.errors import ClusterError, Unavailable, UnknownOutcome
from kubernaut.core.ports import HttpAnswer, HttpRequest, Manifest
from unit.engine.world import World

pytestmark = pytest.mark.looptime


class Receiver:
    """Takes note of what the run's stored status says when a request comes; may lose answers, or end the sender."""

    alertmanager = ""

    def __init__(self, world: World, *replies: Any) -> None:
        self.world = world
        self.replies = list(replies)
        self.keys: list[str] = []
        self.intents: list[Any] = []

    async def send(self, request: HttpRequest) -> HttpAnswer:
        (step,) = (one for one in self.world.stored()["steps"] if one["name"] == "tell")
        self.intents.append(step.get("intent"))
        self.keys.append(request.headers["Idempotency-Key"])
        reply = self.replies.pop(0) if self.replies else HttpAnswer(200)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            raise asyncio.CancelledError
        return reply if isinstance(reply, HttpAnswer) else HttpAnswer(200)


def telling(*replies: Any, **step: Any) -> tuple[World, Receiver]:
    world = World()
    world.web = receiver = Receiver(world, *replies)
    world.workflow(
        {"name": "tell", "action": "http_request", "with": {"url": "https://example.com/x"}, **step}
    )
    world.run()
    return world, receiver


async def finish(world: World) -> Manifest:
    """Reconcile the run until it has ended, with a new operator wherever one dies."""
    live, reconciler = world.take_up(), world.reconciler()
    for _ in range(50):
        try:
            delay = await reconciler.reconcile(live)
        except (ClusterError, asyncio.CancelledError):
            world.locks.release(live.key)
            live, reconciler, delay = world.take_up(), world.reconciler(), None
        if live.stored.phase.final:
            (step,) = (one for one in world.stored()["steps"] if one["name"] == "tell")
            return dict(step)
        await asyncio.sleep(delay if delay is not None else 1)
    raise AssertionError(f"still {live.status.phase} after 50 rounds")


async def test_its_intent_is_stored_when_the_request_comes_and_it_comes_once() -> None:
    world, receiver = telling()
    step = await finish(world)
    assert step["phase"] == "Succeeded"
    assert receiver.intents == [{"key": receiver.keys[0], "repeatable": False}]


async def test_after_a_lost_answer_it_fails_and_is_not_sent_again() -> None:
    world, receiver = telling(UnknownOutcome("no whole answer"), retry={"limit": 3})
    step = await finish(world)
    assert (step["phase"], step["reason"], len(receiver.keys)) == ("Failed", "UnknownOutcome", 1)


async def test_after_a_lost_answer_it_is_sent_again_under_the_same_key_where_that_is_wanted() -> None:
    world, receiver = telling(UnknownOutcome("no whole answer"), onUnknown="Retry")
    step = await finish(world)
    assert (step["phase"], len(receiver.keys), len(set(receiver.keys))) == ("Succeeded", 2, 1)


async def test_what_found_no_connection_is_sent_again_under_the_same_key() -> None:
    world, receiver = telling(Unavailable("no connection"))
    step = await finish(world)
    assert (step["phase"], len(receiver.keys), len(set(receiver.keys))) == ("Succeeded", 2, 1)


async def test_an_answer_that_is_a_failure_is_tried_again_under_a_new_key() -> None:
    world, receiver = telling(HttpAnswer(500), retry={"limit": 1})
    step = await finish(world)
    assert (step["phase"], len(set(receiver.keys))) == ("Succeeded", 2)


@pytest.mark.parametrize(("policy", "phase", "sent"), [("Fail", "Failed", 1), ("Retry", "Succeeded", 2)])
async def test_after_a_crash_while_it_was_sent_the_policy_decides(policy: str, phase: str, sent: int) -> None:
    world, receiver = telling("dies", onUnknown=policy)
    step = await finish(world)
    assert (step["phase"], len(receiver.keys), len(set(receiver.keys))) == (phase, sent, 1)
