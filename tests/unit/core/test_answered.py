"""Since when answers to approval steps are there, as the API server's bookkeeping has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kubernaut.core.answered import answered, answered_by


def entry(time: str | None, *steps: str) -> dict[str, Any]:
    """Return the bookkeeping of a writer of answers."""
    approvals: dict[str, Any] = {
        f'k:{{"step":"{step}"}}': {".": {}, "f:step": {}, "f:decision": {}} for step in steps
    }
    fields = {"f:spec": {"f:control": {"f:approvals": approvals}}}
    timed = {"time": time} if time is not None else {}
    return {"manager": f"m{time}", "operation": "Update", "fieldsV1": fields, **timed}


def run(*entries: dict[str, Any], steps: tuple[str, ...] = ("ask", "again")) -> dict[str, Any]:
    approvals = [{"step": step, "decision": "Approve", "by": "ada"} for step in steps]
    return {"metadata": {"managedFields": list(entries)}, "spec": {"control": {"approvals": approvals}}}


def at(minute: int, second: int = 0) -> datetime:
    return datetime(2026, 1, 1, 12, minute, second, tzinfo=UTC)


def test_each_answer_is_there_since_the_first_that_wrote_it() -> None:
    found = answered(run(entry("2026-01-01T12:05:00Z", "ask", "again"), entry("2026-01-01T12:03:00Z", "ask")))
    assert found == {"ask": at(3), "again": at(5)}


def test_of_who_says_no_time_or_none_that_can_be_read_nothing_is_known() -> None:
    assert answered(run(entry(None, "ask"), entry("soon", "ask"), entry("2026-01-01T12:05:00", "ask"))) == {}
    assert answered(run()) == {}
    assert answered({"metadata": {}, "spec": {}}) == {}


def test_who_wrote_something_else_says_nothing_of_an_answer() -> None:
    status = {"manager": "kubernaut", "operation": "Update", "time": "2026-01-01T12:00:00Z"}
    assert answered(run({**status, "fieldsV1": {"f:status": {".": {}, "f:phase": {}}}})) == {}
    paused: dict[str, Any] = {"f:spec": {"f:control": {"f:paused": {}}}}
    assert answered(run({**status, "fieldsV1": paused})) == {}


def test_a_second_that_was_left_out_is_not_in_favour_of_the_answer() -> None:
    assert answered_by({"ask": at(3)}, "ask", at(3, 1))
    assert not answered_by({"ask": at(3)}, "ask", at(3))
    assert not answered_by({}, "ask", at(59))
