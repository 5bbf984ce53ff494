"""Whatever is lost, doubled or late, whenever the operator dies: a run comes to the same end, each effect once."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from builders import WorkflowBuilder, a_workflow
from happenings import Case, control, happen, happenings, intervene, live
from kubernaut.api.reasons import Reason
from simulation import check_effects, check_end, end_of

KINDS = ("fake_marked", "fake_marked", "fake_pinned", "fake_read", "wait", "approval")


def _add(draw: st.DrawFn, workflow: WorkflowBuilder, name: str, needs: list[str], reads: list[str]) -> str:
    kind = draw(st.sampled_from(KINDS))
    when = None
    ancestors = [read for read in reads if read in needs]
    if draw(st.integers(0, 3)) == 0:
        seen = [f"steps.{ancestors[-1]}.outputs.level" if ancestors else "1", "target.status.level"]
        when = f"{draw(st.sampled_from(seen))} < {draw(st.integers(0, 4))}"
        if "target" not in when and ancestors:
            when = f"has({when.split(' ')[0]}) && {when}"
    if kind == "wait":
        workflow.wait(name, "1s", " ".join(needs), when=when)
    elif kind == "approval":
        workflow.approval(name, " ".join(needs), when=when)
    else:
        wanted: list[Any] = [draw(st.integers(0, 3)), "=target.status.level + 1"]
        if ancestors and when is None:
            wanted.append(
                f"=has(steps.{ancestors[-1]}.outputs.level) ? steps.{ancestors[-1]}.outputs.level + 1 : 7"
            )
        with_ = {"replicas": draw(st.sampled_from(wanted))} if kind == "fake_marked" else None
        retries = draw(st.integers(0, 2))
        workflow.step(name, kind, " ".join(needs), when=when, with_=with_, retries=retries)
    return kind


@st.composite
def chains(draw: st.DrawFn, reasons: tuple[Reason, ...] = (Reason.CONFLICT, Reason.REJECTED)) -> Case:
    """Workflows whose steps follow one upon the other and share one field: their end is determined."""
    workflow = a_workflow()
    names: list[str] = []
    reads: list[str] = []
    troubles: dict[str, list[Reason]] = {}
    for at in range(draw(st.integers(1, 5))):
        name = f"s{at}"
        kind = _add(draw, workflow, name, names[-3:], reads)
        names.append(name)
        if kind == "fake_read":
            reads.append(name)
        if kind.startswith("fake") and draw(st.integers(0, 2)) == 0:
            troubles[name] = draw(st.lists(st.sampled_from(reasons), min_size=1, max_size=2))
    if draw(st.booleans()):
        workflow.rolling_back()
    if draw(st.booleans()):
        workflow.verify(
            f"target.status.level >= {draw(st.integers(0, 3))}", stabilization="3s", timeout="10s"
        )
    return Case(
        workflow.plan(), dict.fromkeys(names, "level"), troubles, str(workflow.spec().wire()["steps"])
    )


@st.composite
def graphs(draw: st.DrawFn) -> Case:
    """Workflows whose steps run beside each other, each on a field of its own; none fails."""
    workflow = a_workflow().set(parallelism=draw(st.integers(1, 4)))
    names: list[str] = []
    for at in range(draw(st.integers(2, 6))):
        needs = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        kind = draw(st.sampled_from(KINDS[:4]))
        with_ = {"replicas": draw(st.integers(0, 2))} if kind == "fake_marked" else None
        workflow.step(f"s{at}", kind, " ".join(needs), with_=with_)
        names.append(f"s{at}")
    return Case(workflow.plan(), {name: name for name in names}, {}, str(workflow.spec().wire()["steps"]))


@settings(max_examples=80)
@given(chains(), happenings)
def test_faults_change_neither_the_end_of_a_run_nor_its_effects(
    case: Case, events: list[tuple[int, int]]
) -> None:
    calm, rough = case.engine(), case.engine()
    live(calm, [])
    live(rough, events)
    event(str(calm.run.status.verdict))
    assert end_of(rough) == end_of(calm)
    assert rough.run.stored == rough.run.status


@settings(max_examples=40)
@given(graphs(), happenings)
def test_faults_change_nothing_for_steps_that_run_beside_each_other(
    case: Case, events: list[tuple[int, int]]
) -> None:
    calm, rough = case.engine(), case.engine()
    live(calm, [])
    live(rough, events)
    assert end_of(rough) == end_of(calm)
    assert rough.run.status.phase == "Succeeded"


@settings(max_examples=40)
@given(chains())
def test_dying_right_after_any_effect_changes_nothing(case: Case) -> None:
    """The strong form of ``must_store_first``: where storing was not demanded, nothing is missed."""
    calm = case.engine()
    live(calm, [])
    for fatal in range(calm.effects):
        engine = case.engine()
        engine.decide()
        while not engine.over and engine.effects <= fatal:
            if engine.flying:
                name = min(engine.flying)
                engine.land(name)
                if engine.effects <= fatal:
                    engine.answer(name)
            else:
                engine.go_on()
        engine.crash()
        engine.drain()
        check_effects(engine)
        assert end_of(engine) == end_of(calm), f"died after effect {fatal}"


@settings(max_examples=80)
@given(
    chains((Reason.CONFLICT, Reason.INTERNAL, Reason.STEP_TIMEOUT)),
    happenings,
    st.integers(0, 20),
    st.sampled_from(["cancel", "pause", "hold", "gone", "late"]),
)
def test_from_any_state_a_run_ends_within_its_time_whatever_comes_between(
    case: Case, events: list[tuple[int, int]], at: int, what: str
) -> None:
    engine = case.engine()
    engine.decide()
    for index, (kind, which) in enumerate(events):
        if engine.over:
            break
        if index == at:
            intervene(engine, what)
        happen(engine, kind, which)
        check_effects(engine)
    engine.hold = None
    control(engine, paused=False)
    engine.drain()
    check_effects(engine)
    check_end(engine)
    acted = [name for name, count in engine.world.landed.items() if count]
    if engine.run.status.verdict in ("Declined", "NoActionRequired"):
        assert not acted
    if engine.run.status.verdict == "RolledBack":
        assert set(engine.world.marks) == engine.world.undone
