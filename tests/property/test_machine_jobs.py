"""Steps that run Jobs: one for each attempt, none left to itself, whatever is lost or late and whoever takes over."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from builders import a_workflow
from happenings import Case, control, happen, happenings, intervene
from kubernaut.api.reasons import Reason
from simulation import check_effects, check_end

WORKFLOW = (
    a_workflow()
    .set(parallelism=2)
    .step("job", "fake_job", retries=2)
    .step("beside", "fake_job", timeout="30s")
    .step("after", needs="job")
    .step("last", "fake_job", needs="after beside", onFailure="Continue")
)
PLANS = [WORKFLOW.plan(), WORKFLOW.rolling_back().plan()]
troubles = st.lists(
    st.sampled_from([Reason.CONFLICT, Reason.INTERNAL, Reason.STEP_TIMEOUT, Reason.REJECTED]), max_size=3
)


@settings(max_examples=200)
@given(
    st.sampled_from(PLANS),
    st.dictionaries(st.sampled_from(["job", "beside", "last"]), troubles),
    happenings,
    st.integers(0, 12),
    st.sampled_from(["cancel", "pause", "hold", "gone", "late", "another owner", "nothing"]),
)
def test_a_job_is_run_once_for_each_attempt_and_none_is_left_to_itself(
    plan: object, troubles: dict[str, list[Reason]], events: list[tuple[int, int]], at: int, what: str
) -> None:
    engine = Case(plan, {}, troubles, "jobs").engine()  # type: ignore[arg-type]
    engine.decide()
    for index, (kind, which) in enumerate(events):
        if engine.over:
            break
        if index == at and what != "nothing":
            intervene(engine, what)
        happen(engine, kind, which)
        check_effects(engine)
    engine.hold = None
    control(engine, paused=False)
    engine.drain()
    engine.haunt()
    event(f"{what}: {engine.run.status.phase}")
    check_effects(engine)
    check_end(engine)
