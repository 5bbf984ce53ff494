"""A run watched in a terminal: drawn in place, left standing at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any, cast

import pytest
from rich.console import Console

from kubernaut.cli import following
from kubernaut.cli.outline import rows
from kubernaut.cli.seeing import Sight
from kubernaut.core.errors import NotFound, Unavailable
from kubernaut.core.ports import Cluster, Manifest, ObjectRef
from unit.cli.samples import REPAIRED, RESOLVED, run, spec


def test_a_terminal_is_redrawn_and_keeps_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    file = StringIO()
    terminal = Console(file=file, width=120, force_terminal=True, color_system=None, markup=False)
    monkeypatch.setattr(following, "console", lambda: terminal)
    screen = following.screen()
    assert isinstance(screen, following.Terminal)
    with screen:
        for state in (run({**RESOLVED, "phase": "Running"}), run(REPAIRED)):
            screen.show(Sight(state, spec(), rows(state, spec())))
    last = file.getvalue().split("shop/crash-loop-abcde")[-1]
    assert "Succeeded" in last
    assert "3/3" in last
    assert "Verdict  Remediated" in last


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = following.screen()
    assert isinstance(screen, following.Lines)
    with screen:
        for state in (run({**RESOLVED, "phase": "Running"}), run(REPAIRED), run(REPAIRED)):
            screen.show(Sight(state, spec(), rows(state, spec())))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "run crash-loop-abcde: Running",
        "step diagnose: Succeeded",
        "step settle: Succeeded",
        "step roll-back: Succeeded",
        "run crash-loop-abcde: Succeeded",
    ]


class Quick:
    """A cluster in which a run is over before anybody has read it."""

    async def get(self, ref: ObjectRef) -> Manifest:
        if ref.kind == "WorkflowExecution":
            return run(REPAIRED).wire()
        raise NotFound(f"{ref} is not there")

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        if since == "7":
            yield run(
                {**RESOLVED, "phase": "Running", "steps": [{"name": "diagnose", "phase": "Running"}]}
            ).wire()
        yield run(REPAIRED).wire()


async def test_of_a_run_that_was_just_created_no_change_is_left_out_however_quick(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: dict[str, Any] = run().wire()
    made["metadata"]["resourceVersion"] = "7"
    cluster = cast(Cluster, Quick())
    ended = await following.to_the_end(cluster, "shop", "crash-loop-abcde", following.Lines(), created=made)
    told = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert told[:3] == [
        "run crash-loop-abcde: Pending",
        "step diagnose: Running",
        "run crash-loop-abcde: Running",
    ]
    assert ended.status is not None
    assert told[-1] == f"run crash-loop-abcde: {ended.status.phase.value}"


def test_a_log_that_asks_for_colours_gets_lines_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(following.screen(), following.Lines)


def test_a_terminal_that_can_not_be_redrawn_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    dumb = Console(file=StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    monkeypatch.setattr(following, "console", lambda: dumb)
    assert isinstance(following.screen(), following.Lines)


class Away:
    """A cluster of which a watch says nothing more, and a read what it is told to."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)

    async def get(self, ref: ObjectRef) -> Manifest:
        if ref.kind != "WorkflowExecution":
            raise NotFound(f"{ref} is not there")
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer
        return run({**RESOLVED, "phase": "Running"}).wire()

    async def watch(self, ref: ObjectRef, *, since: str = "") -> AsyncIterator[Manifest | None]:
        yield run({**RESOLVED, "phase": "Running"}).wire()
        await asyncio.Event().wait()


@pytest.mark.looptime
async def test_a_silent_watch_tells_that_the_server_is_away_and_that_it_is_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = Unavailable("get run: no connection")
    cluster = cast(Cluster, Away(None, gone, gone, None, Unavailable("log in again", status=401)))
    with pytest.raises(Unavailable, match="log in again"):
        await following.to_the_end(cluster, "shop", "crash-loop-abcde", following.Silent())
    err = capsys.readouterr().err
    assert err.count("does not answer") == 1
    assert "no connection" in err
    assert err.count("answers again") == 1
