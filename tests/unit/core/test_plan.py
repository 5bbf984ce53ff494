"""Compiling a Workflow: the order of steps, and every problem named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from builders import FakeCatalogue, WorkflowBuilder, a_workflow
from kubernaut.api.reasons import REASONS, Reason
from kubernaut.core.compiling import compile_plan
from kubernaut.core.errors import StepError
from kubernaut.core.parameters import parse_parameters
from kubernaut.core.plan import PlanInvalid, Problem


def problems(workflow: WorkflowBuilder) -> list[Problem]:
    with pytest.raises(PlanInvalid) as raised:
        compile_plan(workflow.spec(), FakeCatalogue())
    assert all(str(problem) in str(raised.value) for problem in raised.value.problems)
    return list(raised.value.problems)


def problem(workflow: WorkflowBuilder) -> Problem:
    (only,) = problems(workflow)
    return only


def test_steps_are_in_an_order_in_which_they_can_run() -> None:
    plan = a_workflow().step("d", needs="b c").step("c", needs="a").step("b", needs="a").step("a").plan()
    assert [step.name for step in plan.steps] == ["a", "c", "b", "d"]
    assert [step.position for step in plan.steps] == [0, 1, 2, 3]


def test_a_cycle_is_named_with_its_path() -> None:
    found = problem(a_workflow().step("a", needs="c").step("b", needs="a").step("c", needs="b").step("x"))
    assert (found.reason, found.path) == (Reason.CYCLE, "spec.steps")
    path = found.message.removeprefix("the steps depend on each other: ").removesuffix(".").split(" -> ")
    needs = {"a": "c", "b": "a", "c": "b"}
    assert len(path) == 4
    assert [needs[name] for name in path[:-1]] == path[1:]


def test_a_step_that_depends_on_itself_is_a_cycle() -> None:
    assert "a -> a" in problem(a_workflow().step("a", needs="a")).message


def test_a_dependency_that_does_not_exist_is_named() -> None:
    found = problem(a_workflow().step("a").step("b", needs="a zz"))
    assert (found.reason, found.path) == (Reason.UNKNOWN_STEP, "spec.steps[1].dependsOn[1]")
    assert "'zz'" in found.message


def test_an_unknown_action_is_named_with_the_nearest_one() -> None:
    found = problem(a_workflow().step("a", "fake_marke"))
    assert (found.reason, found.path) == (Reason.UNKNOWN_ACTION, "spec.steps[0].action")
    assert found.message == "there is no action 'fake_marke'. Did you mean 'fake_marked'?"
    assert str(found).endswith(REASONS[Reason.UNKNOWN_ACTION].fix)


def test_an_unknown_action_like_no_other_is_just_named() -> None:
    assert problem(a_workflow().step("a", "zzzzzzzz")).message == "there is no action 'zzzzzzzz'."


def test_a_problem_whose_reason_needs_no_mending_has_no_fix() -> None:
    assert Problem(Reason.VALID, "spec", "x.").fix == ""


@pytest.mark.parametrize(
    ("workflow", "path", "message"),
    [
        (a_workflow().step("a", when="1 +"), "spec.steps[0].when", "column"),
        (a_workflow().step("a", when="params.x"), "spec.steps[0].when", "undeclared reference to 'params.x'"),
        (a_workflow().step("a", when="'yes'"), "spec.steps[0].when", "it gives STRING, but true or false"),
        (a_workflow().wait("a", until="1 + 1"), "spec.steps[0].wait.until", "it gives INT"),
        (a_workflow().step("a").verify("true", "'x' == 1"), "spec.verify.expect[1]", "no matching overload"),
        (a_workflow().step("a", when="steps.zz.phase == ''"), "spec.steps[0].when", "there is no step 'zz'"),
        (
            a_workflow()
            .parameter("back", "integer", required=True)
            .step("a", when="steps.roll-params.back > 1"),
            "spec.steps[0].when",
            "there is no step 'roll'; write steps['NAME'] where the name has a dash",
        ),
        (a_workflow().step("a", with_={"names": ["x", "=nope"]}), "spec.steps[0].with", "names.1: column 1"),
        (a_workflow().step("a").target_name("=params.x"), "spec.target.name", "undeclared"),
        (a_workflow().step("a").target_name("=target.x"), "spec.target.name", "params and run only"),
        (a_workflow().step("a").target_name("=steps.a.phase"), "spec.target.name", "params and run only"),
        (
            a_workflow().step("b", when="steps.a.phase == ''").step("a"),
            "spec.steps[0]",
            "without depending on it",
        ),
        (
            a_workflow().step("a", when="steps.a.phase == ''"),
            "spec.steps[0]",
            "step 'a' without depending on it",
        ),
    ],
)
def test_an_expression_that_is_wrong_is_named_with_its_place(
    workflow: WorkflowBuilder, path: str, message: str
) -> None:
    found = problem(workflow)
    assert (found.reason, found.path) == (Reason.INVALID_EXPRESSION, path)
    assert message in found.message
    assert "\n" not in found.message


def test_a_step_may_refer_to_all_it_depends_on_through_others() -> None:
    plan = a_workflow().step("a").step("b", needs="a").step("c", needs="b", when="steps.a.phase == ''").plan()
    by_name = {step.name: step for step in plan.steps}
    assert by_name["c"].outputs_used == {"a"}
    assert [by_name[name].outputs_matter for name in "abc"] == [True, False, False]


def test_what_hangs_on_the_target_is_known() -> None:
    workflow = a_workflow().step("a", with_={"labels": {"x": "=target.spec.replicas"}}).step("b")
    plan = workflow.wait("c", until="target.x").step("d", when="true").plan()
    assert [step.name for step in plan.steps if step.uses_target] == ["a", "c"]


@pytest.mark.parametrize(
    ("action", "with_", "path", "message"),
    [
        ("fake_marked", {"replicas": "many"}, ".replicas", "valid integer"),
        ("fake_marked", {"replica": 1}, ".replica", "Extra inputs"),
        ("fake_marked", {"image_name": "x"}, ".image_name", "Extra inputs"),
        ("fake_marked", {"labels": {"a": "b", "c": 1}}, ".labels.a", "valid integer"),
        ("fake_marked", {"imageName": "=run.name", "replicas": "x"}, ".replicas", "valid integer"),
        ("fake_named", {}, ".name", "Field required"),
        ("fake_named", None, ".name", "Field required"),
    ],
)
def test_parameters_that_can_not_fit_are_named(action: str, with_: Any, path: str, message: str) -> None:
    found = problem(a_workflow().step("a", action, with_=with_))
    assert (found.reason, found.path) == (Reason.INVALID_PARAMETERS, f"spec.steps[0].with{path}")
    assert found.message.startswith(f"{action}: ")
    assert message in found.message


@pytest.mark.parametrize(
    "with_",
    [
        {"replicas": "=1 + 1"},
        {"labels": {"a": "=1", "b": 2}},
        {"imageName": "==literal"},
        {"names": ["a", "=run.name", "==b"]},
    ],
)
def test_what_an_expression_will_give_is_judged_when_it_is_known(with_: dict[str, Any]) -> None:
    assert a_workflow().step("a", with_=with_).plan()


@pytest.mark.parametrize(
    ("kind", "default"), [("integer", "1.5"), ("number", "x"), ("boolean", "yes"), ("integer", "")]
)
def test_a_default_of_the_wrong_type_is_named(kind: str, default: str) -> None:
    found = problem(a_workflow().parameter("p", kind, default=default).step("a"))
    assert (found.reason, found.path) == (Reason.INVALID_PARAMETERS, "spec.parameters[0].default")
    assert found.message == f"parameter p: {default!r} is not of type {kind}."


def test_all_problems_are_named_at_once() -> None:
    workflow = a_workflow().parameter("p", "integer", default="x").step("a", "nope", "b", when="1")
    workflow.step("b", needs="a zz", with_={"replicas": "x"})
    assert {found.reason for found in problems(workflow)} == {
        Reason.CYCLE,
        Reason.UNKNOWN_STEP,
        Reason.UNKNOWN_ACTION,
        Reason.INVALID_EXPRESSION,
        Reason.INVALID_PARAMETERS,
    }


# Parameters of a run.


def declared() -> WorkflowBuilder:
    workflow = a_workflow().parameter("name", required=True).parameter("count", "integer", default="3")
    return workflow.parameter("share", "number").parameter("dry", "boolean").step("a")


def test_parameters_are_typed_defaults_filled_in_and_optional_ones_null() -> None:
    assert parse_parameters(declared().spec(), {"name": "web", "dry": "true"}) == {
        "name": "web",
        "count": 3,
        "share": None,
        "dry": True,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "parameter 'name' (string) is required and was not given"),
        ({"name": "x", "nam": "y"}, "declares no parameter 'nam'; it declares: count, dry, name, share"),
        ({"name": "x", "count": "many"}, "parameter count: 'many' is not of type integer"),
        ({"name": "x", "share": "half"}, "parameter share: 'half' is not of type number"),
        ({"name": "x", "dry": "True"}, "parameter dry: 'True' is not of type boolean"),
    ],
)
def test_parameters_that_do_not_fit_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(StepError, match=r"parameter") as raised:
        parse_parameters(declared().spec(), given)
    assert raised.value.reason is Reason.INVALID_PARAMETERS
    assert message in str(raised.value)


def test_a_workflow_without_parameters_says_so() -> None:
    with pytest.raises(StepError, match="it declares: none"):
        parse_parameters(a_workflow().step("a").spec(), {"x": "y"})
