"""Whenever an approval is given and whenever it is seen: it counts only where it was given in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from builders import a_story, a_workflow
from kubernaut.api.execution import Decision

EXPIRY = 600
_seconds = st.integers(0, 2 * EXPIRY)


@given(given_at=_seconds, unseen=_seconds, told_late=_seconds, known=st.booleans(), crashes=st.booleans())
def test_an_approval_counts_only_where_it_was_given_in_time(
    given_at: int, unseen: int, told_late: int, known: bool, crashes: bool
) -> None:
    """``unseen`` seconds nobody looks; the API server may tell of a later time, or of none, but of no earlier one."""
    story = a_story(a_workflow().approval("ask", expires=f"{EXPIRY}s").step("a", needs="ask"))
    story.decide()
    story.store()
    asked = story.now
    story.now += timedelta(seconds=given_at)
    story.answer("ask", Decision.APPROVE)
    told = {"ask": story.now + timedelta(seconds=told_late)} if known else {}
    story.run = replace(story.run, answered=told)
    story.now += timedelta(seconds=unseen)
    if crashes:
        story.crash()
    else:
        story.decide()
    seen_in_time = given_at + unseen < EXPIRY
    surely_in_time = known and given_at + told_late + 1 <= EXPIRY
    counts = story.begun == ["a"]
    assert counts == (seen_in_time or surely_in_time)
    assert not counts or given_at < EXPIRY
    # What was decided stays so, whatever is seen later.
    decided = story.phases["ask"]
    story.store()
    story.run = replace(story.run, answered={"ask": asked})
    story.crash()
    assert story.phases["ask"] == decided
