"""Runs that wait for a person, in the small world of the engine, and a channel that takes what it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kubernaut.core.asking import Asked, asked
from kubernaut.engine.live import LiveRun
from kubernaut.engine.posting import Became, Told
from kubernaut.notify.message import Message
from kubernaut.notify.waits import Policy, Waits
from unit.engine.world import World, scale


async def waiting(world: World, *steps: dict[str, Any], name: str = "run", **spec: Any) -> LiveRun:
    """Return a run that has gone as far as it can."""
    world.workflow(*steps, **spec)
    world.run(name, finalizers=["kubernaut.io/mirror"])
    return await again(world, name)


async def again(world: World, name: str = "run") -> LiveRun:
    """Return a run as another life of the operator drives it, as far as it can go."""
    live, reconciler = world.take_up(name), world.reconciler()
    for _ in range(6):
        await reconciler.reconcile(live)
    return live


async def asks(world: World, name: str = "run") -> LiveRun:
    """Return a run that waits for an approval."""
    ask = {"name": "ask", "approval": {"message": "Scale web?", "expiresAfter": "30m"}}
    return await waiting(world, ask, scale("grow", 5, "ask"), name=name)


def all_asked(world: World, live: LiveRun) -> list[Asked]:
    assert live.plan is not None
    return asked(live.view(), live.plan, world.clock())


def answer(world: World, name: str = "run", decision: str = "Approve", reason: str = "go on") -> None:
    """Answer the approval of a run, as a person would."""
    run = world.cluster.find("WorkflowExecution", name)
    given = {"step": "ask", "decision": decision, "by": "alice", "reason": reason}
    run["spec"]["control"] = {"approvals": [given]}
    run["metadata"]["generation"] += 1
    run["metadata"]["resourceVersion"] = str(int(run["metadata"]["resourceVersion"]) + 1)


class Book:
    """The waits of some runs."""

    def __init__(self, world: World, remind: timedelta | None = None, resolved: bool = True) -> None:
        self.runs: list[LiveRun] = []
        self.over: set[str] = set()
        self.others: set[Any] = set()
        self.waits = Waits(
            Policy(remind, resolved),
            world.clock,
            lambda uid: uid in self.over,
            lambda key: key in self.others,
        )

    def look(self) -> bool:
        return self.waits.look(self.runs)

    @classmethod
    async def told(cls, world: World, resolved: bool = True) -> tuple[Book, LiveRun]:
        """Return the waits of a run that asks, of which a channel has been told."""
        book, live = cls(world, resolved=resolved), await asks(world)
        book.runs.append(live)
        book.look()
        assert len(book.tell()) == 1
        return book, live

    def tell(self, channel: str = "slack") -> list[Message]:
        """Tell a channel all that is due, once."""
        found = []
        while message := self.waits.due(channel):
            self.waits.sent(channel, message)
            found.append(message)
        return found


class Taking:
    """A channel; ``answers`` are what becomes of messages, one by one, and then all are taken."""

    def __init__(self, name: str = "slack", *answers: Became) -> None:
        self.name = name
        self.answers = list(answers)
        self.tried: list[Message] = []
        self.taken: list[Message] = []

    async def send(self, message: Message) -> Told:
        self.tried.append(message)
        became = self.answers.pop(0) if self.answers else Became.SENT
        if became is Became.SENT:
            self.taken.append(message)
        return Told(became, "so it is")
