"""What `kubernaut stop` does where nobody says who stops, and what it says where nobody saw it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from kubernaut.cli import switching
from kubernaut.cli.forms import Format
from kubernaut.cli.switching import told
from kubernaut.cluster.switch import OBSERVED_ANNOTATION, STOPPED, Switched, SwitchState
from kubernaut.core.errors import NotFound
from kubernaut.core.ports import Manifest, ObjectRef

UNSEEN = Switched(SwitchState(STOPPED, "ada", "", "2026-03-01T12:00:00Z"), None, False, 2.0)


class Slow:
    """A cluster that stops at once, and takes its time to say who we are."""

    namespace = "kubernaut-system"

    def __init__(self) -> None:
        self.cluster = self
        self.written: Manifest | None = None

    async def whoami(self) -> str:
        await asyncio.sleep(30)
        return "ada"

    async def get(self, ref: ObjectRef) -> Manifest:
        if self.written is None:
            raise NotFound("no switch")
        return self.written

    async def create(self, manifest: Manifest) -> Manifest:
        data = manifest["data"]
        seen = {OBSERVED_ANNOTATION: f"{data['acting']}@{data['since']}"}
        self.written = {**manifest, "metadata": {**manifest["metadata"], "annotations": seen}}
        return self.written


@pytest.mark.looptime
async def test_stopping_does_not_wait_for_the_name_of_who_stops(
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, loop = Slow(), asyncio.get_running_loop()
    began = loop.time()
    assert await switching._throw(cast(Any, place), False, "", "", Format.TEXT) == 0
    assert loop.time() - began < 2
    assert place.written is not None
    assert place.written["data"]["acting"] == STOPPED
    assert "Acting is stopped" in capsys.readouterr().out


def test_a_switch_where_there_was_none_may_be_in_the_wrong_namespace() -> None:
    text = " ".join(told(UNSEEN, "shop"))
    assert "kubectl -n shop get pods" in text
    assert "Namespace shop had no switch until now" in text
    assert "kubernaut-system by default" in text


def test_a_switch_that_somebody_saw_or_that_was_there_is_in_the_right_one() -> None:
    for one in (replace(UNSEEN, acknowledged=True), replace(UNSEEN, before=SwitchState("on"))):
        assert "until now" not in " ".join(told(one, "shop"))
