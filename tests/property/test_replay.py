"""A replay under the content that a run followed comes to what is recorded, whatever the run met."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from builders import NOW, FakeCatalogue
from happenings import Case, happenings, live
from kubernaut.api.execution import WorkflowExecutionStatus
from kubernaut.api.reasons import Reason
from kubernaut.api.workflow import WorkflowSpec
from kubernaut.core.compiling import compile_plan
from kubernaut.core.plan import PlanInvalid
from property.test_machine_kinds import broad, chains
from replayed import recorded, replayed
from simulation import Engine

REASONS = (Reason.CONFLICT, Reason.REJECTED, Reason.INTERNAL, Reason.STEP_TIMEOUT)


@settings(max_examples=200)
@given(st.one_of(chains(), broad()), happenings)
def test_under_the_same_content_nothing_goes_otherwise(case: Case, events: list[tuple[int, int]]) -> None:
    engine = case.engine()
    live(engine, events)
    check_same(case, engine)


@settings(max_examples=100)
@given(chains(REASONS))
def test_nor_where_effects_happened_though_their_answers_were_errors(case: Case) -> None:
    engine = case.engine()
    engine.drain()
    check_same(case, engine)


def check_same(case: Case, engine: Engine) -> None:
    """Fail where a replay under the same content says that anything goes otherwise.

    Of one run in fifty or so it says Unknown: where a step was put back, its record does not tell how it had failed.
    """
    result = replayed(recorded(engine.run, case.plan.spec, NOW), case.plan.spec, case.plan.spec)
    event(result.verdict)
    assert result.verdict != "Otherwise", result


def _all_steps(wire: dict[str, Any]) -> list[dict[str, Any]]:
    found = [*wire["steps"], *wire.get("finally", ())]
    return found + [step for template in wire.get("templates", ()) for step in template["steps"]]


@st.composite
def changes(draw: st.DrawFn, case: Case) -> WorkflowSpec:
    """Draw another content: something of one or two steps, or of what is expected, is otherwise."""
    wire = case.plan.spec.wire()
    for _ in range(draw(st.integers(1, 2))):
        steps = _all_steps(wire)
        step = steps[draw(st.integers(0, len(steps) - 1))]
        match draw(st.integers(0, 9)):
            case 0:
                step["when"] = draw(st.sampled_from(["true", "false", "target.status.level < 1"]))
            case 1:
                step.pop("when", None)
            case 2:
                step["retry"] = {"limit": draw(st.integers(0, 3))}
            case 3:
                step["onFailure"] = draw(st.sampled_from(["Fail", "Continue", "Rollback"]))
                step.pop("alternate", None)
            case 4 if "with" in step:
                step["with"] = {"replicas": draw(st.integers(0, 3))}
            case 5:
                step["dependsOn"] = []
            case 6 if "switch" in step:
                step["switch"]["cases"].reverse()
            case 7 if "wait" in step and "duration" in step["wait"]:
                step["wait"]["duration"] = draw(st.sampled_from(["1s", "2s", "8s"]))
            case 8 if "verify" in wire:
                wire["verify"]["expect"] = [f"target.status.level >= {draw(st.integers(0, 2))}"]
                wire["verify"]["stabilization"] = draw(st.sampled_from(["0s", "3s", "5s"]))
            case _:
                wire["steps"] = wire["steps"][:-1] or wire["steps"]
    return WorkflowSpec.from_wire(wire)


@settings(max_examples=300)
@given(st.data(), st.one_of(chains(), chains(REASONS)))
def test_what_a_replay_says_is_what_happens_where_the_other_content_is_run(
    data: st.DataObject, case: Case
) -> None:
    """The same world, met by a run of the other content, is the oracle."""
    new = data.draw(changes(case))
    try:
        plan = compile_plan(new, FakeCatalogue())
    except PlanInvalid:
        return
    then, now = case.engine(), replace(case, plan=plan).engine()
    then.drain()
    now.drain()
    result = replayed(recorded(then.run, case.plan.spec, NOW), case.plan.spec, new)
    status = now.run.status
    ended = (status.phase.value, status.verdict, status.reason)
    event(f"{result.verdict}{' to its end' if result.would else ''}")
    for one in result.differences:
        event(one.kind)
    if result.would is not None:
        reason = result.would.reason or ended[2]
        assert (result.would.phase, result.would.verdict, reason) == ended, (result, status)
    if result.verdict == "Same":
        assert _ran(status) == _ran(then.run.status), result


def _ran(status: WorkflowExecutionStatus) -> dict[str, object]:
    """Return what became of the steps that were begun."""
    return {one.name: (one.phase, one.branch, one.attempt) for one in status.steps if one.attempt}
