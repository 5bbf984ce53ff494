"""Lines of the log name the object that is worked on, its trace, and the step; and no other object's."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from kubernaut import logs
from kubernaut.cluster.sharedwatches import SharedWatches
from kubernaut.core.errors import Unavailable
from kubernaut.core.ports import ObjectRef
from kubernaut.core.tracing import step_span, trace_id
from kubernaut.engine.about import about
from kubernaut.engine.keys import Heartbeat, RunKey
from kubernaut.speaking import About, speak_of, speak_of_step
from unit.engine.world import World, scale

UID = "7f8c2c0e-5b1a-4c3d-9e2f-0123456789ab"
log = logging.getLogger("kubernaut.test")


@pytest.fixture
def lines() -> Iterator[Any]:
    """The lines of the log so far, each as it is read by machines."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    logs.set_up("DEBUG", "json")
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before, level


async def test_each_task_speaks_of_its_own_object_and_those_it_begins_do_so_too(lines: Any) -> None:
    async def work(name: str) -> None:
        speak_of(About("WorkflowExecution", "shop", name, UID))
        await asyncio.sleep(0)
        log.info("working")
        await asyncio.create_task(perform())
        log.info("worked")

    async def perform() -> None:
        speak_of_step("grow")
        log.info("acting", extra={"action": "scale_deployment"})

    await asyncio.gather(work("a"), work("b"))
    log.info("nothing")
    found = lines()
    assert [(line["message"], line.get("name")) for line in found if line["message"] != "nothing"].count(
        ("working", "a")
    ) == 1
    (acting, _) = [line for line in found if line["message"] == "acting"]
    assert acting["trace_id"] == UID.replace("-", "")
    assert (acting["step"], acting["span_id"]) == ("grow", step_span(UID, "grow"))
    (worked, _) = [line for line in found if line["message"] == "worked"]
    assert (worked["kind"], worked["namespace"], worked["uid"]) == ("WorkflowExecution", "shop", UID)
    assert "span_id" not in worked
    assert worked["logger"] == "kubernaut.test"
    (nothing,) = [line for line in found if line["message"] == "nothing"]
    assert "uid" not in nothing


async def test_a_watch_that_many_share_speaks_of_no_run(lines: Any) -> None:
    class Away:
        def as_account(self, *_: str) -> Away:
            return self

        async def get(self, ref: ObjectRef) -> Any:
            raise Unavailable("away")

        async def sight(self, ref: ObjectRef) -> Any:
            raise ValueError("an odd answer")

    watches = SharedWatches(Away())  # type: ignore[arg-type]
    speak_of(About("WorkflowExecution", "shop", "first", UID))
    watches.subscribe("shop", "repair", ObjectRef("apps/v1", "Deployment", "shop", "web"), lambda _: None)
    for _ in range(5):
        await asyncio.sleep(0)
    await watches.close()
    told = [line for line in lines() if "watch" in line["message"]]
    assert told
    assert all("uid" not in line for line in told)


async def test_a_step_is_logged_with_its_span(lines: Any) -> None:
    world = World()
    world.workflow(scale("grow", 5))
    live = world.run(finalizers=["kubernaut.io/mirror"])
    speak_of(About("WorkflowExecution", "shop", "run", live.uid))
    await world.reconciler().reconcile(live)
    (line,) = [line for line in lines() if line["message"] == "step performed"]
    assert (line["step"], line["action"], line["result"]) == ("grow", "scale_deployment", "done")
    assert line["span_id"] == step_span(live.uid, "grow")


@pytest.mark.parametrize("uid", [UID, "", "not-a-uid", "00000000-0000-0000-0000-000000000000"])
def test_every_uid_has_a_trace(uid: str) -> None:
    found = trace_id(uid)
    assert len(found) == 32
    assert int(found, 16)


def test_a_heartbeat_is_about_nothing() -> None:
    from kubernaut.engine.known import Known
    from kubernaut.engine.ownership import Alone

    known = Known(Alone(), lambda *_: None)
    assert about(Heartbeat(1), known) is None
    assert about(RunKey("shop", "unknown"), known) == About("WorkflowExecution", "shop", "unknown", "")
