"""A run watched in a terminal: drawn in place, left standing at its end."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from kubernaut.cli import following
from kubernaut.cli.outline import rows
from kubernaut.cli.seeing import Sight
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
