"""Pausing, resuming and cancelling runs."""

from __future__ import annotations

from apiserver.cli.space import REMEDIATED, RUNNING, Space


def test_pause_resume_and_cancel_set_control(space: Space) -> None:
    space.started("steered", RUNNING)
    assert space("pause", "steered") == 0
    assert space.get("steered")["spec"]["control"]["paused"] is True
    assert space("resume", "steered") == 0
    assert space.get("steered")["spec"]["control"]["paused"] is False
    assert space("cancel", "steered") == 0
    assert space.get("steered")["spec"]["control"]["cancel"] is True
    assert space("cancel", "steered") == 0
    assert "was cancelled already" in space.out


def test_a_run_at_its_end_cannot_be_steered(space: Space) -> None:
    space.started("done", REMEDIATED)
    for command in (["cancel"], ["pause"], ["resume"]):
        assert space(*command, "done") == 1
        assert "is at its end (Succeeded)" in space.err
