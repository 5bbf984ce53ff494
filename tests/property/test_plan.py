"""Any graph of steps is put into an order, or its cycle is named."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import FakeCatalogue, a_workflow
from kubernaut.api.reasons import Reason
from kubernaut.core.compiling import compile_plan
from kubernaut.core.plan import PlanInvalid

NAMES = [f"s{at}" for at in range(7)]
graphs = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(NAMES), unique=True, max_size=3) for name in NAMES}
)


@settings(max_examples=60)
@given(graphs, st.permutations(NAMES))
def test_every_step_comes_after_all_it_needs_or_the_cycle_is_real(
    graph: dict[str, list[str]], written: list[str]
) -> None:
    workflow = a_workflow()
    for name in written:
        workflow.step(name, needs=" ".join(graph[name]))
    try:
        plan = compile_plan(workflow.spec(), FakeCatalogue())
    except PlanInvalid as error:
        (problem,) = error.problems
        assert problem.reason is Reason.CYCLE
        path = problem.message.removesuffix(".").split(": ")[1].split(" -> ")
        assert path[0] == path[-1]
        assert all(after in graph[name] for name, after in pairwise(path))
    else:
        at = {step.name: step.position for step in plan.steps}
        assert sorted(at) == NAMES
        assert all(at[need] < at[name] for name, needs in graph.items() for need in needs)


@settings(max_examples=30)
@given(st.permutations(NAMES))
def test_a_graph_without_a_cycle_always_has_an_order(order: list[str]) -> None:
    workflow = a_workflow()
    for at, name in enumerate(order):
        workflow.step(name, needs=" ".join(order[at + 1 : at + 4]))
    assert [step.name for step in workflow.plan().steps] == list(reversed(order))
